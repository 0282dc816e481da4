"""What ingest writes beside its rows, so that another process can go on exactly where it died."""

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from arrivals import batch
from log_support import read_all
from prometheus_client import REGISTRY
from reference import SECOND, Row

from connectors.feed import Flush
from connectors.log import open_reader
from connectors.ticks import DepthBuilder, DetachedRows
from market import topics
from market.schemas import BUY, QUOTE, SET, TICKS, TRADE
from pipelines import ingest
from sinks.errors import WriterLocked
from sinks.log import open_writer

GOLD = topics.prices("gold")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return tmp_path.as_uri()


class Process:
    """The writing half of one ingest process; leaving the block is its end, however it came."""

    def __init__(self, url: str) -> None:
        config = ingest.IngestConfig(
            feeds={},
            open_reader=partial(open_reader, url),
            open_writer=partial(open_writer, url),
            now=lambda: 0,
            stop=threading.Event(),
        )
        self._part = ingest._FlushSink(config, ingest._Duty()).build_part("log", "log", None)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()

    def write(self, rows: Sequence[Row], *, trades: int, book: int, session: str = "s", venue: str = "ice") -> None:
        """Flush rows, which bring the two channels of the venue to these positions."""
        self.flush(venue, prices=[ticks(rows)], positions={"session": session, "trades": trades, "book": book})

    def flush(self, venue: str, **parts: Any) -> None:
        nothing: dict[str, Any] = {
            "prices": [],
            "rejected": None,
            "gaps": None,
            "status": None,
            "news": None,
        }
        self._part.write_batch([Flush(venue=venue, counters={}, **{**nothing, **parts})])


def ticks(rows: Sequence[Row]) -> DetachedRows:
    """Rows as a feed gives them."""
    found = batch(list(rows)).select(TICKS.names)
    names = [found.column(name).dictionary.to_pylist() for name in ("venue", "instrument")]
    coded = [column.indices if isinstance(column, pa.DictionaryArray) else column for column in found.columns]
    tuples = list(zip(*(column.to_pylist() for column in coded), strict=True))
    return DetachedRows(kind="ticks", commodity="gold", rows=tuples, venues=names[0], instruments=names[1])


def trades(first: int, last: int) -> list[Row]:
    return [row("trade", seq) for seq in range(first, last + 1)]


def quotes(first: int, last: int) -> list[Row]:
    return [row("quote", seq) for seq in range(first, last + 1)]


def row(kind: str, seq: int) -> Row:
    return Row(kind, "XCEC", "XCEC:GC:202612", seq * SECOND, seq * SECOND, 5 * SECOND, SECOND, seq, seq)


def logged(url: str, kind: int) -> list[int]:
    """Sequence numbers of the rows of a kind, in the order of the log."""
    records = [record.batch.to_pylist() for record in read_all(open_reader(url), GOLD) if record.batch is not None]
    return [row["seq"] for rows in records for row in rows if row["kind"] == kind]


def test_rows_that_come_again_are_dropped(url) -> None:
    with Process(url) as first:
        first.write(trades(1, 10) + quotes(1, 4), trades=10, book=4)
    with Process(url) as second:
        second.write(trades(6, 12) + quotes(3, 5), trades=12, book=5)
    assert logged(url, TRADE) == list(range(1, 13))
    assert logged(url, QUOTE) == list(range(1, 6))


def test_a_process_that_dies_within_a_repair_makes_the_next_one_repeat_nothing(url) -> None:
    with Process(url) as first:
        first.write(trades(1, 10), trades=10, book=0)
    with Process(url) as second:  # it resumed at trade 5, and the venue replays the book first
        second.write(quotes(1, 3), trades=5, book=3)
    with Process(url) as third:
        third.write(trades(6, 12), trades=12, book=3)
    assert logged(url, TRADE) == list(range(1, 13))


def test_another_session_counts_anew(url) -> None:
    with Process(url) as first:
        first.write(trades(1, 10), trades=10, book=0)
    with Process(url) as second:
        second.write(trades(1, 3), trades=3, book=0, session="t")
    assert logged(url, TRADE) == [*range(1, 11), *range(1, 4)]


def test_a_session_can_be_resumed_from_its_first_rows_on(url) -> None:
    with Process(url) as process:
        for session in ("s", "t"):
            process.write(trades(1, 3), trades=3, book=1, session=session)
            at = {"session": session, "trades": 3, "book": 1}
            assert ingest.last_positions(open_reader(url)) == {"ice": at}


