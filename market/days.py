"""The trade dates of a product as a partition of time: what a `1d` bar is.

A trade date runs from the full UTC hour at or before its first opening to the first full UTC hour after its last
close, or to the next trade date's beginning if that is earlier. Full hours, so that a day is a whole number of every
narrower window, and a 1d bar is the fold of its 1h bars. The hour after the close holds what a venue prints a
little late. The time between two trade dates (a weekend, a holiday) is one window of its own, which nobody sees as long
as nothing trades in it. A product whose hours are not known has UTC days.

Units: int64 ns UTC; windows are half-open `[ts_open, ts_close)`.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

import numpy as np

from market.columns import Int64s
from market.instruments import BadInstrumentKey, InstrumentMaster
from market.sessions import ALWAYS_OPEN, Hours, Traded, windows_of

HOUR_NS: Final = 3_600 * 10**9
DAY_NS: Final = 24 * HOUR_NS
_YEAR: Final = np.dtype("datetime64[Y]")
_FIRST_YEAR: Final = 1678  # what int64 ns can hold
_LAST_YEAR: Final = 2261


def day_of(hours: Sequence[Hours], code: Int64s, ts: Int64s) -> tuple[Int64s, Int64s]:
    """Return the day `[ts_open, ts_close)` that holds each time, by the hours of its product.

    Shape: `code` indexes into `hours`, one entry per time; both results are as long as `ts`.
    """
    opens, closes = ts // DAY_NS * DAY_NS, (ts // DAY_NS + 1) * DAY_NS
    known: dict[Hours, list[int]] = {}
    for number, kept in enumerate(hours):
        if kept.intervals:
            known.setdefault(kept, []).append(number)
    for kept, numbers in known.items():
        picked = np.flatnonzero(np.isin(code, numbers)) if len(hours) > 1 else np.arange(len(ts))
        for year, rows in _by_year(ts, picked):
            days = _days_around(kept, year)
            at = np.searchsorted(days, ts[rows], side="right")
            opens[rows], closes[rows] = days[at - 1], days[at]
    return opens, closes


def hours_of(key: str, on: date) -> Hours:
    """Return the hours by which a key has its days; ALWAYS_OPEN where the contract master has none."""
    try:
        return InstrumentMaster.load().resolve(key, on).hours
    except BadInstrumentKey:
        return ALWAYS_OPEN


def trade_date(contract: Traded, ts_ns: int) -> date:
    """Return the trade date that a time belongs to; between two, the one to come.

    Example: Sunday evening at COMEX is Monday.
        >>> gold = InstrumentMaster.load().resolve("XCEC:GC:202612", date(2026, 11, 20))
        >>> trade_date(gold, int(datetime(2026, 11, 22, 23, 30, tzinfo=UTC).timestamp()) * 10**9)
        datetime.date(2026, 11, 23)
    """
    utc = datetime.fromtimestamp(ts_ns // 10**9, UTC).date()
    if not contract.hours.intervals:
        return utc
    for counted, _, closes in _ends(_sessions(contract.hours, utc.toordinal() - 7, utc.toordinal() + 21)):
        if ts_ns < closes:
            return counted
    return utc


def _by_year(ts: Int64s, picked: Int64s) -> Iterator[tuple[int, Int64s]]:
    years = ts[picked].view("datetime64[ns]").astype(_YEAR).astype(np.int64) + 1970
    for year in np.unique(years).tolist():
        yield year, picked[years == year]


@lru_cache(maxsize=256)
def _days_around(hours: Hours, year: int) -> Int64s:
    """The edges of all windows of a year and some weeks around it, rising: days, and what is between them."""
    first, last = date(max(year, _FIRST_YEAR), 1, 1).toordinal(), date(min(year, _LAST_YEAR), 12, 31).toordinal()
    edges: list[int] = []
    for _, opens, closes in _ends(_sessions(hours, first - 30, last + 30)):
        if not edges or edges[-1] != opens:
            edges.append(opens)
        edges.append(closes)
    return np.array(edges, np.int64)


def _sessions(hours: Hours, first: int, last: int) -> Iterator[tuple[date, int, int]]:
    """(trade date, first opening, last close) of each trade date; one that counts for a later one is part of it."""
    begun: int | None = None
    for ordinal in range(first, last + 1):
        windows = windows_of(hours, ordinal)
        if not windows:
            continue
        begun = windows[0][0] if begun is None else begun
        special = hours.calendar.days.get(date.fromordinal(ordinal))
        if special is None or special.counts_for is None:
            yield date.fromordinal(ordinal), begun, windows[-1][1]
            begun = None


def _ends(sessions: Iterator[tuple[date, int, int]]) -> Iterator[tuple[date, int, int]]:
    """The same in full UTC hours, none beyond the beginning of the next."""
    held: tuple[date, int, int] | None = None
    for counted, first_open, last_close in sessions:
        opens, closes = first_open // HOUR_NS * HOUR_NS, (last_close // HOUR_NS + 1) * HOUR_NS
        if held is not None:
            yield held[0], held[1], min(held[2], opens)
        held = (counted, opens, closes)
    if held is not None:
        yield held
