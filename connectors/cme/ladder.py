"""The price levels of one instrument as the venue keeps them: by position, or by the name of each entry. Pure."""

from typing import Final

from connectors.cme.constants import CHANGE, DELETE, DELETE_FROM, DELETE_THRU, NEW, OVERLAY
from connectors.ticks import DepthRow
from market.schemas import BUY, INSERT, SELL, SET
from market.schemas import DELETE as ROW_DELETE

Top = tuple[int | None, int | None, int | None, int | None]
"""(bid price, bid size, ask price, ask size); None where a side is empty."""

EMPTY: Final[Top] = (None, None, None, None)

Change = tuple[bytes, bool, int | None, str | None, int | None, int | None, int | None]
"""(action, is a bid, position from 1, entry id, price, size, orders) as the venue says it."""

_Level = tuple[int, int, int | None]


class LevelLadder:
    """Levels by side and position, best first, at most `depth`; New pushes down, Delete pulls up.

    `odd` counts changes that are allowed but should not be.
    """

    __slots__ = ("_asks", "_bids", "_depth", "odd")

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._bids: list[_Level] = []
        self._asks: list[_Level] = []
        self.odd = 0

    def load(self, changes: list[Change]) -> list[DepthRow] | None:
        """Replace everything by an image; None if it contradicts itself."""
        self._bids, self._asks, self.odd = [], [], 0
        for _, is_bid, _, _, price, size, orders in changes:
            if price is None or size is None:
                return None
            (self._bids if is_bid else self._asks).append((price, size, orders))
        self._bids.sort(key=lambda level: -level[0])
        self._asks.sort(key=lambda level: level[0])
        del self._bids[self._depth :], self._asks[self._depth :]
        return [
            (SET, side, position, None, *level)
            for side, levels in ((BUY, self._bids), (SELL, self._asks))
            for position, level in enumerate(levels, 1)
        ]

    def apply(self, change: Change) -> list[DepthRow] | None:
        """Apply one change; None if it does not fit, so that the ladder is not to be trusted."""
        action, is_bid, position, _, price, size, orders = change
        side, levels = (BUY, self._bids) if is_bid else (SELL, self._asks)
        if position is None or not 0 < position <= self._depth:
            return None
        if action == DELETE or action in (DELETE_THRU, DELETE_FROM):
            return self._delete(levels, action, side, position)
        if price is None or size is None:
            return None
        level = (price, size, orders)
        at = position - 1
        cut: list[DepthRow] = []
        if action == NEW:
            if at > len(levels):
                return None
            if len(levels) == self._depth:  # the worst one goes: the venue does not say so
                cut.append((ROW_DELETE, side, self._depth, None, None, None, None))
                levels.pop()
            levels.insert(at, level)
            row = INSERT
        elif action == CHANGE and at < len(levels):
            levels[at] = level
            row = SET
        elif action == OVERLAY and at <= len(levels):
            levels[at : at + 1] = [level]
            row = SET
        else:
            return None
        return [*cut, (row, side, position, None, price, size, orders)] if self._ordered(levels, at, is_bid) else None

    def _delete(self, levels: list[_Level], action: bytes, side: int, position: int) -> list[DepthRow] | None:
        at = position - 1
        if at >= len(levels):
            return None
        first, last = (0, at) if action == DELETE_THRU else (at, len(levels) - 1 if action == DELETE_FROM else at)
        del levels[first : last + 1]
        return [(ROW_DELETE, side, first + 1, None, None, None, None)] * (last + 1 - first)

    # Whether a level lies between its neighbours.
    def _ordered(self, levels: list[_Level], at: int, is_bid: bool) -> bool:
        price = levels[at][0]
        better = levels[at - 1][0] if at else None
        worse = levels[at + 1][0] if at + 1 < len(levels) else None
        if is_bid:
            return (better is None or better > price) and (worse is None or worse < price)
        return (better is None or better < price) and (worse is None or worse > price)

    def top(self) -> Top:
        """Return the best bid and ask."""
        bid = self._bids[0] if self._bids else (None, None)
        ask = self._asks[0] if self._asks else (None, None)
        return (bid[0], bid[1], ask[0], ask[1])


class EntryLadder:
    """Entries by MDEntryID, as deep as the venue sends them. The size at a price is the sum of its entries."""

    __slots__ = ("_by_id", "_prices", "odd")

    def __init__(self) -> None:
        self._by_id: dict[str, tuple[bool, int, int]] = {}
        self._prices: tuple[dict[int, int], dict[int, int]] = ({}, {})  # asks, bids: price -> size
        self.odd = 0

    def load(self, changes: list[Change]) -> list[DepthRow] | None:
        """Replace everything by an image; None if it contradicts itself."""
        self._by_id.clear()
        self._prices = ({}, {})
        rows: list[DepthRow] = []
        for change in changes:
            row = self.apply((NEW, *change[1:]))
            if row is None:
                return None
            rows += row
        self.odd = 0
        return rows

    def apply(self, change: Change) -> list[DepthRow] | None:
        """Apply one change; None if it does not fit, so that the ladder is not to be trusted."""
        action, is_bid, _, entry_id, price, size, orders = change
        if entry_id is None:
            return None
        known = self._by_id.pop(entry_id, None)
        if known is not None:
            self._take(known)
        if action == DELETE:
            if known is None:
                return None
            return [(ROW_DELETE, BUY if known[0] else SELL, None, entry_id, None, None, None)]
        if price is None:
            price = known[1] if known else None
        if price is None or size is None or (action == CHANGE and known is None) or action not in (NEW, CHANGE):
            return None
        self.odd += action == NEW and known is not None
        self._by_id[entry_id] = (is_bid, price, size)
        of_side = self._prices[is_bid]
        of_side[price] = of_side.get(price, 0) + size
        return [(SET, BUY if is_bid else SELL, None, entry_id, price, size, orders)]

    def _take(self, entry: tuple[bool, int, int]) -> None:
        is_bid, price, size = entry
        of_side = self._prices[is_bid]
        left = of_side[price] - size
        if left:
            of_side[price] = left
        else:
            del of_side[price]

    def top(self) -> Top:
        """Return the best bid and ask."""
        asks, bids = self._prices
        bid, ask = max(bids, default=None), min(asks, default=None)
        return (
            bid,
            None if bid is None else bids[bid],
            ask,
            None if ask is None else asks[ask],
        )


Ladder = LevelLadder | EntryLadder
