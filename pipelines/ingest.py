"""The ingest dataflow: the venues' feeds in, the log out. It computes nothing.

All venues go through one writer, so a commodity's topic has one order of arrival, whatever the venue.

Delivery: exactly once into the log, over any crash, for a venue that can resume its session. Each flush appends its
rows, every record with the venue's positions at that flush. Once an epoch, when all of that is on disk, the positions
go to `ingest.positions`. A restart resumes the venue's session there. The rows written since come again; they are
at or below the positions in their topic's own last record, and are dropped. A venue that cannot resume (it says no
`session`) never sends a row again, and writes a gap for the time in which nobody listened.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from time import monotonic, thread_time
from typing import Final

import bytewax.operators as op
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.daemon import in_daemon_thread
from connectors.feed import Feed, FeedLoop, Flush, Positions
from connectors.ticks import DetachedRows, Row
from market import topics
from market.records import JSON_KIND, LogReader, LogWriter, TopicPartition
from market.reference import Reference
from market.schemas import BUST, CLOCK, CORRECTION, QUOTE, SCHEMAS, STATE, TICKS, TRADE
from pipelines import metrics
from pipelines.engine.outputs import guarded
from pipelines.engine.positions import saved_positions
from pipelines.engine.recovery import execute
from sinks.faults import crash_point

POSITIONS: Final = TopicPartition(topics.INGEST_POSITIONS, topics.FROM_INGEST)
_LEDGERS: Final = {"rejected": topics.REJECTED, "gaps": topics.STATUS, "status": topics.STATUS, "news": topics.NEWS}
_CHANNELS: Final = ("trades", "book")
_CHANNEL_OF: Final = {TRADE: "trades", BUST: "trades", CORRECTION: "trades", QUOTE: "book"}
_REACHED_BY: Final = {"ticks": {"trades": "trades", "book": "book"}, "depth": {"depth": "book"}}
"""By kind of record: what its `meta` says of a venue, and of which of the venue's channels. Depth is apart from the
book's quotes, because a power failure may keep the one record of a flush and not the other."""
_SAYING_NOTHING: Final = (CLOCK, STATE)  # kinds of rows that are not counted, and may come twice

ROWS_META: Final = "rows"
"""In each record's `meta`: rows of its partition up to and with it, also those retention dropped."""

_KIND, _VENUE, _TS_EVENT = (TICKS.get_field_index(name) for name in ("kind", "venue", "ts_event"))
_LEAST_WAIT_S: Final = 0.001
_MOST_WAIT_S: Final = 0.05
_DUTY: Final = 5.0
"""After a flush wait this many times as long as it kept the processor: quiet, rows go out within milliseconds; busy,
batches grow until appending takes a sixth of a processor, or they are of _MOST_WAIT_S. Whoever reads the log has less
to do, too."""

