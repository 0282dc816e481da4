"""docs/gateway.md against the gateway: its messages parse, its paths and limits are those of the code."""

import json
import re

import pytest
from docs_pages import ROOT, blocks, prose, read, rows, ticked

from gateway import openapi, protocol
from gateway.errors import RequestError
from gateway.packing import unpack_json
from gateway.protocol import CHANNELS
from gateway.rest import _PARAMETERS
from gateway.session import limits

PAGE = read("docs/gateway.md")


def requests() -> list[str]:
    found = [line[3:] for block in blocks(PAGE, "text") for line in block.splitlines() if line.startswith("-> ")]
    return found + [block for block in blocks(PAGE, "json") if '"subscribe"' in block]


def test_there_are_requests_to_test() -> None:
    assert len(requests()) >= 6


@pytest.mark.parametrize("text", [text for text in requests() if '"interval":"7m"' not in text])
def test_a_request_is_understood(text: str) -> None:
    protocol.parse(unpack_json(text))


def test_the_refused_request_is_refused_in_the_words_shown() -> None:
    (text,) = [text for text in requests() if '"interval":"7m"' in text]
    with pytest.raises(RequestError) as refused:
        protocol.parse(unpack_json(text))
    assert f'"code":"{refused.value.code}","message":"{refused.value.message}"' in PAGE


def test_the_welcome_shows_the_limits() -> None:
    (welcome,) = [block for block in blocks(PAGE, "text") if '"limits":{"subscriptions"' in block]
    message = json.loads(welcome.removeprefix("<- "))
    assert message["limits"] == limits()


def test_paths_and_parameters_are_those_of_the_code() -> None:
    documented = {ticked(row["path"])[0]: ticked(row["parameters"]) for row in rows(PAGE, "path")}
    described = {path for path in documented if path.startswith("/v1/")} - {"/v1/openapi.json"}
    assert described == set(openapi.document()["paths"])
    for table, parameters in _PARAMETERS.items():
        assert set(documented[f"/v1/{table}"]) == parameters


def test_channels_are_those_of_the_code() -> None:
    assert {ticked(row["channel"])[0] for row in rows(PAGE, "channel")} == set(CHANNELS)


def test_error_codes_are_those_the_code_gives() -> None:
    text = "".join(path.read_text() for path in (ROOT / "gateway").glob("*.py"))
    given = set(re.findall(r'(?:RequestError|HttpError)\((?:\d+, )?"(\w+)"', text))
    assert given
    assert given <= set(ticked(prose(PAGE)))


def test_reasons_of_a_gap_are_all_named() -> None:
    text = (ROOT / "gateway/hub.py").read_text() + (ROOT / "gateway/follow.py").read_text()
    given = set(re.findall(r'return "(\w+)"', text)) | {"already_subscribed", "log_truncated"}
    assert given == {ticked(row["reason of a gap"])[0] for row in rows(PAGE, "reason of a gap")}
