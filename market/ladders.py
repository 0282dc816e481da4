"""A ladder for each way in which venues tell a book: by price, by position, by entry.

Prices and sizes are int64 1e-9. A ladder that is told something that cannot be says so and is not to be used again.
"""

from dataclasses import dataclass
from typing import Protocol

from market.schemas import BUY, DELETE, DIRTY, IMAGE, INSERT, PRICE_LIMIT, SET

Level = tuple[int, int]
"""(price, size)."""


class Ladder(Protocol):
    """Both sides of a book."""

    def apply(self, action: int, side: int, level: int, entry_id: str | None, price: int, size: int) -> bool:
        """Take a SET, DELETE or INSERT of market.schemas.DEPTH; False if it does not fit."""

    def best(self, side: int, count: int) -> list[Level]:
        """Return the best `count` levels of a side, best first."""

    def copy(self) -> "Ladder": ...


def ladder_for(level: int, entry_id: str | None) -> Ladder:
    """Return an empty ladder for a venue that tells changes like this one: level 0 and no id, by price."""
    if level:
        return LevelLadder()
    return PriceLadder() if entry_id is None else EntryLadder()


def _best(sizes: dict[int, int], side: int, count: int) -> list[Level]:
    return sorted(sizes.items(), reverse=side == BUY)[:count]


class PriceLadder:
    """Size by price."""

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}

    def apply(self, action: int, side: int, level: int, entry_id: str | None, price: int, size: int) -> bool:
        sizes = self._bids if side == BUY else self._asks
        if action == SET:
            sizes[price] = size
            return size > 0 and entry_id is None and not level
        return action == DELETE and sizes.pop(price, 0) > 0

    def best(self, side: int, count: int) -> list[Level]:
        return _best(self._bids if side == BUY else self._asks, side, count)

    def copy(self) -> "PriceLadder":
        other = PriceLadder()
        other._bids, other._asks = dict(self._bids), dict(self._asks)
        return other


class LevelLadder:
    """Levels by position, best first. An insert pushes the levels behind it away, a delete pulls them up."""

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids: list[Level] = []
        self._asks: list[Level] = []

    def apply(self, action: int, side: int, level: int, entry_id: str | None, price: int, size: int) -> bool:  # noqa: ARG002
        levels = self._bids if side == BUY else self._asks
        at = level - 1
        if not 0 <= at <= len(levels):
            return False
        if action == DELETE:
            if at == len(levels):
                return False
            del levels[at]
            return True
        if action == INSERT:
            levels.insert(at, (price, size))
        elif at < len(levels):
            levels[at] = (price, size)
        else:
            levels.append((price, size))
        return size > 0 and _lies_between(levels, at, side)

    def best(self, side: int, count: int) -> list[Level]:
        return (self._bids if side == BUY else self._asks)[:count]

    def copy(self) -> "LevelLadder":
        other = LevelLadder()
        other._bids, other._asks = self._bids[:], self._asks[:]
        return other


# Whether a level is worse than the one before it and better than the one behind it.
def _lies_between(levels: list[Level], at: int, side: int) -> bool:
    price = levels[at][0] * side
    return (at == 0 or levels[at - 1][0] * side > price) and (at + 1 == len(levels) or levels[at + 1][0] * side < price)


class EntryLadder:
    """Entries by name; the size at a price is the sum of its entries."""

    __slots__ = ("_asks", "_bids", "_entries")

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, int, int]] = {}  # id -> (side, price, size)
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}

    def apply(self, action: int, side: int, level: int, entry_id: str | None, price: int, size: int) -> bool:  # noqa: ARG002
        if entry_id is None:
            return False
        known = self._entries.get(entry_id)
        if action == DELETE:
            return self._delete(entry_id, known)
        self._entries[entry_id] = (side, price, size)
        sizes = self._bids if side == BUY else self._asks
        if known is not None and known[0] == side and known[1] == price:
            sizes[price] += size - known[2]
        else:
            if known is not None:
                self._take(*known)
            sizes[price] = sizes.get(price, 0) + size
        return action == SET and size > 0 and sizes[price] < PRICE_LIMIT

    def _delete(self, entry_id: str, known: tuple[int, int, int] | None) -> bool:
        if known is None:
            return False
        del self._entries[entry_id]
        self._take(*known)
        return True

    def _take(self, side: int, price: int, size: int) -> None:
        sizes = self._bids if side == BUY else self._asks
        left = sizes[price] - size
        if left:
            sizes[price] = left
        else:
            del sizes[price]

    def best(self, side: int, count: int) -> list[Level]:
        return _best(self._bids if side == BUY else self._asks, side, count)

    def copy(self) -> "EntryLadder":
        other = EntryLadder()
        other._entries, other._bids, other._asks = dict(self._entries), dict(self._bids), dict(self._asks)
        return other


@dataclass(slots=True, kw_only=True, eq=False)
class Followed:
    """A book as its changes leave it: trusted from an image on, until something is lost or a change does not fit."""

    trusted: bool = False
    ladder: Ladder | None = None  # none without a level so far
    whole: bool = True  # no change of an event that is not complete

    def begin(self) -> None:
        """Take an IMAGE: empty, and to be trusted."""
        self.trusted, self.ladder = True, None

    def end(self) -> None:
        """Trust it no more, until the next image."""
        self.trusted, self.ladder, self.whole = False, None, True

    def change(self, action: int, side: int, level: int, entry_id: str | None, price: int, size: int) -> bool:
        """Take a change of a trusted book; False if it does not fit."""
        if self.ladder is None:
            self.ladder = ladder_for(level, entry_id)
        return self.ladder.apply(action, side, level, entry_id, price, size)

    def take(
        self, action: int, side: int, level: int, entry_id: str | None, price: int, size: int, *, last: bool
    ) -> None:
        """Take any row of DEPTH. What comes between the end of a book and its next image is ignored."""
        if action == IMAGE:
            self.begin()
        elif not self.trusted:
            return
        elif action == DIRTY or not self.change(action, side, level, entry_id, price, size):
            self.end()
            return
        self.whole = last

    def best(self, side: int, count: int) -> list[Level]:
        """Return the best `count` levels of a side, best first."""
        return [] if self.ladder is None else self.ladder.best(side, count)
