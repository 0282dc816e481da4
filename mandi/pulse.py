"""A child process tells its parent that it moves: a byte down a pipe, twice a second, from a thread of its own.

A process that is stopped, or whose interpreter hangs, is silent. What only waits for a store or a broker says so.
"""

import os
import threading
import time
from typing import Final

from sinks.embedded.frozen import Frozen, Steps

PULSE: Final = "MANDI_PULSE_FD"
HUNG_S: Final = 30.0
"""After it a child is given up that is silent and not stopped: it may only be short of processor, and a restart would
make that worse. One that is stopped is given up after FROZEN_S."""

_EVERY_S: Final = 0.5
_LOOK_AFTER_S: Final = 0.75  # who was heard since then is not stopped

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
    """In the parent: what is heard of one child. The child inherits `write_fd`, named by PULSE in its environment.

    One that never beats is watched, too, for whether it is stopped.
    """

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._has_beaten = False  # before the first beat a child is starting, and may take its time
        self._silent_s = 0.0
        self._steps, self._frozen = Steps(), Frozen()
        self.waits = False

    def started(self) -> None:
        """The child has its copy of the pipe."""
        os.close(self.write_fd)

    def is_lost(self, pid: int) -> bool:
        """Whether the child must be replaced: it is stopped, or has been silent for too long. Ask often."""
        said, step_s = self._take(), self._steps.next_s()
        if said:
            self.waits, self._has_beaten = said.endswith(b"w"), True
        self._silent_s = 0.0 if said else self._silent_s + step_s
        is_stopped = self._frozen.among([pid] if self._silent_s > _LOOK_AFTER_S else [])
        return bool(is_stopped) or (self._has_beaten and self._silent_s > HUNG_S)

    def close(self) -> None:
        os.close(self._read_fd)

    def _take(self) -> bytes:
        try:
            return os.read(self._read_fd, 1 << 16)
        except BlockingIOError:
            return b""
