"""Walk one topic-partition of the embedded log, record by record, over its segment files.

A cursor keeps its file open and its position, so that following the log costs one `pread` per look, and never
reads the same bytes twice. What it hands out is checked: consecutive offsets, right checksums.
"""

import os
from array import array
from bisect import bisect_right
from typing import Final

from market.records import MAX_BODY_BYTES, Frame, OffsetOutOfRange, TopicPartition
from market.segments import (
    RECORD_HEAD_BYTES,
    CorruptSegment,
    append_ns,
    damage,
    intact_frames,
    record_head,
    segment_bases,
    segment_name,
)

_HEAD_BYTES: Final = 64  # enough to see how long a record is
_LEAST_CHUNK_BYTES: Final = 64 << 10
_MOST_CHUNK_BYTES: Final = 4 << 20
_INDEX_EVERY_BYTES: Final = 64 << 10
_MOST_INDEXED_SEGMENTS: Final = 64  # at most 16 KiB each while segments have 64 MiB
_LIST_EVERY_LOOKS: Final = 16  # idle looks between two checks that no segment is missing, about 0.8 s


class SparseIndex:
    """Where some of the records of a topic-partition start, learnt while scanning; shared by its cursors."""

    def __init__(self) -> None:
        self._segments: dict[int, tuple[array[int], array[int]]] = {}

    def learn(self, base: int, offset: int, position: int) -> None:
        offsets, positions = self._segments.setdefault(base, (array("Q"), array("Q")))
        if not positions or position >= positions[-1] + _INDEX_EVERY_BYTES:
            offsets.append(offset)
            positions.append(position)
        if len(self._segments) > _MOST_INDEXED_SEGMENTS:
            del self._segments[next(iter(self._segments))]

    def nearest(self, base: int, offset: int) -> tuple[int, int]:
        """Return the greatest known (offset, position) of a segment up to `offset`."""
        offsets, positions = self._segments.get(base, (array("Q"), array("Q")))
        at = bisect_right(offsets, offset) - 1
        return (offsets[at], positions[at]) if at >= 0 else (base, 0)