OpenFeed = Callable[[Callable[[], int], Positions | None], Feed]
"""Builds a feed from the market clock and the positions to resume at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """What the flow needs. `feeds` by name of the venue; `now` is the market clock."""

    feeds: Mapping[str, OpenFeed]
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
    metrics.MARKET_TIME_SECONDS.set_function(lambda: config.now() / 1e9)
    duty = _Duty()
    flushes = op.input("venues", flow, _FeedSource(config, duty))
    op.output("log", op.map("key", flushes, lambda flush: ("log", flush)), _FlushSink(config, duty))
    return flow


@dataclass(slots=True)
class _Duty:
    """How long the last flush kept the processor; shared by the source, which waits, and the sink, which measures."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _FeedSource(FixedPartitionedSource[Flush, None]):
    config: IngestConfig
    duty: _Duty

    def list_parts(self) -> list[str]:
        return ["feeds"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_FeedPart":
        return _FeedPart(self.config, self.duty)


class _FeedPart(StatefulSourcePartition[Flush, None]):
    def __init__(self, config: IngestConfig, duty: _Duty) -> None:
        self._stop, self._duty = config.stop, duty
        with closing(config.open_reader()) as reader:
            resume = last_positions(reader)
        self._feeds = [open_feed(config.now, resume.get(venue)) for venue, open_feed in config.feeds.items()]
        self._loop = FeedLoop()
        for feed in self._feeds:
            feed.start(self._loop)
        self._stopped = False

    def next_batch(self) -> Iterable[Flush]:
        if self._stopped:
            raise StopIteration
        if self._stop.is_set():
            self.close()  # what came until now is still to be written
        taken = [feed.take() for feed in self._feeds if self._stopped or feed.wait(0)]
        return [flush for flush in taken if flush.rows]

    def next_awake(self) -> datetime:
        wait_s = min(_MOST_WAIT_S, max(_LEAST_WAIT_S, _DUTY * self._duty.seconds))
        return datetime.now(UTC) + timedelta(seconds=wait_s)

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        """Stop the feeds. Bytewax asks for it also when the sink has raised."""
        if self._stopped:
            return
        self._stopped = True
        for stopped in [in_daemon_thread(feed.stop, f"{feed.venue}-stop") for feed in self._feeds]:
            stopped.result()  # at the same time: each may have to wait for its venue
        self._loop.close()


def last_positions(reader: LogReader) -> Mapping[str, Positions]:
    """Where each venue's rows in the log end."""
    return saved_positions(reader, POSITIONS)


@dataclass(frozen=True, slots=True)
class _FlushSink(FixedPartitionedSink[Flush, None]):
    config: IngestConfig
    duty: _Duty

    def list_parts(self) -> list[str]:
        return ["log"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Flush, None]:
        with closing(self.config.open_reader()) as reader:
            saved = dict(last_positions(reader))
        return guarded(_FlushPart(self.config.open_writer(), self.duty, self.config.now, saved))


Written = dict[str, Positions]
"""How far a topic-partition's rows go, by venue that can resume."""


@dataclass(slots=True)
class _FlushPart(StatefulSinkPartition[Flush, None]):
    writer: LogWriter
    duty: _Duty
    now: Callable[[], int]
    saved: dict[str, Positions]  # by venue; also of venues that are not connected this time
    written: dict[TopicPartition, Written] = field(default_factory=dict)  # when this process started
    newest: dict[TopicPartition, Written] = field(default_factory=dict)
    rows: Counter[TopicPartition] = field(default_factory=Counter)
    rated: frozenset[str] = frozenset(Reference.load().commodities)  # what needs an exchange rate to be compared
    reached: dict[str, Positions] = field(default_factory=dict)
    met: dict[str, Mapping[str, int]] = field(default_factory=dict)  # counters of each feed, as last told
    waiting: deque[tuple[float, dict[str, Positions]]] = field(default_factory=deque)  # flushed by, positions

    def write_batch(self, values: list[Flush]) -> None:
        began = thread_time()
        for flush in values:
            self._append(flush)
        crash_point("ingest.flush.before")
        self.writer.flush()
        crash_point("ingest.flush.after")
        self.reached |= {flush.venue: flush.positions for flush in values}
        # Until a new session is known, a crash would lose what the venue says meanwhile.
        if any(self._is_new_session(flush) for flush in values):
            self._save_now()
        for flush in values:
            self._count(flush)
        self.duty.seconds = thread_time() - began

    def snapshot(self) -> None:
        """The end of an epoch: only what is on disk may be passed over by a resume.

        Asked without waiting: a wait for the disk, twice a second, would be the tail of every latency.
        """
        if self.reached:
            self.waiting.append((monotonic(), self.reached))
            self.reached = {}
        durable: dict[str, Positions] = {}
        until = self.writer.durable_until()
        while self.waiting and self.waiting[0][0] < until:
            durable |= self.waiting.popleft()[1]
        if durable:
            self._save(durable)

    def close(self) -> None:
        if self.reached or self.waiting:
            self._save_now()
        self.writer.close()

    def _save_now(self) -> None:
        newest: dict[str, Positions] = {}
        for _, positions in (*self.waiting, (0.0, self.reached)):
            newest |= positions
        self.writer.sync()
        self.waiting.clear()
        self.reached = {}
        self._save(newest)

    def _save(self, positions: dict[str, Positions]) -> None:
        crash_point("ingest.positions.before")
        self.saved |= positions
        self.writer.append(POSITIONS, JSON_KIND, orjson.dumps(self.saved))
        self.writer.flush()
        crash_point("ingest.positions.after")

    def _append(self, flush: Flush) -> None:
        for part in flush.prices:
            self._append_prices(topics.prices(part.commodity), part, flush)
        for part in flush.prices:
            if part.commodity == topics.FX_COMMODITY and part.kind == "ticks":
                self._broadcast(part)
        for kind, topic in _LEDGERS.items():
            rows: pa.RecordBatch | None = getattr(flush, kind)
            if rows is not None:
                self.writer.append(TopicPartition(topic, topics.FROM_INGEST), kind, rows)

    def _append_prices(self, tp: TopicPartition, part: DetachedRows, flush: Flush) -> None:
        written = self._written_to(tp, flush)
        fresh = without_written(part, written)
        if not fresh.rows:
            return
        if fresh.kind == "ticks":
            self.rows[tp] += sum(1 for row in fresh.rows if row[_KIND] not in _SAYING_NOTHING)
        newest = self.newest[tp]
        if "session" in flush.positions:
            newest[flush.venue] = _reached(fresh.kind, flush.positions, newest.get(flush.venue, {}))
        self.writer.append(tp, fresh.kind, fresh.payload(), key=fresh.commodity, meta=_meta_of(newest, self.rows[tp]))

    def _broadcast(self, part: DetachedRows) -> None:
        """Tell an exchange rate among the ticks of what is compared with it: one order of arrival for both.

        Saying a quote twice changes nothing, so a repair may. Topics in which nothing was written yet are left alone.
        """
        rates = replace(part, kind=topics.FX_KIND).payload()
        for tp, newest in self.newest.items():
            commodity = topics.commodity_of(tp.topic)
            if commodity in self.rated:
                meta = _meta_of(newest, self.rows[tp])
                self.writer.append(tp, topics.FX_KIND, rates, key=commodity, meta=meta)

    def _written_to(self, tp: TopicPartition, flush: Flush) -> Positions:
        """The venue's positions in the topic's last record when this process started, if of this session."""
        if tp not in self.written:
            last = self.writer.last_record(tp)
            meta = {} if last is None else last.meta
            self.written[tp], self.newest[tp] = _written_of(meta), _written_of(meta)
            self.rows[tp] = int(meta.get(ROWS_META, 0))
        written = self.written[tp].get(flush.venue, {})
        return written if written.get("session") == flush.positions.get("session") else {}

    def _is_new_session(self, flush: Flush) -> bool:
        # Every channel has to have begun: a session that is resumed before is one without its other channels.
        known = self.saved.get(flush.venue, {}).get("session")
        return flush.positions.get("session") != known and all(flush.positions.get(name) for name in _CHANNELS)

    def _count(self, flush: Flush) -> None:
        now = self.now()
        for part in flush.prices:
            if part.kind == "ticks":
                self._count_ticks(part, now)
        if flush.rejected is not None:
            for reason in pc.value_counts(flush.rejected.column("reason")).to_pylist():
                metrics.REJECTED_ROWS.labels(reason["values"]).inc(reason["counts"])
        if flush.gaps is not None:
            found = flush.gaps.filter(pc.is_null(flush.gaps.column("ts_resolved")))
            for venue in pc.value_counts(found.column("venue")).to_pylist():
                metrics.GAPS.labels(venue["values"]).inc(venue["counts"])
        self._count_events(flush)

    def _count_events(self, flush: Flush) -> None:
        before, self.met[flush.venue] = self.met.get(flush.venue, {}), flush.counters
        for name in metrics.FEED_EVENT_NAMES:
            more = flush.counters.get(name, 0) - before.get(name, 0)
            if more > 0:
                metrics.FEED_EVENTS.labels(flush.venue, name).inc(more)

    def _count_ticks(self, part: DetachedRows, now: int) -> None:
        counted = Counter(row[_VENUE] for row in part.rows)
        newest = {row[_VENUE]: row[_TS_EVENT] for row in part.rows}
        for code, rows in counted.items():
            venue = part.venues[code]
            metrics.ROWS.labels("ingest", venue).inc(rows)
            metrics.FEED_LAST_EVENT_SECONDS.labels(venue).set(newest[code] / 1e9)
            metrics.WATERMARK_LAG_SECONDS.labels(venue).set((now - newest[code]) / 1e9)


def _reached(kind: str, positions: Positions, before: Positions) -> Positions:
    """How far a topic goes with this record: within a repair not yet as far as what was written before the crash."""
    if before.get("session") != positions["session"]:
        before = {}
    reached = {**before, "session": positions["session"]}
    for name, channel in _REACHED_BY[kind].items():
        if channel in positions:
            reached[name] = max(int(positions[channel]), int(before.get(name, 0)))
    return reached


def _meta_of(written: Written, rows: int) -> dict[str, int | str]:
    """The `meta` of a price record: flat, `ice.session`, `ice.trades` and so on."""
    flat = {f"{venue}.{name}": value for venue, at in written.items() for name, value in at.items()}
    return {ROWS_META: rows, **flat}


def _written_of(meta: Positions) -> Written:
    written: dict[str, dict[str, int | str]] = {}
    for name, value in meta.items():
        venue, dot, part = name.partition(".")
        if dot:
            written.setdefault(venue, {})[part] = value
    return {**written}


def without_written(part: DetachedRows, written: Positions) -> DetachedRows:
    """Leave out the rows that are at or below `written` in the same venue session.

    Clock and state rows stay: saying them twice changes nothing.
    """
    if not written:
        return part
    at = SCHEMAS[part.kind].get_field_index("seq")

    def is_known(row: Row) -> bool:
        channel = "depth" if part.kind == "depth" else _CHANNEL_OF.get(row[_KIND])
        return channel is not None and row[at] is not None and row[at] <= int(written.get(channel, -1))

    return replace(part, rows=[row for row in part.rows if not is_known(row)])
