"""What holds between venues: parity on average, dislocations of the announced size and life, spreads that come back.

The parity formulas are written out here from the definitions of the units and the duty notices, apart
from the simulator's own `Conversion`, so that a wrong factor there cannot hide.
"""

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest

from feeds_simulator.events import BookEvent, TradeEvent
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig, Profile
from feeds_simulator.model.commodities import COMMODITIES
from feeds_simulator.model.fair import NS_PER_DAY, FairLine, fair_values
from market.instruments import InstrumentMaster

S = 1_000_000_000
DAY = date(2026, 11, 25)
DAY_NS = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp()) * S
DAY_NUMBER = DAY_NS // NS_PER_DAY
EVERY_SECOND = DAY_NS + np.arange(4 * 3600, 18 * 3600, dtype=np.int64) * S  # MCX hours in UTC

OUNCE_G = 31.1034768
POUND_KG = 0.45359237


def profile_of(mic: str, root: str) -> Profile:
    return next(
        profile for profiles in PROFILES.values() for profile in profiles if (profile.mic, profile.root) == (mic, root)
    )


def line_of(mic: str, root: str, *, month: str, seed: int = 7, calm: bool = False) -> tuple[FairLine, float]:
    """The line of a product; `calm`: without dislocations, for what is told of it apart from them."""
    contract = InstrumentMaster.load().product(mic, root, DAY)
    assert contract is not None
    assert contract.tick_size is not None
    tick = float(contract.tick_size)
    profile = replace(profile_of(mic, root), dislocations_per_day=0) if calm else profile_of(mic, root)
    return FairLine(profile, [f"{mic}:{root}:{month}"], tick, seed), tick


