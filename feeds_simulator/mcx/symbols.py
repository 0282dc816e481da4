"""What the brokers call a contract: symbol, token, expiry.

Tokens are made up: a number that follows from the instrument key, so that it is the same in every run.
"""

from calendar import monthrange
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final
from zlib import crc32

from market.instruments import InstrumentKey

SEGMENT: Final = 7
"""MCX, in the low byte of an instrument token of Kite."""

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EXPIRY_DAY: Final = {"GOLD": 5, "GOLDM": 5, "SILVER": 5, "CRUDEOIL": 19, "NATURALGAS": 26}
"""Day of the month after which a contract is over, by product; the last one of the month for the others."""


def kite_symbol(key: str) -> str:
    """Return Kite's trading symbol of an instrument key.

    Example:
        >>> kite_symbol("XIMC:GOLD:202612")
        'GOLD26DECFUT'
    """
    parsed = InstrumentKey.parse(key)
    return f"{parsed.root}{parsed.expiry[2:4]}{_MONTHS[int(parsed.expiry[4:]) - 1]}FUT"


def angel_symbol(key: str, expiry: date) -> str:
    """Return Angel's symbol, which names the day of expiry.

    Example:
        >>> angel_symbol("XIMC:GOLD:202612", date(2026, 12, 4))
        'GOLD04DEC26FUT'
    """
    return f"{InstrumentKey.parse(key).root}{expiry.day:02d}{_MONTHS[expiry.month - 1]}{expiry.year % 100:02d}FUT"


def exchange_tokens(keys: Iterable[str]) -> dict[str, int]:
    """Return the exchange's token of each key: six digits, no two alike."""
    tokens: dict[str, int] = {}
    taken: set[int] = set()
    for key in sorted(keys):
        token = 200_000 + crc32(key.encode()) % 600_000
        while token in taken:
            token += 1
        taken.add(token)
        tokens[key] = token
    return tokens


def expiry_of(key: str, on: date) -> date:
    """Return the last day of trading: a weekday, and not before `on`, for what is listed still trades."""
    parsed = InstrumentKey.parse(key)
    year, month = int(parsed.expiry[:4]), int(parsed.expiry[4:])
    end = date(year, month, monthrange(year, month)[1])
    ruled = end.replace(day=_EXPIRY_DAY.get(parsed.root, end.day))
    while ruled.weekday() >= 5:
        ruled -= timedelta(days=1)
    return ruled if ruled >= on else max(end, on)
