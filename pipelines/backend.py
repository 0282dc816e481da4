"""The trading backend's dataflow: its events in, `trading.events` out, each event once.

Delivery: each event once in the log, over any crash, however often and by whichever source it comes. A flush appends
its events; once an epoch, when they are on disk, its positions go to `ingest.positions`. A restart reads the sources
from there. What had been written since comes again, and so may anything else: an event whose id is among the newest
MEMORY_EVENTS of the log is not written again. Beyond that reach an event comes twice only if the backend itself says it
twice that far apart; then the log has it twice, and the stores, by their natural key, once.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Final

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.backend.feed import BackendFeed, EventFlush, Received, rejected_row
from connectors.backend.source import BACKEND, Positions
from connectors.ticks import row_batch
from market import topics
from market.records import JSON_KIND, LogReader, LogWriter, TopicPartition
from market.trade_events import EventRefused, TradeEvent, event_of, to_log
from pipelines import metrics
from pipelines.engine.outputs import guarded
from pipelines.engine.positions import PositionLog, saved_positions
from pipelines.engine.recovery import execute
from sinks.faults import crash_point

EVENTS: Final = TopicPartition(topics.TRADING_EVENTS, topics.FROM_BACKEND)
POSITIONS: Final = TopicPartition(topics.INGEST_POSITIONS, topics.FROM_BACKEND)
_LEDGERS: Final = {"rejected": topics.REJECTED, "gaps": topics.STATUS}

MEMORY_EVENTS: Final = 200_000
"""Ids that are remembered: a day of two events a second, about 40 MB. A start reads as many records: about 2 s."""

_SAVE_EVENTS: Final = MEMORY_EVENTS // 4
"""Positions are saved at the latest after this many, so that what comes again after a crash is always remembered."""

_LOOK_EVERY: Final = timedelta(milliseconds=20)

_NOTHING: Final = EventFlush(events=(), rejected=None, gaps=None, positions={})
"""Bytewax builds a sink when something comes to it. This does, at once, so that the lock is taken at once."""

OpenFeed = Callable[[Callable[[], int], Positions], BackendFeed]
"""Builds the feed from the market clock and the positions to resume at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFlow:
    """What the flow needs. `now` is the market clock."""

    open_feed: OpenFeed
    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    memory_events: int = MEMORY_EVENTS


def run(config: BackendFlow) -> None:
    """Read the backend until `stop`. Raises: FeedFailed, LogWriteFailed, WriterLocked."""
    execute(build(config))


def build(config: BackendFlow) -> Dataflow:
    """Wire the flow. It has no recovery store: where it stopped is in the log."""
    flow = Dataflow(BACKEND)
    with closing(config.open_reader()) as reader:
        feed = config.open_feed(config.now, saved_positions(reader, POSITIONS))
    flushes = op.input("backend", flow, _EventSource(config, feed))
    op.output("log", op.map("key", flushes, lambda flush: ("log", flush)), _EventSink(config, feed))
    return flow


