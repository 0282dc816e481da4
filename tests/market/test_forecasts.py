"""The forecast kernel: rows that add up, fits that hold from their place on, and the same bytes however it is cut."""

import math
import pickle
import random
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from arrivals import joined
from bar_rows import WIDTH_NS, bar, fit, steps

from market.forecasters.online import HORIZONS
from market.forecasts import FIRST_FIT_BARS, FIT_CLOSES, REFIT_BARS, ForecastKernel
from market.schemas import PRICE_LIMIT

GC, GOLD = "XCEC:GC:202612", "XIMC:GOLD:202612"
# A Thursday on which both trade, in minutes after the epoch.
OPEN = int(datetime(2026, 11, 19, 6, 0, tzinfo=UTC).timestamp()) // 60


def market(count: int, instrument: str = GC, start: int = OPEN) -> list[dict[str, Any]]:
    """A price that returns to a value which walks slowly: something the ensemble can know."""
    chance, value, found = random.Random(instrument), 4_000.0, []
    for number in range(count):
        value += chance.gauss(0, 0.1)
        price = value + chance.gauss(0, 1)
        book = {"mid_price": 10**12, "micro_price": 10**12 + chance.randrange(10**9), "imbalance": 0, "spread": 10**9}
        volume = chance.randrange(1, 9) * 10**9
        found.append(bar(start + number, round(price * 10) * 10**8, instrument, volume=volume, **book))
    return found


def run(
    rows: list[dict[str, Any]], cuts: list[int] | None = None, *, resume: bool = False
) -> dict[str, pa.RecordBatch]:
    kernel, outputs, edges = ForecastKernel(), [], [0, *(cuts or []), len(rows)]
    for first, last in pairwise(edges):
        outputs.append(kernel.on_batch(steps(rows[first:last])))
        if resume:
            state = pickle.dumps(kernel.snapshot())
            kernel = ForecastKernel()
            kernel.restore(pickle.loads(state))
    return joined([*outputs, kernel.on_eof()])


def rows_of(outputs: dict[str, pa.RecordBatch], name: str) -> list[dict[str, Any]]:
    return outputs[name].to_pylist() if name in outputs else []


def test_wherever_it_is_cut_and_resumed_it_is_the_same_with_fits_in_between() -> None:
    rows = [row for pair in zip(market(205), market(205, GOLD), strict=True) for row in pair]
    rows.insert(400, fit(OPEN + 190, "auto_ets", level=4_000.0, alpha=0.3))
    rows.insert(404, fit(OPEN + 190, "auto_theta", GOLD, level=4_000.0, alpha=0.2, offset=1.0, slope=0.5))
    whole = run(rows)
    cuts = sorted(random.Random(1).sample(range(1, len(rows)), 25))
    for outputs in (run(rows, cuts, resume=True), run(rows, list(range(1, len(rows))))):
        assert outputs.keys() == whole.keys()
        assert all(outputs[name].equals(whole[name]) for name in whole)
    assert {row["model"] for row in rows_of(whole, "forecasts")} == {"naive", "ensemble"}


def test_every_bar_has_every_horizon_and_level_in_order_around_the_mean() -> None:
    made = rows_of(run(market(200)), "forecasts")
    assert len(made) == (200 - 3) * len(HORIZONS) * 2
    for first in range(0, len(made), 6):
        cone = made[first : first + 6]
        wide, narrow = cone[0::2], cone[1::2]
        assert [row["horizon_s"] for row in wide] == [60 * bars for bars in HORIZONS]
        assert {row["level"] for row in wide} == {900_000_000}
        for row, inner in zip(wide, narrow, strict=True):
            assert row["lo"] <= inner["lo"] <= row["mean"] <= inner["hi"] <= row["hi"]
            assert 0 <= row["crash_probability"] <= 10**9
            assert row["ts_target"] == row["ts_made"] + row["horizon_s"] * 10**9
            assert (row["model"] == "naive") == bool(row["reason"])
            assert row["model"] == "ensemble" or row["mean"] == row["price"]


def test_scores_are_what_the_forecasts_and_the_bars_say() -> None:
    rows = market(200)
    outputs = run(rows)
    close = {row["ts_close"]: row["close"] for row in rows}
    made = {(row["horizon_s"], row["ts_made"], row["level"]): row for row in rows_of(outputs, "forecasts")}
    scores = rows_of(outputs, "forecast_scores")
    assert len({(row["model"], row["horizon_s"], row["ts_made"]) for row in scores}) == len(scores)
    for row in scores:
        promised = made[row["horizon_s"], row["ts_made"], 900_000_000]
        assert row["actual"] == close[row["ts_target"]]
        assert row["naive_abs_error"] == pytest.approx(abs(row["actual"] - promised["price"]), abs=2)
        assert row["abs_error"] == pytest.approx(abs(row["actual"] - row["mean"]), abs=2)
        assert row["served"] == (row["model"] == promised["model"])
        if row["served"]:
            assert row["covered"] == (promised["lo"] <= row["actual"] <= promised["hi"])
        assert (row["covered"] is None) == (row["model"] not in ("naive", "ensemble"))


