"""The quality of bars, told as stories; tests/market/test_conformance.py has all the combinations."""

from dataclasses import replace

from arrivals import bar_tuples, batch, joined
from conformance import run
from reference import SECOND, Oracle, Row
from strategies import T0

from market.admission import AdmissionKernel
from market.bars import BarsKernel
from market.schemas import INTERVALS_NS, QUALITIES
from market.states import States

GC = ("XCEC", "XCEC:GC:202612")
DAY_NS = INTERVALS_NS["1d"]


def trade(at_s: float, name: int = 0) -> Row:
    ts = T0 + int(at_s * SECOND)
    return Row("trade", *GC, ts, ts, 5 * SECOND, SECOND, name, name, f"T{name}")


def state(at_s: float, quality: str, instrument: str | None = GC[1]) -> Row:
    ts = T0 + int(at_s * SECOND)
    return Row("state", GC[0], instrument, ts, ts, size=QUALITIES.index(quality))


def qualities(arrivals: list[Row], interval: str = "1s") -> list[tuple[int, int, str]]:
    """(second, revision, quality) of the bars of one width, as they were published."""
    kernel, oracle = BarsKernel(), Oracle()
    for row in arrivals:
        oracle.feed(row)
    oracle.end()
    bars = bar_tuples(joined([kernel.on_batch(batch(arrivals)), kernel.on_eof()])["bars"])
    assert bars == oracle.published
    return [((bar[3] - T0) // SECOND, bar[4], QUALITIES[bar[-1]]) for bar in bars if bar[2] == interval]


def test_a_bar_has_the_worst_state_within_its_window() -> None:
    arrivals = [trade(0.1), state(1.2, "HALTED"), state(1.6, "STALE"), trade(1.9), trade(2.1), state(2.5, "LIVE")]
    arrivals += [trade(3.0), trade(9)]
    assert qualities(arrivals) == [(0, 0, "LIVE"), (1, 0, "HALTED"), (2, 0, "STALE"), (3, 0, "LIVE"), (9, 0, "LIVE")]
    assert {quality for _, _, quality in qualities(arrivals, "1d")} == {"HALTED"}


def test_the_worse_of_instrument_and_venue_counts() -> None:
    arrivals = [state(0, "GAP", None), trade(0.1), state(1, "STALE"), trade(1.1), state(2, "LIVE", None), trade(2.1)]
    assert [quality for _, _, quality in qualities([*arrivals, trade(9)])] == ["GAP", "GAP", "STALE", "STALE"]


def test_what_is_said_after_a_bar_was_final_is_in_its_next_revision() -> None:
    arrivals = [trade(0.1, 0), trade(5, 1), state(0.5, "GAP"), trade(0.7, 2)]
    assert qualities(arrivals)[:2] == [(0, 0, "LIVE"), (0, 1, "GAP")]


def test_the_order_of_rows_is_the_order_of_effect_whatever_their_stamps() -> None:
    by_their_clock = state(3.9, "LIVE")
    arrivals = [trade(0.1), state(4.0, "RESYNC"), by_their_clock, trade(4.5), trade(5.5)]
    assert [quality for _, _, quality in qualities([*arrivals, trade(9)])] == ["LIVE", "LIVE", "LIVE", "LIVE"]
    arrivals[1] = state(4.2, "RESYNC")
    assert [quality for _, _, quality in qualities([*arrivals, trade(9)])] == ["LIVE", "RESYNC", "LIVE", "LIVE"]
    ahead = replace(state(3_600, "HALTED"), recv=T0 + SECOND)
    assert qualities([ahead, trade(1.5), state(2, "LIVE"), trade(2.5), trade(9)])[:2] == [
        (1, 0, "HALTED"),
        (2, 0, "LIVE"),
    ]


def test_a_state_moves_no_watermark_and_is_stored_nowhere() -> None:
    arrivals = [trade(0.1, 0), state(3600, "STALE", None), trade(0.2, 1), state(-3600, "LIVE", None), trade(0.3, 2)]
    assert [bar[1] for bar in qualities(arrivals)] == [0]
    outputs = run(AdmissionKernel(), [arrivals])
    assert {name: len(rows) for name, rows in outputs.items()} == {"trades": 3}


def test_states_older_than_every_window_are_forgotten() -> None:
    states = States()
    for minute in range(3 * 1_440):
        ts = T0 + minute * 60 * SECOND
        states.say(*GC, ts, minute % 2, oldest_ts=ts // DAY_NS * DAY_NS)
        states.say("XCEC", None, ts, 3, oldest_ts=ts // DAY_NS * DAY_NS)
    said = states.snapshot()
    assert isinstance(said, dict)
    assert len(said[GC]) <= 1_441
    assert len(said["XCEC", None]) == 1  # it did not change
