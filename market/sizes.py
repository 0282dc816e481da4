"""How many lots: whole ones whose quantities agree, and of those that are there the size that earns most.

Lots are whole and hedge each other within HEDGE_ERROR: 100 oz of COMEX are 3.13 kilograms of 995, so three lots of MCX
go with one of COMEX.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from market.parity import BUY_FOREIGN, Bound, Ladder, Terms, bound_of, ladder

HEDGE_ERROR: Final = Fraction(1, 20)
"""How far the quantities of the two legs may differ, as a share: lots are whole."""

_MOST_LOTS: Final = 100
_ANY: Final = (-(2**200),)

Levels = Sequence[tuple[int, int]]
"""(price, lots) of one side of a book, best first; prices are multiples of 1e-9, lots whole and above 0."""


@lru_cache(maxsize=256)
def _sizes(ratio: Fraction) -> tuple[tuple[int, int], ...]:
    """All (local, foreign) lots that hedge each other, rising."""
    exact = [(lots * ratio, lots) for lots in range(1, _MOST_LOTS + 1)]
    return tuple(
        (round(local), lots)
        for local, lots in exact
        if round(local) and abs(round(local) - local) <= HEDGE_ERROR * local
    )


def _there(ratio: Fraction, local: int, foreign: int) -> Sequence[tuple[int, int]]:
    sizes = _sizes(ratio)
    return sizes[: min(bisect_right(sizes, local, key=_local), bisect_right(sizes, foreign, key=_foreign))]


def _local(size: tuple[int, int]) -> int:
    return size[0]


def _foreign(size: tuple[int, int]) -> int:
    return size[1]


def hedged(terms: Terms, local: int, foreign: int) -> tuple[int, int]:
    """Return the most (local, foreign) whole lots within what is there of both; (0, 0) if none."""
    there = _there(terms.ratio, local, foreign)
    return there[-1] if there else (0, 0)


def least_lots(terms: Terms) -> tuple[int, int]:
    """Return the fewest (local, foreign) whole lots whose quantities agree."""
    sizes = _sizes(terms.ratio)
    return sizes[0] if sizes else (1, 1)


class _Order(NamedTuple):
    """A size at its average prices; `left` is net times local lots, in units of the bound."""

    lots: tuple[int, int]
    prices: tuple[int, int]
    left: int


def executable(
    terms: Terms,
    direction: str,
    local: Levels,
    foreign: Levels,
    fx: int,
    *,
    bound: Bound | None = None,
    usual: int = 0,
    least: Sequence[int] = _ANY,
) -> Ladder | None:
    """Return the ladder of the size that earns most in all, over both ladders: deeper levels cost more.

    What counts is what is left against parity and, if there is one, beyond the `usual` net of this direction,
    whichever is less. Sizes that leave less than `least` a unit are passed over; of several `least`, the first that
    any size leaves holds. Of sizes that earn the same, the smallest. None if there is no such size.

    An average price is a multiple of 1e-9, rounded against us: up where we buy, down where we sell.

    Shape: the side of each book that an order would meet; one level is the top of the book.
    """
    bound = bound or bound_of(terms, direction)
    orders = _orders(terms, direction, local, foreign, fx, bound, max(usual, 0))
    for each in least:
        enough = [order for order in orders if order.left >= each * bound.unit * order.lots[0]]
        if enough:
            lots, prices, _ = max(enough, key=_earned)
            return ladder(terms, direction, *prices, fx, lots)
    return None


def _earned(order: _Order) -> tuple[int, int]:
    return order.left, -order.lots[0]


def _orders(
    terms: Terms, direction: str, local: Levels, foreign: Levels, fx: int, bound: Bound, less: int
) -> list[_Order]:
    sizes = _there(terms.ratio, sum(lots for _, lots in local), sum(lots for _, lots in foreign))
    sells_local = direction == BUY_FOREIGN
    sold = _averages(local, [size[0] for size in sizes], rounds_up=not sells_local)
    bought = _averages(foreign, [size[1] for size in sizes], rounds_up=sells_local)
    return [
        _Order(size, (here, abroad), bound.total(here, abroad, fx, size[0]) - less * bound.unit * size[0])
        for size, here, abroad in zip(sizes, sold, bought, strict=True)
    ]


def _averages(levels: Levels, wanted: Sequence[int], *, rounds_up: bool) -> list[int]:
    """The average price of each of rising numbers of lots, all of which are there."""
    found, rest, level, taken, paid = list[int](), 0, -1, 0, 0
    for lots in wanted:
        while taken + rest < lots:
            taken, paid = taken + rest, paid + rest * levels[level][0]
            level += 1
            rest = levels[level][1]
        cost = paid + (lots - taken) * levels[level][0]
        found.append(-(-cost // lots) if rounds_up else cost // lots)
    return found
