"""The price levels of one symbol, and its top. Pure."""

from collections.abc import Iterable

from connectors.ice.codec import Change
from connectors.ticks import DepthRow
from market.schemas import BUY, DELETE, SELL, SET

Top = tuple[int | None, int | None, int | None, int | None]
"""(bid price, bid size, ask price, ask size); None where a side is empty."""

EMPTY: Top = (None, None, None, None)


class Ladder:
    """Up to `depth` levels a side, kept by price.

    The venue may or may not say `D` for a level that a better one pushed out of the window, so levels past `depth`
    are cut after each message, and a change to a level that lies past a full window is nothing we hold.
    """

    __slots__ = ("asks", "bids", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def load(self, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]) -> None:
        """Replace everything by an image."""
        self.bids, self.asks = dict(bids), dict(asks)
        self._cut()

    def rows(self) -> list[DepthRow]:
        """Return all levels, as the log says them after an image."""
        return [
            (SET, side, None, None, price, size, None)
            for side, levels in ((BUY, self.bids), (SELL, self.asks))
            for price, size in levels.items()
        ]

    def apply(self, changes: Iterable[Change]) -> list[DepthRow] | None:
        """Apply the changes of one message; None if one does not fit, so that the ladder is not to be trusted."""
        rows: list[DepthRow] = []
        for is_bid, action, price, size in changes:
            levels = self.bids if is_bid else self.asks
            side = BUY if is_bid else SELL
            if price in levels and action == "D":
                del levels[price]
                rows.append((DELETE, side, None, None, price, None, None))
            elif price in levels or action == "N":
                levels[price] = size
                rows.append((SET, side, None, None, price, size, None))
            elif not self._outside(levels, is_bid, price):
                return None
        return rows + self._cut()

    def _outside(self, levels: dict[int, int], is_bid: bool, price: int) -> bool:
        return len(levels) >= self.depth and (price < min(levels) if is_bid else price > max(levels))

    # What a better level pushed out of the window is gone for readers of the log, too.
    def _cut(self) -> list[DepthRow]:
        rows: list[DepthRow] = []
        for side, levels, worst in ((BUY, self.bids, min), (SELL, self.asks, max)):
            while len(levels) > self.depth:
                price = worst(levels)
                del levels[price]
                rows.append((DELETE, side, None, None, price, None, None))
        return rows

    def top(self) -> Top:
        """Return the best bid and ask."""
        bid = max(self.bids, default=None)
        ask = min(self.asks, default=None)
        return (
            bid,
            None if bid is None else self.bids[bid],
            ask,
            None if ask is None else self.asks[ask],
        )
