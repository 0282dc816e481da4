"""The book dataflow: the depth of the price topics in, `market.books` out: snapshots of every book that changed.

Delivery: state and positions recover together; snapshots are at least once, told apart by their natural key.
Step ids are stable: recovery is keyed by them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from market import topics
from market.book import EVERY_NS, BookKernel
from market.records import LogReader, LogWriter, TopicPartition
from pipelines.engine.log_source import LogSource, books_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import kernel_step

_POLL: Final = timedelta(milliseconds=500)  # a snapshot is for history; the gateway reads the log itself


@dataclass(frozen=True, slots=True, kw_only=True)
class BookConfig:
    """What the flow needs. `now` is the market clock; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    every_ns: int = EVERY_NS


def build(config: BookConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("book")
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.PRICES_PATTERN],
        convert=books_of,
        stop=config.stop,
        on_read=Lag("book"),
        poll=_POLL,
    )
    changes = op.input("prices", flow, source)
    books = kernel_step("book", changes, lambda: BookKernel(every_ns=config.every_ns), now=config.now)
    op.output("topics", books, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _target(name: str) -> TopicPartition:
    assert name == "books"
    return TopicPartition(topics.BOOKS, topics.FROM_ANALYTICS)
