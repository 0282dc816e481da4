"""The arbitrage kernel: what opens is what brute force over all quotes finds, and each silence has its reason."""

import pickle
from dataclasses import replace
from datetime import date
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from arbitrage_ticks import CL, FAIR, FRIDAY, MCX, SECOND, Tick, batch, fair
from hypothesis import given, settings
from hypothesis import strategies as st

from market.arbitrage import FX, ArbitrageKernel
from market.instruments import InstrumentMaster
from market.opportunities import Caution
from market.parity import BUY_FOREIGN, BUY_LOCAL, COSTS, Terms, ladder, land, terms_of
from market.reference import Reference, read_reference
from market.schemas import PRICE_SCALE

QUICK = Caution(learn_s=3)


def run(ticks: list[Tick], kernel: ArbitrageKernel | None = None) -> list[dict[str, Any]]:
    found = (kernel or ArbitrageKernel(caution=QUICK)).on_batch(batch(ticks)).get("arbitrage")
    return [] if found is None else found.to_pylist()


def states(rows: list[dict[str, Any]]) -> list[str]:
    return [row["state"] for row in rows if row["state"] != "watch"]


@cache
def crude() -> Terms:
    (route,) = Reference.load().routes_of(
        "wti", Reference.load().routes.versions("wti/XIMC:CRUDEOIL")[0].effective_from
    )
    return terms_of(Reference.load(), InstrumentMaster.load(), route, date(2026, 11, 20))


def test_an_opportunity_opens_updates_and_closes_under_one_id() -> None:
    rich = FAIR * Fraction("1.003")
    rows = run([*fair(0, 10), *fair(10, 3, rich), *fair(13, 1)])
    assert states(rows) == ["silent", "open", "update", "update", "close"]
    opened = [row for row in rows if row["state"] in ("open", "update", "close")]
    assert len({row["opportunity_id"] for row in opened}) == 1
    first, last = opened[0], opened[-1]
    assert (first["buy_instrument"], first["sell_instrument"], first["direction"]) == (CL, MCX, BUY_FOREIGN)
    assert (first["size"], first["foreign_size"]) == (40 * PRICE_SCALE, 4 * PRICE_SCALE)
    assert first["gross"] - sum(first[f"cost_{name}"] for name in COSTS) == first["net"] > 0
    assert last["reason"] == "gone: nothing is left after costs"
    assert last["net"] <= 0
    keys = [(row["opportunity_id"], row["ts_event"]) for row in rows]
    assert len(keys) == len(set(keys))


def test_a_cheap_local_contract_is_bought() -> None:
    rows = run([*fair(0, 10), *fair(10, 1, FAIR * Fraction("0.997"))])
    assert states(rows)[-1] == "open"
    assert (rows[-1]["direction"], rows[-1]["buy_instrument"]) == (BUY_LOCAL, MCX)


def test_a_premium_that_is_always_there_is_none() -> None:
    rich = FAIR * Fraction("1.003")
    rows = run([*fair(0, 10, rich), *fair(10, 1, rich * Fraction("1.002"))])
    assert states(rows) == ["silent", "open"]  # open by what is above the premium
    assert rows[-1]["level"] > 0
    assert all(row["net"] > 0 for row in rows if row["state"] == "watch")


def test_too_few_lots_are_no_opportunity_but_are_told() -> None:
    thin = [replace(tick, lots=9) if tick.name == MCX else tick for tick in fair(10, 3, FAIR * Fraction("1.003"))]
    rows = run([*fair(0, 10), *thin])
    assert "open" not in states(rows)
    assert rows[-1]["reason"].startswith("thin:")
    assert (rows[-1]["size"], rows[-1]["net_inr"]) == (0, 0)


