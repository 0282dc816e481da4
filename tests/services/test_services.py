"""The real servers are what they say, can be killed and stopped, and what cannot be had is said in one line."""

import os
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest

from tests.services import base, kafka, monitoring, timescale
from tests.services.base import Missing, Server


def test_timescale_is_the_extension(timescale_server: Server) -> None:
    with psycopg.connect(timescale_server.url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        row = connection.execute("SELECT current_setting('timescaledb.license')").fetchone()
    assert row == ("apache",)


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_monitoring_is_healthy(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    end_s = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"{server.url}/-/healthy", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < end_s
            time.sleep(0.1)


def test_a_broker_can_be_killed_and_comes_back(tmp_path: Path) -> None:
    try:
        command, port = kafka.prepare(tmp_path)
    except Missing as error:
        pytest.skip(f"no kafka: {error}")
    server = kafka.run(command, tmp_path, port)
    assert base.answers(port)
    server.kill()
    assert not server.is_running()
    assert not base.answers(port)
    again = kafka.run(command, tmp_path, port)
    assert again.url == server.url
    again.stop()
    assert not again.is_running()


def test_what_cannot_be_had_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    for start, word in [(kafka.jars, "java"), (monitoring.programs, "apt-get")]:
        with pytest.raises(Missing, match=f"{word} is not installed") as caught:
            start()
        assert "\n" not in str(caught.value)
    if os.geteuid() != 0:
        with pytest.raises(Missing, match="root"):
            timescale.root_folder()


def test_a_failed_fetch_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CACHE", tmp_path)
    with pytest.raises(Missing, match="no such thing"):
        _fetch_half()
    assert not (tmp_path / "thing").exists()
    with base.package("thing") as (target, part):
        assert part is not None
        (part / "whole").touch()
    with base.package("thing") as (target, part):
        assert part is None
        assert (target / "whole").exists()


def _fetch_half() -> None:
    with base.package("thing") as (_, part):
        assert part is not None
        (part / "half").touch()
        base.fetch("thing", ["sh", "-c", "echo no such thing >&2; exit 1"], part)


def test_a_dead_process_is_not_taken_for_a_server_with_the_same_id() -> None:
    mine = Server(name="x", pid=os.getpid(), created=0.0, url="", port=0, directory="")
    assert not mine.is_running()
