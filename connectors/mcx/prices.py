"""What a price of one instrument can be: by its contract, in its unit, and by the close before. Pure.

The close of the session before (the settlement) is the reference of a session, and may change where a session begins.
Within one it is changed by a correction of the exchange, or by a wrong packet, which is not believed; both are told.

A contract may get another unit on a date (INR a bale, INR a candy). A price that is nearer, by ratio, to the last one
in the old unit than to the same one in the new is still in the old; a close that is, is converted. A process that
starts on that date knows no price of before, and goes by the close.

Units: prices int64 1e-9.
"""

from fractions import Fraction

from connectors.errors import PriceRefused
from connectors.prices import PriceRule
from market.instruments import Contract, format_fixed
from market.schemas import PRICE_LIMIT
from market.units import BadUnit, factor


class Prices:
    """Judge the prices of one instrument. State: two prices and the change of unit."""

    __slots__ = ("_contract", "_doubtful", "_last", "_old_unit", "_per_old", "_traded", "close", "rule")

    def __init__(self, contract: Contract) -> None:
        self._contract, self.rule = contract, PriceRule.of(contract)
        self.close: int | None = None
        self._doubtful: int | None = None
        self._last: int | None = None
        self._old_unit, self._per_old, self._traded = "", Fraction(1), False

    def succeed(self, before: "Prices") -> None:
        """Follow the prices of the day before, if the contract's unit is another one from today on."""
        old, new = before._contract.quote_unit, self._contract.quote_unit
        last = before._last or before.close
        if old is None or new is None or old == new or last is None:
            return
        try:
            self._per_old = factor(new, old)
        except BadUnit:  # nothing is known of one by the other
            return
        self._old_unit, self._last = old, round(last * self._per_old)

    def took(self, price: int) -> None:
        """A trade at this price was accepted."""
        self._last, self._traded = price, True

    def see_close(self, close: int, *, new_session: bool) -> str:
        """Take the previous session's close; return what is news of it, in words. Of a doubtful one: once."""
        if new_session and self._traded:
            self._old_unit = ""  # the change is over: it has traded in the new unit for a session
        told, converted = close, self._is_old(close)
        if converted:
            close = round(close * self._per_old)
        before = self.close
        if close in (before, self._doubtful) and not new_session:
            return ""
        shown = _shown(told)
        if converted:
            shown = f"{shown} a {self._old_unit}, so {_shown(close)} a {self._contract.quote_unit}"
        if before is None or new_session:
            self.close, self._doubtful = close, None
            return f"previous close {shown}" if converted else ""
        # Judged by a trade, not by the close before: that may have been the wrong one.
        if self._last is not None and self.rule.is_far(close, self._last):
            self._doubtful = close
            return f"previous close {shown} is not believed after a trade at {_shown(self._last)}"
        self.close = close
        return f"previous close {shown}, before {_shown(before)}"

    @property
    def reference(self) -> tuple[int | None, int | None]:
        """What a price is judged by: while this stays, so does the verdict on a price."""
        return self.close, self._last if self._old_unit else None

    def check(self, price: int) -> None:
        """Raise PriceRefused unless this can be a price."""
        if self._is_old(price):
            detail = f"price {_shown(price)} is one a {self._old_unit}, and not a {self._contract.quote_unit}"
            raise PriceRefused("implausible_price", detail)
        self.rule.check(price)
        self.rule.check_far(price, self.close)

    # Nearer, by ratio, to the last price in the old unit than to the last price.
    def _is_old(self, price: int) -> bool:
        if not self._old_unit or self._last is None or price <= 0:
            return False
        square, middle = price * price * self._per_old, self._last * self._last
        return square < middle if self._per_old > 1 else square > middle


# A close is only compared with, so one that is no price at all need not be refused; but it is shown.
def _shown(price: int) -> str:
    return format_fixed(price) if -PRICE_LIMIT < price < PRICE_LIMIT else f"{price}e-9"
