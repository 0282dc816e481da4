"""Trading hours as data, and whether a market is open at an instant.

`Hours` says when one contract trades, in the venue's local time. A trade date is a weekday; an interval whose
close is not after its open starts on the evening before, so a Sunday evening belongs to Monday. Breaks are
the room between two intervals. Holidays and other special days come from the product's calendar (market.calendars).

Units: `ts_ns` int64 ns UTC; windows are half-open `[start_ns, end_ns)`; local times in minutes after midnight.
Errors:

    ValueError
    └── BadHours         the text is not hours
    LookupError
    └── NoCommonSession  the asked markets are not open together within the horizon
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from market.calendars import NO_CALENDAR, Calendar, cut

NS_PER_S: Final = 1_000_000_000
SEARCH_HORIZON_DAYS: Final = 14
"""No two products of the contract master are apart for longer than a weekend and the holidays next to it."""

SEASONS: Final = ("", "us-summer", "us-winter", "uk-together", "uk-apart")
"""An interval may apply only while New York is on daylight saving, or only while it is not (MCX); only while London
changes its clocks in step with New York, or only in the weeks in which it does not (ICE softs open by London)."""

_INTERVAL: Final = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)(?:@([a-z-]+))?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadHours(ValueError):
    """A session text that cannot be read. Carries `text` and `reason`."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r} is not trading hours: {reason}")
        self.text, self.reason = text, reason


class NoCommonSession(LookupError):
    """The markets are not open together, for as long as asked, within the horizon after `ts_ns`."""

    def __init__(self, ts_ns: int, min_open_s: float) -> None:
        super().__init__(
            f"the markets are not all open for {min_open_s:g} s at any time "
            f"in the {SEARCH_HORIZON_DAYS} days after {ts_ns}"
        )
        self.ts_ns, self.min_open_s = ts_ns, min_open_s


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of trading; it starts on the day before the trade date if `close_min <= open_min`."""

    open_min: int
    close_min: int
    season: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When a contract trades. No intervals: hours are not known, and it counts as always open."""

    timezone: str = "UTC"
    intervals: tuple[Interval, ...] = ()
    monday_open_min: int | None = None
    """Sunday's local opening time of the first interval, where it differs from the other days."""
    calendar: Calendar = NO_CALENDAR


ALWAYS_OPEN: Final = Hours()


class Traded(Protocol):
    """Anything with trading hours: a `Contract`."""

    @property
    def hours(self) -> Hours: ...


