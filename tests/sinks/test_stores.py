"""What both stores must do alike: one conformance suite, run over each, against the real servers."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from store_rows import NOW_NS, TABLES, batch_of, expected, read_clickhouse, read_timescale, rows_of

from market.schemas import FLAG_BUST, FLAG_CORRECTION, PRICE_LIMIT
from sinks.base import Rows, Sink
from sinks.canonical import canonical_hash
from sinks.clickhouse import ClickHouseSink
from sinks.errors import StoreRejected
from sinks.timescale import TimescaleSink

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A sink on an empty store, and how to read it back."""

    sink: Sink
    address: str
    read: Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["timescale", "clickhouse"])
def store(request: pytest.FixtureRequest, empty_stores: tuple[str, str]) -> Any:
    dsn, url = empty_stores
    if request.param == "timescale":
        found = Store(sink=TimescaleSink(dsn), address=dsn, read=lambda table: read_timescale(dsn, table))
    else:
        found = Store(sink=ClickHouseSink(url), address=url, read=lambda table: read_clickhouse(url, table))
    yield found
    found.sink.close()


def write(sink: Sink, rows: Rows) -> None:
    with closing(sink):
        sink.write(rows)


@pytest.mark.parametrize("table", TABLES)
def test_rows_come_back_exactly(store: Store, table: str) -> None:
    rows = rows_of(table, 200)
    result = store.sink.write({table: [batch_of(table, rows[:70]), batch_of(table, rows[70:])]})
    assert store.read(table) == expected(table, rows)
    assert (result.rows_in, result.rows_written) == ({table: 200}, {table: 200})


@pytest.mark.parametrize("table", TABLES)
def test_writing_again_changes_nothing(store: Store, table: str) -> None:
    rows = rows_of(table, 60)
    for part in (rows[:40], rows, rows[20:], [*rows, *rows]):
        store.sink.write({table: [batch_of(table, part)]})
    assert store.read(table) == expected(table, rows)
    assert store.sink.write({table: [batch_of(table, rows)]}).total_written == 0


def test_duplicates_in_one_write_converge(store: Store) -> None:
    rows = rows_of("trades", 30)
    result = store.sink.write({"trades": [batch_of("trades", rows), batch_of("trades", rows[::-1])]})
    assert store.read("trades") == expected("trades", rows)
    assert (result.total_in, result.total_written) == (60, 30)


def test_all_tables_in_one_write(store: Store) -> None:
    rows = {table: rows_of(table, 20) for table in TABLES}
    store.sink.write({table: [batch_of(table, found)] for table, found in rows.items()})
    assert {table: store.read(table) for table in TABLES} == {
        table: expected(table, found) for table, found in rows.items()
    }


def test_an_empty_write_is_nothing(store: Store) -> None:
    assert store.sink.write({}).total_in == 0
    assert store.sink.write({"bars": []}).rows_written == {"bars": 0}
    assert store.sink.write({"bars": [batch_of("bars", [])]}).rows_written == {"bars": 0}


def _tick(seq: int, trade_id: str | None, price: int | None = 5, flags: int = 0, hours: int = 0) -> Row:
    ts = NOW_NS + hours * 3_600 * 10**9 + seq
    side = None if price is None else 1
    row = {"venue": "XCEC", "instrument": "XCEC:GC:202612", "ts_event": ts, "ts_recv": None, "seq": seq, "flags": flags}
    return row | {"trade_id": trade_id, "price": price, "size": price, "side": side}


def test_trades_net_is_the_trades_as_they_now_stand(store: Store) -> None:
    plain = [_tick(1, "kept"), _tick(2, None), _tick(3, None), _tick(4, "corrected"), _tick(5, "busted", flags=2)]
    other = _tick(6, "busted", hours=20)  # another day, the same id
    elsewhere = _tick(7, "busted") | {"instrument": "XCEC:GC:202702"}
    said = [
        _tick(10, "busted", None, FLAG_BUST),
        _tick(11, "busted", 9, FLAG_CORRECTION),  # the store has it only if it came first; a bust is for good
        _tick(13, "corrected", 7, FLAG_CORRECTION),
        _tick(12, "corrected", 6, FLAG_CORRECTION),
        _tick(14, "unknown", None, FLAG_BUST),
    ]
    store.sink.write({"trades": [batch_of("trades", [*plain, other, elsewhere, *said])]})
    corrected = plain[3] | {"price": 7, "size": 7, "flags": FLAG_CORRECTION}
    assert store.read("trades_net") == expected("trades", [*plain[:3], corrected, other, elsewhere])


def test_years_of_months_fit_in_one_write(store: Store) -> None:
    rows = rows_of("bars", 300)
    for number, row in enumerate(rows):
        row["ts_open"] = number * 30 * 86_400_000_000_000
    store.sink.write({"bars": [batch_of("bars", rows)]})
    assert store.read("bars") == expected("bars", rows)


