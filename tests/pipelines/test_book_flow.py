"""The book flow: depth and states of the log in, `market.books` out, over restarts as in one run."""

from functools import partial
from pathlib import Path
from threading import Event

from connectors.log import open_reader
from connectors.ticks import DepthBuilder, TickBuilder
from market import topics
from market.records import TopicPartition
from market.schemas import BUY, IMAGE, SELL, SET
from pipelines import book
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer

GOLD = topics.prices("gold")
BOOKS = TopicPartition(topics.BOOKS, topics.FROM_ANALYTICS)
T0 = 1_795_176_000_000_000_000
MS = 1_000_000
NAME = ("gold", "XCEC", "XCEC:GC:202612")


def append(log: str, at_ms: int, price: int, *, image: bool = False, halted: bool = False) -> None:
    """A change of the best bid, as ingest writes it: ticks and depth as records of their own."""
    at = T0 + at_ms * MS
    ticks, depth = TickBuilder(), DepthBuilder()
    ticks.clock(ticks.slot("gold", "XCEC"), at, at)
    if halted:
        ticks.state(ticks.slot(*NAME), at, at, "HALTED")
    ticks.quote(ticks.slot(*NAME), at, at, 1, price, 5, None, None, 0)
    slot = depth.slot(*NAME)
    if image:
        depth.change(slot, at, at, 1, IMAGE)
        depth.change(slot, at, at, 1, SET, SELL, 10**12, 10**9)
    depth.change(slot, at, at, 1, SET, BUY, price * 10**9, 10**9, last=True)
    writer = open_writer(log)
    for part in ticks.detach() + depth.detach():
        writer.append(GOLD, part.kind, part.payload(), key="gold")
    writer.flush()
    writer.close()


def run(log: str, directory: Path) -> None:
    """Read the log to its end."""
    stop = Event()
    stop.set()
    config = book.BookConfig(
        open_reader=partial(open_reader, log), open_writer=partial(open_writer, log), now=lambda: 0, stop=stop
    )
    run_flow("book", partial(book.build, config), directory)


def said(log: str) -> list[tuple[int, int, str]]:
    reader = open_reader(log)
    records = reader.read(BOOKS, reader.begin_offset(BOOKS), 1 << 20)
    reader.close()
    rows = [row for record in records for row in record.batch.to_pylist()]
    return [((row["ts_event"] - T0) // MS, row["bid_1_price"] // 10**9, row["quality"]) for row in rows]


def test_snapshots_go_out_once_over_restarts(tmp_path: Path) -> None:
    log, recovery = (tmp_path / "log").as_uri(), tmp_path / "recovery"
    append(log, 0, 90, image=True)
    append(log, 100, 91)
    run(log, recovery)
    assert said(log) == []  # the line of the grid has not been passed
    append(log, 300, 92)
    run(log, recovery)
    run(log, recovery)
    append(log, 600, 93, halted=True)
    append(log, 900, 94)
    run(log, recovery)
    assert said(log) == [(100, 91, "LIVE"), (300, 92, "LIVE"), (600, 93, "HALTED")]
