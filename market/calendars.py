"""The days on which a market keeps other hours than its own: holidays, early ends, late starts, sessions of their own.

A calendar is the rows of one name in `market/data/calendars.csv`, each with its source. `hours` says, in the time
of the product that follows the calendar, what becomes of that trade date:

- empty: there is none
- `-13:30`: trading ends at 13:30 at the latest
- `17:00-`: trading begins at 17:00 at the earliest (an MCX holiday of the morning session alone)
- `13:45-14:45`: this is the session, whatever the weekday is (muhurat, a budget on a Sunday)

`counts_for` names the trade date the session belongs to, where that is a later one (a US holiday at COMEX).
The table is data, checked against exchange_calendars in the tests where that is right. It is not made from it:
that has one calendar for all of CME and one for all of ICE, with a day of mourning commodities did not keep and without
Juneteenth, and none for MCX.

Errors:

    ValueError
    └── BadCalendar   a row cannot be read, or contradicts another
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Final

_HOURS: Final = re.compile(r"(?:(\d\d):(\d\d))?-(?:(\d\d):(\d\d))?", re.ASCII)


class BadCalendar(ValueError):
    """A calendar row that cannot be. Carries `row` and `reason`."""

    def __init__(self, row: str, reason: str) -> None:
        super().__init__(f"calendar table, {row}: {reason}")
        self.row, self.reason = row, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialDay:
    """Other hours on one trade date. Both minutes: they are the session. One: it cuts the product's own hours.
    None: closed. Minutes after the product's local midnight."""

    open_min: int | None = None
    close_min: int | None = None
    counts_for: date | None = None
    name: str = ""
    source: str = ""

    @property
    def closed(self) -> bool:
        return self.open_min is None and self.close_min is None

    @property
    def replaces(self) -> bool:
        """Whether the product's own hours do not matter, nor the weekday."""
        return self.open_min is not None and self.close_min is not None


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """Special days by trade date. One object a name, compared by identity: hours that hold it stay quick to hash."""

    name: str
    days: Mapping[date, SpecialDay]


NO_CALENDAR: Final = Calendar("", {})


def calendar(name: str) -> Calendar:
    """Return a packaged calendar; the empty name is the one without special days. Raises: BadCalendar."""
    if not name:
        return NO_CALENDAR
    found = _packaged().get(name)
    if found is None:
        raise BadCalendar(name, "there is no such calendar")
    return found


@cache
def _packaged() -> Mapping[str, Calendar]:
    return read_calendars(files("market").joinpath("data/calendars.csv").read_text(encoding="utf-8"))


def read_calendars(text: str) -> Mapping[str, Calendar]:
    """Read a table from CSV text. Raises: BadCalendar."""
    days: dict[str, dict[date, SpecialDay]] = {}
    for row in csv.DictReader(text.splitlines()):
        label = f"{row.get('calendar')} {row.get('date')}"
        try:
            on, special = date.fromisoformat(row["date"]), _special(row)
        except KeyError as missing:
            raise BadCalendar(label, f"no column {missing}") from None
        except ValueError as bad:
            raise BadCalendar(label, str(bad)) from bad
        if on in days.setdefault(row["calendar"], {}):
            raise BadCalendar(label, "the day stands there twice")
        if special.counts_for is not None and special.counts_for <= on:
            raise BadCalendar(label, "counts for a day that is not later")
        days[row["calendar"]][on] = special
    return {name: Calendar(name, found) for name, found in days.items()}


def _special(row: Mapping[str, str]) -> SpecialDay:
    hours = row["hours"]
    match = _HOURS.fullmatch(hours)
    if hours and (match is None or hours == "-"):
        raise ValueError(f"{hours!r} is none of HH:MM-HH:MM, -HH:MM and HH:MM-")
    open_min, close_min = (
        (None, None) if match is None else (_minute(*match.groups()[:2]), _minute(*match.groups()[2:]))
    )
    if open_min is not None and close_min is not None and close_min <= open_min:
        raise ValueError(f"{hours!r} ends before it begins")
    return SpecialDay(
        open_min=open_min,
        close_min=close_min,
        counts_for=date.fromisoformat(row["counts_for"]) if row["counts_for"] else None,
        name=row["name"],
        source=row["source"],
    )


def _minute(hour: str | None, minute: str | None) -> int | None:
    if hour is None or minute is None:
        return None
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"{hour}:{minute} is no time of day")
    return int(hour) * 60 + int(minute)


def cut(windows: Iterable[tuple[int, int]], first_ns: int | None, last_ns: int | None) -> tuple[tuple[int, int], ...]:
    """Return what of the windows lies in `[first_ns, last_ns)`; None is without limit.

    Example:
        >>> cut([(0, 10), (20, 30)], 5, 25)
        ((5, 10), (20, 25))
    """
    cuts = (
        (start if first_ns is None else max(start, first_ns), end if last_ns is None else min(end, last_ns))
        for start, end in windows
    )
    return tuple((start, end) for start, end in cuts if start < end)