def test_each_venue_of_a_topic_goes_on_at_its_own_position(url) -> None:
    with Process(url) as first:
        first.write(trades(1, 10), trades=10, book=1, venue="ice")
        first.write(trades(21, 25), trades=25, book=1, venue="cme")
        first.write(trades(11, 12), trades=12, book=1, venue="ice")
    with Process(url) as second:
        second.write(trades(24, 27), trades=27, book=1, venue="cme")
        second.write(trades(9, 14), trades=14, book=1, venue="ice")
    assert logged(url, TRADE) == [*range(1, 11), *range(21, 26), 11, 12, 26, 27, 13, 14]


def test_a_venue_that_is_not_connected_keeps_its_position(url) -> None:
    with Process(url) as first:
        first.write(trades(1, 3), trades=3, book=1, venue="ice")
    with Process(url) as second:
        second.write(trades(1, 2), trades=2, book=1, venue="cme")
    assert set(ingest.last_positions(open_reader(url))) == {"ice", "cme"}


def test_rows_of_a_venue_that_cannot_resume_are_all_kept(url) -> None:
    for _ in range(2):
        with Process(url) as process:
            process.flush("mcx", prices=[ticks(trades(1, 3))], positions={})
    assert logged(url, TRADE) == [1, 2, 3, 1, 2, 3]


def test_depth_is_logged_among_the_ticks_and_not_twice(url) -> None:
    def changes(first: int, last: int) -> list[DetachedRows]:
        builder = DepthBuilder()
        slot = builder.slot("gold", "XCEC", "XCEC:GC:202612")
        for seq in range(first, last + 1):
            builder.change(slot, seq, seq, seq, SET, BUY, 5 * SECOND, SECOND, last=True)
        return builder.detach()

    at = {"session": "s", "trades": 1, "book": 4}
    with Process(url) as first:
        first.flush("ice", prices=changes(1, 4), positions=at)
    with Process(url) as second:
        second.flush("ice", prices=changes(3, 6), positions={**at, "book": 6})
    records = [record for record in read_all(open_reader(url), GOLD) if record.batch is not None]
    assert [record.kind for record in records] == ["depth", "depth"]
    assert [seq for record in records for seq in record.batch.column("seq").to_pylist()] == [1, 2, 3, 4, 5, 6]


def test_what_a_feed_met_is_counted_once(url: str) -> None:
    def count(event: str) -> float:
        return REGISTRY.get_sample_value("mandi_feed_events_total", {"feed": "test", "event": event}) or 0.0

    def told(**counters: int) -> Flush:
        nothing: dict[str, Any] = dict.fromkeys(("rejected", "gaps", "status", "news"))
        return Flush(venue="test", prices=[], **nothing, positions={}, counters=counters)

    with Process(url) as process:
        process._part.write_batch([told(conflated=3, frames=9)])
        process._part.write_batch([told(conflated=3), told(conflated=5, duplicates=1)])
    assert (count("conflated"), count("duplicates"), count("frames")) == (5.0, 1.0, 0.0)


class OneFlush:
    """Stands for a venue that says something at once."""

    venue = "ice"

    def __init__(self) -> None:
        self.running = False

    def start(self, *_: object) -> None:
        self.running = True

    def wait(self, *_: object) -> bool:
        return True

    def take(self) -> Flush:
        nothing: dict[str, Any] = dict.fromkeys(("rejected", "gaps", "status", "news"))
        return Flush(venue=self.venue, prices=[ticks(trades(1, 1))], positions={}, counters={}, **nothing)

    def stop(self) -> None:
        self.running = False


def test_an_ingest_that_cannot_write_stops_its_feeds(url: str) -> None:
    feed, other = OneFlush(), open_writer(url)
    other.last_record(GOLD)  # the partition is its own from now on
    config = ingest.IngestConfig(
        feeds={"ice": lambda _now, _resume: feed},
        open_reader=partial(open_reader, url),
        open_writer=partial(open_writer, url),
        now=lambda: 0,
        stop=threading.Event(),
    )
    try:
        with pytest.raises(WriterLocked):
            ingest.run(config)
    finally:
        other.close()
    assert not feed.running
