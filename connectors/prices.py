"""What a price of an instrument can be by the contract master, whatever the venue: its sign and its tick. Pure.

Where a book is told by its changes (ICE, FIX) its levels are not held to it: one that was refused would cost the book.

Units: prices int64 1e-9; days counted from 1970 in UTC.
"""

from datetime import date, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from connectors.errors import PriceRefused
from market.instruments import SPOT, Contract, InstrumentMaster

FAR_FACTOR: Final = 5
"""A price this many times the one before, or as small a part of it, is a slip of decimals or of units."""

_DAY_NS: Final = 86_400 * 10**9
_EPOCH: Final = date(1970, 1, 1)


class PriceRule(NamedTuple):
    """The tick, if it is a rule and no convention, and whether there is a price of zero or less."""

    tick: int | None
    may_be_negative: bool

    @staticmethod
    def of(contract: Contract) -> "PriceRule":
        """Return the rule of a contract. A spot market's tick is a convention."""
        return PriceRule(None if contract.months == SPOT else contract.tick_fixed, contract.may_be_negative)

    def check(self, price: int) -> None:
        """Raise PriceRefused unless this can be a price."""
        if price <= 0 and not self.may_be_negative:
            raise PriceRefused("out_of_range", f"price {price}e-9 is not positive")
        if self.tick and price % self.tick:
            raise PriceRefused("off_tick", f"price {price}e-9 is no multiple of the tick {self.tick}e-9")

    def check_far(self, price: int, before: int | None) -> None:
        """Raise PriceRefused if a price is far from one before."""
        if self.is_far(price, before):
            raise PriceRefused("implausible_price", f"price {price}e-9 after {before}e-9")

    def is_far(self, price: int, before: int | None) -> bool:
        """Say whether a price is further from one before than a market moves. What may be negative may be anything."""
        if before is None or before <= 0 or self.may_be_negative:
            return False
        return not before < price * FAR_FACTOR < before * FAR_FACTOR * FAR_FACTOR


def rule_of(instrument: str, now_ns: int) -> PriceRule:
    """Return the rule that holds for an instrument key on a day."""
    return _rule_on(instrument, now_ns // _DAY_NS)


@lru_cache(maxsize=16_384)
def _rule_on(instrument: str, day: int) -> PriceRule:
    return PriceRule.of(InstrumentMaster.load().resolve(instrument, _EPOCH + timedelta(days=day)))
