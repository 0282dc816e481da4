"""Special days: the table reads, agrees with exchange_calendars where that is right, and changes what is open."""

import warnings
from datetime import UTC, date, datetime

import pytest

from market.calendars import BadCalendar, calendar, read_calendars
from market.instruments import InstrumentMaster
from market.sessions import Hours, is_open, windows_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pandas warns about itself
    import exchange_calendars

MASTER = InstrumentMaster.load()
HEADER = "calendar,date,hours,counts_for,name,source"
JUNETEENTH = {date(2025, 6, 19), date(2026, 6, 19), date(2027, 6, 18)}  # in none of exchange_calendars' US calendars
MOURNING = {date(2025, 1, 9)}  # kept by the equity markets; commodities traded


def days(name: str, *, closed: bool) -> set[date]:
    return {on for on, special in calendar(name).days.items() if special.closed is closed}


def theirs(name: str, until: str = "2027-12-31") -> tuple[set[date], set[date], set[date]]:
    """Weekdays without a session, days of an early close, and sessions on weekends."""
    found = exchange_calendars.get_calendar(name, start="2025-01-01", end=until)
    sessions = {session.date() for session in found.sessions}
    first, last = date(2025, 1, 1).toordinal(), date.fromisoformat(until).toordinal()
    weekdays = {date.fromordinal(n) for n in range(first, last + 1) if date.fromordinal(n).weekday() < 5}
    return weekdays - sessions, {day.date() for day in found.early_closes}, {d for d in sessions if d.weekday() > 4}


def product(name: str) -> Hours:
    mic, _, root = name.partition(":")
    contract = MASTER.product(mic, root, date(2026, 11, 21))
    assert contract is not None
    return contract.hours


def test_cme_metals_and_energy_are_those_of_exchange_calendars() -> None:
    holidays, early, _ = theirs("CMES")
    assert days("cme-metals-energy", closed=True) == holidays - MOURNING
    assert days("cme-metals-energy", closed=False) == early | JUNETEENTH


def test_grains_and_softs_are_closed_on_the_us_holidays_on_which_others_stop_early() -> None:
    holidays, early, _ = theirs("IEPA")
    us = (holidays | early | JUNETEENTH) - MOURNING
    for name in ("cme-grains", "ice-us-cotton", "ice-us-softs"):
        assert days(name, closed=True) - {date(2027, 12, 24)} == us - {date(2027, 12, 24)}, name
    assert days("ice-brent", closed=True) == holidays - MOURNING
    assert days("ice-brent", closed=False) == early


def test_indian_holidays_are_those_of_the_bombay_exchange() -> None:
    holidays, _, weekends = theirs("XBOM", "2026-12-31")
    mcx = {on: special for on, special in calendar("mcx").days.items() if on.year < 2027}
    no_morning = {on for on, special in mcx.items() if special.open_min != 9 * 60 and special.close_min != 17 * 60}
    assert no_morning == holidays
    assert weekends <= {on for on in mcx if on.weekday() > 4}  # of 2026's budget Sunday it does not know
    assert days("nse-fx", closed=True) == holidays


def test_every_row_has_a_name_and_a_source_and_counts_for_a_day_of_trading() -> None:
    for contract in MASTER.contracts:
        for special in contract.hours.calendar.days.values():
            assert special.name
            assert special.source
            if special.counts_for is not None:
                assert windows_of(contract.hours, special.counts_for.toordinal())


@pytest.mark.parametrize(
    ("name", "at", "open_"),
    [
        ("XCEC:GC", "2026-11-26T19:29:59", True),  # Thanksgiving: until 13:30 Chicago
        ("XCEC:GC", "2026-11-26T19:30:00", False),
        ("XCEC:GC", "2026-11-26T23:00:00", True),
        ("XCEC:GC", "2026-11-27T18:45:00", False),
        ("XCBT:ZW", "2026-11-26T02:00:00", False),  # the evening before belongs to the holiday
        ("XCBT:ZW", "2026-11-27T02:00:00", False),  # and there is no night before the day after
        ("XCBT:ZW", "2026-11-27T14:30:00", True),
        ("XCBT:ZW", "2026-11-27T18:05:00", False),
        ("IFUS:CT", "2026-11-26T12:00:00", False),
        ("IFUS:CT", "2026-11-27T02:00:00", True),  # 21:00 in New York on the holiday
        ("IFEU:B", "2026-11-26T18:29:00", True),
        ("IFEU:B", "2026-11-26T18:30:00", False),
        ("IFUS:SB", "2026-10-28T07:30:00", False),  # 03:30 New York, but London is back on winter time
        ("IFUS:SB", "2026-10-28T08:30:00", True),
        ("IFUS:SB", "2026-10-23T07:30:00", True),
        ("IFUS:CC", "2026-03-10T09:45:00", True),  # 05:45 New York: New York has changed, London not
        ("IFUS:CC", "2026-03-10T09:44:59", False),
        ("IFUS:KC", "2026-08-31T11:29:59", False),  # a bank holiday in London
        ("IFUS:KC", "2026-08-31T11:30:00", True),
        ("XIMC:GOLD", "2026-11-24T11:29:59", False),  # Guru Nanak Jayanti: evening session only
        ("XIMC:GOLD", "2026-11-24T11:30:00", True),
        ("XIMC:COTTONCNDY", "2026-11-24T12:00:00", True),
        ("XIMC:COTTONCNDY", "2026-11-24T15:30:00", False),
        ("XIMC:GOLD", "2026-10-02T12:00:00", False),  # Gandhi Jayanti: both closed
        ("XIMC:GOLD", "2026-01-01T10:00:00", True),  # New Year: morning only
        ("XIMC:GOLD", "2026-01-01T11:30:00", False),
        ("XIMC:GOLD", "2026-02-01T05:00:00", True),  # the budget, on a Sunday
        ("XIMC:GOLD", "2026-02-01T11:30:00", False),
        ("XIMC:GOLD", "2025-10-21T08:14:59", False),  # muhurat, 13:45 to 14:45
        ("XIMC:GOLD", "2025-10-21T08:15:00", True),
        ("XIMC:GOLD", "2025-10-21T09:15:00", False),
    ],
)
def test_is_open_on_special_days(name: str, at: str, open_: bool) -> None:
    class Market:
        hours = product(name)

    instant = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 10**9
    assert is_open(Market, instant) is open_


@pytest.mark.parametrize(
    "row",
    [
        "x,2026-13-01,,,n,s",
        "x,2026-12-01,13:30,,n,s",
        "x,2026-12-01,-,,n,s",
        "x,2026-12-01,-24:00,,n,s",
        "x,2026-12-01,14:00-13:00,,n,s",
        "x,2026-12-01,-13:00,2026-12-01,n,s",
        "x,2026-12-01,,,n,s\nx,2026-12-01,,,n,s",
    ],
)
def test_a_bad_row_is_named(row: str) -> None:
    with pytest.raises(BadCalendar, match=r"x 2026-1"):
        read_calendars(f"{HEADER}\n{row}")


def test_unknown_names_and_missing_columns() -> None:
    with pytest.raises(BadCalendar, match="no such calendar"):
        calendar("nowhere")
    with pytest.raises(BadCalendar, match="no column"):
        read_calendars("calendar,date\nx,2026-12-01")
    assert not calendar("").days
