"""Layout of the embedded log: the names of its files, and what damage in a segment means. Pure; paths are strings.

    DIR/signal                                        8 bytes that change at every flush of any writer, and then as
                                                      many for each of SIGNAL_SLOTS, of the topic-partitions it wrote
    DIR/<topic>/<partition>/writer.lock               flock of the one writer; holds its pid
    DIR/<topic>/<partition>/<base, 20 digits>.seg     frames (market/records.py) of the offsets base, base + 1 ...

Each segment starts at the offset where the one before it ends. Only the newest is ever written to.

    ValueError
      CorruptRecord (market/records.py)
        WrongOffset         an intact record that does not follow the one before it
        CorruptSegment      damage inside a file, with its path
      UnsupportedLog        a URL that names no log we can open
"""

import re
import shlex
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np

from market.records import CorruptRecord, Frame, TopicPartition, scan_frames

LOCK_NAME: Final = "writer.lock"
SIGNAL_NAME: Final = "signal"
SIGNAL_WORD_BYTES: Final = 8
SIGNAL_SLOTS: Final = 1023
"""Topic-partitions that share a slot only look once more for each other."""
SIGNAL_BYTES: Final = SIGNAL_WORD_BYTES * (1 + SIGNAL_SLOTS)
FUTEX_NUMBERS: Final = {("linux", "x86_64"): 202, ("linux", "aarch64"): 98}
"""The system call by which a writer wakes readers that sleep on the signal; elsewhere they poll it."""

_SEGMENT_NAME: Final = re.compile(r"(\d{20})\.seg")
_TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")  # Kafka's rule, and never "." or ".."
_OFFSET_AT_BYTES: Final = 8  # of a frame: behind its length and its checksum
_TS_APPEND_AT_BYTES: Final = 16
_LEAST_FRAME_BYTES: Final = 36
FRAME_HEAD_BYTES: Final = 24
"""As much of a frame as `append_ns` needs."""
_RECORD_HEAD: Final = struct.Struct("<I4xQ")  # length of the body, its checksum, offset
RECORD_HEAD_BYTES: Final = _RECORD_HEAD.size
"""As much as `record_head` needs."""


class WrongOffset(CorruptRecord):
    """An intact record whose offset does not follow: two writers, or a piece of the log is missing."""


class CorruptSegment(CorruptRecord):
    """A segment holds bytes that are no record where a record must be. Carries `path`, `position`, `reason`."""

    def __init__(self, path: str, position: int, reason: str) -> None:
        super().__init__(
            position,
            f"{reason} in {path}. Nothing was changed. Restore the file from a copy; or, to give up what "
            f"it holds from there on, stop the writer, run `truncate -s {position} {shlex.quote(path)}` "
            "and delete the later segments of that directory",
        )
        self.path = path


class UnsupportedLog(ValueError):
    """The URL names no log this installation can open."""


def log_directory(url: str) -> str:
    """Return the directory of a `file:///dir` URL.

    Raises: UnsupportedLog for any other URL.
    Example:
        >>> log_directory("file:///var/lib/mandi/log")
        '/var/lib/mandi/log'
    """
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UnsupportedLog(f"{url!r} is not a log URL; write file:///dir or kafka://host:port")
    return unquote(parts.path)


def signal_slot(tp: TopicPartition) -> int:
    """Return which word of the signal file tells of a topic-partition; word 0 tells of all."""
    return 1 + zlib.crc32(f"{tp.topic}/{tp.partition}".encode()) % SIGNAL_SLOTS


def partition_path(tp: TopicPartition) -> str:
    """Return the directory of a topic-partition, relative to the log's.

    Raises: ValueError for a topic that could leave the log's directory, or a negative partition.
    """
    if not _TOPIC_NAME.fullmatch(tp.topic) or tp.partition < 0:
        raise ValueError(f"{tp} is not a topic-partition: letters, digits and . _ - only, at most 249")
    return f"{tp.topic}/{tp.partition}"


