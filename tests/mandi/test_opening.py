"""The hour of a demo: everything trades, or as much as can."""

from datetime import UTC, datetime, timedelta

import pytest

from mandi.opening import best_open, closes_soon, simulated_contracts
from market.instruments import Contract
from market.sessions import is_open, parse_hours

S = 10**9


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


@pytest.mark.parametrize("day", ["2026-11-21", "2026-11-23", "2026-07-01", "2026-12-24"])
def test_there_is_an_hour_at_which_all_venues_trade(day: str) -> None:
    start_ns = ns(day)
    contracts = simulated_contracts(start_ns)
    assert {contract.mic for contract in contracts} == {"IFUS", "IFEU", "XIMC", "XCEC", "XNYM", "XCBT", "BBG"}
    opens_ns = best_open(contracts, start_ns, 7200)
    assert opens_ns - start_ns < timedelta(days=4).total_seconds() * S
    for later_s in (0, 3600, 7199):
        assert all(is_open(contract, opens_ns + later_s * S) for contract in contracts)
    assert not closes_soon(opens_ns, 60)


def test_it_is_late_shortly_before_one_of_them_closes() -> None:
    assert closes_soon(ns("2026-11-23T13:44:30"), 60)  # Chicago's break at 07:45


def test_without_a_common_hour_the_most_of_them() -> None:
    morning, also, evening = (
        Contract(mic="X", root=root, commodity="x", hours=parse_hours("UTC", hours))
        for root, hours in (("A", "08:00-12:00"), ("B", "09:00-12:00"), ("C", "18:00-22:00"))
    )
    assert best_open([morning, also, evening], ns("2026-11-23T00:00:00"), 3600) == ns("2026-11-23T09:00:00")
