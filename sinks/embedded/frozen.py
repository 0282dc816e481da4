"""Tell a process that was stopped (SIGSTOP, Ctrl-Z, a debugger) from one that only waits.

What is stopped holds up whoever waits for it, for ever, and keeps its locks: it is killed, and another one started.
"""

import time
from collections.abc import Iterable
from typing import Final

FROZEN_S: Final = 3.5
"""For so long nobody minds. With what it takes to see it, it is known within five seconds."""

MOST_S: Final = 1.0
"""No more than this counts of the time between two looks: who was stopped itself, or had no processor, cannot judge
the others by the clock, and still does not wait for ever."""


class Steps:
    """The time between looks, as far as it counts."""

    def __init__(self) -> None:
        self._looked_s = time.monotonic()

    def next_s(self) -> float:
        """Seconds since the last look, MOST_S at most."""
        now_s = time.monotonic()
        step_s, self._looked_s = now_s - self._looked_s, now_s
        return min(step_s, MOST_S)


class Frozen:
    """Which processes of a server have been stopped for too long, at looks that come a few times a second.

    State: those that are stopped now.
    """

    def __init__(self) -> None:
        self._stopped_s: dict[int, float] = {}
        self._steps = Steps()

    def among(self, pids: Iterable[int]) -> list[int]:
        """Return who is to be killed."""
        step_s, before = self._steps.next_s(), self._stopped_s
        # Only what was stopped at the last look has been so since then.
        self._stopped_s = {pid: before[pid] + step_s if pid in before else 0.0 for pid in pids if is_stopped(pid)}
        return [pid for pid, stopped_s in self._stopped_s.items() if stopped_s > FROZEN_S]


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped; not if it is gone."""
    import psutil  # a child that only beats does without

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False