@dataclass(frozen=True, slots=True)
class _EventSource(FixedPartitionedSource[EventFlush, None]):
    config: BackendFlow
    feed: BackendFeed

    def list_parts(self) -> list[str]:
        return ["backend"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_EventPart":
        self.feed.start()
        return _EventPart(self.config.stop, self.feed)


@dataclass(slots=True)
class _EventPart(StatefulSourcePartition[EventFlush, None]):
    stop: Event
    feed: BackendFeed
    started: bool = False
    stopped: bool = False

    def next_batch(self) -> Iterable[EventFlush]:
        if self.stopped:
            raise StopIteration
        if not self.started:
            self.started = True
            return [_NOTHING]
        for source, is_up in self.feed.up.items():
            metrics.BACKEND_UP.labels(source).set(is_up)
        if self.stop.is_set():
            self.feed.stop()
            self.stopped = True  # what came until now is still to be written
        flush = self.feed.take()
        return [] if flush is None else [flush]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + _LOOK_EVERY

    def snapshot(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _EventSink(FixedPartitionedSink[EventFlush, None]):
    config: BackendFlow
    feed: BackendFeed

    def list_parts(self) -> list[str]:
        return ["log"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[EventFlush, None]:
        return guarded(EventWriter(self.config, self.feed))


class EventWriter(StatefulSinkPartition[EventFlush, None]):
    """Writes each event once.

    State: `memory_events` ids, the oldest forgotten first; read from the log at the start.
    """

    def __init__(self, config: BackendFlow, feed: BackendFeed) -> None:
        self._feed = feed
        self._writer = writer = config.open_writer()
        writer.last_record(EVENTS)  # takes the lock: from here on nobody else writes
        with closing(config.open_reader()) as reader:
            self._positions = PositionLog[str](writer, POSITIONS, BACKEND, dict(saved_positions(reader, POSITIONS)))
            self._known = KnownEvents.from_log(reader, config.memory_events)
        self._save_events = min(_SAVE_EVENTS, config.memory_events // 4)
        self._unsaved = 0

    def write_batch(self, values: list[EventFlush]) -> None:
        for flush in values:
            self._append(flush)
        crash_point("backend.flush.before")
        self._writer.flush()
        crash_point("backend.flush.after")
        for flush in values:
            self._positions.reach(flush.positions)
        if self._unsaved >= self._save_events:
            self._positions.save_now()
            self._saved()

    def snapshot(self) -> None:
        """The end of an epoch: only what is on disk may be passed over by a resume, or deleted by the backend."""
        if self._positions.end_epoch():
            self._saved()

    def close(self) -> None:
        self._positions.save_now()
        self._writer.close()

    def _saved(self) -> None:
        self._unsaved = 0
        self._feed.forget(self._positions.saved)

    def _append(self, flush: EventFlush) -> None:
        refused = [row for received in flush.events if (row := self._append_event(received)) is not None]
        for rows in (flush.rejected, row_batch("rejected", refused)):
            if rows is not None:
                self._append_ledger("rejected", rows)
                for reason in pc.value_counts(rows.column("reason")).to_pylist():
                    metrics.REJECTED_ROWS.labels(reason["values"]).inc(reason["counts"])
        if flush.gaps is not None:
            self._append_ledger("gaps", flush.gaps)
            metrics.GAPS.labels(BACKEND).inc(flush.gaps.num_rows)

    def _append_ledger(self, kind: str, rows: pa.RecordBatch) -> None:
        self._writer.append(TopicPartition(_LEDGERS[kind], topics.FROM_BACKEND), kind, rows)

    def _append_event(self, received: Received) -> dict[str, Any] | None:
        """Append an event that is new; return a row of the ledger if its id is that of another one."""
        event, message = received.event, received.message
        known = self._known.add(event)
        if known is None:
            self._writer.append(EVENTS, JSON_KIND, to_log(event), key=event.trade_id)
            self._unsaved += 1
            metrics.ROWS.labels("ingest", BACKEND).inc()
            metrics.FEED_LAST_EVENT_SECONDS.labels(BACKEND).set(event.ts_event / 1e9)
            return None
        if known:
            metrics.DUPLICATE_EVENTS.labels(message.channel.split("/")[1]).inc()
            return None
        error = EventRefused("conflicting_event", f"{event.event_id} came before, and said something else")
        return rejected_row(message, error, event.ts_recv)


@dataclass(slots=True)
class KnownEvents:
    """The newest events by id, with a hash of what they said."""

    limit: int
    _hashes: dict[str, int] = field(default_factory=dict)
    _order: deque[str] = field(default_factory=deque)

    @staticmethod
    def from_log(reader: LogReader, limit: int) -> "KnownEvents":
        """Remember the last `limit` events of the log."""
        known = KnownEvents(limit)
        if EVENTS in reader.partitions(EVENTS.topic):
            offset = max(reader.begin_offset(EVENTS), reader.end_offset(EVENTS) - limit)
            while records := reader.read(EVENTS, offset):
                for record in records:
                    known.add(event_of(record.value))
                offset = records[-1].offset + 1
        return known

    def add(self, event: TradeEvent) -> bool | None:
        """None if the event is new, and known from now on; True if it came before; False if its id did."""
        said = hash(replace(event, ts_recv=0))
        known = self._hashes.get(event.event_id)
        if known is not None:
            return known == said
        self._hashes[event.event_id] = said
        self._order.append(event.event_id)
        if len(self._order) > self.limit:
            del self._hashes[self._order.popleft()]
        return None
