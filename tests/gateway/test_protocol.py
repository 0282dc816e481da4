"""Client messages are understood or refused with a code; server messages are whole frames."""

import json
import re

import pytest
from gateway_support import GC, unframe
from hypothesis import given
from hypothesis import strategies as st

from gateway import protocol
from gateway.errors import RequestError
from gateway.packing import unpack_json
from gateway.protocol import Auth, Matcher, Ping, Since, Subscribe, Unsubscribe


def read(text: str | bytes) -> protocol.Request:
    return protocol.parse(unpack_json(text))


def test_the_contracts_subscribe_is_read() -> None:
    text = (
        '{"op":"subscribe","id":1,"channel":"bars","interval":"1m","instruments":["XCEC:GC:*","XIMC:GOLD:*"],'
        '"conflate_ms":0,"since":{"epoch":"e","seq":123}}'
    )
    assert read(text) == Subscribe(
        id=1,
        channel="bars",
        interval="1m",
        instruments=("XCEC:GC:*", "XIMC:GOLD:*"),
        conflate_ms=0,
        since=Since(epoch="e", seq=123),
    )


def test_the_other_ops_are_read() -> None:
    assert read('{"op":"unsubscribe","id":"a"}') == Unsubscribe("a")
    assert read('{"op":"auth","token":"x"}') == Auth("x")
    assert read('{"op":"ping"}') == Ping(None)


@pytest.mark.parametrize(("channel", "conflate_ms"), [("trades", 0), ("arbitrage", 0), ("quotes", 500), ("book", 500)])
def test_events_are_not_conflated_even_if_asked(channel: str, conflate_ms: int) -> None:
    request = read(f'{{"op":"subscribe","id":1,"channel":"{channel}","instruments":["*"],"conflate_ms":500}}')
    assert isinstance(request, Subscribe)
    assert request.conflate_ms == conflate_ms


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "bad_json"),
        ("[1]", "bad_request"),
        ('{"op":"dance"}', "unknown_op"),
        ('{"id":1}', "unknown_op"),
        ('{"op":"auth"}', "bad_request"),
        ('{"op":"subscribe","channel":"trades"}', "bad_request"),
        ('{"op":"subscribe","id":true,"channel":"trades"}', "bad_request"),
        ('{"op":"subscribe","id":1,"channel":"nothing"}', "unknown_channel"),
        ('{"op":"subscribe","id":1,"channel":"bars"}', "unknown_interval"),
        ('{"op":"subscribe","id":1,"channel":"bars","interval":"7m"}', "unknown_interval"),
        ('{"op":"subscribe","id":1,"channel":"trades","instruments":[]}', "bad_request"),
        ('{"op":"subscribe","id":1,"channel":"trades","instruments":["a b"]}', "bad_request"),
        ('{"op":"subscribe","id":1,"channel":"quotes","conflate_ms":-1}', "bad_request"),
        ('{"op":"subscribe","id":1,"channel":"quotes","since":{"epoch":"e","seq":-1}}', "bad_request"),
        ('{"op":"subscribe","id":1,"channel":"quotes","since":5}', "bad_request"),
        ('{"op":"unsubscribe"}', "bad_request"),
    ],
)
def test_a_wrong_message_is_refused_with_a_code(text: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(text)
    assert caught.value.code == code


def test_the_refusal_names_the_request() -> None:
    with pytest.raises(RequestError) as caught:
        read('{"op":"subscribe","id":9,"channel":"nothing"}')
    assert json.loads(protocol.error_message(caught.value))["id"] == 9


@given(st.one_of(st.text(), st.binary()))
def test_no_message_breaks_the_parser(text: str | bytes) -> None:
    with pytest.raises(RequestError):
        read(text)


@given(st.lists(st.text("AB:*", min_size=1, max_size=8), min_size=1, max_size=3), st.text("AB:", max_size=10))
def test_wildcards_match_as_their_regular_expression_does(patterns: list[str], name: str) -> None:
    expected = any(re.fullmatch(re.escape(p).replace(r"\*", ".*"), name) for p in patterns)
    assert Matcher(patterns).covers(name) == expected


def test_a_whole_venue_is_covered_by_any_pattern_of_the_venue() -> None:
    assert Matcher(["XCEC:GC:*"]).covers("XCEC:*")
    assert Matcher([GC]).covers("XCEC:*")
    assert Matcher(["*"]).covers("XCEC:*")
    assert not Matcher(["XIMC:*"]).covers("XCEC:*")


@given(st.integers(0, 70_000))
def test_a_frame_holds_its_payload(size: int) -> None:
    payload = json.dumps({"op": "x", "text": "y" * size}).encode()
    assert unframe(protocol.text_frame(payload)) == [json.loads(payload)]
