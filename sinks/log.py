"""Open the log for writing, and write the embedded one: append-only segment files, one writer per topic-partition.

`append` buffers in memory, `flush` makes one write per partition and tells the readers, the committer puts it on
disk. Partitions are written in the order in which they got their first record since the last flush. That order
holds for readers and across kill -9; it does not hold across a power failure, where each partition is cut
somewhere behind its last commit.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from market.kafka_log import is_kafka, kafka_log
from market.records import (
    JSON_KIND,
    MAX_BODY_BYTES,
    PATIENT,
    LogWriter,
    Patience,
    Payload,
    Record,
    TopicPartition,
    decode_frame,
    encode_frame,
    scan_frames,
)
from market.segments import (
    LOCK_NAME,
    SIGNAL_NAME,
    CorruptSegment,
    WrongOffset,
    intact_frames,
    log_directory,
    partition_path,
    segment_bases,
    segment_name,
    signal_slot,
    surviving_frame,
)
from sinks.errors import LogWriteFailed, WriterLocked
from sinks.faults import crash_point
from sinks.group_commit import GROUP_COMMIT, Committer, FsyncPolicy
from sinks.locks import try_lock
from sinks.log_signal import Signal
from sinks.retention import KEEP_ALL, Retention, apply_retention

_log: Final = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 64 << 20
"""A start reads the newest segment whole: 64 MiB take about 0.1 s."""

_RETENTION_EVERY_S: Final = 60.0


def open_writer(
    url: str,
    *,
    fsync: FsyncPolicy = GROUP_COMMIT,
    retention: Retention = KEEP_ALL,
    segment_bytes: int = SEGMENT_BYTES,
    clock_ns: Callable[[], int] = time.time_ns,
    patience: Patience = PATIENT,
) -> LogWriter:
    """Open the log at `url` for appending; it is made if it is not there.

    Use it from one thread at a time. A topic-partition is locked (embedded) or taken over (Kafka) at its first `append`
    or `last_record`.
    `fsync` and `segment_bytes` are for the embedded log, `patience` is for a log on a server that is away.

    Raises: UnsupportedLog if `url` is neither `file:///dir` nor `kafka://host:port`.
    """
    if is_kafka(url):
        from sinks.kafka import open_kafka_writer  # 0.3 s that the embedded log shall not cost

        return open_kafka_writer(kafka_log(url), retention, clock_ns, patience)
    return _FileLogWriter(log_directory(url), fsync, retention, segment_bytes, clock_ns)


@dataclass(slots=True)
class _Tail:
    """The end of a topic-partition we hold the lock of. `file` is -1 while it has no segment."""

    tp: TopicPartition
    directory: str
    lock: int
    file: int = -1
    size_bytes: int = 0
    next_offset: int = 0
    last_frame: bytes = b""
    pending: list[bytes] = field(default_factory=list)
    slot: int = 0  # of the signal

    def __post_init__(self) -> None:
        self.slot = signal_slot(self.tp)

    @property
    def path(self) -> str:
        return os.path.join(self.directory, segment_name(self.next_offset - len(self.pending)))


class _FileLogWriter:
    """LogWriter on a directory."""

    def __init__(
        self,
        directory: str,
        fsync: FsyncPolicy,
        retention: Retention,
        segment_bytes: int,
        clock_ns: Callable[[], int],
    ) -> None:
        os.makedirs(directory, exist_ok=True)
        self._directory = directory
        self._retention = retention
        self._segment_bytes = segment_bytes
        self._clock_ns = clock_ns
        self._tails: dict[TopicPartition, _Tail] = {}
        self._dirty: list[_Tail] = []
        self._signal = Signal(os.path.join(directory, SIGNAL_NAME))
        self._committer = Committer(fsync)
        self._failure: OSError | None = None
        self._closed = False
        self._next_retention_s = time.monotonic() + _RETENTION_EVERY_S

    def append(
        self,
        tp: TopicPartition,
        kind: str,
        payload: Payload,
        *,
        key: str = "",
        meta: Mapping[str, int | str] | None = None,
    ) -> int:
        """Append one record and return its offset. Readers see it after `flush`.

        Raises: WriterLocked, CorruptSegment, LogWriteFailed; ValueError if it could not be read again.
        """
        self._require_working()
        tail = self._tails.get(tp) or self._open(tp)
        require_writable(kind, payload)
        record = Record(
            offset=tail.next_offset, ts_append=self._clock_ns(), kind=kind, key=key, payload=payload, meta=meta or {}
        )
        frame = encode_frame(record)
        if len(frame) > MAX_BODY_BYTES:
            raise ValueError(f"a record of {len(frame)} bytes is too long for the log: cut smaller batches")
        if not tail.pending:
            self._dirty.append(tail)
        tail.pending.append(frame)
        tail.last_frame = frame
        tail.next_offset += 1
        return tail.next_offset - 1

    def flush(self) -> None:
        """Make all appended records visible to readers.

        Raises: LogWriteFailed.
        """
        self._require_working()
        if not self._dirty:
            return
        crash_point("log.flush.before")
        dirty, self._dirty = self._dirty, []
        try:
            self._write_all(dirty)
            self._signal.bump(tail.slot for tail in dirty)
            self._committer.written(tail.file for tail in dirty)
            crash_point("log.flush.after")
            if time.monotonic() >= self._next_retention_s:
                self._retain()
        except OSError as error:
            raise self._fail(error) from error

    def sync(self) -> None:
        """Return when all appended records are on disk.

        Raises: LogWriteFailed.
        """
        self.flush()
        try:
            self._committer.commit()
        except OSError as error:
            raise self._fail(error) from error

    def durable_until(self) -> float:
        """Monotonic time before which every flush is on disk; does not wait."""
        return self._committer.durable_until()

    def last_record(self, tp: TopicPartition) -> Record | None:
        """Return the newest record, flushed or not; None if there is none, or only in a deleted segment.

        Raises: WriterLocked, CorruptSegment, LogWriteFailed.
        """
        self._require_working()
        tail = self._tails.get(tp) or self._open(tp)
        return decode_frame(next(scan_frames(tail.last_frame))) if tail.last_frame else None

    def close(self) -> None:
        """Sync, and give up the locks, which happens in any case.

        Raises: LogWriteFailed.
        """
        if self._closed:
            return
        try:
            self.sync()
        finally:
            self._closed = True
            self._committer.stop()
            self._signal.close()
            for tail in self._tails.values():
                if tail.file >= 0:
                    os.close(tail.file)
                os.close(tail.lock)

    def _require_working(self) -> None:
        if self._closed:
            raise LogWriteFailed("this writer was closed")
        failure = self._failure or self._committer.failure
        if failure is not None:
            raise self._fail(failure) from failure

    def _fail(self, error: OSError) -> LogWriteFailed:
        self._failure = error
        return LogWriteFailed(f"{error}. What is not on disk yet may be lost; this writer stays closed")

    def _open(self, tp: TopicPartition) -> _Tail:
        directory = os.path.join(self._directory, partition_path(tp))
        try:
            is_new = not os.path.isdir(directory)
            os.makedirs(directory, exist_ok=True)
            if is_new:
                _sync_directories(os.path.dirname(directory), self._directory)
            tail = _Tail(tp, directory, _lock(tp, directory))
            try:
                _find_end(tail)
            except BaseException:
                os.close(tail.lock)
                raise
        except OSError as error:
            raise self._fail(error) from error
        self._tails[tp] = tail
        return tail

    def _write_all(self, dirty: list[_Tail]) -> None:
        for nth, tail in enumerate(dirty):
            self._write(tail)
            if nth == 0 and len(dirty) > 1:
                crash_point("log.flush.mid")

    def _write(self, tail: _Tail) -> None:
        data = tail.pending[0] if len(tail.pending) == 1 else b"".join(tail.pending)
        if tail.file < 0 or (tail.size_bytes and tail.size_bytes + len(data) > self._segment_bytes):
            self._start_segment(tail)
        _write_fully(tail.file, data)
        tail.size_bytes += len(data)
        tail.pending.clear()

    def _start_segment(self, tail: _Tail) -> None:
        if tail.file >= 0:
            # On disk before its successor exists: else a power failure could leave a hole between the two.
            old, tail.file = tail.file, -1
            self._committer.close_file(old)
        tail.file = os.open(tail.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        tail.size_bytes = 0
        _sync_directories(tail.directory)
        self._retain_one(tail)

    def _retain(self) -> None:
        self._next_retention_s = time.monotonic() + _RETENTION_EVERY_S
        for tail in self._tails.values():
            self._retain_one(tail)

    def _retain_one(self, tail: _Tail) -> None:
        bases = apply_retention(tail.directory, self._retention.of(tail.tp.topic), self._clock_ns())
        if bases:
            _log.info("%s: retention deleted the segments %s", tail.tp, bases)


def require_writable(kind: str, payload: Payload) -> None:
    """Raise ValueError for a record that could not be read again."""
    if isinstance(payload, bytes) != (kind == JSON_KIND):
        raise ValueError(f"a {kind} record cannot hold {type(payload).__name__}")


def _lock(tp: TopicPartition, directory: str) -> int:
    file = os.open(os.path.join(directory, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if not try_lock(file):
        holder = os.pread(file, 20, 0)
        os.close(file)
        raise WriterLocked(tp, int(holder) if holder.isdigit() else 0)
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


def _find_end(tail: _Tail) -> None:
    """Set `tail` to the end of its newest segment, from which a torn last write is cut off."""
    bases = segment_bases(os.listdir(tail.directory))
    if not bases:
        return
    path = os.path.join(tail.directory, segment_name(bases[-1]))
    data = Path(path).read_bytes()
    tail.next_offset, tail.size_bytes, tail.last_frame = _intact(path, data, bases[-1])
    tail.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    if tail.size_bytes < len(data):
        cut_bytes = len(data) - tail.size_bytes
        _log.warning("%s: cut %d bytes of a write that a crash left unfinished", path, cut_bytes)
        os.ftruncate(tail.file, tail.size_bytes)
        os.fsync(tail.file)
    if not tail.last_frame and len(bases) > 1:
        before = os.path.join(tail.directory, segment_name(bases[-2]))
        tail.last_frame = _intact(before, Path(before).read_bytes(), bases[-2])[2]


def _intact(path: str, data: bytes, offset: int) -> tuple[int, int, bytes]:
    """Return the offset behind the last intact record of a segment, the position there, and that record's frame.

    Raises: CorruptSegment if there is an intact record behind a damaged one: that is no torn write.
    """
    frames, error = intact_frames(data, offset)
    start, end = (frames[-1].start, frames[-1].end) if frames else (0, 0)
    next_offset = offset + len(frames)
    if isinstance(error, WrongOffset):
        raise CorruptSegment(path, end, error.reason)
    survivor = surviving_frame(data, end, next_offset) if end < len(data) else None
    if survivor is not None:
        reason = error.reason if error else "a record's length is wrong"
        raise CorruptSegment(path, end, f"{reason}, yet record {survivor.offset} behind it is intact")
    return next_offset, end, data[start:end]


def _write_fully(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):  # a full disk takes a part first, and says why at the next write
        written += os.write(file, memoryview(data)[written:])


def _sync_directories(*directories: str) -> None:
    # A file is only safe when the directory that names it is on disk as well.
    for directory in directories:
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
