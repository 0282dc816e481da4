"""The daily price range of one instrument, as far as the venue tells it, and whether the book stands at an end. Pure.

MCX widens the range in slabs: some at once, some after 15 minutes in which trading goes on inside the old one. At an
end of it a book of one side is normal. Angel tells the range in every SnapQuote; Kite in its REST quotes alone, so
there it is asked for when a book loses a side or gets it back, and again while it has one side.

Units: prices int64 1e-9; times ns UTC.
"""

from typing import Final

from connectors.mcx.constants import LIMITS_EVERY_NS
from connectors.mcx.packets import Level, Limits
from market.instruments import format_fixed

LIMIT_UP: Final = "limit_up"
LIMIT_DOWN: Final = "limit_down"

Levels = tuple[Level, ...]


class PriceRange:
    """What is known of the range of a day. State: one range, and when to ask for it."""

    __slots__ = ("_at", "_one_sided", "limits", "wanted_ns")

    def __init__(self) -> None:
        self.limits: Limits | None = None
        self.wanted_ns: int | None = None
        """Since when it is to be asked for; None: it is not."""
        self._at = ""
        self._one_sided = False

    def see(self, bids: Levels, asks: Levels, tick: int, told: Limits | None, now_ns: int) -> str:
        """Take a book, and the range if it was told; return what is news of it, in words."""
        if told is None and bids and asks and not self._one_sided:
            return ""
        news = []
        if told is not None and told != self.limits:
            if self.limits is not None:
                news.append(f"range {_shown(told)}, before {_shown(self.limits)}")
            self.limits = told
        one_sided = bool(bids) != bool(asks)
        if told is not None:
            self.wanted_ns = now_ns + LIMITS_EVERY_NS if one_sided else None
        elif one_sided != self._one_sided:
            self.wanted_ns = now_ns
        self._one_sided = one_sided
        at = self._end(bids, asks, tick)
        if at != self._at:
            self._at = at
            news.append(f"{at}, range {_shown(self.limits)}" if at and self.limits else "off the limit")
        return "; ".join(news)

    # An end need not be a whole tick, so the last tick within it counts.
    def _end(self, bids: Levels, asks: Levels, tick: int) -> str:
        if self.limits is None or bool(bids) == bool(asks):
            return ""
        low, high = self.limits
        if bids:
            return LIMIT_UP if bids[0][0] + max(tick, 1) > high else ""
        return LIMIT_DOWN if asks[0][0] - max(tick, 1) < low else ""


def _shown(limits: Limits) -> str:
    return f"{format_fixed(limits[0])} to {format_fixed(limits[1])}"