def _gap(**changes: Any) -> Row:
    row = rows_of("gaps", 1)[0]
    return {**row, "ts_resolved": None, "resolution": None, "recovered_rows": 0} | changes


def test_a_resolved_gap_replaces_the_open_one(store: Store) -> None:
    opened, closed = _gap(), _gap(ts_resolved=NOW_NS, resolution="replay", recovered_rows=7)
    store.sink.write({"gaps": [batch_of("gaps", [opened])]})
    assert store.sink.write({"gaps": [batch_of("gaps", [closed])]}).total_written == 1
    assert store.read("gaps") == expected("gaps", [closed])


def test_a_resolved_gap_does_not_open_again(store: Store) -> None:
    opened, closed = _gap(), _gap(ts_resolved=NOW_NS, resolution="replay", recovered_rows=7)
    store.sink.write({"gaps": [batch_of("gaps", [closed, opened])]})
    assert store.sink.write({"gaps": [batch_of("gaps", [opened])]}).total_written == 0
    assert store.read("gaps") == expected("gaps", [closed])


def test_what_two_say_of_a_state_at_one_instant_stands_in_any_order(store: Store) -> None:
    feed = rows_of("status", 1)[0] | {"instrument": None, "quality": "GAP", "reason": "sequence_gap"}
    watcher = feed | {"reason": "instrument_state: gap"}
    store.sink.write({"status": [batch_of("status", [feed])]})
    store.sink.write({"status": [batch_of("status", [watcher, feed, watcher])]})
    assert store.read("status") == expected("status", [watcher, feed])


def test_an_event_keeps_the_market_that_was_joined_to_it(store: Store) -> None:
    known = ("arrival_price", "slippage", "markout_1m", "markout_5m", "markout_30m", "as_known_at")
    plain = rows_of("trade_events", 1)[0] | dict.fromkeys(known)
    joined = plain | {"arrival_price": 5, "slippage": -1, "as_known_at": NOW_NS}
    later = joined | {"markout_1m": 3, "as_known_at": NOW_NS + 1}
    for row in (plain, later, joined, plain):
        store.sink.write({"trade_events": [batch_of("trade_events", [row])]})
    assert store.read("trade_events") == expected("trade_events", [later])


@pytest.mark.parametrize(
    ("column", "value"), [("seq", None), ("instrument", None), ("price", PRICE_LIMIT), ("size", -PRICE_LIMIT)]
)
def test_what_no_store_can_hold_is_rejected_whole(store: Store, column: str, value: Any) -> None:
    rows = rows_of("trades", 10)
    rows[5] = rows[5] | {column: value}
    with pytest.raises(StoreRejected, match=column):
        store.sink.write({"bars": [batch_of("bars", rows_of("bars", 2))], "trades": [batch_of("trades", rows)]})
    assert store.read("bars") == store.read("trades") == []


def test_another_schema_is_rejected(store: Store) -> None:
    with pytest.raises(StoreRejected, match="another schema"):
        store.sink.write({"trades": [batch_of("quotes", rows_of("quotes", 1))]})
    with pytest.raises(StoreRejected, match="no table ticks"):
        store.sink.write({"ticks": []})


def test_the_hash_is_the_same_in_both_stores(empty_stores: tuple[str, str]) -> None:
    dsn, url = empty_stores
    rows = {table: [batch_of(table, rows_of(table, 150))] for table in TABLES}
    write(TimescaleSink(dsn), rows)
    backwards = list(range(149, -1, -1))
    write(ClickHouseSink(url), {table: [batches[0].take(backwards)] for table, batches in rows.items()})
    assert canonical_hash(dsn) == canonical_hash(url)
    assert canonical_hash(dsn, wall_clock=False) == canonical_hash(url, wall_clock=False)


def test_the_hash_sees_every_column_but_the_wall_clock(store: Store) -> None:
    row = rows_of("trades", 1)[0] | {"ts_recv": 1}
    hashes = []
    for changed in (row, row | {"ts_recv": 2, "seq": 5}, row | {"ts_recv": 3, "seq": 5, "price": 77, "ts_event": 3}):
        store.sink.write({"trades": [batch_of("trades", [changed])]})
        hashes.append(
            (canonical_hash(store.address)["trades"], canonical_hash(store.address, wall_clock=False)["trades"])
        )
    assert len({each for pair in hashes for each in pair}) == 6


def test_the_hash_without_wall_clock_is_that_of_another_run(empty_stores: tuple[str, str]) -> None:
    dsn, url = empty_stores
    rows = rows_of("bars", 20)
    write(TimescaleSink(dsn), {"bars": [batch_of("bars", rows)]})
    write(ClickHouseSink(url), {"bars": [batch_of("bars", [row | {"as_known_at": 5} for row in rows])]})
    assert canonical_hash(dsn, wall_clock=False) == canonical_hash(url, wall_clock=False)
    assert canonical_hash(dsn)["bars"] != canonical_hash(url)["bars"]
