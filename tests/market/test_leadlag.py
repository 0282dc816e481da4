"""Lead and lag between two venues: found in the simulated market, with its size, and nowhere else."""

import pickle
from datetime import date
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from simulated_arrivals import START_NS, USDINR, S, batch

from feeds_simulator.model import PROFILES
from feeds_simulator.model.fair import FairLine
from market.arbitrage import ArbitrageKernel
from market.instruments import InstrumentMaster, to_fixed
from market.leadlag import Behind, LagLimits, LeadLag
from market.quality import QualityKernel
from market.schemas import QUOTE

COMEX, MCX, BBG = "XCEC:GC:202612", "XIMC:GOLD:202612", "BBG:GC:202612"
MINUTES = 60
PRODUCTS = {f"{profile.mic}:{profile.root}": profile for venue in PROFILES.values() for profile in venue}


@cache
def prices(key: str, minutes: int = MINUTES) -> list[tuple[int, int]]:
    """A venue's bid and ask in each second, as the simulated market has them."""
    profile = PRODUCTS[key.rpartition(":")[0]]
    contract = InstrumentMaster.load().product(profile.mic, profile.root, date(2026, 11, 24))
    assert contract is not None
    assert contract.tick_size is not None
    tick = contract.tick_size
    seen = FairLine(profile, [key], float(tick), 7).at(START_NS + np.arange(minutes * 60, dtype=np.int64) * S)
    bids = np.floor(seen.months[0] - seen.half_spread).astype(int).tolist()
    asks = np.ceil(seen.months[0] + seen.half_spread).astype(int).tolist()
    return [(to_fixed(bid * tick), to_fixed(ask * tick)) for bid, ask in zip(bids, asks, strict=True)]


def quotes(lags: dict[str, tuple[int, int, int]], keys: tuple[str, ...], minutes: int = MINUTES) -> pa.RecordBatch:
    """Every venue quotes each second. `lags`: what it quotes is so many seconds old, from a second to a second."""
    rows = []
    for second in range(minutes * 60):
        for number, key in enumerate(keys):
            old, begin, end = lags.get(key, (0, 0, 0))
            bid, ask = prices(key)[max(second - old, 0) if begin <= second < end else second]
            at = START_NS + second * S + number * 1_000_000
            about = {"instrument": key, "kind": QUOTE, "ts_event": at, "ts_recv": at + 1_000_000}
            rows.append({**about, "bid_price": bid, "ask_price": ask, "bid_size": 9 * S, "ask_size": 9 * S})
    return batch(rows)