def test_over_a_weekend_the_target_is_in_the_next_session() -> None:
    friday = int(datetime(2026, 11, 20, 21, 50, tzinfo=UTC).timestamp()) // 60
    made = rows_of(run(market(9, start=friday)), "forecasts")
    last = [row for row in made if row["ts_made"] == (friday + 8) * WIDTH_NS and row["level"] == 900_000_000]
    targets = [datetime.fromtimestamp(row["ts_target"] // 10**9, UTC) for row in last]
    assert [f"{at:%a %H:%M}" for at in targets] == ["Fri 21:59", "Sun 23:03", "Sun 23:18"]


def test_a_bar_that_comes_again_or_late_or_revised_says_nothing() -> None:
    rows = market(50)
    again = [*rows, *rows[20:], {**rows[-1], "close": 1}]
    assert all(again.equals(once) for again, once in zip(run(again).values(), run(rows).values(), strict=True))


def test_of_a_bar_that_is_not_live_it_says_so_once_and_learns_nothing() -> None:
    rows = market(60)
    stale = [{**row, "quality": "STALE", "close": 1} for row in market(5, start=OPEN + 60)]
    after = market(70)[65:]
    outputs = run([*rows, *stale, *after])
    made = rows_of(outputs, "forecasts")
    silent = [row for row in made if row["mean"] is None]
    assert [(row["reason"], row["lo"], row["hi"], row["crash_probability"]) for row in silent] == [
        ("quality: STALE", None, None, None)
    ]
    # What was promised for the time of the stale bars is not scored, and their price is in no forecast.
    assert all(row["actual"] > 10**12 for row in rows_of(outputs, "forecast_scores"))
    assert all(row["lo"] > 3 * 10**12 for row in made if row["lo"] is not None)


def test_fits_are_asked_for_with_the_last_closes_and_not_by_all_at_once() -> None:
    rows = market(FIRST_FIT_BARS * 2 + REFIT_BARS)
    first, second = rows_of(run(rows), "fit_requests")
    at = [row["ts_close"] for row in rows].index(second["ts_close"])
    assert second["closes"] == [row["close"] for row in rows[: at + 1]][-FIT_CLOSES:]
    (other,) = rows_of(run(market(2 * FIRST_FIT_BARS, GOLD)), "fit_requests")
    begun = {(each["ts_close"] // WIDTH_NS) - OPEN + 1 for each in (first, other)}
    assert len(begun) == 2
    assert begun <= set(range(FIRST_FIT_BARS, 2 * FIRST_FIT_BARS))


def scored_models(rows: list[dict[str, Any]]) -> set[str]:
    return {row["model"] for row in rows_of(run(rows), "forecast_scores")}


def test_a_fit_holds_from_its_place_on_and_follows_the_bars_since_it_was_made() -> None:
    rows, placed = market(60), 40
    level = rows[29]["close"] / 10**9
    with_fit = [*rows[:placed], fit(OPEN + 29, level=level, alpha=1.0), *rows[placed:]]
    scores = [row for row in rows_of(run(with_fit), "forecast_scores") if row["model"] == "auto_ets"]
    assert min(row["ts_made"] for row in scores) == (OPEN + placed) * WIDTH_NS
    # With alpha 1 the level is the last close: naive, if it followed the ten bars it did not know.
    assert all(row["abs_error"] == row["naive_abs_error"] for row in scores)


def test_fits_that_are_older_or_of_bars_that_are_gone_or_of_nobody_are_left() -> None:
    rows, good = market(270), fit(OPEN + 250, level=4_000.0, alpha=1.0)
    before, after = rows[:260], rows[260:]
    gone, nobody = fit(OPEN + 3, level=1.0, alpha=0.5), fit(OPEN + 250, instrument=GOLD, level=1.0, alpha=0.5)
    assert "auto_ets" not in scored_models([*before, gone, nobody, *after])
    older, whole = fit(OPEN + 240, level=0.0, alpha=0.0), run([*before, good, *after])
    assert "auto_ets" in {row["model"] for row in rows_of(whole, "forecast_scores")}
    assert rows_of(run([*before, good, older, *after]), "forecasts") == rows_of(whole, "forecasts")


@pytest.mark.parametrize("price", [PRICE_LIMIT - 1, 1 - PRICE_LIMIT, 0, -37_630_000_000])
def test_any_price_stays_within_what_a_store_holds(price: int) -> None:
    rows = [bar(OPEN + number, price - (number % 2) * (price // 3), GC, width=abs(price)) for number in range(40)]
    for batch in run(rows).values():
        for name in ("mean", "lo", "hi", "actual", "abs_error"):
            if name in batch.schema.names:
                assert all(abs(value) < PRICE_LIMIT for value in batch.column(name).to_pylist())


def test_what_is_told_of_all_instruments_is_the_sum_of_theirs() -> None:
    kernel = ForecastKernel()
    kernel.on_batch(steps(row for pair in zip(market(150), market(150, GOLD), strict=True) for row in pair))
    hits, scored = kernel.coverage()[0.9, 60]
    assert 0.7 < hits / scored <= 1
    assert scored > 150
    lost, naive = kernel.losses()["ensemble", 60]
    assert lost < naive
    assert math.isclose(kernel.losses()["drift", 60][1], naive, rel_tol=0.2)
