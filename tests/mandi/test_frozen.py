"""What the supervisor does with a process that runs: one that is stopped is replaced, an urgent one runs first."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from log_support import until

from mandi import pulse
from mandi.supervisor import Child, Supervisor

_BEATS = "import time; from mandi.pulse import beat; beat(); print('up', flush=True); time.sleep(600)"


def test_a_frozen_child_is_replaced(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pulse, "FROZEN_S", 1.2)
    said: list[str] = []
    watch = Supervisor(tmp_path, said.append)
    watch.start(Child(name="child", command=[sys.executable, "-c", _BEATS]))
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