class Cursor:
    """A place in a topic-partition. `offset` is that of the next record; before the first `seek` it is nowhere."""

    def __init__(self, tp: TopicPartition, directory: str, index: SparseIndex) -> None:
        self.offset = 0
        self.last_append_ns: int | None = None
        self._tp = tp
        self._directory = directory
        self._index = index
        self._base = 0
        self._file = -1
        self._position = 0
        self._chunk_bytes = _LEAST_CHUNK_BYTES
        self._judged_bytes = -1  # size of the file when its last record was found unfinished
        self._idle_looks = 0

    @property
    def is_open(self) -> bool:
        return self._file >= 0

    def bases(self) -> list[int]:
        """Return the base offsets of the segments there are now."""
        try:
            return segment_bases(os.listdir(self._directory))
        except FileNotFoundError:
            return []

    def seek(self, offset: int) -> None:
        """Go to the record with `offset`, or to the end of the log if that is its offset.

        Raises: OffsetOutOfRange, CorruptSegment.
        """
        bases = self.bases()
        if not bases or offset < bases[0]:
            self.close()
            if bases or offset != 0:
                raise self._out_of_range(offset)
            return
        base = bases[bisect_right(bases, offset) - 1]
        try:
            self._enter(base, *self._index.nearest(base, offset))
        except FileNotFoundError:  # retention was quicker
            self.seek(offset)
        else:
            self._walk(offset, is_newest=base == bases[-1])

    def seek_end(self) -> None:
        """Go to the end of the log, and read the time of its newest record on the way.

        Raises: CorruptSegment.
        """
        self._enter_newest()
        while self.frames(_MOST_CHUNK_BYTES):
            pass

    def hop_to_end(self) -> None:
        """Go to the end of the log by the lengths of the records: a seventh of the cost, and nothing is checked."""
        self._enter_newest()
        while self.is_open and self._hop():
            pass

    def frames(self, max_bytes: int) -> list[Frame]:
        """Return some of the next records and go behind them; none only at the end of the log.

        Raises: OffsetOutOfRange if retention deleted the segment; CorruptSegment.
        """
        found = self._scan(max_bytes)
        if found or not self._has_successor():
            return found
        # It was full before its successor was made: what this second look does not show will never come.
        found = self._scan(max_bytes, is_full=True)
        if not found:
            self.seek(self.offset)
            found = self._scan(max_bytes)
        return found

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _path(self, base: int) -> str:
        return os.path.join(self._directory, segment_name(base))

    def _enter(self, base: int, offset: int, position: int) -> None:
        if base != self._base or not self.is_open or self._is_deleted():
            file = os.open(self._path(base), os.O_RDONLY | os.O_CLOEXEC)
            self.close()
            self._file = file
        self._base, self.offset, self._position = base, offset, position
        self._judged_bytes = -1

    def _enter_newest(self) -> None:
        """Be in the segment with the newest record, at its beginning if it is another one than before."""
        bases = self.bases()
        if not bases:
            self.close()
            return
        # A newest segment that is still empty follows one that has the newest record.
        is_blank = len(bases) > 1 and os.path.getsize(self._path(bases[-1])) == 0
        base = bases[-2] if is_blank else bases[-1]
        if not self.is_open or self._base not in (base, bases[-1]) or self._is_deleted():
            try:
                self._enter(base, base, 0)
            except FileNotFoundError:  # retention was quicker
                self._enter_newest()

    def _walk(self, offset: int, *, is_newest: bool) -> None:
        """Go on in this segment up to `offset`."""
        while self.offset < offset:
            before = self._position
            found = self._scan(_LEAST_CHUNK_BYTES)
            if not found and is_newest:
                raise self._out_of_range(offset)
            if not found:
                raise CorruptSegment(self._path(self._base), self._position, f"record {self.offset} is missing")
            if self.offset > offset:
                wanted = found[offset - self.offset]  # counted from the end
                self._position, self.offset = before + wanted.start, offset

    def _hop(self) -> bool:
        """Go behind the next records; False if there is none whose offset follows."""
        data = self._fetch(_MOST_CHUNK_BYTES)
        records = position = 0
        while position + RECORD_HEAD_BYTES <= len(data):
            record_bytes, offset = record_head(data, position)
            if offset != self.offset + records or position + record_bytes > len(data):
                break
            records += 1
            position += record_bytes
        self.offset += records
        self._position += position
        return records > 0

    def _scan(self, max_bytes: int, *, is_full: bool = False) -> list[Frame]:
        if not self.is_open:
            return []
        data = self._fetch(max_bytes)
        found, _ = intact_frames(data, self.offset)
        if found:
            self._accept(found, data)
        elif data:
            self._refuse_damage(is_full)
        return found

    def _accept(self, found: list[Frame], data: bytes) -> None:
        if self._is_deleted():
            raise self._out_of_range(self.offset)
        self._index.learn(self._base, self.offset, self._position)
        self.last_append_ns = append_ns(memoryview(data)[found[-1].start :])
        self._position += found[-1].end
        self.offset += len(found)
        self._idle_looks = 0

    def _fetch(self, max_bytes: int) -> bytes:
        """Return bytes from the position on, with the next record whole if the file has it whole."""
        wanted_bytes = max(_HEAD_BYTES, min(max_bytes, self._chunk_bytes))
        data = os.pread(self._file, wanted_bytes, self._position)
        if len(data) < wanted_bytes:
            self._chunk_bytes = _LEAST_CHUNK_BYTES
            return data
        self._chunk_bytes = min(4 * self._chunk_bytes, _MOST_CHUNK_BYTES)
        record_bytes, _ = record_head(data, 0)
        if len(data) < record_bytes <= MAX_BODY_BYTES:
            data = os.pread(self._file, record_bytes, self._position)
        return data

    def _refuse_damage(self, is_full: bool) -> None:
        """Raise CorruptSegment unless the record here may be a write under way."""
        size_bytes = os.fstat(self._file).st_size
        if size_bytes == self._judged_bytes and not is_full:
            return
        # Read again: what looked damaged may be whole by now, or be cut by a new writer.
        rest = os.pread(self._file, max(0, size_bytes - self._position), self._position)
        reason = damage(rest, self.offset, is_full=is_full)
        if reason is not None:
            raise CorruptSegment(self._path(self._base), self._position, reason)
        self._judged_bytes = size_bytes

    def _has_successor(self) -> bool:
        if not self.is_open:
            return False
        if self.offset != self._base and os.path.exists(self._path(self.offset)):
            return True
        self._idle_looks += 1
        if self._idle_looks % _LIST_EVERY_LOOKS == 0 or self._is_deleted():
            self._check_followed()
        return False

    def _check_followed(self) -> None:
        """Raise if the log goes on somewhere we would never get to."""
        if self._is_deleted():
            self.seek(self.offset)
            return
        if os.fstat(self._file).st_size < self._position:  # no writer does that, but an operator may
            raise self._out_of_range(self.offset)
        newest = max(self.bases(), default=0)
        if newest > self.offset and not os.pread(self._file, 1, self._position):
            raise CorruptSegment(self._path(self._base), self._position, f"record {self.offset} is missing")

    def _is_deleted(self) -> bool:
        return os.fstat(self._file).st_nlink == 0

    def _out_of_range(self, offset: int) -> OffsetOutOfRange:
        end = Cursor(self._tp, self._directory, self._index)
        try:
            end.seek_end()
        finally:
            end.close()
        return OffsetOutOfRange(self._tp, offset, next(iter(self.bases()), 0), end.offset)
