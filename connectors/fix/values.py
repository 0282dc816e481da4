"""Field values -> ints: times, prices, numbers. Pure. What repeats (prices, sizes, seconds) is parsed once."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from connectors.errors import ValueRefused
from connectors.fix.constants import SECOND_NS
from connectors.ticks import parse_price

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = re.compile(rb"(\d{4})(\d\d)(\d\d)-(\d\d):(\d\d):(\d\d)")
_SECOND_CHARACTERS: Final = 17
_SCALE: Final[tuple[int, ...]] = tuple(10 ** (9 - digits) for digits in range(10))
_YEARS: Final = (1678, 2262)  # what int64 ns can say


def parse_time(text: bytes) -> int:
    """Return a UTCTimestamp of any precision up to ns. Raises: ValueRefused.

    A leap second, :60, is the first moment of the next minute, so that order is kept.

    Example:
        >>> parse_time(b"20261121-03:23:17.678")
        1795231397678000000
    """
    second = _second(text[:_SECOND_CHARACTERS])
    fraction = text[_SECOND_CHARACTERS + 1 :]
    if not fraction:
        if len(text) == _SECOND_CHARACTERS:
            return second
    elif text[_SECOND_CHARACTERS] == 46 and fraction.isdigit() and len(fraction) <= 9:
        return second + int(fraction) * _SCALE[len(fraction)]
    raise ValueRefused("unparseable", f"time {text[:40]!r}")


@lru_cache(maxsize=1_024)
def _second(text: bytes) -> int:
    found = _SECOND.fullmatch(text)
    if found is None:
        raise ValueRefused("unparseable", f"time {text[:40]!r}")
    year, month, day, hour, minute, second = map(int, found.groups())
    if not _YEARS[0] <= year < _YEARS[1]:
        raise ValueRefused("out_of_range", f"time {text!r}")
    try:
        moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError as bad:
        raise ValueRefused("unparseable", f"time {text!r}: {bad}") from bad
    if second > 60:
        raise ValueRefused("unparseable", f"time {text!r}")
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds + second) * SECOND_NS


@lru_cache(maxsize=131_072)
def parse_decimal(text: bytes) -> int:
    """Return a price or quantity as an exact int64 multiple of 1e-9. Raises: ValueRefused.

    Example:
        >>> parse_decimal(b"4150.1")
        4150100000000
    """
    try:
        return parse_price(text.decode("ascii"))
    except UnicodeDecodeError:
        raise ValueRefused("unparseable", f"number {text[:40]!r}") from None


@lru_cache(maxsize=16_384)
def parse_small(text: bytes) -> int:
    """As `parse_count`, for numbers that come again and again: positions, orders."""
    return parse_count(text)


@lru_cache(maxsize=16)
def parse_recent_time(text: bytes) -> int:
    """As `parse_time`, for times that many messages in a row have: when they were sent."""
    return parse_time(text)


def parse_count(text: bytes | None) -> int:
    """Return a whole number that is not negative. Raises: ValueRefused."""
    if text is None:
        raise ValueRefused("missing_field", "a number")
    if not text.isdigit() or len(text) > 18:
        raise ValueRefused("unparseable", f"number {text[:40]!r}")
    return int(text)
