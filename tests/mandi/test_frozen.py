"""A supervised process that is stopped, but not dead, is replaced."""

import signal
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
