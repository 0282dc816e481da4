"""Several users of one embedded server: one start, one restart after a kill, and one stop, by the last to go."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.processes import wait_until
from sinks.embedded.shared import Server, is_used, shared

Make = Callable[[], Server]
PATIENCE_S = 60.0


@pytest.fixture(params=["postgres", "chdb"])
def make(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[Make]:
    """What a process has that uses the server: an object of its own."""
    made: list[Server] = []

    def one() -> Server:
        postgres = request.param == "postgres"
        made.append(EmbeddedPostgres(data_dir) if postgres else EmbeddedClickHouse(data_dir, port=0))
        return made[-1]

    yield one
    assert not any(server.is_child for server in made)  # which also collects those that others have stopped


def test_the_last_to_go_stops_it(make: Make) -> None:
    first, second, seen = ExitStack(), ExitStack(), make()
    with second:
        with first:
            address, pid = first.enter_context(shared(make())), seen.pid
            assert second.enter_context(shared(make())) == address
            assert is_used(seen.data_dir, seen.name)
        assert (seen.pid, pid is None) == (pid, False)
    assert seen.pid is None
    assert not is_used(seen.data_dir, seen.name)


def test_one_that_was_started_otherwise_is_left_alone(make: Make) -> None:
    supervised = make()
    supervised.start()
    try:
        pid = supervised.pid
        with shared(make()):
            assert make().pid == pid
        assert supervised.pid == pid
    finally:
        supervised.stop()


def test_a_killed_one_is_started_again_by_one_of_its_users(make: Make) -> None:
    restarts: list[int] = []
    seen, kills = make(), 3
    with ExitStack() as users:
        for number in range(5):
            users.enter_context(shared(make(), lambda number=number: restarts.append(number)))  # type: ignore[misc]
        for killed in range(kills):
            kill(seen)
            assert wait_until(lambda: len(restarts) > killed and seen.pid is not None, PATIENCE_S)  # noqa: B023
    assert len(restarts) == kills  # all have gone: none is about to start another one
    assert seen.pid is None


def test_a_frozen_one_is_killed_and_started_again(make: Make) -> None:
    restarts: list[int] = []
    seen = make()
    with shared(make(), lambda: restarts.append(1)):
        frozen = seen.pid
        assert frozen is not None
        os.kill(frozen, signal.SIGSTOP)
        assert wait_until(lambda: bool(restarts) and seen.pid not in (None, frozen), PATIENCE_S)


def test_one_that_was_left_by_a_killed_user_is_stopped_by_the_last_of_the_others(make: Make) -> None:
    seen = make()
    text = f"""
import time
from pathlib import Path
from sinks.embedded.shared import shared
from {type(seen).__module__} import {type(seen).__name__} as Server
with shared(Server(Path({str(seen.data_dir)!r}))):
    print("up", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        with shared(make()):
            pid = seen.pid
            starter.kill()
            starter.wait()
            assert (seen.pid, pid is None) == (pid, False)
    assert seen.pid is None


def test_one_that_cannot_start_is_tried_again_until_it_can(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = EmbeddedPostgres(data_dir)
    with caplog.at_level(logging.WARNING), shared(server):
        settings = server.cluster / "postgresql.conf"
        right = settings.read_text()
        settings.write_text("no such thing\n")
        kill(EmbeddedPostgres(data_dir))
        assert wait_until(lambda: "(attempt 3)" in caplog.text, PATIENCE_S)
        assert "postgresql.conf" in caplog.text
        settings.write_text(right)
        assert wait_until(lambda: "has been started again" in caplog.text, PATIENCE_S)
    assert server.pid is None


def kill(server: Server) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: server.pid != pid, PATIENCE_S)
