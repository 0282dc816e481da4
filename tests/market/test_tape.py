"""Busts and corrections, told as stories; tests/market/test_conformance.py has all the combinations."""

import pickle

import numpy as np
import pytest
from arrivals import bar_tuples, batch, joined, names
from conformance import resumed, run
from reference import SECOND, Oracle, Row, window
from strategies import T0

from market.admission import AdmissionKernel
from market.bars import BarsKernel
from market.schemas import FLAG_BUST, FLAG_CORRECTION
from market.tape import Tape
from market.watermark import Watermarks

GC = ("XCEC", "XCEC:GC:202612")


def trade(name: int, at_s: float, price: int, size: int = 1) -> Row:
    return row("trade", name, at_s, price, size, f"T{name}")


def row(kind: str, name: int, at_s: float, price: int = 0, size: int = 1, trade_id: str | None = None) -> Row:
    ts = T0 + int(at_s * SECOND)
    return Row(kind, *GC, ts, ts, price * SECOND, size * SECOND, name, name, trade_id)


def bust(name: int, at_s: float, of: int) -> Row:
    return row("bust", name, at_s, trade_id=f"T{of}")


def correction(name: int, at_s: float, of: int, price: int, size: int = 1) -> Row:
    return row("correction", name, at_s, price, size, f"T{of}")


