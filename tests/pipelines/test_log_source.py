"""What the flows make of a price topic's records."""

from itertools import count, product

import pyarrow as pa
import pytest
from arrivals import batch
from reference import SECOND, Row

from market import topics
from market.records import JSON_KIND, Record, TopicPartition
from market.schemas import DEPTH, STATE, TICKS, TRADE
from pipelines.engine.log_source import books_of, derived_of, ticks_of

GOLD = topics.prices("gold")


def ticks(rows: int) -> pa.RecordBatch:
    row = Row("trade", "XCEC", "XCEC:GC:202612", SECOND, SECOND, 5 * SECOND, SECOND, 1)
    return batch([row] * rows).select(TICKS.names)


def records(*kinds: str) -> list[Record]:
    batches = {"ticks": ticks(2), "depth": pa.RecordBatch.from_pylist([], schema=DEPTH)}
    return [Record(offset=n, ts_append=n, kind=kind, payload=batches[kind]) for n, kind in zip(count(7), kinds)]


def test_records_of_other_kinds_are_passed_over_and_still_move_the_position() -> None:
    ((shard, chunk),) = ticks_of(GOLD, records("depth", "ticks", "depth", "ticks", "depth"), False)
    assert (shard, chunk.first, chunk.next) == ("gold", 7, 12)
    assert chunk.arrivals.column("source_offset").to_pylist() == [8, 8, 10, 10]
    assert chunk.arrivals.column("source_row").to_pylist() == [0, 1, 0, 1]


def test_a_chunk_without_ticks_is_empty_and_says_where_it_starts() -> None:
    ((_, chunk),) = ticks_of(GOLD, records("depth", "depth"), True)
    assert (chunk.first, chunk.next, chunk.arrivals.num_rows, chunk.is_start) == (7, 9, 0, True)


@pytest.mark.parametrize("kinds", list(product("TSD", repeat=4)))
def test_what_a_book_is_made_of_keeps_its_order(kinds: tuple[str, ...]) -> None:
    found = [
        Record(offset=n, ts_append=n, kind=KIND_OF[kind], payload=of_a_book(kind, n)) for n, kind in enumerate(kinds)
    ]
    ((_, together),) = books_of(GOLD, found, False)
    apart = [row for one in found for _, chunk in books_of(GOLD, [one], False) for row in chunk.arrivals.to_pylist()]
    assert together.arrivals.to_pylist() == apart
    assert [row["seq"] for row in apart] == [n for n, kind in enumerate(kinds) if kind != "T" for _ in range(2)]


KIND_OF = {"T": "ticks", "S": "ticks", "D": "depth"}


def of_a_book(kind: str, number: int) -> pa.RecordBatch:
    """Two rows of depth, two states among two trades, or two trades."""
    common = {"venue": "XCEC", "instrument": "XCEC:GC:202612", "ts_event": SECOND, "ts_recv": SECOND, "seq": number}
    if kind == "D":
        rows = [common | {"action": 1, "side": 1, "price": 5, "size": 1, "last": n == 1} for n in range(2)]
        return pa.RecordBatch.from_pylist(rows, schema=DEPTH)
    kinds = (TRADE, STATE, TRADE, STATE) if kind == "S" else (TRADE, TRADE)
    return pa.RecordBatch.from_pylist([common | {"kind": each, "size": 1, "flags": 0} for each in kinds], schema=TICKS)


def test_business_events_are_rows_of_their_table() -> None:
    value = (
        b'{"event_id":"e-1","type":"created","trade_id":"t-1","user":"asha","instrument":"IFUS:CT:202612","side":"sell",'
        b'"ts_event":"7","ts_recv":"8","version":1,"quantity":2,"price":68.2}'
    )
    found = [Record(offset=n, ts_append=n, kind=JSON_KIND, payload=value) for n in (3, 4)]
    ((topic, derived),) = derived_of(TopicPartition(topics.TRADING_EVENTS, topics.FROM_BACKEND), found, False)
    assert (topic, derived.kind, derived.first) == (topics.TRADING_EVENTS, "trade_events", 3)
    assert derived.batch.column("quantity").to_pylist() == [2_000_000_000] * 2
