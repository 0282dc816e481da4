"""A child process tells its parent that it moves: a byte down a pipe, twice a second, from a thread of its own.

A process that is stopped, or whose interpreter hangs, is silent. What only waits for a store or a broker says so.
"""

import os
import threading
import time
from typing import Final

PULSE: Final = "MANDI_PULSE_FD"
FROZEN_S: Final = 5.0
HUNG_S: Final = 30.0
"""What was stopped is given up after the first. Another one that is silent may only be short of processor, and a
restart would make that worse."""

_EVERY_S: Final = 0.5
_OVERSLEPT_S: Final = 2.0  # a parent that was stopped itself cannot judge

waiting: Final[set[str]] = set()
"""What this process waits for now, of things outside: `log`, `timescale`, `clickhouse`."""


def beat() -> None:
    """In a child: begin to tell a parent that listens."""
    text = os.environ.pop(PULSE, None)  # not for our own children
    if text is None:
        return

    def tell() -> None:
        try:
            while True:
                os.write(int(text), b"w" if waiting else b".")
                time.sleep(_EVERY_S)
        except OSError:
            pass  # the parent is gone; another thread deals with that

    threading.Thread(target=tell, name="pulse", daemon=True).start()


class Pulse:
    """In the parent: what is heard of one child. The child inherits `write_fd`, named by PULSE in its environment."""

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._heard_s: float | None = None  # before the first beat a child is starting, and may take its time
        self._listened_s = time.monotonic()
        self.waits = False

    def started(self) -> None:
        """The child has its copy of the pipe."""
        os.close(self.write_fd)

    def silent_s(self) -> float:
        """How long nothing was heard; 0 before the first beat, and when the parent did not listen itself."""
        now_s = time.monotonic()
        said = self._take()
        overslept = now_s > self._listened_s + _OVERSLEPT_S
        self._listened_s = now_s
        if said:
            self.waits = said.endswith(b"w")
        if said or (overslept and self._heard_s is not None):
            self._heard_s = now_s
        return 0.0 if self._heard_s is None else now_s - self._heard_s

    def is_lost(self, pid: int) -> bool:
        """Whether the child has been silent for so long that it must be replaced."""
        silent_s = self.silent_s()
        return silent_s > HUNG_S or (silent_s > FROZEN_S and _is_stopped(pid))

    def close(self) -> None:
        os.close(self._read_fd)

    def _take(self) -> bytes:
        try:
            return os.read(self._read_fd, 1 << 16)
        except BlockingIOError:
            return b""


def _is_stopped(pid: int) -> bool:
    import psutil  # not for a child, which has other things to import

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False  # it died: its parent sees that
