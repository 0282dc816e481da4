"""The log as a Bytewax source: consecutive records of a topic-partition, joined into large batches when behind.

Delivery: positions are part of Bytewax recovery; reading resumes at the exact next record. An offset that the log
no longer has stops the flow loudly (market.records.OffsetOutOfRange).
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from time import monotonic
from typing import Final, Generic, TypeVar

import numpy as np
import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from market.book import BOOK_ARRIVALS, from_ticks
from market.columns import Bools, Int64s, concat_batches, integers
from market.kernel import arrivals
from market.legs import with_changes
from market.records import JSON_KIND, LogReader, Record, TopicPartition, joined
from market.schemas import TICKS
from market.topics import FX_KIND, TRADING_EVENTS, commodity_of
from market.trade_events import from_log
from pipelines.engine.blame import blamed
from pipelines.engine.cluster import lane_names, lane_of, lanes_here
from pipelines.engine.recovery import StateMismatch
from pipelines.engine.steps import Chunk

_LIST_EVERY_S: Final = 0.5
_DRAIN_S: Final = 2.0
_SETTLE_S: Final = 0.01  # what was read is worked on meanwhile
_PUNCTUAL_S: Final = 0.01
_HEED_STOP_S: Final = 0.5  # not less than an epoch: Bytewax spins while a source that is due waits for the end of one
_READ_BYTES: Final = 1 << 20
_BEHIND_RECORDS: Final = 200  # more than this at one look: do not wait for the next
TICKS_KIND: Final = "ticks"
DEPTH_KIND: Final = "depth"
_BATCH_ROWS: Final = 20_000
"""Where the bars kernel is at its full speed (docs/performance.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """Records of one kind from a derived topic, in order. `first` is the offset of the first of them."""

    topic: str
    kind: str
    first: int
    batch: pa.RecordBatch


_EVENTS: Final = {TRADING_EVENTS: ("trade_events", from_log)}
"""Topics of business events: their table, and what makes rows of their JSON."""

X = TypeVar("X")
Convert = Callable[[TopicPartition, list[Record], bool], Iterable[X]]
"""Turns consecutive records into items; the flag says that they are the first of their partition."""


_sources: Final = defaultdict[int, set[int]](set)
"""The sources of each worker, which is a thread. Not a `threading.local`: that is empty again at every call, since to
Python a thread of Bytewax is a new one each time."""

OnRead = Callable[[LogReader, TopicPartition, int], None]
"""Told after each read where the next one begins; the reader is for its own thread only."""

Positions = dict[str, tuple[int, int]]
"""By topic-partition: the offset to read next, and the append time of the record before it, which identifies it."""


@dataclass(slots=True)
class _LogPartition(StatefulSourcePartition[X, Positions], Generic[X]):
    """All topic-partitions that match the patterns, round robin; new topics are found as they appear."""

    reader: LogReader
    patterns: Sequence[str]
    convert: Convert[X]
    stop: threading.Event
    positions: dict[TopicPartition, int]
    appended: dict[TopicPartition, int]
    on_read: OnRead
    poll: timedelta
    lane: str
    lanes: int
    _listed_at: float = -1e9
    _stop_at: float = float("inf")
    _idle: bool = False
    _behind: bool = False
    _due_s: float = 0.0
    _asked_s: float = 0.0
    _begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    _first: set[TopicPartition] = field(default_factory=set)

    @blamed()
    def next_batch(self) -> Iterable[X]:
        self._begun = datetime.now(UTC)
        if self.stop.is_set() and self._drained():
            raise StopIteration
        if not self._rested():
            return []
        self._due_s = monotonic() + self.poll.total_seconds()
        _sources[threading.get_ident()].add(id(self))
        if monotonic() >= self._listed_at + _LIST_EVERY_S:
            self._discover()
        elif self._idle and not self.reader.wait(0):
            return []
        items: list[X] = []
        self._behind = False
        for tp, offset in self.positions.items():
            records = self.reader.read(tp, offset, _READ_BYTES)
            if records:
                self._behind |= len(records) >= _BEHIND_RECORDS
                items += self.convert(tp, records, tp in self._first)
                self._first.discard(tp)
                self.positions[tp] = records[-1].offset + 1
                self.appended[tp] = records[-1].ts_append
            if records or not self._idle:
                self.on_read(self.reader, tp, self.positions[tp])
        self._idle = not items
        return items

    def next_awake(self) -> datetime | None:
        if self._behind or self.stop.is_set():
            self._due_s = 0.0
            return None
        wait_s = min(self._due_s - monotonic(), _SETTLE_S if self._is_alone() else _HEED_STOP_S)
        self._asked_s = monotonic() + wait_s
        return self._begun + timedelta(seconds=wait_s)  # to Bytewax it is still what it was when it called `next_batch`

    def _rested(self) -> bool:
        """Sleep until the next look is due; False if the worker has other work to do.

        Bytewax looks a thousand times a second whether a source wants to be woken: 4 % of a processor in each flow that
        has nothing to do. So we sleep here, once the worker comes when we asked for it: then it has nothing else to do.
        """
        now = monotonic()
        if now < self._due_s and now < self._asked_s + _PUNCTUAL_S and self._is_alone():
            self.stop.wait(self._due_s - now)
        return monotonic() >= self._due_s or self.stop.is_set()

    def _is_alone(self) -> bool:
        # Of two sources one must go on while the other rests: an epoch ends when both have ended it. And other workers
        # wait for our part of it.
        return self.lanes == 1 and len(_sources[threading.get_ident()]) < 2

    def snapshot(self) -> Positions:
        # A partition of which nothing was read has no state yet, and must begin again as a beginning.
        return {str(tp): (offset, self.appended[tp]) for tp, offset in self.positions.items() if tp not in self._first}

    def close(self) -> None:
        _sources[threading.get_ident()].discard(id(self))
        self.reader.close()

    def _drained(self) -> bool:
        """Asked to stop: finish what is in the log, but not for ever, since its writers may go on."""
        if self._stop_at == float("inf"):
            self._stop_at, self._idle = monotonic() + _DRAIN_S, False  # look once more
        return self._idle or monotonic() >= self._stop_at

    def _discover(self) -> None:
        self._listed_at = monotonic()
        for pattern in self.patterns:
            for tp in self.reader.partitions(pattern):
                if tp not in self.positions and lane_of(tp.topic, self.lanes) == self.lane:
                    self.positions[tp] = self.reader.begin_offset(tp)
                    self._first.add(tp)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource(FixedPartitionedSource[X, Positions], Generic[X]):
    """Follow the log from where the last run stopped, or from its beginning.

    `open_reader` is called in the worker that reads. `stop` ends the flow, with its state kept. `poll` is how long to
    wait between two looks at a log that is not behind: longer makes larger batches and less work a row.
    `lanes` is among how many workers the topics are divided (pipelines.engine.cluster).
    """

    open_reader: Callable[[], LogReader]
    patterns: Sequence[str]
    convert: Convert[X]
    stop: threading.Event
    on_read: OnRead
    poll: timedelta
    lanes: int = field(default_factory=lanes_here)

    def list_parts(self) -> list[str]:
        return lane_names(self.lanes)

    @blamed()
    def build_part(
        self,
        step_id: str,
        for_part: str,
        resume_state: Positions | None,
    ) -> _LogPartition[X]:
        reader, resume = self.open_reader(), resume_state or {}
        try:
            for name, (offset, ts_append) in resume.items():
                _require_same_log(step_id, reader, _parse(name), offset, ts_append)
        except BaseException:
            reader.close()
            raise
        return _LogPartition(
            reader,
            self.patterns,
            self.convert,
            self.stop,
            {_parse(name): offset for name, (offset, _) in resume.items()},
            {_parse(name): ts_append for name, (_, ts_append) in resume.items()},
            self.on_read,
            self.poll,
            for_part,
            self.lanes,
        )


def _require_same_log(step_id: str, reader: LogReader, tp: TopicPartition, offset: int, ts_append: int) -> None:
    """Refuse a position whose last record is not in the log any more, or is another one.

    Readers see records a few milliseconds before they are on disk. A power failure in between can take back what a
    flow has already counted, and ingest then fills the same offsets with other records.
    """
    end = reader.end_offset(tp)
    if end < offset:
        raise StateMismatch(step_id, str(tp), offset, end)
    if offset > reader.begin_offset(tp) and reader.read(tp, offset - 1, max_bytes=1)[0].ts_append != ts_append:
        raise StateMismatch(step_id, f"the record it read last of {tp}", offset - 1, offset - 1)


def _parse(name: str) -> TopicPartition:
    topic, _, partition = name.rpartition("/")
    return TopicPartition(topic, int(partition))


def ticks_of(
    tp: TopicPartition, records: list[Record], is_start: bool, *, kinds: Collection[str] = (TICKS_KIND,)
) -> Iterator[tuple[str, Chunk]]:
    """The ticks of a price topic as chunks of about _BATCH_ROWS rows, each row with its record's offset.

    Records of other kinds than `kinds`, depth say, are passed over, and never decoded.
    """
    return _chunks(tp, records, is_start, kinds, _ticks)


def legs_of(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Chunk]]:
    """As `ticks_of`, the exchange rate's and the changes of books among them, all in the order of the log."""
    return _chunks(tp, records, is_start, (TICKS_KIND, FX_KIND, DEPTH_KIND), _legs)


