"""Trade dates: the right one for a time, and days that partition time in whole hours."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.days import DAY_NS, HOUR_NS, day_of, hours_of, trade_date
from market.instruments import InstrumentMaster
from market.sessions import ALWAYS_OPEN, next_window, windows_of

MASTER = InstrumentMaster.load()
PRODUCTS = [contract for contract in MASTER.contracts if contract.hours.intervals]
every_product = pytest.mark.parametrize("contract", PRODUCTS, ids=lambda c: f"{c.mic}:{c.root}")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def window(key: str, at: str) -> tuple[str, str]:
    hours = hours_of(key, date(2026, 11, 21))
    opens, closes = day_of([hours], np.zeros(1, np.int64), np.array([ns(at)]))
    return tuple(f"{datetime.fromtimestamp(int(edge[0]) // 10**9, UTC):%m-%d %H:%M}" for edge in (opens, closes))


@pytest.mark.parametrize(
    ("key", "at", "on"),
    [
        ("XCEC:GC:202612", "2026-11-22T22:59:59", "2026-11-23"),  # Sunday, before the opening: the one to come
        ("XCEC:GC:202612", "2026-11-23T21:59:59", "2026-11-23"),
        ("XCEC:GC:202612", "2026-11-23T22:30:00", "2026-11-23"),  # printed within the hour after the close
        ("XCEC:GC:202612", "2026-11-23T23:00:00", "2026-11-24"),
        ("XCEC:GC:202612", "2026-11-25T23:30:00", "2026-11-27"),  # Thanksgiving counts for the Friday
        ("XCEC:GC:202612", "2026-11-26T18:00:00", "2026-11-27"),
        ("IFUS:CT:202612", "2026-11-26T02:30:00", "2026-11-27"),  # Thanksgiving: cotton is closed
        ("XIMC:GOLD:202612", "2026-11-24T12:00:00", "2026-11-24"),  # evening session of a holiday
        ("XIMC:GOLD:202604", "2026-02-01T05:00:00", "2026-02-01"),  # the budget, on a Sunday
        ("BBG:USDINR:SPOT", "2026-11-23T23:00:00", "2026-11-24"),
        ("QQQQ:XX:202612", "2026-11-22T12:00:00", "2026-11-22"),
    ],
)
def test_trade_date(key: str, at: str, on: str) -> None:
    assert trade_date(MASTER.resolve(key, date(2026, 11, 21)), ns(at)) == date.fromisoformat(on)


@pytest.mark.parametrize(
    ("key", "at", "expected"),
    [
        ("XCEC:GC:202612", "2026-11-23T12:00:00", ("11-22 23:00", "11-23 23:00")),
        ("XCEC:GC:202612", "2026-11-20T12:00:00", ("11-19 23:00", "11-20 23:00")),
        ("XCEC:GC:202612", "2026-11-21T12:00:00", ("11-20 23:00", "11-22 23:00")),  # the weekend
        ("XCEC:GC:202612", "2026-11-26T12:00:00", ("11-25 23:00", "11-27 19:00")),  # Thanksgiving and the day after
        ("XIMC:GOLD:202612", "2026-11-23T12:00:00", ("11-23 03:00", "11-23 19:00")),  # 09:00 to 23:55 in India
        ("XIMC:GOLD:202612", "2026-11-24T12:00:00", ("11-24 11:00", "11-24 19:00")),
        ("IFUS:CT:202612", "2026-11-23T12:00:00", ("11-23 02:00", "11-23 20:00")),
        ("IFUS:SB:202703", "2026-10-28T12:00:00", ("10-28 08:00", "10-28 18:00")),  # London has changed, New York not
        ("XCBT:ZW:202612", "2026-11-27T16:00:00", ("11-27 14:00", "11-27 19:00")),
        ("QQQQ:XX:202612", "2026-11-22T12:00:00", ("11-22 00:00", "11-23 00:00")),
    ],
)
def test_day_of(key: str, at: str, expected: tuple[str, str]) -> None:
    assert window(key, at) == expected


@given(st.lists(st.tuples(st.integers(0, len(PRODUCTS)), st.integers(0, 4_000_000_000)), min_size=1, max_size=30))
def test_a_day_holds_its_time_in_whole_hours_however_they_are_asked(asked: list[tuple[int, int]]) -> None:
    hours = [*(contract.hours for contract in PRODUCTS), ALWAYS_OPEN]
    code = np.array([number for number, _ in asked], np.int64)
    ts = np.array([second * 10**9 + 7 for _, second in asked], np.int64)
    opens, closes = day_of(hours, code, ts)
    assert ((opens <= ts) & (ts < closes)).all()
    assert not (opens % HOUR_NS).any()
    assert not (closes % HOUR_NS).any()
    for number in range(len(ts)):
        alone = day_of([hours[code[number]]], np.zeros(1, np.int64), ts[number : number + 1])
        assert (alone[0][0], alone[1][0]) == (opens[number], closes[number])
    edges = day_of(hours, np.repeat(code, 2), np.stack([opens, closes - 1], 1).ravel())
    assert (edges[0] == np.repeat(opens, 2)).all()
    assert (edges[1] == np.repeat(closes, 2)).all()


@every_product
def test_every_session_is_within_one_day_and_no_day_holds_two_trade_dates(contract) -> None:
    first, last = date(2025, 1, 2).toordinal(), date(2027, 12, 30).toordinal()
    held: dict[int, set[date]] = {}
    for ordinal in range(first, last):
        for start, end in windows_of(contract.hours, ordinal):
            ts = np.array([start, end - 1], np.int64)
            opens, closes = day_of([contract.hours], np.zeros(2, np.int64), ts)
            assert opens[0] == opens[1], date.fromordinal(ordinal)
            assert closes[0] - opens[0] < 5 * DAY_NS
            held.setdefault(int(opens[0]), set()).add(trade_date(contract, start))
    assert len(held) > 600
    assert all(len(dates) == 1 for dates in held.values())


def test_between_two_days_nothing_is_open() -> None:
    gold = MASTER.resolve("XCEC:GC:202612", date(2026, 11, 21))
    assert next_window(gold, ns("2026-11-21T12:00:00"))[0] == ns("2026-11-22T23:00:00")
