"""What a process leaves behind for the doctor: while it lives, when it ends, fails, is killed, and is started again."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mandi.errors import MandiError, UsageError
from mandi.running import processes, registered
from mandi.scrape import scrape
from mandi.supervisor import PARENT
from sinks.embedded.processes import free_port, port_is_free
from tests.chaos.harness import Flows, until

URL = "http://127.0.0.1:1/metrics"
HOLDS = """
import sys, time
from pathlib import Path
from mandi.running import registered
with registered(Path(sys.argv[1]), sys.argv[2], "http://127.0.0.1:2/metrics"):
    print("up", flush=True)
    time.sleep(600)
"""


@contextmanager
def another(data_dir: Path, name: str, supervisor: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process of that name; it is killed at the end."""
    command = [sys.executable, "-c", HOLDS, str(data_dir), name]
    environment = {**os.environ, PARENT: str(supervisor)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            process.kill()


def known(data_dir: Path) -> dict[int, bool]:
    return {process.pid: process.is_alive for process in processes(data_dir)}


def test_a_process_is_known_while_it_lives_and_then_no_more(tmp_path: Path) -> None:
    assert known(tmp_path) == {}
    with registered(tmp_path, "bars", URL) as entry:
        entry.add("http://127.0.0.1:3/metrics")
        (one,) = processes(tmp_path)
        assert (one.name, one.pid, one.metrics) == ("bars", os.getpid(), (URL, "http://127.0.0.1:3/metrics"))
        assert one.is_alive
        assert one.is_here
        assert one.file.stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "running").iterdir()) == []


def test_a_killed_one_is_known_as_dead_until_the_next_of_its_name(tmp_path: Path) -> None:
    with another(tmp_path, "bars") as one, another(tmp_path, "book") as other:
        assert known(tmp_path) == {one.pid: True, other.pid: True}
    assert known(tmp_path) == {one.pid: False, other.pid: False}
    with registered(tmp_path, "bars", URL):
        assert known(tmp_path) == {os.getpid(): True, other.pid: False}
    assert known(tmp_path) == {other.pid: False}


def test_a_supervisor_takes_away_what_its_own_have_left(tmp_path: Path) -> None:
    with registered(tmp_path, "demo", URL):
        with another(tmp_path, "bars", supervisor=os.getpid()), another(tmp_path, "mine") as stranger:
            pass
        assert len(known(tmp_path)) == 3
    assert known(tmp_path) == {stranger.pid: False}


def test_one_that_fails_stays_known_and_one_that_was_asked_wrongly_does_not(tmp_path: Path) -> None:
    with ExitStack() as held:
        held.enter_context(pytest.raises(UsageError))
        held.enter_context(registered(tmp_path, "bars", URL))
        raise UsageError("there is no flow 'barz'")
    assert known(tmp_path) == {}
    with pytest.raises(MandiError), registered(tmp_path, "bars", URL):
        raise MandiError("the store refuses us")
    assert known(tmp_path) == {os.getpid(): False}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udcff", json.dumps({"name": "bars", "pid": "x"})])
def test_a_damaged_file_is_nobody(tmp_path: Path, text: str) -> None:
    with registered(tmp_path, "book", URL):
        (tmp_path / "running" / "bars.here.1.json").write_bytes(text.encode(errors="surrogateescape"))
        assert known(tmp_path) == {os.getpid(): True}


def test_what_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "running").write_text("not a directory")
    with registered(tmp_path, "bars", URL):
        assert known(tmp_path) == {}
    assert "`mandi doctor` will not know of this process" in caplog.text


def test_several_flows_have_the_ports_behind_that_of_their_supervisor(tmp_path: Path) -> None:
    port = three_ports()
    commands = {"both": ("run", "bars", "quality")}
    with Flows(tmp_path, {"MANDI_METRICS_PORT": str(port)}, commands=commands) as flows:
        flows.start("both")
        until(lambda: len(known(tmp_path)) == 3)
        found = {process.name: process.metrics for process in processes(tmp_path)}
        ports = zip(("run", "bars", "quality"), range(port, port + 3), strict=True)
        assert found == {name: (f"http://127.0.0.1:{number}/metrics",) for name, number in ports}
        until(lambda: all(scrape(urls).samples for urls in found.values()))
        flows.stop("both")
    assert known(tmp_path) == {}


def three_ports() -> int:
    """The first of three free ones in a row."""
    return next(first for first in iter(free_port, 0) if port_is_free(first + 1) and port_is_free(first + 2))