def prices(
    mic: str, root: str, month: str, seed: int = 7, *, calm: bool = False
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    line, tick = line_of(mic, root, month=month, seed=seed, calm=calm)
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = line.at(EVERY_SECOND).months[0] * tick
    return found


def gold_parity(comex: "np.ndarray[tuple[int], np.dtype[np.float64]]", usdinr: object) -> object:
    metal = (comex + 3.0) * usdinr * 10 / OUNCE_G
    return (metal + 1373 * 96.80 * 0.15) * 995 / 999.9 * 1.001


FORMULAS = {
    "GOLD": ("XCEC", "GC", "202612", "202612", gold_parity),
    "SILVER": (
        "XCEC",
        "SI",
        "202612",
        "202612",
        lambda price, fx: ((price + 0.15) * fx * 1000 / OUNCE_G + 2028 * 96.80 * 0.15) * 1.001,
    ),
    "COPPER": ("XCEC", "HG", "202612", "202612", lambda price, fx: price * fx / POUND_KG),
    "CRUDEOIL": ("XNYM", "CL", "202612", "202701", lambda price, fx: price * fx),
    "NATURALGAS": ("XNYM", "NG", "202612", "202701", lambda price, fx: price * fx),
    "COTTONCNDY": (
        "IFUS",
        "CT",
        "202612",
        "202612",
        lambda price, fx: price / 100 * fx * 355.56 / POUND_KG * 1.11 + 1200,
    ),
}


@pytest.mark.parametrize("root", FORMULAS)
def test_parity_holds_on_average(root: str) -> None:
    mic, foreign, month, foreign_month, parity = FORMULAS[root]
    premiums = []
    for seed in (7, 8, 9):
        expected = parity(prices(mic, foreign, foreign_month, seed), prices("BBG", "USDINR", "SPOT", seed))
        premiums.append(1e4 * np.log(prices("XIMC", root, month, seed) / expected))
    basis_bps = profile_of("XIMC", root).basis_bps
    premium = np.concatenate(premiums)
    assert abs(np.mean(premium)) < 0.3 * basis_bps  # 84 independent half hours
    assert 0.7 * basis_bps < np.std(premium) < 2.5 * basis_bps + 5  # latency, noise and dislocations come on top


def test_the_indian_day_follows_the_world() -> None:
    gold = prices("XIMC", "GOLD", "202612", calm=True)
    expected = gold_parity(prices("XCEC", "GC", "202612"), prices("BBG", "USDINR", "SPOT"))
    minutes = [np.diff(np.log(np.asarray(series, dtype=float)[::60])) for series in (gold, expected)]
    assert np.corrcoef(minutes[0], minutes[1])[0, 1] > 0.75


class TestDislocations:
    def test_size_life_and_number_are_as_announced(self) -> None:
        line, _ = line_of("XIMC", "GOLD", month="202612")
        profile = profile_of("XIMC", "GOLD")
        weekdays = [DAY_NUMBER + 7 * week + day for week in range(6) for day in range(3)]
        found = [line.dislocations(day) for day in weekdays]
        assert np.mean([len(day) for day in found]) == pytest.approx(profile.dislocations_per_day, rel=0.1)
        everything = [one for day in found for one in day]
        sizes = np.array([abs(one.size) * 1e4 for one in everything])
        assert np.mean(sizes) == pytest.approx(profile.dislocation_bps, rel=0.05)
        assert np.min(sizes) >= profile.dislocation_bps / 2
        assert {one.size > 0 for one in everything} == {True, False}
        assert all(1.0 <= one.life_s <= 8.0 for one in everything)
        assert all(one.ts_ns <= other.ts_ns for day in found for one, other in pairwise(day))

    def test_the_price_is_off_by_it_and_comes_back(self) -> None:
        line, _ = line_of("XIMC", "GOLD", month="202612")
        gold = np.asarray(prices("XIMC", "GOLD", "202612"))
        fair = np.asarray(gold_parity(prices("XCEC", "GC", "202612"), prices("BBG", "USDINR", "SPOT")), dtype=float)
        premium = np.log(gold / fair)
        checked, jumps, returns = 0, [], []
        for one in line.dislocations(DAY_NUMBER):
            at = (one.ts_ns - int(EVERY_SECOND[0])) // S
            if not 60 <= at < len(premium) - 60 or abs(one.size) < 15e-4:
                continue
            checked += 1
            before = np.median(premium[at - 20 : at])
            jumps.append((premium[at + 1] - before) / (one.size * np.exp(-1 / one.life_s)))
            returns.append((premium[at + 40 : at + 60].mean() - before) / one.size)
        assert checked > 20
        assert np.median(jumps) == pytest.approx(1, abs=0.25)
        assert abs(np.median(returns)) < 0.2

    def test_the_benchmark_has_none(self) -> None:
        line, _ = line_of("XCEC", "GC", month="202612")
        assert line.dislocations(DAY_NUMBER) == []


class TestLatency:
    def test_mcx_learns_of_a_move_later(self) -> None:
        # The lag at which the two series agree best; on a grid finer than the latency.
        times = DAY_NS + 14 * 3600 * S + np.arange(0, 600 * S, S // 20, dtype=np.int64)
        series = []
        for mic, root, month in (("XCEC", "GC", "202612"), ("XIMC", "GOLD", "202612")):
            line, _ = line_of(mic, root, month=month, calm=True)
            series.append(np.log(line.at(times).months[0]))
        fits = [
            np.corrcoef(series[0][20:-20], series[1][20 + lag : len(series[1]) - 20 + lag])[0, 1]
            for lag in range(-15, 16)
        ]
        assert 0 <= (int(np.argmax(fits)) - 15) * 50 <= 500  # ms; 180 by the table, noise aside


def test_volume_follows_the_season() -> None:
    trades = []
    for hour in (14, 21):
        start_ns = DAY_NS + hour * 3600 * S + 600 * S
        model = MarketModel(ModelConfig(start_ns=start_ns, rate=150.0, profiles=PROFILES["cme"][:3]))
        actions = model.pull(start_ns + 60 * S)
        trades.append(sum(isinstance(event, TradeEvent) for action in actions for event in action))
    assert trades[0] > 1.8 * trades[1]


def test_spreads_widen_and_come_back() -> None:
    start_ns = DAY_NS + 14 * 3600 * S
    config = ModelConfig(start_ns=start_ns, rate=300.0, profiles=(profile_of("IFUS", "CT"),))
    books = [
        event
        for action in MarketModel(config).pull(start_ns + 240 * S)
        for event in action
        if isinstance(event, BookEvent) and event.eot and event.symbol == "IFUS:CT:202612"
    ]
    spread = np.array([book.asks[0].price - book.bids[0].price for book in books], dtype=float)
    wide = np.flatnonzero(spread[:-400] >= np.mean(spread) + 2 * np.std(spread))
    assert wide.size > 20
    later = np.mean([spread[at + 200 : at + 400].mean() for at in wide])
    assert later < spread[wide].mean() - 0.5 * (spread[wide].mean() - np.mean(spread))


def test_books_are_quoted_where_the_venue_sees_the_fair_value() -> None:
    start_ns = DAY_NS + 10 * 3600 * S
    profiles = tuple(profile for profile in PROFILES["mcx"] if profile.root in ("GOLD", "CRUDEOIL"))
    model = MarketModel(ModelConfig(start_ns=start_ns, rate=200.0, profiles=profiles))
    lines = {product.listings[0].key: product.line for product in model.products}
    away: dict[str, list[float]] = {key: [] for key in lines}
    for action in model.pull(start_ns + 120 * S):
        for event in action:
            if isinstance(event, BookEvent) and event.symbol in lines and event.ts_event > start_ns + 5 * S:
                fair = lines[event.symbol].at(np.array([event.ts_event])).months[0][0]
                away[event.symbol].append(((event.bids[0].price + event.asks[0].price) / 2 - fair) / fair * 1e4)
    for key, values in away.items():
        assert abs(np.mean(values)) < 1.0, key  # basis points
        assert np.percentile(np.abs(values), 95) < 8, key


def test_the_levels_are_those_of_the_anchor_day() -> None:
    assert COMMODITIES["usdinr"].price == pytest.approx(95.8, rel=0.01)
    assert float(fair_values(7).day("gold", DAY_NUMBER - 2).prices[0]) == pytest.approx(4150)