def _chunks(
    tp: TopicPartition,
    records: list[Record],
    is_start: bool,
    kinds: Collection[str],
    rows_of: Callable[[TopicPartition, list[Record]], pa.RecordBatch],
) -> Iterator[tuple[str, Chunk]]:
    pending, rows = list[Record](), 0
    for last, record in enumerate(records, 1):
        pending.append(record)
        rows += record.num_rows if record.kind in kinds else 0
        if rows >= _BATCH_ROWS or last == len(records):
            found = rows_of(tp, [each for each in pending if each.kind in kinds])
            first, after = pending[0].offset, record.offset + 1
            chunk = Chunk(source=str(tp), first=first, next=after, arrivals=found, is_start=is_start)
            yield commodity_of(tp.topic), chunk
            pending, rows, is_start = [], 0, False


@cache
def _no_ticks() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=TICKS)


def _ticks(tp: TopicPartition, found: list[Record]) -> pa.RecordBatch:
    ticks = joined(found) if found else _no_ticks()
    sizes = np.array([record.num_rows for record in found], np.int64)
    offsets = np.repeat(np.array([record.offset for record in found], np.int64), sizes)
    rows = np.arange(ticks.num_rows) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return arrivals(ticks, str(tp), integers(offsets, pa.int64()), integers(rows, pa.int64()))


