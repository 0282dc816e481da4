"""What the supervisor does with a process that runs: one that is stopped is replaced, an urgent one runs first."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from log_support import until

from mandi.supervisor import Child, Supervisor
from sinks.embedded import frozen
from sinks.embedded.frozen import Frozen, is_stopped

_BEATS = "import time; from mandi.pulse import beat; beat(); print('up', flush=True); time.sleep(600)"


_NEVER_BEATS = "import time; print('up', flush=True); time.sleep(600)"


@pytest.mark.parametrize("program", [_BEATS, _NEVER_BEATS])
def test_a_frozen_child_is_replaced(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "FROZEN_S", 1.2)
    said: list[str] = []
    watch = Supervisor(tmp_path, said.append)
    watch.start(Child(name="child", command=[sys.executable, "-c", program]))
    try:
        until(lambda: watch.last_words("child") == "up" and not watch.poll())
        first = watch.pids()["child"]
        assert first is not None
        psutil.Process(first).send_signal(signal.SIGSTOP)
        until(lambda: watch.poll() or watch.pids()["child"] not in (None, first))
        assert said[0] == "child does not move; killed"
        assert "was killed by SIGKILL" in said[1]
        assert not psutil.pid_exists(first)
    finally:
        watch.stop()


@pytest.fixture
def stopped() -> Iterator[psutil.Process]:
    """A process that is stopped."""
    with subprocess.Popen([sys.executable, "-c", _NEVER_BEATS], stdout=subprocess.DEVNULL) as child:
        process = psutil.Process(child.pid)
        process.suspend()
        until(lambda: is_stopped(child.pid))
        yield process
        child.kill()


def at(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Looks come at these times."""
    times = iter(seconds)
    monkeypatch.setattr(frozen, "time", SimpleNamespace(monotonic=lambda: next(times)))


def test_who_looks_seldom_finds_what_is_frozen_later_and_not_at_once(
    stopped: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that was held up, or stopped itself, for ten seconds at a time: it used to begin anew each time."""
    at(monkeypatch, *range(0, 100, 10))
    seen = Frozen()
    found = [bool(seen.among([stopped.pid])) for _ in range(6)]
    assert found == [False] * 4 + [True] * 2


def test_who_was_stopped_for_a_moment_again_and_again_is_not_frozen(
    stopped: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, *range(20))
    seen = Frozen()
    assert [seen.among([stopped.pid]) for _ in range(3)] == [[]] * 3
    stopped.resume()
    until(lambda: not is_stopped(stopped.pid))
    assert seen.among([stopped.pid]) == []
    stopped.suspend()
    until(lambda: is_stopped(stopped.pid))
    assert [seen.among([stopped.pid]) for _ in range(3)] == [[]] * 3


def test_a_process_that_is_gone_is_not_stopped(stopped: psutil.Process) -> None:
    stopped.kill()
    stopped.wait()
    assert not is_stopped(stopped.pid)


def test_an_urgent_child_runs_at_once_where_we_may_say_so(tmp_path: Path) -> None:
    watch = Supervisor(tmp_path, lambda _: None)
    watch.start(Child(name="plain", command=[sys.executable, "-c", _BEATS]))
    watch.start(Child(name="urgent", command=[sys.executable, "-c", _BEATS], urgent=2))
    try:
        plain, urgent = (watch.pids()[name] or 0 for name in ("plain", "urgent"))
        assert os.sched_getscheduler(plain) == os.SCHED_OTHER
        assert os.sched_getscheduler(urgent) == (os.SCHED_RR if may_be_urgent() else os.SCHED_OTHER)
    finally:
        watch.stop()


def may_be_urgent() -> bool:
    """Try it on a process of our own."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            os.sched_setscheduler(child.pid, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            return False
        finally:
            child.kill()
    return True
