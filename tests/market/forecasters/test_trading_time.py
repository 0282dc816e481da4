"""Horizons in trading time: over breaks, nights, weekends and holidays."""

from datetime import UTC, datetime

import pytest

from market.forecasters.trading_time import TradingTime

MINUTE_NS = 60 * 10**9
GOLD, LOCAL_GOLD = "XCEC:GC:202612", "XIMC:GOLD:202612"


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("name", "made", "minutes", "target"),
    [
        (GOLD, "2026-11-19 15:00", 20, "2026-11-19 15:20"),
        (GOLD, "2026-11-19 21:59", 1, "2026-11-19 22:00"),  # its last minute is one
        (GOLD, "2026-11-19 21:59", 5, "2026-11-19 23:04"),  # the daily break of an hour
        (GOLD, "2026-11-20 21:59", 20, "2026-11-22 23:19"),  # the weekend
        (GOLD, "2026-11-21 12:00", 5, "2026-11-22 23:05"),  # from within it
        (LOCAL_GOLD, "2026-11-20 18:24", 5, "2026-11-23 03:34"),  # from 23:54 in Mumbai to Monday 09:04
        ("XCEC:GC:209912", "2026-11-20 21:59", 5, "2026-11-22 23:04"),
        ("XXXX:NONE:202612", "2026-11-21 12:00", 5, "2026-11-21 12:05"),  # hours are not known
    ],
)
def test_a_horizon_ends_where_so_much_trading_has_passed(name: str, made: str, minutes: int, target: str) -> None:
    assert TradingTime(name).later(ns(made), [minutes * MINUTE_NS]) == [ns(target)]


def test_several_horizons_end_in_different_sessions_and_the_order_of_questions_does_not_matter() -> None:
    horizons = [minutes * MINUTE_NS for minutes in (1, 5, 20)]
    asked = TradingTime(GOLD)
    for made in ("2026-11-19 21:58", "2026-11-20 21:30", "2026-11-20 21:58", "2026-11-19 15:00"):
        assert asked.later(ns(made), horizons) == TradingTime(GOLD).later(ns(made), horizons)
    late = [ns("2026-11-20 21:59"), ns("2026-11-22 23:03"), ns("2026-11-22 23:18")]
    assert asked.later(ns("2026-11-20 21:58"), horizons) == late


def test_twenty_days_of_trading_are_four_weeks() -> None:
    day = 23 * 60 * MINUTE_NS
    (target,) = TradingTime(GOLD).later(ns("2026-09-01 12:00"), [10 * day])
    assert ns("2026-09-14 00:00") < target < ns("2026-09-17 00:00")
