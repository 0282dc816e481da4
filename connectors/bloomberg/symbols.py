"""Securities as Bloomberg names them, and our instrument keys.

Source: Bloomberg ticker conventions, general knowledge: root, month code and last digit of the year, yellow key;
roots of one letter are padded with a blank. `GCZ6` stands for December 2016, 2026, 2036: the date decides.
"""

import re
from datetime import date
from typing import Final

from market.instruments import MONTH_CODES, SPOT, BadInstrumentKey, InstrumentKey

_FUTURE: Final = re.compile(r"([A-Z0-9]{1,4}) ?([FGHJKMNQUVXZ])(\d{1,2}) COMDTY")
_SPOT: Final = re.compile(r"([A-Z]{6})(?: [A-Z]{3,4})? CURNCY")  # with or without a pricing source
_YEARS_BACK: Final = 1


def security_of(key: str) -> str:
    """Return the security to subscribe for an instrument key of venue BBG. Raises: BadInstrumentKey.

    Example:
        >>> security_of("BBG:CT:202703")
        'CTH7 Comdty'
    """
    parsed = InstrumentKey.parse(key)
    if parsed.mic != "BBG":
        raise BadInstrumentKey(key, "not an instrument of Bloomberg")
    if parsed.expiry == SPOT:
        return f"{parsed.root} Curncy"
    month = MONTH_CODES[int(parsed.expiry[4:]) - 1]
    return f"{parsed.root.ljust(2)}{month}{parsed.expiry[3]} Comdty"


def instrument_of(security: str, on: date) -> str | None:
    """Return the instrument key of a security as it is meant on a date; None if it is no such name.

    Example:
        >>> instrument_of("CTH7 Comdty", date(2026, 11, 21)), instrument_of("USDINR BGN Curncy", date(2026, 11, 21))
        ('BBG:CT:202703', 'BBG:USDINR:SPOT')
    """
    name = " ".join(security.upper().split())
    if spot := _SPOT.fullmatch(name):
        return f"BBG:{spot[1]}:{SPOT}"
    future = _FUTURE.fullmatch(name)
    if future is None:
        return None
    root, month, digits = future.groups()
    return f"BBG:{root}:{_year(digits, on)}{MONTH_CODES.index(month) + 1:02d}"


# The first year from last year on that ends in these digits.
def _year(digits: str, on: date) -> int:
    step = 100 if len(digits) == 2 else 10
    first = on.year - _YEARS_BACK
    return first + (int(digits) - first) % step
