"""A recorded file is told row by row, at its own pace, from the simulator's start."""

from pathlib import Path

import pytest

from feeds_simulator.events import BookEvent, StatusEvent, TradeEvent
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.recording import NEVER_NS, BadRecording, Recording

S = 10**9
START_NS = 1_800_000_000 * S

HEAD = "ts_event,instrument,kind,price,size,side,trade_id,bid_price,bid_size,ask_price,ask_size\n"
FILE = HEAD + (
    "2026-11-20T10:00:00.000000001Z,IFUS:CT:202612,trade,68.21,3,buy,a1,,,,\n"
    "1795168801000000001,IFUS:CT:202612,quote,,,,,68.20,5,68.22,7\n"
    "2026-11-20T09:59:59Z,IFUS:CT:202612,,68.19,1,sell,,,,,\n"
    "2026-11-20T15:30:05.5+05:30,XCEC:GC:202612,trade,4150.10,2,,,,,,\n"
)


def recorded(tmp_path: Path, text: str = FILE) -> Path:
    path = tmp_path / "day.csv"
    path.write_text(text)
    return path


def test_rows_become_events_in_order(tmp_path: Path) -> None:
    market = Recording(recorded(tmp_path), START_NS, ice_symbol)
    assert {listing.key for listing in market.listings.values()} == {"IFUS:CT:202612", "XCEC:GC:202612"}
    states, trade, quote, late, gold = (event for action in market.pull(START_NS + 60 * S) for event in action[:1])
    assert isinstance(states, StatusEvent)
    assert trade == TradeEvent(START_NS, "CT Z26", "a1", 6821, 3, "B")
    assert isinstance(quote, BookEvent)
    assert (quote.ts_event, quote.bids[0][:2], quote.asks[0][:2]) == (START_NS + S, (6820, 5), (6822, 7))
    assert isinstance(late, TradeEvent)
    assert (late.ts_event, late.price, late.aggressor) == (START_NS - S - 1, 6819, "S")
    assert isinstance(gold, TradeEvent)
    assert (gold.ts_event, gold.price) == (START_NS + 5 * S + S // 2 - 1, 41501)
    assert market.next_ns == NEVER_NS


def test_it_keeps_its_pace_and_a_venue_its_own_exchanges(tmp_path: Path) -> None:
    market = Recording(recorded(tmp_path), START_NS, mics={"IFUS"})
    assert list(market.listings) == ["IFUS:CT:202612"]
    assert len(market.pull(START_NS)) == 2
    assert market.next_ns == START_NS + S
    assert market.pull(START_NS + S - 1) == []
    assert len(market.pull(START_NS + S, 1)) == 1  # the late row is told right after
    assert len(market.pull(START_NS + S)) == 1


def test_sleep_skips(tmp_path: Path) -> None:
    market = Recording(recorded(tmp_path), START_NS)
    market.skip_to(START_NS + 3 * S)
    assert len(market.pull(START_NS + 60 * S)) == 1


def test_an_unknown_instrument_gets_the_finest_tick(tmp_path: Path) -> None:
    text = HEAD + "1,XLME:CA:202612,trade,9000.5,1,,,,,,\n2,XLME:CA:202612,trade,9000.25,1,,,,,,\n"
    (listing,) = Recording(recorded(tmp_path, text), START_NS).listings.values()
    assert str(listing.tick) == "0.01"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("soon,IFUS:CT:202612,trade,68.21,3,,,,,,", "line 2: ts_event is 'soon'"),
        ("1,COTTON,trade,68.21,3,,,,,,", "line 2: 'COTTON' is not an instrument key"),
        ("1,IFUS:CT:202612,trade,68.215,3,,,,,,", "68.215 is no multiple of the tick 0.01"),
        ("1,IFUS:CT:202612,trade,x,3,,,,,,", "price is 'x', not a number"),
        ("1,IFUS:CT:202612,trade,NaN,3,,,,,,", "price is 'NaN', not finite"),
    ],
)
def test_a_row_that_cannot_be_told_is_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(BadRecording, match="line 2") as failed:
        Recording(recorded(tmp_path, HEAD + row + "\n"), START_NS).pull(START_NS + S)
    assert said in str(failed.value)


def test_a_file_without_a_row_for_the_venue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="no row of these exchanges"):
        Recording(recorded(tmp_path), START_NS, mics={"XIMC"})
