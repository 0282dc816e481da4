"""Open the log for reading, and read the embedded one: any offset, and what other processes are writing to it.

Delivery: a record is seen by every reader from the writer's `flush` on, in offset order, and is never taken back,
except by a power failure, which also ends the readers. A reader holds no lock and leaves no trace in the log.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from time import monotonic
from typing import Final

import pyarrow as pa

from connectors.log_cursor import Cursor, SparseIndex
from connectors.log_signal import Signal
from market.kafka_log import is_kafka, kafka_log
from market.records import (
    PATIENT,
    CorruptRecord,
    Frame,
    LogReader,
    Patience,
    Record,
    TopicPartition,
    decode_frame,
)
from market.segments import SIGNAL_NAME, log_directory, partition_path, segment_bases, segment_name, signal_slot

_LOOK_AGAIN_S: Final = 0.05


def open_reader(url: str, *, patience: Patience = PATIENT) -> LogReader:
    """Open the log at `url` for reading; it need not be there yet. Use a reader from one thread at a time.

    `patience` is for a log on a server that is away; the embedded one never is.

    Raises: UnsupportedLog if `url` is neither `file:///dir` nor `kafka://host:port`.
    """
    if is_kafka(url):
        from connectors.kafka import open_kafka_reader  # 0.3 s that the embedded log shall not cost

        return open_kafka_reader(kafka_log(url), patience)
    return _FileLogReader(log_directory(url))


class _FileLogReader:
    """LogReader on a directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._signal = Signal(os.path.join(directory, SIGNAL_NAME))
        self._indexes: dict[TopicPartition, SparseIndex] = {}
        self._cursors: dict[TopicPartition, Cursor] = {}  # where `read` is
        self._quiet: dict[TopicPartition, _Quiet] = {}
        self._ends: dict[TopicPartition, Cursor] = {}  # where `end_offset` was
        self._hopping: dict[TopicPartition, Cursor] = {}  # where `behind` was

    def partitions(self, pattern: str) -> list[TopicPartition]:
        """Return the topic-partitions whose topic matches the glob `pattern`, sorted."""
        topics = (topic for topic in _list(self._directory) if fnmatchcase(topic, pattern))
        return sorted(
            TopicPartition(topic, int(name))
            for topic in topics
            for name in _list(os.path.join(self._directory, topic))
            if name.isdecimal()
        )

    def begin_offset(self, tp: TopicPartition) -> int:
        """Return the oldest offset still kept; 0 if nothing was ever written."""
        return next(iter(segment_bases(_list(self._path(tp)))), 0)

    def end_offset(self, tp: TopicPartition) -> int:
        """Return the offset the next append will get.

        Raises: CorruptSegment.
        """
        end = self._cursor(self._ends, tp)
        end.seek_end()
        return end.offset

    def behind(self, tp: TopicPartition, offset: int) -> int:
        """Return how many records wait from `offset` on, without looking at what is in them."""
        hopping = self._cursor(self._hopping, tp)
        hopping.hop_to_end()
        return max(0, hopping.offset - offset)

    def read(self, tp: TopicPartition, offset: int, max_bytes: int = 4 << 20) -> list[Record]:
        """Return records from `offset` on, at least one if there is one; empty at the end. Never blocks.

        Raises: OffsetOutOfRange if `offset` was dropped by retention or lies past the end; CorruptSegment.
        """
        quiet = self._quiet.get(tp)
        if quiet is None:
            quiet = self._quiet[tp] = _Quiet(signal_slot(tp))
        announced = self._signal.word(quiet.slot)  # before the look: what comes meanwhile is announced later
        if quiet.holds(offset, announced):
            return []
        cursor = self._cursor(self._cursors, tp)
        if cursor.offset != offset or not cursor.is_open:
            cursor.seek(offset)
        frames = cursor.frames(max_bytes)
        if not frames:
            quiet.begin(offset, announced)
        path = self._path(tp)
        return [_decode(frame, path) for frame in frames]

    def wait(self, timeout_s: float) -> bool:
        """Block until anything was appended to the log since the last wait; False at the time-out.

        The first wait returns at once if there is a log at all. `wait(0)` only looks.
        """
        return self._signal.wait(timeout_s)

    def close(self) -> None:
        for cursor in (*self._cursors.values(), *self._ends.values(), *self._hopping.values()):
            cursor.close()
        self._signal.close()

    def _cursor(self, kept: dict[TopicPartition, Cursor], tp: TopicPartition) -> Cursor:
        cursor = kept.get(tp)
        if cursor is None:
            cursor = kept[tp] = Cursor(tp, self._path(tp), self._indexes.setdefault(tp, SparseIndex()))
        return cursor

    def _path(self, tp: TopicPartition) -> str:
        return os.path.join(self._directory, partition_path(tp))


@dataclass(slots=True)
class _Quiet:
    """That nothing follows an offset, for as long as nothing else is announced; 30 times cheaper than to look.

    Not for long: a writer that was killed has announced nothing, and retention does not announce at all.
    """

    slot: int
    _offset: int = -1
    _announced: int | None = None
    _until_s: float = 0.0

    def holds(self, offset: int, announced: int | None) -> bool:
        unchanged = announced is not None and announced == self._announced and offset == self._offset
        return unchanged and monotonic() < self._until_s

    def begin(self, offset: int, announced: int | None) -> None:
        self._offset, self._announced, self._until_s = offset, announced, monotonic() + _LOOK_AGAIN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSummary:
    """One topic-partition at a glance. `problem` says what is damaged; then `end` is where reading stops."""

    topic: str
    partition: int
    begin: int
    end: int
    size_bytes: int
    ts_append: int | None
    problem: str = ""


def describe(url: str) -> list[PartitionSummary]:
    """Summarise every topic-partition of a log, sorted; reads the newest segment of each.

    Raises: UnsupportedLog.
    """
    directory = log_directory(url)
    reader = _FileLogReader(directory)
    try:
        return [_summary(tp, os.path.join(directory, partition_path(tp))) for tp in reader.partitions("*")]
    finally:
        reader.close()


def _summary(tp: TopicPartition, path: str) -> PartitionSummary:
    cursor = Cursor(tp, path, SparseIndex())
    problem = ""
    try:
        cursor.seek_end()
    except CorruptRecord as error:
        problem = str(error)
    finally:
        cursor.close()
    return PartitionSummary(
        topic=tp.topic,
        partition=tp.partition,
        begin=next(iter(cursor.bases()), 0),
        end=cursor.offset,
        size_bytes=sum(_sizes(path)),
        ts_append=cursor.last_append_ns,
        problem=problem,
    )


def _sizes(path: str) -> Iterator[int]:
    for base in segment_bases(_list(path)):
        with suppress(FileNotFoundError):  # retention was quicker
            yield os.path.getsize(os.path.join(path, segment_name(base)))


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _decode(frame: Frame, path: str) -> Record:
    # The checksum was right, so this is no damage of the disk, but a record of a version or a writer we do not know.
    try:
        return decode_frame(frame)
    except (ValueError, OSError, StopIteration, pa.ArrowException) as error:
        raise CorruptRecord(frame.start, f"record {frame.offset} of {path} cannot be decoded: {error}") from error