def segment_name(base: int) -> str:
    return f"{base:020d}.seg"


def segment_bases(names: Iterable[str]) -> list[int]:
    """Return the base offsets of the segments among the file names of a directory, sorted."""
    return sorted(int(match[1]) for name in names if (match := _SEGMENT_NAME.fullmatch(name)))


def intact_frames(data: bytes | memoryview, offset: int) -> tuple[list[Frame], CorruptRecord | None]:
    """Return the frames at the start of `data` whose offsets are `offset`, `offset` + 1 ..., and what ended them.

    None: the data does, possibly in the middle of a frame. WrongOffset: the next frame is intact but does not
    follow. CorruptRecord: it is not intact.
    """
    frames: list[Frame] = []
    try:
        for frame in scan_frames(data):
            expected = offset + len(frames)
            if frame.offset != expected:
                return frames, WrongOffset(frame.start, f"offset {frame.offset} where {expected} must follow")
            frames.append(frame)
    except CorruptRecord as error:
        return frames, error
    return frames, None


def record_head(data: bytes, position: int) -> tuple[int, int]:
    """Return the size in bytes and the offset of the record at `position`, unchecked: RECORD_HEAD_BYTES of it."""
    body_bytes, offset = _RECORD_HEAD.unpack_from(data, position)
    return _OFFSET_AT_BYTES + body_bytes, offset


def append_ns(head: bytes | memoryview) -> int | None:
    """Return the `ts_append` of the frame that starts `head`; None if that is too short to say."""
    if len(head) < FRAME_HEAD_BYTES:
        return None
    return int.from_bytes(head[_TS_APPEND_AT_BYTES:FRAME_HEAD_BYTES], "little", signed=True)


def surviving_frame(data: bytes | memoryview, position: int, offset: int) -> Frame | None:
    """Return an intact frame that lies behind the damaged one with `offset` at `position`, if there is one.

    This tells a torn tail (a crash cut the last write: nothing can follow it) from damage in the middle. The
    length of the damaged frame cannot be trusted, so every byte is tried as the start of a frame; only those
    where a possible offset stands are looked at closer.
    """
    view = memoryview(data)
    most = offset + (len(view) - position) // _LEAST_FRAME_BYTES
    for start in _offsets_between(view[position + 1 :], offset, most):
        try:
            return next(scan_frames(view, position + 1 + start))
        except (CorruptRecord, StopIteration):
            continue
    return None


def damage(rest: bytes, offset: int, *, is_full: bool) -> str | None:
    """Say what is wrong with the record at the start of `rest`, the bytes from there to the segment's end.

    None: nothing, or it may be a write under way, which is only possible at the end of a segment that is not full.
    """
    frames, error = intact_frames(rest, offset)
    if frames or not rest:
        return None
    if is_full:
        return error.reason if error else "an unfinished record"
    if error is None:
        survivor = surviving_frame(rest, 0, offset)
        return f"a wrong length, as record {survivor.offset} behind it is intact" if survivor else None
    is_last = len(rest) == _OFFSET_AT_BYTES + int.from_bytes(rest[:4], "little")
    is_blank = rest.count(0) == len(rest)  # the file grew before its bytes came
    may_be_under_way = not isinstance(error, WrongOffset) and (is_last or is_blank)
    return None if may_be_under_way else error.reason


def _offsets_between(view: memoryview, least: int, most: int) -> Iterator[int]:
    # Where a frame could start: at each of the eight alignments, read the bytes as u64 and compare all at once.
    for phase in range(_OFFSET_AT_BYTES, _OFFSET_AT_BYTES + 8):
        if len(view) < phase + 8:
            return
        words = np.frombuffer(view, dtype="<u8", count=(len(view) - phase) // 8, offset=phase)
        hits = np.flatnonzero((words >= least) & (words <= most))
        yield from (int(hit) * 8 + phase - _OFFSET_AT_BYTES for hit in hits)