def _legs(tp: TopicPartition, found: list[Record]) -> pa.RecordBatch:
    is_depth, others, depth = _told_apart(found)
    ticks = _ticks(tp, others)
    if not depth:
        return ticks
    return with_changes(ticks, joined(depth), _order(np.flatnonzero(~is_depth), np.flatnonzero(is_depth)), str(tp))


def books_of(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Chunk]]:
    """The changes of books in a price topic, and the ticks that say a state or the time, in their order."""
    return _chunks(tp, records, is_start, (TICKS_KIND, DEPTH_KIND), _books)


def _books(_tp: TopicPartition, found: list[Record]) -> pa.RecordBatch:
    is_depth, ticks, depth = _told_apart(found)
    batches, places = [], []
    if depth:
        batches.append(pa.RecordBatch.from_arrays(joined(depth).columns, schema=BOOK_ARRIVALS))
        places.append(np.flatnonzero(is_depth))
    if ticks:
        said, which = from_ticks(joined(ticks))  # of the ticks few are left
        batches.append(said)
        places.append(np.flatnonzero(~is_depth)[which])
    if len(batches) < 2:
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=BOOK_ARRIVALS)
    return concat_batches(batches).take(pa.array(_order(*places)))


def _told_apart(found: list[Record]) -> tuple[Bools, list[Record], list[Record]]:
    """Which rows are of depth, the records of other kinds, those of depth.

    They take turns at every few rows, and each kind is decoded at once: what is made of them is then put in `_order`.
    """
    of_depth = [record.kind == DEPTH_KIND for record in found]
    others = [record for record, is_depth in zip(found, of_depth, strict=True) if not is_depth]
    depth = [record for record, is_depth in zip(found, of_depth, strict=True) if is_depth]
    rows = np.array([record.num_rows for record in found], np.int64)
    return np.repeat(np.array(of_depth, np.bool_), rows), others, depth


def _order(*places: Int64s) -> Int64s:
    """Which row of batches end to end comes when, given where each of their rows was."""
    return np.argsort(np.concatenate(places))


def derived_of(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Derived]]:
    """Records of a derived topic, neighbours of one kind joined; business events, which are JSON, as rows."""
    run: list[Record] = []
    for record in records:
        if run and record.kind != run[0].kind:
            yield tp.topic, _derived(tp, run)
            run = []
        run.append(record)
    if run:
        yield tp.topic, _derived(tp, run)


def _derived(tp: TopicPartition, run: list[Record]) -> Derived:
    if run[0].kind == JSON_KIND:
        kind, rows_of = _EVENTS[tp.topic]
        return Derived(topic=tp.topic, kind=kind, first=run[0].offset, batch=rows_of([each.value for each in run]))
    return Derived(topic=tp.topic, kind=run[0].kind, first=run[0].offset, batch=joined(run))
