"""What a log holds, as rows: for comparing two logs, or a log with a store."""

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.log import open_reader
from market import topics
from market.records import LogReader, Record, TopicPartition
from market.schemas import QUOTE, TRADE

Rows = dict[str, list[tuple[Any, ...]]]
"""Rows by instrument, in the order in which they arrived."""

_COMPARED: Mapping[int, tuple[str, ...]] = {
    TRADE: ("ts_event", "price", "size", "side", "trade_id"),
    QUOTE: ("ts_event", "bid_price", "bid_size", "ask_price", "ask_size"),
}
"""Without what two sessions at one venue may differ in: ts_recv, seq, and how a row came (flags)."""


def ticks(url: str, kind: int) -> Rows:
    """Trades or quotes of all price topics."""
    found: Rows = {}
    for row in _rows(url, topics.PRICES_PATTERN, "ticks"):
        if row["kind"] == kind:
            found.setdefault(row["instrument"], []).append(tuple(row[name] for name in _COMPARED[kind]))
    return found


def open_gaps(url: str) -> list[str]:
    """Gaps of which the log does not say that they were closed."""
    closed = {row["gap_id"]: row["ts_resolved"] is not None for row in _rows(url, topics.STATUS, "gaps")}
    return [gap_id for gap_id, is_closed in closed.items() if not is_closed]


def final_bars(url: str) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The last published state of each final bar."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in _rows(url, topics.BARS, "bars"):
        key = row["instrument"], row["interval"], row["ts_open"]
        if row["final"] and row["revision"] >= found.get(key, row)["revision"]:
            found[key] = row
    return found


def _rows(url: str, pattern: str, kind: str) -> Iterator[dict[str, Any]]:
    reader = open_reader(url)
    try:
        for tp in reader.partitions(pattern):
            for record in records_of(reader, tp):
                if record.kind == kind and record.batch is not None:
                    yield from record.batch.to_pylist()
    finally:
        reader.close()


def records_of(reader: LogReader, tp: TopicPartition) -> Iterator[Record]:
    """All records of a topic-partition that the log has kept."""
    offset = reader.begin_offset(tp)
    while records := reader.read(tp, offset):
        yield from records
        offset = records[-1].offset + 1
