"""The stamps of a series: read in whatever form they have, put in order, and continued in the same form."""

import math
import re
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median_low
from typing import Any, Final

from mandi.errors import MandiError

_DAY: Final = timedelta(days=1)
_MONTH_DAYS: Final = 365.25 / 12
_IN_A_YEAR: Final = (1, 2, 3, 4, 6, 12)  # months of which a whole number makes a year
_TIME_OF_DAY: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?P<t>[T ])\d\d:\d\d(?P<s>:\d\d)?(?P<f>\.\d+)?(?P<zone>Z|[+-][\d:]+)?"
)


def times(stamps: Sequence[str]) -> list[Any] | None:
    """Return stamps as numbers or times, whichever all of them are; None if neither.

    Raises: MandiError where some have a time zone and some have none, for nothing says which of two came first.
    """
    for parse in (_compact, _month, int, _number, datetime.fromisoformat):
        try:
            found = [parse(stamp) for stamp in stamps]
        except ValueError:
            continue
        each = zip(found, stamps, strict=True)
        zoned = {isinstance(time, datetime) and time.tzinfo is not None: stamp for time, stamp in each}
        if len(zoned) > 1:
            raise MandiError(f"the stamp {zoned[True]} has a time zone and {zoned[False]} has none")
        return found
    return None


def _compact(stamp: str) -> datetime:
    if len(stamp) != len("20261121"):
        raise ValueError(stamp)
    return datetime.strptime(stamp, "%Y%m%d")


def _month(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m")


def _number(stamp: str) -> float:
    if not math.isfinite(number := float(stamp)):
        raise ValueError(stamp)
    return number


def season_of(stamps: Sequence[str]) -> int | None:
    """Return how many steps a season has, by how far apart the stamps are; None where they do not say."""
    known = times(stamps)
    if known is None or len(known) < 3 or not isinstance(known[0], datetime):
        return None
    step = _step(known)
    if step == _DAY:
        return 5 if all(time.weekday() < 5 for time in known) else 7
    if months := _months(step):
        return 12 // months
    return _DAY // step if timedelta(minutes=5) <= step < _DAY and _DAY % step == timedelta(0) else None


def following(stamps: Sequence[str], horizon: int) -> list[str]:
    """Return the stamps after the last one, in its own form: numbers go on by their step, times by theirs.

    Days without a weekend go on without one; months, quarters and years by the calendar. What is neither a number nor
    ISO 8601 is continued as +1, +2 ...

    Example:
        >>> following(["2026-11-19", "2026-11-20"], 2), following(["7", "8"], 1)
        (['2026-11-23', '2026-11-24'], ['9'])
    """
    known = times(stamps)
    if known is None:
        return [f"{stamps[-1]}+{step}" for step in range(1, horizon + 1)]
    if not isinstance(known[-1], datetime):
        step = _step(known) if len(known) > 1 else 1
        return [str(known[-1] + step * n) for n in range(1, horizon + 1)]
    shown = _form_of(stamps[-1])
    try:
        return [shown(time) for time in _ahead(known, _step(known) if len(known) > 1 else _DAY, horizon)]
    except (OverflowError, ValueError) as error:
        raise MandiError(f"{horizon} steps after {stamps[-1]} are beyond the year 9999") from error


def _step(known: Sequence[Any]) -> Any:
    return median_low([later - sooner for sooner, later in pairwise(known)])


def _months(step: timedelta) -> int:
    """How many months a step is, such as 3 for a quarter; 0 if it is none."""
    months = round(step.days / _MONTH_DAYS)
    return months if months in _IN_A_YEAR and abs(step.days - months * _MONTH_DAYS) < 3 else 0


def _ahead(known: Sequence[datetime], step: timedelta, horizon: int) -> Iterator[datetime]:
    last = known[-1]
    if months := _months(step):
        at_end = all(time.day == monthrange(time.year, time.month)[1] for time in known)
        for n in range(1, horizon + 1):
            year, month = divmod(last.year * 12 + last.month - 1 + n * months, 12)
            days = monthrange(year, month + 1)[1]
            yield last.replace(year=year, month=month + 1, day=days if at_end else min(last.day, days))
        return
    skips_weekends = step == _DAY and len(known) > 1 and all(time.weekday() < 5 for time in known)
    found = 0
    while found < horizon:
        last += step
        if not (skips_weekends and last.weekday() >= 5):
            found += 1
            yield last


def _form_of(stamp: str) -> Callable[[datetime], str]:
    if len(stamp) == len("20261121"):
        return lambda time: time.strftime("%Y%m%d")
    if len(stamp) == len("2026-11"):
        return lambda time: time.strftime("%Y-%m")
    if len(stamp) == len("2026-11-21"):
        return lambda time: date.isoformat(time)
    parts = _TIME_OF_DAY.fullmatch(stamp)
    if parts is None:
        return lambda time: time.isoformat(sep=" ")
    timespec, zone = "seconds" if parts["s"] else "minutes", parts["zone"] or ""
    digits = len(parts["f"] or ".") - 1

    def shown(time: datetime) -> str:
        fraction = f".{time.microsecond:06d}".ljust(digits + 1, "0")[: digits + 1] if digits else ""
        return time.replace(tzinfo=None, microsecond=0).isoformat(parts["t"], timespec) + fraction + zone

    return shown
