"""What the flows make of a price topic's records."""

from itertools import count

import pyarrow as pa
from arrivals import batch
from reference import SECOND, Row

from market import topics
from market.records import JSON_KIND, Record, TopicPartition
from market.schemas import DEPTH, TICKS
from pipelines.engine.log_source import derived_of, ticks_of

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


def test_business_events_are_rows_of_their_table() -> None:
    value = (
        b'{"event_id":"e-1","type":"created","trade_id":"t-1","user":"asha","instrument":"IFUS:CT:202612","side":"sell",'
        b'"ts_event":"7","ts_recv":"8","version":1,"quantity":2,"price":68.2}'
    )
    found = [Record(offset=n, ts_append=n, kind=JSON_KIND, payload=value) for n in (3, 4)]
    ((topic, derived),) = derived_of(TopicPartition(topics.TRADING_EVENTS, topics.FROM_BACKEND), found, False)
    assert (topic, derived.kind, derived.first) == (topics.TRADING_EVENTS, "trade_events", 3)
    assert derived.batch.column("quantity").to_pylist() == [2_000_000_000] * 2
