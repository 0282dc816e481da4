"""The anomaly kernel against the simulated market's own truth, and its definitions one by one."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from simulated_arrivals import START_NS, S, batch, market

from market.anomalies import AnomalyKernel
from market.detectors.protocol import Step
from market.detectors.volume import WINDOW_S, VolumeDetector
from market.schemas import QUOTE, STATE, TRADE

GC, GOLD, BBG_GC = "XCEC:GC:202612", "XIMC:GOLD:202612", "BBG:GC:202612"
USDINR = "BBG:USDINR:SPOT"


def found(arrivals: Any, kernel: AnomalyKernel | None = None) -> list[dict[str, Any]]:
    """The anomalies of a batch as they ended: the last row of each."""
    kernel = kernel or AnomalyKernel()
    rows = [row for output in (kernel.on_batch(arrivals), kernel.on_eof()) for row in rows_of(output)]
    return list({row["anomaly_id"]: row for row in rows}.values())


def rows_of(output: Any) -> list[dict[str, Any]]:
    return output["anomalies"].to_pylist() if output else []


# --- against the simulator's truth ------------------------------------------------------------------


def played(scenario: str, seconds: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shards, truth = market(scenario, seconds)
    return [row for name in sorted(shards) for row in found(shards[name])], truth


@pytest.mark.parametrize(
    ("scenario", "kind", "seconds", "late_s"),
    [("spike", "return_spike", 32, 2), ("fat_finger", "fat_finger", 32, 1), ("crossed", "crossed_book", 32, 2)],
)
def test_each_act_is_one_anomaly_of_the_right_kind_and_witness(
    scenario: str, kind: str, seconds: float, late_s: float
) -> None:
    anomalies, truth = played(scenario, seconds)
    mine = [row for row in anomalies if row["kind"] == kind]
    assert len(mine) == len(truth) > 0
    for act in truth:
        (row,) = (
            row
            for row in mine
            if row["instrument"] == act["instrument"] and 0 <= row["ts_event"] - int(act["from"]) <= late_s * S
        )
        assert row["witness"] == "bad_tick"
        assert row["ts_event"] < row["ts_end"]
    assert len(anomalies) <= len(mine) + 1  # a dislocation of the model's own may come along


def test_a_surge_is_found_although_the_one_before_it_came_too_early_to_be_known() -> None:
    """Eight times the volume for 30 s of every two minutes: 20 s from the start nothing is usual yet."""
    detector, volumes = VolumeDetector(), np.random.default_rng(5)
    surges, odd = ({*range(20, 50), *range(140, 170)}, [])
    for second in range(240):
        trades = int(volumes.poisson(24 if second in surges else 3))
        at = START_NS + (second + 1) * S
        step = Step(at_ns=at, ts_event=at, trades=trades, volume=trades * 2_000_000)
        finding = detector.score(step)
        (detector.learn if finding is None else detector.skip)(step)
        odd += [second] if finding is not None else []
    assert odd
    assert 140 <= odd[0] < 155
    assert odd[-1] < 170 + WINDOW_S


def test_a_shock_that_every_venue_sees_is_a_real_move() -> None:
    anomalies, _ = played("news_shock", 40)
    oil = ("XNYM:CL", "IFEU:B", "XIMC:CRUDEOIL")
    spikes = [row for row in anomalies if row["kind"] == "return_spike" and row["instrument"].startswith(oil)]
    moved = {row["instrument"]: row["witness"] for row in spikes}
    assert {"XNYM:CL:202612", "IFEU:B:202701", "XIMC:CRUDEOIL:202611"} <= set(moved)
    assert set(moved.values()) == {"real_move"}


# --- definitions ------------------------------------------------------------------------------------


def quote(instrument: str, second: float, price: float, spread: float = 0.2, **more: Any) -> dict[str, Any]:
    at = START_NS + int(second * S)
    bid, ask = (round((price + side * spread / 2) * 1e9) for side in (-1, 1))
    sides = {"bid_price": bid, "bid_size": S, "ask_price": ask, "ask_size": S}
    return {"kind": QUOTE, "instrument": instrument, "ts_event": at, "ts_recv": at, **sides, **more}


def trade(instrument: str, second: float, price: float, size: int = 1) -> dict[str, Any]:
    at = START_NS + int(second * S)
    row = {"kind": TRADE, "instrument": instrument, "ts_event": at, "ts_recv": at, "trade_id": f"T{second}"}
    return {**row, "price": round(price * 1e9), "size": size * S}


def wobble(second: int) -> float:
    """A basis point up and down: the usual."""
    return 1.0 + (second % 3 - 1) * 5e-5


def calm(instrument: str, price: float, seconds: Sequence[int]) -> list[dict[str, Any]]:
    return [quote(instrument, second + 0.5, price * wobble(second), price * 5e-5) for second in seconds]


def run(*rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return found(batch(sorted((row for part in rows for row in part), key=lambda row: row["ts_recv"])))


def test_a_calm_market_has_no_anomaly() -> None:
    assert run(calm(GC, 4000, range(200)), calm(GOLD, 148000, range(200))) == []


def test_nothing_is_odd_before_enough_was_seen() -> None:
    assert run(calm(GC, 4000, range(10)), calm(GC, 4100, range(10, 20))) == []


def test_the_rupee_alone_explains_a_move_at_mcx() -> None:
    rupee = [*calm(USDINR, 90, range(40)), *calm(USDINR, 91, range(40, 60))]
    (row,) = run(rupee, calm(GC, 4000, range(60)), calm(GOLD, 148000, range(40)), calm(GOLD, 149600, range(40, 60)))
    assert (row["instrument"], row["kind"], row["witness"]) == (GOLD, "return_spike", "fx_move")
    (peer,) = json.loads(row["detail"])["witness"]["peers"]
    assert peer["instrument"] == GC
    assert peer["fx_bps"] == pytest.approx(110.5, abs=2)


def test_a_move_nobody_looked_on_is_unconfirmed_and_one_that_stays_is_no_bad_tick() -> None:
    (alone,) = run(calm(GC, 4000, range(40)), calm(GC, 4040, range(40, 80)))
    assert (alone["witness"], json.loads(alone["detail"])["ended"]) == ("unconfirmed", "it is the new usual")
    (stayed,) = run(calm(BBG_GC, 4000, range(80)), calm(GC, 4000, range(40)), calm(GC, 4040, range(40, 80)))
    assert (stayed["witness"], json.loads(stayed["detail"])["witness"]["stayed"]) == ("unconfirmed", True)


def test_an_anomaly_is_told_as_it_opens_and_again_as_it_ends() -> None:
    kernel = AnomalyKernel()
    rows = [*calm(GC, 4000, range(40)), *calm(GC, 4040, range(40, 43)), *calm(GC, 4000, range(43, 60))]
    told = [row for one in rows for row in rows_of(kernel.on_batch(batch([one])))]
    assert len({row["anomaly_id"] for row in told}) == 1
    assert told[0]["ts_end"] is None
    assert told[0]["as_known_at"] == START_NS + 41 * S
    assert told[-1]["ts_end"] == START_NS + 44 * S
    assert [row["as_known_at"] for row in told] == sorted(row["as_known_at"] for row in told)


def test_quotes_off_by_a_power_of_ten_are_an_error_of_scale_and_are_not_learnt() -> None:
    rows = [*calm(GC, 4000, range(40)), *calm(GC, 40, range(40, 45)), *calm(GC, 4000, range(45, 80))]
    (row,) = run(rows)
    assert (row["kind"], row["severity"], json.loads(row["detail"])["scale"]) == ("scale_error", "high", 0.01)
    assert row["expected"] == pytest.approx(4000e9, rel=1e-3)


def test_trades_without_quotes_are_judged_by_the_trades_around_them() -> None:
    usual = [trade(GC, second, 4000 * wobble(second)) for second in range(60)]
    (row,) = run(usual, [trade(GC, 40.2, 4400)], [trade(GC, 40.4, 4000)])
    assert (row["kind"], row["value"]) == ("fat_finger", 4400 * S)


def test_a_spread_that_stays_wide_is_a_blow_out_and_a_flicker_is_none() -> None:
    before, after = calm(GC, 4000, range(60)), calm(GC, 4000, range(72, 90))
    wide = [quote(GC, second + 0.5, 4000, 8.0) for second in range(60, 70)]
    (row,) = run(before, wide, after)
    assert (row["kind"], row["value"]) == ("spread_blow_out", 8 * S)
    assert row["ts_end"] > row["ts_event"]
    assert run(before, wide[:1], calm(GC, 4000, range(61, 90))) == []


def test_far_more_trading_than_usual_is_a_surge_and_two_venues_confirm_each_other() -> None:
    def trading(instrument: str) -> list[dict[str, Any]]:
        lots = [20 if 140 <= second < 160 else 1 + second % 3 for second in range(200)]
        return [trade(instrument, second + 0.1, 4000 * wobble(second), lots[second]) for second in range(200)]

    (alone,) = run(trading(GC))
    assert (alone["kind"], alone["witness"], alone["instrument"]) == ("volume_surge", "unconfirmed", GC)
    assert START_NS + 140 * S < alone["ts_event"] < START_NS + 150 * S
    assert {row["witness"] for row in run(trading(GC), trading(BBG_GC))} == {"real_move"}


def test_a_side_that_is_gone_is_a_blow_out() -> None:
    gone = [quote(GC, second + 0.5, 4000, ask_price=None, ask_size=None) for second in range(60, 70)]
    (row,) = run(calm(GC, 4000, range(60)), gone, calm(GC, 4000, range(70, 80)))
    assert (row["kind"], row["value"], json.loads(row["detail"])["missing"]) == ("spread_blow_out", None, "ask")


def test_silence_is_odd_while_others_go_on() -> None:
    (row,) = run(calm(BBG_GC, 4000, range(80)), calm(GC, 4000, [*range(40), *range(60, 80)]))
    assert (row["instrument"], row["kind"], row["witness"]) == (GC, "stale_feed", "bad_tick")
    assert (row["ts_event"], row["ts_end"]) == (START_NS + 40 * S, START_NS + 61 * S)
    assert json.loads(row["detail"])["others"] == [BBG_GC]


def test_silence_of_all_is_said_by_the_clock_and_stays_unconfirmed() -> None:
    kernel = AnomalyKernel()
    kernel.on_batch(batch(calm(GC, 4000, range(40))))
    at = kernel.next_wake_ns()
    assert at is not None
    assert rows_of(kernel.on_time(at)) == []
    (row,) = rows_of(kernel.on_time(START_NS + 70 * S))
    assert (row["kind"], row["witness"], row["ts_end"]) == ("stale_feed", "unconfirmed", None)


def test_a_halt_is_no_silence() -> None:
    halt = {"kind": STATE, "instrument": GC, "ts_event": START_NS, "ts_recv": START_NS + 40 * S, "size": 5}
    assert run(calm(BBG_GC, 4000, range(80)), calm(GC, 4000, range(40)), [halt]) == []


def test_the_way_to_a_limit_is_told_with_the_limit() -> None:
    climb = [quote(GOLD, second + 0.5, 148000 * (1 + second * 2e-5), 8) for second in range(1400)]
    rows = [row for row in run(climb) if row["kind"] == "price_limit"]
    (row,) = rows
    assert row["expected"] == pytest.approx(148000e9 * 1.03, rel=1e-6)
    assert row["ts_event"] == START_NS + int(1200.5 * S)


def test_outside_of_its_session_nothing_is_judged() -> None:
    night = 8 * 3600  # MCX is closed
    rows = [*calm(GOLD, 148000, range(night, night + 60)), *calm(GOLD, 160000, range(night + 60, night + 90))]
    assert run(rows) == []


def test_output_is_the_same_however_it_is_cut() -> None:
    shards, _ = market("spike", 30)
    arrivals = shards["gold"]
    whole = AnomalyKernel()
    expected = rows_of(whole.on_batch(arrivals)) + rows_of(whole.on_eof())
    cut, rows = AnomalyKernel(), []
    for start in range(0, arrivals.num_rows, 97):
        rows += rows_of(cut.on_batch(arrivals.slice(start, 97)))
        fresh = AnomalyKernel()
        fresh.restore(cut.snapshot())
        cut = fresh
    assert rows + rows_of(cut.on_eof()) == expected
    assert expected


def spikes(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["instrument"]: row["witness"] for row in rows if row["kind"] == "return_spike"}


def limits(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["instrument"]: row["witness"] for row in rows if row["kind"] == "price_limit"}


def test_a_far_move_at_mcx_alone_that_stays_is_a_duty_that_changed() -> None:
    rupee, usual = calm(USDINR, 90, range(80)), calm(GOLD, 148000, range(40))
    quiet = calm(GC, 4000, range(80)) + rupee
    assert spikes(run(quiet, usual, calm(GOLD, 158000, range(40, 80)))) == {GOLD: "policy_step"}
    assert spikes(run(quiet, usual, calm(GOLD, 150000, range(40, 80)))) == {GOLD: "unconfirmed"}  # not far
    back = calm(GOLD, 158000, range(40, 46)) + calm(GOLD, 148000, range(46, 80))
    assert spikes(run(quiet, usual, back)) == {GOLD: "bad_tick"}  # it did not stay
    abroad = calm(GC, 4000, range(40)), calm(GC, 4270, range(40, 80)), rupee
    assert spikes(run(*abroad, usual, calm(GOLD, 158000, range(40, 80))))[GOLD] == "real_move"


def test_contracts_of_mcx_that_are_at_their_limit_together_are_a_duty_that_changed() -> None:
    next_gold = "XIMC:GOLD:202702"
    quiet, usual = calm(GC, 4000, range(50)) + calm(USDINR, 90, range(50)), calm(GOLD, 148000, range(40))
    fell = calm(GOLD, 143800, range(40, 42))  # then nobody buys, and nothing is said
    other = calm(next_gold, 149000, range(40)), calm(next_gold, 144700, range(40, 42))
    together = run(quiet, usual, fell, *other)
    assert limits(together) == {GOLD: "policy_step", next_gold: "policy_step"}
    assert spikes(together) == {GOLD: "policy_step", next_gold: "policy_step"}
    assert limits(run(quiet, usual, fell, calm(next_gold, 149000, range(50)))) == {GOLD: "bad_tick"}