def parse_hours(timezone: str, intervals: str, monday_open: str = "", calendar: Calendar = NO_CALENDAR) -> Hours:
    """Read `19:00-07:45;08:30-13:20` in an IANA time zone; `@us-summer` limits an interval to a season.

    Raises: BadHours.
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadHours(timezone, "there is no such time zone") from None
    return Hours(
        timezone=timezone,
        intervals=tuple(_parse_interval(text) for text in intervals.split(";")),
        monday_open_min=_parse_interval(f"{monday_open}-00:00").open_min if monday_open else None,
        calendar=calendar,
    )


def _parse_interval(text: str) -> Interval:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise BadHours(text, "expected HH:MM-HH:MM, with an optional @season")
    open_h, open_m, close_h, close_m = (int(part) for part in match.groups()[:4])
    if open_h > 23 or close_h > 23 or open_m > 59 or close_m > 59:
        raise BadHours(text, "no such time of day")
    season = match[5] or ""
    if season not in SEASONS:
        raise BadHours(text, f"the season is none of {', '.join(SEASONS[1:])}")
    return Interval(open_h * 60 + open_m, close_h * 60 + close_m, season)


def is_open(contract: Traded, ts_ns: int) -> bool:
    """Say whether the contract trades at `ts_ns`."""
    window = next_window(contract, ts_ns)
    return window[0] <= ts_ns


def next_window(contract: Traded, ts_ns: int) -> tuple[int, int]:
    """Return the first stretch of open trading `[start_ns, end_ns)` that ends after `ts_ns`.

    Adjacent intervals are one stretch. A contract without known hours is open around `ts_ns` for the horizon.

    Raises: NoCommonSession if there is none within the horizon.
    """
    if not contract.hours.intervals:
        reach_ns = SEARCH_HORIZON_DAYS * 86_400 * NS_PER_S
        return ts_ns - reach_ns, ts_ns + reach_ns
    for window in _stretches(_windows(contract.hours, ts_ns)):
        if window[1] > ts_ns:
            return window
    raise NoCommonSession(ts_ns, 0)


def next_open(contracts: Sequence[Traded], ts_ns: int, min_open_s: float = 0) -> int:
    """Return the earliest instant >= `ts_ns` when all contracts are open and stay so for `min_open_s`.

    Raises: NoCommonSession.
    """
    min_open_ns = int(min_open_s * NS_PER_S)
    horizon_ns = ts_ns + SEARCH_HORIZON_DAYS * 86_400 * NS_PER_S
    candidate = ts_ns
    while candidate < horizon_ns:
        earliest = max((_open_for(contract, candidate, min_open_ns) for contract in contracts), default=ts_ns)
        if earliest == candidate:
            return candidate
        candidate = earliest
    raise NoCommonSession(ts_ns, min_open_s)


def _open_for(contract: Traded, ts_ns: int, min_open_ns: int) -> int:
    # The earliest instant from ts_ns on with at least min_open_ns of trading left.
    start, end = next_window(contract, ts_ns)
    horizon_ns = ts_ns + SEARCH_HORIZON_DAYS * 86_400 * NS_PER_S
    while end - max(start, ts_ns) < min_open_ns:
        start, end = next_window(contract, end)
        if start > horizon_ns:
            raise NoCommonSession(ts_ns, min_open_ns / NS_PER_S)
    return max(start, ts_ns)


def _windows(hours: Hours, ts_ns: int) -> Iterator[tuple[int, int]]:
    # Two days back: a window that opened before midnight of yesterday may still be joined to one of today.
    first = local_date(hours.timezone, ts_ns).toordinal() - 2
    for ordinal in range(first, first + SEARCH_HORIZON_DAYS + 3):
        yield from windows_of(hours, ordinal)


def _stretches(windows: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    # Joins windows that touch, as those of a market that trades around the clock do.
    held: tuple[int, int] | None = None
    for start, end in windows:
        if held is not None and start <= held[1]:
            held = (held[0], max(end, held[1]))
            continue
        if held is not None:
            yield held
        held = (start, end)
    if held is not None:
        yield held


@lru_cache(maxsize=65_536)
def windows_of(hours: Hours, ordinal: int) -> tuple[tuple[int, int], ...]:
    """Return the windows of one calendar date (a proleptic ordinal), in order; none when it is no trade date."""
    on = date.fromordinal(ordinal)
    special = hours.calendar.days.get(on)
    if special is not None and special.closed:
        return ()
    if special is not None and special.open_min is not None and special.close_min is not None:
        return ((_to_ns(hours.timezone, on, special.open_min), _to_ns(hours.timezone, on, special.close_min)),)
    if on.weekday() >= 5:
        return ()
    seasons = _seasons(on)
    intervals = [interval for interval in hours.intervals if interval.season in seasons]
    windows = tuple(_window(hours, interval, on, first=index == 0) for index, interval in enumerate(intervals))
    if special is None:
        return windows
    first, last = (
        None if at is None else _to_ns(hours.timezone, on, at) for at in (special.open_min, special.close_min)
    )
    return cut(windows, first, last)


def _window(hours: Hours, interval: Interval, trade_date: date, *, first: bool) -> tuple[int, int]:
    open_min, overnight = interval.open_min, interval.close_min <= interval.open_min
    if first and trade_date.weekday() == 0 and hours.monday_open_min is not None:
        open_min, overnight = hours.monday_open_min, True
    open_date = trade_date - timedelta(days=1) if overnight else trade_date
    return (
        _to_ns(hours.timezone, open_date, open_min),
        _to_ns(hours.timezone, trade_date, interval.close_min),
    )


@lru_cache(maxsize=4096)
def _seasons(trade_date: date) -> tuple[str, ...]:
    noon = datetime.combine(trade_date, time(12), ZoneInfo("America/New_York"))
    us_summer, uk_summer = bool(noon.dst()), bool(noon.astimezone(ZoneInfo("Europe/London")).dst())
    return (
        "",
        "us-summer" if us_summer else "us-winter",
        "uk-together" if us_summer == uk_summer else "uk-apart",
    )


def _to_ns(timezone: str, day: date, minute: int) -> int:
    local = datetime.combine(day, time(minute // 60, minute % 60), ZoneInfo(timezone))
    return (local - _EPOCH) // timedelta(seconds=1) * NS_PER_S


def local_date(timezone: str, ts_ns: int) -> date:
    """Return the calendar date at `ts_ns` in an IANA time zone."""
    instant = _EPOCH + timedelta(seconds=ts_ns // NS_PER_S)
    return instant.astimezone(ZoneInfo(timezone)).date()
