"""Whatever happens to frames, sockets and processes: the rows of an undisturbed run, each once."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.connectors.ice.line import Line
from tests.connectors.ice.venue import FakeVenue

SYMBOLS = ("CT Z26", "B F27")

market = st.one_of(
    st.tuples(st.just("trade"), st.sampled_from(SYMBOLS), st.integers(7990, 8010), st.integers(1, 9)),
    st.tuples(
        st.just("change"),
        st.sampled_from(SYMBOLS),
        st.sampled_from(["B", "S"]),
        st.integers(7995, 8005),
        st.integers(0, 3),
        st.sampled_from([True, True, False]),
    ),
)
fate = st.sampled_from(["pass", "pass", "pass", "drop", "twice", "delay", "flush", "cut", "crash", "heartbeat"])
script = st.lists(st.tuples(market, fate), max_size=40)


TRADE = ("trade", "CT Z26", 7990, 1)
CHANGE = ("change", "CT Z26", "B", 7995, 1, True)
CHANGE_BACK = ("change", "CT Z26", "B", 7995, 0, True)


def happen(venue: FakeVenue, event: tuple[Any, ...]) -> list[bytes]:
    if event[0] == "trade":
        return venue.trade(event[1], event[2], event[3])
    _, symbol, side, index, quantity, eot = event
    # bids below asks unless drawn from the middle, so that some books cross
    return venue.change(symbol, side, index - (3 if side == "B" else -3), quantity, eot=eot)


def started(venue: FakeVenue) -> Line:
    line = Line(venue)
    line.open()
    line.flush()
    return line


def undisturbed(events: list[tuple[Any, str]]) -> Line:
    line = started(FakeVenue(SYMBOLS))
    for event, _ in events:
        line.deliver(happen(line.venue, event))
    line.deliver(happen(line.venue, ("change", SYMBOLS[0], "B", 7000, 1, True)))
    line.flush()
    return line


def disturbed(events: list[tuple[Any, str]], venue: FakeVenue) -> Line:
    line = started(venue)
    late: list[bytes] = []
    for event, what in events:
        if what == "cut":
            line.close()
        frames = happen(venue, event)
        if what == "cut":
            line.open()
        elif what == "crash":
            line.crash()
        elif what == "delay":
            late += frames
        elif what != "drop":
            line.deliver(frames * 2 if what == "twice" else frames)
        if what == "flush":
            line.flush()
        if what == "heartbeat":
            line.deliver(venue.heartbeats())
        if what != "delay":
            line.deliver(late)
            late = []
    line.deliver(late + happen(venue, ("change", SYMBOLS[0], "B", 7000, 1, True)))
    line.deliver(venue.heartbeats())
    line.flush()
    return line


@given(script)
@settings(max_examples=300, deadline=None)
@example([(TRADE, "crash"), (CHANGE, "pass"), (CHANGE_BACK, "drop")])  # held back, then replayed with its image
def test_disturbed_stream_gives_the_rows_of_the_undisturbed_one(events: list[tuple[Any, str]]) -> None:
    plain, rough = undisturbed(events), disturbed(events, FakeVenue(SYMBOLS))
    assert rough.trades() == plain.trades()
    for symbol in ("IFUS:CT:202612", "IFEU:B:202701"):
        assert [q for q in rough.quotes() if q[0] == symbol] == [q for q in plain.quotes() if q[0] == symbol]
    assert rough.books() == plain.books() == plain.ladders()
    assert not rough.rows["rejected"]
    assert all(gap["resolution"] == "replay" for gap in rough.gaps().values())


@given(script)
@settings(max_examples=200, deadline=None)
def test_what_a_venue_cannot_replay_is_in_the_gaps(events: list[tuple[Any, str]]) -> None:
    plain, rough = undisturbed(events), disturbed(events, FakeVenue(SYMBOLS, window=2))
    seen = [row[2] for row in rough.trades()]
    assert len(seen) == len(set(seen))
    gaps = [gap for gap in rough.gaps().values() if gap["channel"] == "trades"]
    missing = {row[2] for row in plain.trades()} - set(seen)
    assert all(any(gap["seq_from"] <= seq <= gap["seq_to"] for gap in gaps) for seq in missing)
    assert all(gap["ts_resolved"] is not None for gap in rough.gaps().values())
    assert set(rough.trades()) <= set(plain.trades())
    assert tops(rough) == tops(plain)
    assert rough.books() == plain.books()


def tops(line: Line) -> dict[str, tuple[Any, ...]]:
    return {quote[0]: quote[3:] for quote in line.quotes()}