def states(arrivals: list[Row], interval: str = "1s", start_s: int = 0) -> list[tuple]:
    """(revision, open, high, low, close, volume, trades) of one bar, as it was published, in whole units."""
    kernel = BarsKernel()
    outputs = joined([kernel.on_batch(batch(arrivals)), kernel.on_eof()])
    oracle = Oracle()
    for arrival in arrivals:
        oracle.feed(arrival)
    oracle.end()
    bars = bar_tuples(outputs.get("bars"))
    assert bars == oracle.published
    mine = [bar for bar in bars if bar[2:4] == (interval, T0 + start_s * SECOND)]
    return [(bar[4], *(value // SECOND for value in bar[5:10]), bar[11]) for bar in mine]


def ledger(arrivals: list[Row]) -> dict[str, list[int]]:
    """Which rows came out where: `trades`, and by reason of the ledger."""
    outputs = run(AdmissionKernel(), [arrivals])
    found: dict[str, list[int]] = {"trades": names(outputs.get("trades", [])), "late": []}
    found["late"] = [line["source_row"] for line in outputs.get("late", [])]
    for line in outputs.get("rejected", []):
        found.setdefault(line["reason"], []).append(line["source_row"])
    return found


SECOND_OF_FOUR = [trade(0, 0.1, 10), trade(1, 0.2, 19), trade(2, 0.3, 5), trade(3, 0.4, 12), trade(4, 9, 12)]


def test_a_bust_of_the_high_finds_the_next_one_in_every_width() -> None:
    arrivals = [*SECOND_OF_FOUR, bust(5, 9.5, of=1)]
    assert states(arrivals) == [(0, 10, 19, 5, 12, 4, 4), (1, 10, 12, 5, 12, 3, 3)]
    assert states(arrivals, "5s") == [(0, 10, 19, 5, 12, 4, 4), (1, 10, 12, 5, 12, 3, 3)]
    assert states(arrivals, "1d", (window(GC[1], "1d", T0)[0] - T0) // SECOND) == [
        (0, 10, 12, 5, 12, 4, 4)
    ]  # was still open


def test_a_bust_of_the_first_and_of_the_last_moves_open_and_close() -> None:
    arrivals = [*SECOND_OF_FOUR, bust(5, 9.5, of=0), bust(6, 9.6, of=3)]
    assert states(arrivals)[1:] == [(1, 19, 19, 5, 12, 3, 3), (2, 19, 19, 5, 5, 2, 2)]


def test_a_bust_before_the_bar_is_final_is_no_revision() -> None:
    assert states([*SECOND_OF_FOUR[:4], bust(5, 0.5, of=1), trade(6, 9, 12)]) == [(0, 10, 12, 5, 12, 3, 3)]


def test_a_correction_gives_the_trade_other_terms_in_its_place() -> None:
    arrivals = [*SECOND_OF_FOUR, correction(5, 9.5, of=0, price=7, size=3)]
    assert states(arrivals)[1:] == [(1, 7, 19, 5, 12, 6, 4)]


def test_a_bar_whose_every_trade_is_busted_says_so_and_may_come_back() -> None:
    arrivals = [trade(0, 0.1, 10), trade(1, 9, 12), bust(2, 9.1, of=0), trade(3, 0.2, 8)]
    assert states(arrivals) == [(0, 10, 10, 10, 10, 1, 1), (1, 10, 10, 10, 10, 0, 0), (2, 8, 8, 8, 8, 1, 1)]


def test_a_window_that_was_emptied_before_it_was_final_has_no_bar() -> None:
    assert states([trade(0, 0.1, 10), bust(1, 0.2, of=0), trade(2, 9, 12)]) == []


def test_the_second_bust_changes_nothing_and_is_counted() -> None:
    arrivals = [*SECOND_OF_FOUR, bust(5, 9.5, of=1), bust(6, 9.6, of=1), correction(7, 9.7, of=1, price=3)]
    assert len(states(arrivals)) == 2
    assert ledger(arrivals) == {"trades": [0, 1, 2, 3, 4, 5], "late": [], "no_effect": [6, 7]}


def test_of_two_corrections_the_newer_one_holds_in_either_order() -> None:
    older, newer = correction(5, 9.5, of=0, price=7), correction(6, 9.6, of=0, price=8)
    assert states([*SECOND_OF_FOUR, older, newer])[-1] == (2, 8, 19, 5, 12, 4, 4)
    assert states([*SECOND_OF_FOUR, newer, older])[-1] == (1, 8, 19, 5, 12, 4, 4)
    assert ledger([*SECOND_OF_FOUR, newer, older])["no_effect"] == [5]


def test_a_bust_before_its_trade_waits_for_it() -> None:
    arrivals = [trade(0, 0.1, 10), bust(5, 0.5, of=1), trade(2, 9, 12), trade(1, 0.2, 19)]
    assert states(arrivals) == [(0, 10, 10, 10, 10, 1, 1), (1, 10, 19, 10, 19, 2, 2), (2, 10, 10, 10, 10, 1, 1)]
    assert ledger(arrivals) == {"trades": [0, 2, 1, 5], "late": []}


def test_a_bust_of_a_trade_that_never_comes_is_given_up_when_the_trade_would_be_late() -> None:
    arrivals = [trade(0, 0.1, 10), bust(1, 0.5, of=7), trade(2, 61.5, 12), trade(3, 61.6, 12), trade(7, 61.7, 12)]
    assert ledger(arrivals) == {"trades": [0, 2, 3, 7], "late": [], "unknown_trade": [1]}
    assert ledger([arrivals[0], arrivals[1]])["unknown_trade"] == [1]


def test_a_bust_of_a_trade_older_than_the_lateness_is_refused() -> None:
    young = [trade(0, 0.1, 10), trade(1, 61.0, 12), bust(2, 61.0, of=0)]
    assert ledger(young) == {"trades": [0, 1, 2], "late": []}
    old = [trade(0, 0.1, 10), trade(1, 61.2, 12), bust(2, 61.2, of=0)]
    assert ledger(old) == {"trades": [0, 1], "late": [], "unknown_trade": [2]}


def test_a_bust_is_a_row_of_trades_with_its_flag() -> None:
    outputs = run(AdmissionKernel(), [[*SECOND_OF_FOUR, bust(5, 9.5, of=1), correction(6, 9.6, of=2, price=6)]])
    busted, corrected = outputs["trades"][-2:]
    assert (busted["flags"] & 255, busted["trade_id"], busted["price"], busted["size"]) == (FLAG_BUST, "T1", None, None)
    assert (corrected["flags"] & 255, corrected["trade_id"]) == (FLAG_CORRECTION, "T2")
    assert (corrected["price"], corrected["size"]) == (6 * SECOND, SECOND)


@pytest.mark.parametrize("build", [BarsKernel, AdmissionKernel])
def test_what_was_said_about_a_trade_survives_a_restart(build) -> None:
    said = [
        bust(5, 9.5, of=1),
        correction(6, 9.6, of=0, price=7),
        bust(7, 9.7, of=9),
        bust(8, 9.8, of=1),
        trade(9, 9, 4),
    ]
    arrivals = [*SECOND_OF_FOUR, *said]
    whole = run(build(), [arrivals])
    assert run(build(), [[one] for one in arrivals], resume=resumed(build)) == whole


def test_the_tape_forgets_and_packs_what_it_keeps() -> None:
    """An hour of 20 trades a second, of which 62 s are kept."""
    marks, tape, sizes = Watermarks(), Tape(), []
    for second in range(3_600):
        given = [trade(second * 200 + i, second + i / 200, 1_300 + i % 7) for i in range(0, 200, 10)]
        list(tape.follow(marks.judge(batch(given))))
        if second % 60 == 0:
            sizes.append(len(pickle.dumps(tape.snapshot())))
    kept = 20 * 62
    assert max(sizes[30:]) <= max(sizes[3:30]) * 1.05
    assert sizes[-1] < kept * 40 + 20_000


def test_trades_are_not_copied_from_large_batches() -> None:
    given = batch([trade(i, i / 10_000, 5) for i in range(9_000)])
    tape, marks = Tape(), Watermarks()
    (part,) = tape.follow(marks.judge(given))
    assert np.shares_memory(part.trades.price, np.frombuffer(given.column("price").buffers()[1], np.int64))
