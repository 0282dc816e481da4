"""The ingest dataflow: a venue's feed in, the log out. It computes nothing.

Delivery: exactly once into the log, over any crash. Each flush appends its rows, every record with the feed's
positions at that flush. Once an epoch, when all of that is on disk, the positions go to `ingest.positions`. A restart
resumes the venue's session there. The rows written since come again; they are at or below the positions in their
topic's own last record, and are dropped.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from time import monotonic, perf_counter
from typing import Final

import bytewax.operators as op
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.ice.config import IceConfig
from connectors.ice.source import Flush, IceFeed
from market import topics
from market.columns import codes, dictionary, valid, values
from market.records import JSON_KIND, LogReader, LogWriter, TopicPartition
from market.schemas import CLOCK, QUOTE, TRADE
from pipelines import metrics
from pipelines.engine.recovery import execute
from sinks.faults import crash_point

POSITIONS: Final = TopicPartition(topics.INGEST_POSITIONS, topics.FROM_INGEST)
_LEDGERS: Final = {"rejected": topics.REJECTED, "gaps": topics.STATUS, "status": topics.STATUS}
_CHANNEL_OF: Final = {TRADE: "trades", QUOTE: "book"}

ROWS_META: Final = "rows"
"""In each record's `meta`: trades and quotes of its partition up to and with it, also those retention dropped."""

_META: Final = ("session", *_CHANNEL_OF.values())
_LEAST_WAIT_S: Final = 0.001
_MOST_WAIT_S: Final = 0.05
_DUTY: Final = 2.0
"""After a flush wait this many times as long as it took: quiet, rows go out within a millisecond; busy, batches grow
until appending takes a third of the time at most."""

Positions = Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    ice: IceConfig
    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event


def run(config: IngestConfig) -> None:
    """Ingest until `stop`. Raises: FeedFailed, LogWriteFailed, WriterLocked."""
    execute(build(config))


def build(config: IngestConfig) -> Dataflow:
    """Wire the flow. It has no recovery store: where it stopped is in the log."""
    flow = Dataflow("ingest")
    duty = _Duty()
    flushes = op.input("ice", flow, _FeedSource(config, duty))
    op.output("log", op.map("key", flushes, lambda flush: ("log", flush)), _FlushSink(config, duty))
    return flow


@dataclass(slots=True)
class _Duty:
    """How long the last flush took; shared by the source, which waits, and the sink, which measures."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _FeedSource(FixedPartitionedSource[Flush, None]):
    config: IngestConfig
    duty: _Duty

    def list_parts(self) -> list[str]:
        return ["ice"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_FeedPart":
        return _FeedPart(self.config, self.duty)


class _FeedPart(StatefulSourcePartition[Flush, None]):
    def __init__(self, config: IngestConfig, duty: _Duty) -> None:
        self._stop, self._duty = config.stop, duty
        self._feed = IceFeed(config.ice, config.now, last_positions(config.open_reader()))
        self._feed.start()
        self._stopped = False

    def next_batch(self) -> Iterable[Flush]:
        if self._stopped:
            raise StopIteration
        if self._stop.is_set():
            self._feed.stop()
            self._stopped = True  # what came until now is still to be written
        elif not self._feed.wait(0):
            return []
        flush = self._feed.take()
        return [flush] if flush.rows else []

    def next_awake(self) -> datetime:
        wait_s = min(_MOST_WAIT_S, max(_LEAST_WAIT_S, _DUTY * self._duty.seconds))
        return datetime.now(UTC) + timedelta(seconds=wait_s)

    def snapshot(self) -> None:
        return None


def last_positions(reader: LogReader) -> Positions | None:
    """Where the feed's rows in the log end; None if there are none."""
    end = reader.end_offset(POSITIONS) if POSITIONS in reader.partitions(POSITIONS.topic) else 0
    if end == 0:
        return None
    found: Positions = orjson.loads(reader.read(POSITIONS, end - 1)[0].value)
    return found


