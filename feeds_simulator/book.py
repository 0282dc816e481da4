"""A price-level order book that is never crossed and always `DEPTH` levels deep, except one-sided at a price limit.

Sides are immutable tuples, best level first: an event can hold a side without copying it. Prices in ticks,
quantities in whole lots. A level leaves at the far end when a better one
pushes it out of the published depth, and a fresh one comes in when a level is used up.
"""

from itertools import pairwise
from typing import Final

from feeds_simulator.events import ASK, BID, Level, Side
from feeds_simulator.processes import Draws

DEPTH: Final = 10
"""Levels a side that the venue publishes at most."""

_TOWARDS_BETTER: Final = (1, -1)  # a bid is better when higher, an ask when lower


class SimulatedBook:
    """The book of one month, changed by adding, cancelling and taking."""

    __slots__ = ("_draws", "_gap", "_mean_lots", "sides")

    def __init__(self, draws: Draws, mean_lots: float, gap: int = 1) -> None:
        self._draws, self._gap = draws, gap
        self._mean_lots = mean_lots
        self.sides: list[Side] = [(), ()]

    @property
    def best_bid(self) -> int:
        return self.sides[BID][0].price

    @property
    def best_ask(self) -> int:
        return self.sides[ASK][0].price

    @property
    def middle(self) -> int:
        """The middle of the touch, or what there is of it."""
        touches = [levels[0].price for levels in self.sides if levels]
        return sum(touches) // max(len(touches), 1)

    def lock(self, side: int, price: int) -> None:
        """Quote one side only, from a price limit on."""
        self.sides[1 - side] = ()
        self.sides[side] = (self._fresh_level(price),)
        self._refill(side)

    def rebuild(self, best_bid: int, best_ask: int) -> None:
        """Forget everything and quote around two prices."""
        for side, best in ((BID, best_bid), (ASK, best_ask)):
            self.sides[side] = (self._fresh_level(best),)
            self._refill(side)

    def add(self, side: int, price: int, lots: int) -> None:
        """Add an order. A price through the other side is moved behind it, one past the depth to its last level."""
        levels = self.sides[side]
        better = _TOWARDS_BETTER[side]
        others = self.sides[1 - side]
        if others and (price - others[0].price) * better >= 0:
            price = others[0].price - better
        if (levels[-1].price - price) * better > 0:
            price = levels[-1].price
        index = 0
        while (levels[index].price - price) * better > 0:
            index += 1
        found = levels[index]
        if found.price == price:
            self._put(side, index, Level(price, found.qty + lots, found.orders + 1))
        else:
            self.sides[side] = (*levels[:index], Level(price, lots, 1), *levels[index:])[:DEPTH]

    def cancel(self, side: int, index: int) -> None:
        """Cancel one order of a level."""
        level = self.sides[side][index]
        if level.orders == 1:
            self.remove(side, index)
            return
        lots = max(1, min(level.qty - (level.orders - 1), round(level.qty / level.orders)))
        self._put(side, index, Level(level.price, level.qty - lots, level.orders - 1))

    def remove(self, side: int, index: int) -> None:
        """Remove a level and let the next one into the depth."""
        levels = self.sides[side]
        self.sides[side] = levels[:index] + levels[index + 1 :]
        self._refill(side, gone=levels[index])

    def take(self, side: int, lots: int) -> int:
        """Let an aggressor take up to `lots` of the touch; return how many it got."""
        touch = self.sides[side][0]
        if lots >= touch.qty:
            self.remove(side, 0)
            return touch.qty
        left = touch.qty - lots
        self._put(side, 0, Level(touch.price, left, max(1, min(left, touch.orders * left // touch.qty))))
        return lots

    def _put(self, side: int, index: int, level: Level) -> None:
        levels = self.sides[side]
        self.sides[side] = (*levels[:index], level, *levels[index + 1 :])

    def _refill(self, side: int, gone: Level | None = None) -> None:
        # A hole near the touch fills first: else one-sided flow would thin the book out to its far end.
        # What replaces a level differs from it, so that every action changes the book.
        worse = -_TOWARDS_BETTER[side]
        levels = self.sides[side]
        while len(levels) < DEPTH:
            step = self._gap if self._draws.uniform() < 0.8 else 2 * self._gap
            at = len(levels) - 1
            if abs(levels[at].price - levels[0].price) > 2 * self._gap * at:
                gaps = enumerate(pairwise(levels))
                at = next(index for index, (near, far) in gaps if abs(far.price - near.price) > 2 * self._gap)
            fresh = self._fresh_level(levels[at].price + step * worse)
            if fresh == gone:
                fresh = fresh._replace(qty=fresh.qty + 1)
            levels = (*levels[: at + 1], fresh, *levels[at + 1 :])
        self.sides[side] = levels

    def _fresh_level(self, price: int) -> Level:
        orders = self._draws.geometric(3.0)
        return Level(price, orders * self._draws.geometric(self._mean_lots), orders)
