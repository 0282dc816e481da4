"""A feed that went silent: one instrument says nothing, far beyond its own pace, while others of its shard go on.

With nobody else to compare (all are silent) it takes longer to be odd, and stays unconfirmed.
"""

from dataclasses import dataclass
from typing import Final

from market.detectors.protocol import NS_PER_S

GATE: Final = 12  # intervals
_MEMORY: Final = 64
_TIMES: Final = 8
_LEAST_S: Final = 5
_TIMES_ALONE: Final = 20
_LEAST_ALONE_S: Final = 12


@dataclass(slots=True)
class Pace:
    """How often an instrument says something. Units: seconds of the arrival clock; the mean in ms."""

    last_s: int | None = None
    mean_ms: int = 1_000
    learnt: int = 0

    def came(self, second: int, *, learn: bool) -> None:
        if learn and self.last_s is not None and second > self.last_s:
            self.learnt += 1
            self.mean_ms += ((second - self.last_s) * 1_000 - self.mean_ms) // min(self.learnt, _MEMORY)
        self.last_s = second

    def limit_s(self, *, alone: bool) -> int:
        """How long a silence may be: with others that go on, or with none."""
        times, least = (_TIMES_ALONE, _LEAST_ALONE_S) if alone else (_TIMES, _LEAST_S)
        return max(least, times * self.mean_ms // 1_000)

    def silent_s(self, now_ns: int) -> int:
        """Whole seconds without anything, up to a time; 0 while its pace is not known."""
        return 0 if self.last_s is None or self.learnt < GATE else now_ns // NS_PER_S - 1 - self.last_s
