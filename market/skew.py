"""Is a venue's clock right? The offset between its stamps and our receipt, over windows of arrivals.

The delay of a price, `ts_recv - ts_event`, is latency plus what the two clocks differ by. Latency is never negative
and, for the quickest row within ten seconds, never long. So the clock is off, or the feed is a delayed one, when
every row of a window came more than `behind_ns` after its stamp, or every row more than `ahead_ns` before it; a
single late or wrong row decides nothing. Two windows in a row make the verdict, and two in a row that are right
settle it.

Stamps in whole seconds are up to a second early, which is below both limits.
"""

from dataclasses import dataclass, field
from typing import Final

NS_PER_S: Final = 1_000_000_000
_HALF_HOUR_S: Final = 1_800
_INDIA_S: Final = 19_800  # UTC+5:30, stamped as if it were UTC by some brokers' feeds


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewLimits:
    window_ns: int = 10 * NS_PER_S
    behind_ns: int = 10 * NS_PER_S
    ahead_ns: int = 2 * NS_PER_S
    least_rows: int = 5
    windows: int = 2
    moved_ns: int = 5 * NS_PER_S  # a verdict is said again when its size has moved by more


@dataclass(slots=True)
class VenueSkew:
    """One venue's verdict. State: eight integers.

    Example: three windows of five rows that come a quarter of an hour after their stamps.
        >>> venue = VenueSkew()
        >>> for window in range(3):
        ...     venue.add(least_ns=900 * NS_PER_S, most_ns=901 * NS_PER_S, rows=5)
        ...     changed = venue.close()
        >>> describe(venue.offset_ns)
        'stamps are 15 min 0 s behind'
    """

    limits: SkewLimits = field(default_factory=SkewLimits)
    offset_ns: int | None = None
    """By how much stamps are behind receipt (negative: ahead), once that is the verdict; None while all is right."""
    _least_ns: int = 0
    _most_ns: int = 0
    _rows: int = 0
    _wrong: int = 0
    _right: int = 0

    def add(self, *, least_ns: int, most_ns: int, rows: int) -> None:
        """Take the least and the greatest delay of some rows of the window that is open."""
        self._least_ns = least_ns if not self._rows else min(self._least_ns, least_ns)
        self._most_ns = most_ns if not self._rows else max(self._most_ns, most_ns)
        self._rows += rows

    def close(self) -> bool:
        """End the window; say whether the verdict has changed. A window with few rows says nothing."""
        rows, self._rows = self._rows, 0
        if rows < self.limits.least_rows:
            return False
        found = self._found()
        self._wrong, self._right = (0, self._right + 1) if found is None else (self._wrong + 1, 0)
        before = self.offset_ns
        if found is None and self._right >= self.limits.windows:
            self.offset_ns = None
        elif found is not None and self._wrong >= self.limits.windows and self._is_news(found):
            self.offset_ns = found
        return self.offset_ns != before

    def _found(self) -> int | None:
        if self._least_ns > self.limits.behind_ns:
            return self._least_ns
        return self._most_ns if self._most_ns < -self.limits.ahead_ns else None

    def _is_news(self, found: int) -> bool:
        return self.offset_ns is None or abs(found - self.offset_ns) > self.limits.moved_ns


def describe(offset_ns: int) -> str:
    """Return an offset in words, with its likely cause where the size gives it away.

    Example:
        >>> describe(-19_800_400_000_000)
        'stamps are 5 h 30 min 0 s ahead: Indian time taken for UTC'
        >>> describe(92_000_000_000)
        'stamps are 1 min 32 s behind'
    """
    seconds = _seconds(offset_ns)
    text = f"stamps are {span(offset_ns)} {'behind' if offset_ns > 0 else 'ahead'}"
    if abs(seconds - _INDIA_S) < 60 and offset_ns < 0:
        return f"{text}: Indian time taken for UTC"
    near_half_hour = min(seconds % _HALF_HOUR_S, -seconds % _HALF_HOUR_S) < 60
    return f"{text}: another time zone, or daylight saving" if near_half_hour and seconds >= 3600 else text


def span(length_ns: int) -> str:
    """Return a length of time in words, without its sign."""
    seconds = _seconds(length_ns)
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hours} h {minutes} min {rest} s" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _seconds(length_ns: int) -> int:
    return (abs(length_ns) + NS_PER_S // 2) // NS_PER_S
