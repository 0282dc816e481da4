"""What a book is worth: spread, mid, microprice, depth, imbalance, the cost of a trade. Exact integers.

Shape: `bids` and `asks` are levels (price, size), best first; None where a number does not exist.
Units: prices and sizes int64 1e-9; ratios 1e-9. Quotients are rounded half to even.
"""

from collections.abc import Sequence
from typing import Final

from market.ladders import Level
from market.schemas import PRICE_SCALE

NORMAL: Final = "NORMAL"
LOCKED: Final = "LOCKED"
CROSSED: Final = "CROSSED"
DIRTY_BOOK: Final = "DIRTY"
BOOK_STATES: Final = (NORMAL, LOCKED, CROSSED, DIRTY_BOOK)

Levels = Sequence[Level]


def divided(numerator: int, denominator: int) -> int:
    """Return the quotient rounded half to even; `denominator` is above 0.

    Example:
        >>> divided(5, 2), divided(7, 2), divided(-5, 2), divided(8, 3)
        (2, 4, -2, 3)
    """
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2))


def state_of(bids: Levels, asks: Levels) -> str:
    """Return how the two sides stand to each other; a side that is empty is NORMAL, as at a price limit."""
    if not bids or not asks or bids[0][0] < asks[0][0]:
        return NORMAL
    return LOCKED if bids[0][0] == asks[0][0] else CROSSED


def spread(bids: Levels, asks: Levels) -> int | None:
    """Best ask less best bid; negative in a crossed book."""
    return asks[0][0] - bids[0][0] if bids and asks else None


def mid(bids: Levels, asks: Levels) -> int | None:
    """Half way between the best bid and the best ask."""
    return divided(bids[0][0] + asks[0][0], 2) if bids and asks else None


def microprice(bids: Levels, asks: Levels) -> int | None:
    """The best prices, each weighted with the size on the other side: where the next trade presses.

    Example:
        >>> microprice([(100, 3)], [(110, 1)])
        108
    """
    if not bids or not asks:
        return None
    (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
    return divided(bid * ask_size + ask * bid_size, bid_size + ask_size)


def depth(levels: Levels) -> int:
    """The size of all levels."""
    return sum(size for _, size in levels)


def imbalance(bids: Levels, asks: Levels) -> int | None:
    """(bid depth - ask depth) / (bid depth + ask depth), from -1e9 (asks only) to 1e9 (bids only)."""
    bid, ask = depth(bids), depth(asks)
    return divided((bid - ask) * PRICE_SCALE, bid + ask) if bid + ask else None


def cost_to_trade(levels: Levels, size: int) -> int | None:
    """The mean price of taking `size` from a side at once; None where the side has less than that.

    Example:
        >>> lots = 10**9
        >>> cost_to_trade([(100, 2 * lots), (103, 5 * lots)], 3 * lots), cost_to_trade([(100, lots)], 2 * lots)
        (101, None)
    """
    left, paid = size, 0
    for price, at_price in levels:
        taken = min(left, at_price)
        paid += taken * price
        left -= taken
        if not left:
            return divided(paid, size)
    return None
