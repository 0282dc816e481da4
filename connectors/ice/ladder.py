"""The price levels of one symbol, and its top. Pure."""

from collections.abc import Iterable

from connectors.ice.codec import Change

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

    def apply(self, changes: Iterable[Change]) -> bool:
        """Apply the changes of one message; False if one does not fit, so that the ladder is not to be trusted."""
        sound = True
        for is_bid, action, price, size in changes:
            side = self.bids if is_bid else self.asks
            if price in side:
                if action == "D":
                    del side[price]
                else:
                    side[price] = size
            elif action == "N":
                side[price] = size
            elif not self._outside(side, is_bid, price):
                sound = False
        self._cut()
        return sound

    def _outside(self, side: dict[int, int], is_bid: bool, price: int) -> bool:
        return len(side) >= self.depth and (price < min(side) if is_bid else price > max(side))

    def _cut(self) -> None:
        while len(self.bids) > self.depth:
            del self.bids[min(self.bids)]
        while len(self.asks) > self.depth:
            del self.asks[max(self.asks)]

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
