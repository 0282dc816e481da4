"""The mid price of one instrument over recent time, for as-of joins."""

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

NO_MID: Final = -(2**63)
"""In place of a price while there is none: an array has no nulls. Not a price: those stay below PRICE_LIMIT."""


@dataclass(slots=True)
class Mids:
    """From each time on, the mid price in force; entries of one time in the order in which they were put in.

    Units: times ns UTC; prices int64 1e-9.
    State: 16 bytes an entry, down to the time last given to `forget`.

    Example:
        >>> mids = Mids()
        >>> mids.put(10, 500), mids.put(30, 520), mids.put(20, NO_MID)
        (True, True, False)
        >>> [mids.at(ts) for ts in (9, 10, 25, 99)]
        [None, 500, None, 520]
    """

    _ts: "array[int]" = field(default_factory=lambda: array("q"))
    _mid: "array[int]" = field(default_factory=lambda: array("q"))

    def put(self, ts: int, mid: int) -> bool:
        """Enter a price; tell whether it is the newest."""
        if not self._ts or ts >= self._ts[-1]:
            self._ts.append(ts)
            self._mid.append(mid)
            return True
        at = bisect_right(self._ts, ts)
        self._ts.insert(at, ts)
        self._mid.insert(at, mid)
        return False

    def at(self, ts: int) -> int | None:
        """The price in force at a time; None before the first, and while there is none."""
        found = bisect_right(self._ts, ts) - 1
        return None if found < 0 or self._mid[found] == NO_MID else self._mid[found]

    def newest_ts(self) -> int:
        return self._ts[-1] if self._ts else NO_MID

    def forget(self, before: int) -> None:
        """Drop what no `at` of that time or later can need."""
        past = bisect_right(self._ts, before) - 1
        if past > 0:
            del self._ts[:past], self._mid[:past]

    def copy(self) -> "Mids":
        return Mids(self._ts[:], self._mid[:])