def said(kernel: QualityKernel, rows: pa.RecordBatch) -> list[tuple[int, str, str, str]]:
    """(second, venue, quality, reason) of what was said of venues as a whole."""
    status = kernel.on_batch(rows).get("status")
    found = [] if status is None else status.to_pylist()
    return [
        ((row["ts_event"] - START_NS) // S, row["venue"], row["quality"], row["reason"])
        for row in found
        if row["instrument"] is None
    ]


OLD = {MCX: (180, 0, 25 * 60)}


def test_old_prices_with_new_stamps_are_found_with_their_size_and_settle() -> None:
    kernel = QualityKernel()
    rows = quotes(OLD, (COMEX, MCX))
    (at, *off), (later, *settled) = said(kernel, rows)
    assert off == ["XIMC", "DELAYED", "lead_lag: prices move 3 min 0 s after those of XCEC"]
    assert settled == ["XIMC", "LIVE", "lead_lag: settled"]
    assert at <= 20 * 60
    assert later > 25 * 60
    assert kernel.skew_ns("XIMC") is None


def test_every_instrument_of_the_venue_is_delayed_meanwhile() -> None:
    kernel = QualityKernel()
    status = kernel.on_batch(quotes({MCX: (180, 0, 10**6)}, (COMEX, MCX), 25))["status"].to_pylist()
    last = {row["instrument"]: row["quality"] for row in status}
    assert last == {COMEX: "LIVE", MCX: "DELAYED", None: "DELAYED"}
    assert kernel.skew_ns("XIMC") == 180 * S
    assert kernel.skews()["XCEC"] is None


def test_who_disagrees_with_most_is_meant() -> None:
    kernel = QualityKernel()
    found = said(kernel, quotes({COMEX: (-240, 0, 10**6)}, (COMEX, MCX, BBG), 25))
    # The quickest pair is found first; when the other is, they have one venue in common.
    assert found[-1][1:] == ("XCEC", "DELAYED", "lead_lag: prices move 4 min 0 s before those of BBG")
    assert kernel.skews() == {"XCEC": -240 * S, "XIMC": None, "BBG": None}


@pytest.mark.parametrize("keys", [(COMEX, MCX), (COMEX, BBG), (COMEX, MCX, BBG)])
def test_venues_that_move_together_are_left_alone(keys: tuple[str, ...]) -> None:
    assert said(QualityKernel(), quotes({}, keys)) == []


def test_strangers_say_nothing_of_each_other() -> None:
    for seed in range(20):
        draws, lags = Random(seed), LeadLag()
        for venue, key in (("XCEC", COMEX), ("XIMC", MCX)):
            level = 10**9
            for step in range(400):
                level += draws.randint(-1000, 1000)
                lags.moved(venue, key, step, level)
        for _ in range(3):
            assert lags.judge() == {}


def test_a_leap_of_each_is_no_agreement() -> None:
    draws, lags = Random(1), LeadLag()
    for venue, key, leap in (("XCEC", COMEX, 100), ("XIMC", MCX, 160)):
        level = 10**9
        for step in range(400):
            level += draws.randint(-1000, 1000) + 10**7 * (step == leap)
            lags.moved(venue, key, step, level)
    for _ in range(3):
        assert lags.judge() == {}


def test_a_few_steps_say_nothing_and_a_break_is_no_return() -> None:
    draws, lags = Random(2), LeadLag()
    moves = [draws.randint(-1000, 1000) for _ in range(100)]
    for venue, key, shift in (("XCEC", COMEX, 0), ("XIMC", MCX, 30)):
        level = 10**9
        for step, move in enumerate(moves):
            level += move
            lags.moved(venue, key, step + shift, level)
    assert lags.judge() == lags.judge() == lags.judge() == {}
    assert all(len(series) <= 100 for series in lags._returns.values())
    lags.moved("XCEC", COMEX, 10_000, 5)
    lags.moved("XCEC", COMEX, 10_001, 5)
    assert 10_000 not in lags._returns["gold", "XCEC"]


def test_state_is_bounded() -> None:
    lags, sizes = LeadLag(), []
    for step in range(20_000):
        lags.moved("XCEC", COMEX, step, 10**9 + step)
        if step % 1_000 == 999:
            sizes.append(len(pickle.dumps(lags.snapshot())))
    assert max(sizes[3:]) < 25_000


def test_it_does_not_depend_on_cuts_and_restarts() -> None:
    rows = quotes(OLD, (COMEX, MCX))
    whole, draws = said(QualityKernel(), rows), Random(3)
    cuts = sorted(draws.sample(range(rows.num_rows), 20))
    kernel, found = QualityKernel(), []
    for first, last in pairwise([0, *cuts, rows.num_rows]):
        found += said(kernel, rows.slice(first, last - first))
        saved = pickle.dumps(kernel.snapshot())
        kernel = QualityKernel()
        kernel.restore(pickle.loads(saved))
    assert found == whole
    quick = LagLimits(step_ns=S, window=60, most=20, least=30)
    few = rows.slice(0, 300)
    single = QualityKernel(lags=quick)
    one_by_one = [row for at in range(few.num_rows) for row in said(single, few.slice(at, 1))]
    assert one_by_one == said(QualityKernel(lags=quick), few)


def test_a_file_without_receipts_tells_it_too() -> None:
    rows = quotes(OLD, (COMEX, MCX), 22)
    at = rows.schema.get_field_index("ts_recv")
    rows = rows.set_column(at, rows.schema.field(at), pa.nulls(rows.num_rows, pa.int64()))
    assert [row[1:3] for row in said(QualityKernel(), rows)] == [("XIMC", "DELAYED")]


def test_nothing_is_compared_with_a_venue_that_lags() -> None:
    found = ArbitrageKernel().on_batch(quotes({MCX: (180, 0, 10**6)}, (COMEX, MCX, USDINR), 25))["arbitrage"]
    last = found.to_pylist()[-1]
    assert last["state"] == "silent"
    assert "lead_lag: prices move 3 min 0 s after those of XCEC" in last["reason"]


def test_the_pair_that_is_named() -> None:
    draws, lags = Random(5), LeadLag()
    moves = [draws.randint(-1000, 1000) for _ in range(400)]
    for venue, key, shift in (("XCEC", COMEX, 0), ("XIMC", MCX, -30)):
        level = 10**9
        for step, move in enumerate(moves):
            level += move
            lags.moved(venue, key, step + shift, level)
    assert lags.judge() == {}
    assert lags.judge() == {"XCEC": Behind(150 * S, "XIMC")}
