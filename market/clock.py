"""The market clock: market time as a piecewise-linear function of wall time.

A demo may run on a Saturday, or at ten times the speed: every process then reads the same anchors and
computes market time from wall time. Pure: who calls supplies wall time. Code that needs the time takes
`now: Callable[[], int]`, ns by the market clock.

Units: `wall_ns` and `market_ns` int64 ns UTC; `speed` market seconds per wall second, 0 = stands still.
Errors:

    ValueError
    ├── BadClock     the anchors or their JSON cannot be a clock
    └── NeverReached the clock stands still before the asked market time
"""

import json
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise


class BadClock(ValueError):
    """The anchors cannot be a clock. Carries `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a market clock: {reason}")
        self.reason = reason


class NeverReached(ValueError):
    """The clock stands still before the asked time. Carries `market_ns`."""

    def __init__(self, market_ns: int) -> None:
        super().__init__(f"the market clock stands still before {market_ns}")
        self.market_ns = market_ns


@dataclass(frozen=True, slots=True)
class Anchor:
    """From `wall_ns` on, market time runs from `market_ns` at `speed`."""

    wall_ns: int
    market_ns: int
    speed: float = 1.0

    def at(self, wall_ns: int) -> int:
        """Market time at a wall time not before this anchor."""
        elapsed_ns = wall_ns - self.wall_ns
        if self.speed == 1.0:
            return self.market_ns + elapsed_ns
        up, down = self.speed.as_integer_ratio()  # exact: a float product loses ns after 104 days
        return self.market_ns + elapsed_ns * up // down

    def wall_at(self, market_ns: int) -> int:
        """Earliest wall time at which this piece reaches `market_ns`; its speed is above 0."""
        return self.wall_ns + math.ceil((market_ns - self.market_ns) / Fraction(self.speed))


@dataclass(frozen=True, slots=True)
class MarketClock:
    """Anchors in order of wall time. Before the first one market time stands at its start.

    Raises: BadClock if there is no anchor, a speed is negative or not finite, or time would go backwards.

    Example:
        >>> clock = MarketClock.identity().shifted(wall_ns=1_000, market_ns=5_000, speed=2.0)
        >>> clock.at(999), clock.at(1_000), clock.at(1_500)
        (999, 5000, 6000)
    """

    anchors: tuple[Anchor, ...]

    def __post_init__(self) -> None:
        if not self.anchors:
            raise BadClock("no anchors")
        for anchor in self.anchors:
            if not (math.isfinite(anchor.speed) and anchor.speed >= 0):
                raise BadClock(f"speed {anchor.speed}")
        for earlier, later in pairwise(self.anchors):
            if later.wall_ns < earlier.wall_ns or later.market_ns < earlier.at(later.wall_ns):
                raise BadClock(f"time would go backwards at wall {later.wall_ns}")

    @classmethod
    def identity(cls) -> "MarketClock":
        """Return the clock on which market time is wall time."""
        return cls((Anchor(0, 0),))

    def at(self, wall_ns: int) -> int:
        """Return market time at a wall time; never falls as `wall_ns` rises."""
        newest = self.anchors[-1]
        if wall_ns >= newest.wall_ns:  # nearly always, and the clock is read ten thousand times a second
            return newest.at(wall_ns)
        index = bisect_right(self.anchors, wall_ns, key=lambda anchor: anchor.wall_ns) - 1
        return self.anchors[0].market_ns if index < 0 else self.anchors[index].at(wall_ns)

    def wall_at(self, market_ns: int) -> int:
        """Return the earliest wall time, from the first anchor on, at which market time is >= `market_ns`.

        Raises: NeverReached if the clock stands still before it.
        """
        reached = bisect_left(self.anchors, market_ns, key=lambda anchor: anchor.market_ns)
        if reached == 0:
            return self.anchors[0].wall_ns
        piece = self.anchors[reached - 1]
        ends_ns = self.anchors[reached].wall_ns if reached < len(self.anchors) else None
        wall_ns = piece.wall_at(market_ns) if piece.speed > 0 else ends_ns
        if wall_ns is None:
            raise NeverReached(market_ns)
        return wall_ns if ends_ns is None else min(wall_ns, ends_ns)

    def shifted(self, *, wall_ns: int, market_ns: int | None = None, speed: float | None = None) -> "MarketClock":
        """Return a clock that from `wall_ns` on runs from another market time, at another speed, or both.

        Later anchors are forgotten. Raises: BadClock if market time would go backwards.
        """
        kept = tuple(anchor for anchor in self.anchors if anchor.wall_ns < wall_ns)
        start_ns = self.at(wall_ns) if market_ns is None else market_ns
        rate = self._speed_at(wall_ns) if speed is None else speed
        return MarketClock((*kept, Anchor(wall_ns, start_ns, rate)))

    def _speed_at(self, wall_ns: int) -> float:
        index = bisect_right(self.anchors, wall_ns, key=lambda anchor: anchor.wall_ns) - 1
        return self.anchors[max(index, 0)].speed

    def to_json(self) -> str:
        """Return the anchors as JSON, times as decimal strings."""
        return json.dumps(
            {
                "anchors": [
                    {
                        "wall_ns": str(anchor.wall_ns),
                        "market_ns": str(anchor.market_ns),
                        "speed": anchor.speed,
                    }
                    for anchor in self.anchors
                ]
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "MarketClock":
        """Read `to_json`. Raises: BadClock."""
        try:
            rows = json.loads(text)["anchors"]
            anchors = tuple(Anchor(int(row["wall_ns"]), int(row["market_ns"]), float(row["speed"])) for row in rows)
        except (ValueError, KeyError, TypeError, OverflowError) as bad:
            raise BadClock(f"the JSON has another shape ({bad})") from bad
        return cls(anchors)