@dataclass(frozen=True, slots=True)
class _FlushSink(FixedPartitionedSink[Flush, None]):
    config: IngestConfig
    duty: _Duty

    def list_parts(self) -> list[str]:
        return ["log"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_FlushPart":
        return _FlushPart(self.config.open_writer(), self.duty, self.config.now)


@dataclass(slots=True)
class _FlushPart(StatefulSinkPartition[Flush, None]):
    writer: LogWriter
    duty: _Duty
    now: Callable[[], int]
    written: dict[TopicPartition, Positions] = field(default_factory=dict)
    rows: Counter[TopicPartition] = field(default_factory=Counter)
    session: int | str | None = None  # of the positions saved last
    reached: Positions = field(default_factory=dict)
    waiting: deque[tuple[float, Positions]] = field(default_factory=deque)  # flushed by, positions

    def write_batch(self, values: list[Flush]) -> None:
        began = perf_counter()
        for flush in values:
            self._write(flush)
        self.duty.seconds = perf_counter() - began

    def snapshot(self) -> None:
        """The end of an epoch: only what is on disk may be passed over by a resume.

        Asked without waiting: a wait for the disk, twice a second, would be the tail of every latency.
        """
        if self.reached:
            self.waiting.append((monotonic(), self.reached))
            self.reached = {}
        durable, until = None, self.writer.durable_until()
        while self.waiting and self.waiting[0][0] < until:
            durable = self.waiting.popleft()[1]
        if durable is not None:
            self._save(durable)

    def close(self) -> None:
        if self.reached or self.waiting:
            self._save_now()
        self.writer.close()

    def _save_now(self) -> None:
        newest = self.reached or self.waiting[-1][1]
        self.writer.sync()
        self.waiting.clear()
        self.reached = {}
        self._save(newest)

    def _save(self, positions: Positions) -> None:
        crash_point("ingest.positions.before")
        self.writer.append(POSITIONS, JSON_KIND, orjson.dumps(dict(positions)))
        self.writer.flush()
        self.session = positions.get("session")
        crash_point("ingest.positions.after")

    def _write(self, flush: Flush) -> None:
        for commodity, ticks in flush.ticks:
            tp = topics.prices(commodity)
            written = self._written_to(tp, flush.positions)
            fresh = without_written(ticks, written)
            if fresh.num_rows:
                self.rows[tp] += int(np.count_nonzero(values(fresh.column("kind")) != CLOCK))
                meta = {**_reached(flush.positions, written), ROWS_META: self.rows[tp]}
                self.writer.append(tp, "ticks", fresh, key=commodity, meta=meta)
        for kind, topic in _LEDGERS.items():
            rows: pa.RecordBatch | None = getattr(flush, kind)
            if rows is not None:
                self.writer.append(TopicPartition(topic, topics.FROM_INGEST), kind, rows)
        crash_point("ingest.flush.before")
        self.writer.flush()
        crash_point("ingest.flush.after")
        self.reached = flush.positions
        if self.session != flush.positions.get("session") and _is_subscribed(flush.positions):
            self._save_now()  # until a new session is known, a crash would lose what the venue says meanwhile
        self._count(flush)

    def _written_to(self, tp: TopicPartition, now_at: Positions) -> Positions:
        """The positions of the record that was the topic's last when this process started, if in this session."""
        if tp not in self.written:
            last = self.writer.last_record(tp)
            self.written[tp] = {} if last is None else last.meta
            self.rows[tp] = int(self.written[tp].get(ROWS_META, 0))
        written = self.written[tp]
        return written if written.get("session") == now_at.get("session") else {}

    def _count(self, flush: Flush) -> None:
        now = self.now()
        for _, ticks in flush.ticks:
            column, ts = ticks.column("venue"), values(ticks.column("ts_event"))
            for number, venue in enumerate(dictionary(column)):
                newest = ts[codes(column) == number]
                if len(newest):
                    metrics.ROWS.labels("ingest", venue).inc(len(newest))
                    metrics.FEED_LAST_EVENT_SECONDS.labels(venue).set(int(newest[-1]) / 1e9)
                    metrics.WATERMARK_LAG_SECONDS.labels(venue).set((now - int(newest[-1])) / 1e9)
        if flush.rejected is not None:
            for reason in pc.value_counts(flush.rejected.column("reason")).to_pylist():
                metrics.REJECTED_ROWS.labels(reason["values"]).inc(reason["counts"])
        if flush.gaps is not None:
            found = flush.gaps.filter(pc.is_null(flush.gaps.column("ts_resolved")))
            for venue in pc.value_counts(found.column("venue")).to_pylist():
                metrics.GAPS.labels(venue["values"]).inc(venue["counts"])


def _is_subscribed(positions: Positions) -> bool:
    """Whether every channel has begun: a session that is resumed before is one without its other channels."""
    return all(positions.get(channel) for channel in _CHANNEL_OF.values())


def _reached(positions: Positions, written: Positions) -> Positions:
    """How far a topic goes with this flush: within a repair not yet as far as what was written before the crash."""
    reached = {name: positions[name] for name in _META if name in positions}
    for channel in _CHANNEL_OF.values():
        if channel in reached and channel in written:
            reached[channel] = max(int(reached[channel]), int(written[channel]))
    return reached


def without_written(ticks: pa.RecordBatch, written: Positions) -> pa.RecordBatch:
    """Drop the rows that are at or below `written` in the same venue session.

    Shape: TICKS -> the same rows or fewer, in order. Clock rows stay: saying the time twice changes nothing.
    """
    if not written or not ticks.num_rows:
        return ticks
    kind, seq = values(ticks.column("kind")), values(ticks.column("seq"))
    known = np.zeros(ticks.num_rows, np.bool_)
    for code, channel in _CHANNEL_OF.items():
        known |= (kind == code) & (seq <= int(written.get(channel, -1)))
    has_seq = valid(ticks.column("seq"))
    known &= (kind != CLOCK) if has_seq is None else (kind != CLOCK) & has_seq
    return ticks.filter(pa.array(~known)) if known.any() else ticks