def test_lots_may_be_too_few_for_a_moment() -> None:
    first = fair(11, 1, RICH)[2]
    gone = [replace(tick, lots=9) for tick in (first, replace(first, at=first.at + SECOND // 2))]
    back = [replace(first, at=first.at + 9 * SECOND // 10)]
    assert states(run([*OPEN, *gone, *back]))[-1] != "close"
    rows = run([*OPEN, *gone, replace(gone[0], at=first.at + SECOND)])
    assert [(row["state"], row["reason"]) for row in rows if row["state"] != "watch"][-1] == (
        "close",
        "thin: too few lots are left",
    )


RICH = FAIR * Fraction("1.003")
OPEN = [*fair(0, 10), *fair(10, 1, RICH)]
LATER = FRIDAY + 11 * SECOND


@pytest.mark.parametrize(
    ("ticks", "reason"),
    [
        ([Tick(CL, Fraction("88.5"), LATER + n * SECOND) for n in range(7)], "fx_old: USDINR is older than 5 s"),
        ([t for t in fair(11, 8, RICH) if t.name != MCX], f"old: {MCX} is older than 5 s"),
        ([t for t in fair(11, 8, RICH) if t.name != CL], f"old: {CL} is older than 5 s"),
        ([Tick(MCX, FAIR, LATER, state="HALTED"), *fair(12, 1)], f"halted: {MCX}: instrument_state: halted"),
        ([Tick(CL, FAIR, LATER, state="GAP"), *fair(12, 1)], f"gap: {CL}: instrument_state: gap"),
        ([Tick(FX, FAIR, LATER, state="DELAYED"), *fair(12, 1)], f"delayed: {FX}: instrument_state: delayed"),
        ([Tick(MCX, FAIR, LATER, ahead=19_800 * SECOND)], f"clock_skew: {MCX} is stamped more than 2 s ahead"),
        ([Tick(CL, Fraction("88.5"), LATER, ahead=-11 * SECOND)], f"clock_skew: {CL} is stamped more than 10 s behind"),
        ([Tick(MCX, FAIR, LATER, sides="bid")], f"one_sided: {MCX}"),
        ([Tick(MCX, FAIR * 10, LATER)], "policy_shock: the basis is more than 3 % off its level"),
        ([Tick(MCX, FAIR / 10, LATER)], "policy_shock: the basis is more than 3 % off its level"),
    ],
)
def test_what_speaks_against_a_leg_closes_what_is_open(ticks: list[Tick], reason: str) -> None:
    rows = run([*OPEN, *ticks])
    closed = next(row for row in rows if row["state"] == "close")
    assert closed["reason"].startswith(reason)
    silent = [row for row in rows if row["state"] == "silent"][-1]
    assert silent["reason"] == closed["reason"]
    assert silent["gross"] is None
    assert "open" not in [row["state"] for row in rows[rows.index(closed) :] if row["ts_event"] <= silent["ts_event"]]


def test_without_any_row_time_alone_closes() -> None:
    kernel = ArbitrageKernel(caution=QUICK)
    run(OPEN, kernel)
    assert kernel.open_count() == {"wti": 1}
    wake = kernel.next_wake_ns()
    assert wake is not None
    assert wake <= LATER + 6 * SECOND
    rows = kernel.on_time(LATER + 8 * SECOND)["arbitrage"].to_pylist()
    assert states(rows) == ["close", "silent"]
    assert rows[0]["reason"] == "fx_old: USDINR is older than 5 s"
    assert rows[0]["ts_event"] == FRIDAY + 10 * SECOND + 1_000_000 + 5 * SECOND + 1
    assert kernel.open_count() == {"wti": 0}


def test_a_missing_cost_silences_by_name() -> None:
    def read(name: str) -> str:
        text = files("market").joinpath("data", name).read_text(encoding="utf-8")
        rule = "cash,days,2,2024-07-24,,"
        return text.replace(rule, "cash,days,2,2024-07-24,2026-11-19,") if name == "carry.csv" else text

    rows = run(OPEN, ArbitrageKernel(caution=QUICK, reference=read_reference(read)))
    assert [(row["state"], row["reason"]) for row in rows] == [("silent", "missing: carry of cash/days")]


def test_a_policy_step_that_stays_is_the_new_level() -> None:
    caution = Caution(learn_s=3, shock_s=20)
    rows = run([*fair(0, 10), *fair(10, 60, FAIR * Fraction("0.92"))], ArbitrageKernel(caution=caution))
    assert "open" not in states(rows)
    reasons = [row["reason"].partition(":")[0] for row in rows if row["state"] == "silent"]
    assert reasons[-2:] == ["policy_shock", "learning"]
    assert rows[-1]["state"] == "watch"
    assert abs(rows[-1]["basis"] - rows[-1]["level"]) < PRICE_SCALE


@st.composite
def markets(draw: st.DrawFn) -> list[Tick]:
    """Three instruments around parity, with pauses, states and stamps that are off."""
    at, found = FRIDAY, []
    for _ in range(draw(st.integers(5, 60))):
        at += draw(st.sampled_from([0, 1, SECOND // 3, SECOND, SECOND, 3 * SECOND, 7 * SECOND]))
        name, price = draw(st.sampled_from([(FX, Fraction("95.80")), (CL, Fraction("88.50")), (MCX, FAIR)]))
        bps = draw(st.sampled_from([-40, -10, 0, 0, 0, 10, 40, 500])) if name == MCX else 0
        state = draw(st.sampled_from([""] * 12 + ["HALTED", "LIVE", "LIVE"]))
        ahead = draw(st.sampled_from([0] * 12 + [3 * SECOND, -20 * SECOND]))
        sides = draw(st.sampled_from(["both"] * 9 + ["bid"]))
        lots = draw(st.sampled_from([40, 40, 12, 3]))
        found.append(Tick(name, price * (10_000 + bps) / 10_000, at, lots, state, ahead, sides))
    return found


EAGER = Caution(learn_s=1)


@settings(max_examples=25)
@given(ticks=markets(), data=st.data())
def test_output_does_not_depend_on_cuts_or_restarts(ticks: list[Tick], data) -> None:
    whole = run(ticks, ArbitrageKernel(caution=EAGER))
    arrivals, kernel, found = batch(ticks), ArbitrageKernel(caution=EAGER), []
    cuts = sorted({0, len(ticks), *data.draw(st.sets(st.integers(0, len(ticks)), max_size=9))})
    for begin, end in pairwise(cuts):
        rows = kernel.on_batch(arrivals.slice(begin, end - begin)).get("arbitrage")
        found += [] if rows is None else rows.to_pylist()
        snapshot = pickle.dumps(kernel.snapshot())
        kernel = ArbitrageKernel(caution=EAGER)
        kernel.restore(pickle.loads(snapshot))
    assert found == whole
    rows = ArbitrageKernel(caution=EAGER)
    assert [row for n in range(len(ticks)) for row in run_one(rows, arrivals.slice(n, 1))] == whole


def run_one(kernel: ArbitrageKernel, arrivals: pa.RecordBatch) -> list[dict[str, Any]]:
    rows = kernel.on_batch(arrivals).get("arbitrage")
    return [] if rows is None else rows.to_pylist()


@settings(max_examples=60)
@given(ticks=markets())
def test_what_opens_is_what_brute_force_over_all_quotes_finds(ticks: list[Tick]) -> None:
    terms = crude()
    for row in run(ticks, ArbitrageKernel(caution=EAGER)):
        if row["state"] not in ("open", "update"):
            continue
        now = row["ts_event"]
        newest = {}
        for tick in ticks:
            if not tick.state and tick.at + 1_000_000 <= now:
                newest[tick.name] = tick  # the last that had come
        # The row may stand before others of the same time: then any of them is the newest.
        if len([t for t in ticks if t.at + 1_000_000 == now]) > 1:
            continue
        local, foreign, fx = newest[MCX], newest[CL], newest[FX]
        assert all(now - (tick.at + 1_000_000) <= 5 * SECOND for tick in (local, foreign, fx))
        assert all(tick.ahead == 0 and tick.sides == "both" for tick in (local, foreign, fx))
        sign = -1 if row["direction"] == BUY_FOREIGN else 1
        prices = [quoted(local, sign), quoted(foreign, -sign), quoted(fx, -sign)]
        lots = (row["size"] // PRICE_SCALE, row["foreign_size"] // PRICE_SCALE)
        expected = ladder(terms, row["direction"], *prices, lots)
        assert row["net"] == expected.net > 0
        assert lots[0] <= local.lots
        assert lots[1] <= foreign.lots
        assert lots[0] == 10 * lots[1] == 10 * min(local.lots // 10, foreign.lots)
        mids = [Fraction(quoted(t, 1) + quoted(t, -1), 2 * PRICE_SCALE) for t in (local, foreign, fx)]
        assert row["basis"] == round((mids[0] - land(terms, mids[1], mids[2]).landed) * PRICE_SCALE)


def quoted(tick: Tick, sign: int) -> int:
    """The ask (1) or the bid (-1) of a tick."""
    return round(tick.price * PRICE_SCALE) + sign * round(tick.price * PRICE_SCALE / 20_000)
