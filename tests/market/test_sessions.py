"""Hours: overnight, breaks, weekends, daylight saving, common sessions."""

from datetime import UTC, date, datetime
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.instruments import InstrumentMaster
from market.sessions import (
    ALWAYS_OPEN,
    BadHours,
    Hours,
    NoCommonSession,
    is_open,
    next_open,
    next_window,
    parse_hours,
)

MASTER = InstrumentMaster.load()
HOUR_NS = 3_600 * 10**9


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


class Market(NamedTuple):
    hours: Hours


def product(name: str) -> Market:
    mic, root = name.split(":")
    contract = MASTER.product(mic, root, date(2026, 11, 21))
    assert contract is not None
    return Market(contract.hours)


# 2026-11-21 is a Saturday. New York is UTC-5, Chicago UTC-6, London UTC+0, India UTC+5:30.
@pytest.mark.parametrize(
    ("name", "at", "open_"),
    [
        ("IFUS:CT", "2026-11-20T19:19:59", True),
        ("IFUS:CT", "2026-11-20T19:20:00", False),  # 14:20 New York: the close is outside
        ("IFUS:CT", "2026-11-21T12:00:00", False),
        ("IFUS:CT", "2026-11-23T01:59:59", False),
        ("IFUS:CT", "2026-11-23T02:00:00", True),  # Sunday 21:00 New York belongs to Monday
        ("IFUS:SB", "2026-11-23T08:30:00", True),
        ("IFUS:SB", "2026-07-20T07:30:00", True),  # summer: an hour earlier in UTC
        ("IFUS:SB", "2026-07-20T07:29:59", False),
        ("IFEU:B", "2026-11-22T22:59:59", False),
        ("IFEU:B", "2026-11-22T23:00:00", True),  # Sunday's earlier open
        ("IFEU:B", "2026-11-23T23:30:00", False),
        ("IFEU:B", "2026-11-24T00:59:59", False),
        ("IFEU:B", "2026-11-24T01:00:00", True),
        ("XCEC:GC", "2026-11-20T22:30:00", False),  # Friday evening
        ("XCEC:GC", "2026-11-23T22:30:00", False),  # the daily hour's break
        ("XCEC:GC", "2026-11-23T23:00:00", True),
        ("XCBT:ZW", "2026-11-23T14:00:00", False),  # between 07:45 and 08:30 Chicago
        ("XCBT:ZW", "2026-11-23T14:30:00", True),
        ("XIMC:GOLD", "2026-11-23T18:24:59", True),  # winter close 23:55 India
        ("XIMC:GOLD", "2026-11-23T18:25:00", False),
        ("XIMC:GOLD", "2026-10-30T18:05:00", False),  # New York still on summer time: 23:30
        ("XIMC:GOLD", "2026-11-02T18:05:00", True),  # winter hours began on this day
        ("XNSE:USDINR", "2026-11-23T11:30:00", False),
        ("BBG:USDINR", "2026-11-20T21:59:59", True),
        ("BBG:USDINR", "2026-11-20T22:00:00", False),
        ("BBG:USDINR", "2026-11-24T22:00:00", True),  # around the clock in the week
    ],
)
def test_is_open(name: str, at: str, open_: bool) -> None:
    assert is_open(product(name), ns(at)) is open_


def test_touching_intervals_are_one_window() -> None:
    start, end = next_window(product("BBG:USDINR"), ns("2026-11-25T12:00:00"))
    assert (start, end) == (ns("2026-11-23T22:00:00") - 24 * HOUR_NS, ns("2026-11-27T22:00:00"))


def test_unknown_hours_are_always_open() -> None:
    saturday = ns("2026-11-21T12:00:00")
    assert is_open(Market(ALWAYS_OPEN), saturday)
    assert next_open([Market(ALWAYS_OPEN)], saturday, 3600) == saturday


class TestNextOpen:
    def test_now_if_open_long_enough(self) -> None:
        at = ns("2026-11-20T12:00:00")
        assert next_open([product("IFUS:CT"), product("XCEC:GC")], at, 3600) == at

    def test_skips_a_session_that_ends_too_soon(self) -> None:
        at = ns("2026-11-20T19:00:00")  # cotton closes in 20 minutes, then comes the weekend
        assert next_open([product("IFUS:CT")], at, 1200) == at
        assert next_open([product("IFUS:CT")], at, 1201) == ns("2026-11-23T02:00:00")

    def test_all_at_once(self) -> None:
        softs = [product(f"IFUS:{root}") for root in ("CT", "SB", "KC", "CC")]
        saturday = ns("2026-11-21T12:00:00")
        assert next_open([*softs, product("IFEU:B")], saturday, 3600) == ns("2026-11-23T09:45:00")

    def test_never_together(self) -> None:
        morning = Market(parse_hours("UTC", "09:00-10:00"))
        evening = Market(parse_hours("UTC", "18:00-19:00"))
        with pytest.raises(NoCommonSession):
            next_open([morning, evening], ns("2026-11-20T00:00:00"))

    def test_longer_than_any_session(self) -> None:
        with pytest.raises(NoCommonSession):
            next_open([product("IFUS:SB")], ns("2026-11-20T00:00:00"), 86_400)

    @given(st.integers(ns("2026-01-01T00:00:00"), ns("2027-01-01T00:00:00")), st.integers(0, 7200))
    def test_is_open_then_and_stays_so(self, at: int, min_open_s: int) -> None:
        markets = [product("IFUS:CC"), product("IFEU:B"), product("XCBT:ZW")]
        found = next_open(markets, at, min_open_s)
        assert found >= at
        for market in markets:
            start, end = next_window(market, found)
            assert start <= found
            assert end - found >= min_open_s * 10**9
        if found > at:  # and the second before was too early
            assert next_open(markets, max(at, found - 10**9), min_open_s) == found


@pytest.mark.parametrize(
    ("timezone", "text"),
    [
        ("UTC", "9-10"),
        ("UTC", "24:00-10:00"),
        ("UTC", "09:60-10:00"),
        ("UTC", ""),
        ("Mars/Base", "09:00-10:00"),
        ("UTC", "09:00-10:00@winter"),
        ("UTC", "09:00-10:00;"),
        ("../etc", "09:00-10:00"),
    ],
)
def test_bad_hours(timezone: str, text: str) -> None:
    with pytest.raises(BadHours):
        parse_hours(timezone, text)
