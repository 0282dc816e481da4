"""Delete old segments of the embedded log, by age and by size, per topic.

Only whole segments go, oldest first, and never the newest: what is left is always one unbroken range of offsets,
also when the machine stops half-way. A reader still in a deleted range gets OffsetOutOfRange.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from market.segments import FRAME_HEAD_BYTES, append_ns, segment_bases, segment_name
from sinks.faults import crash_point


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What to keep of each topic-partition. None: no bound.

    `by_topic` maps topic globs to what holds for them instead; the first match wins.
    """

    max_age_s: float | None = None
    max_bytes: int | None = None
    by_topic: Mapping[str, "Retention"] = field(default_factory=dict)

    def of(self, topic: str) -> "Retention":
        return next((rule for glob, rule in self.by_topic.items() if fnmatchcase(topic, glob)), self)


KEEP_ALL: Final = Retention()
"""The log is the truth: without being told to, nothing is deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentAge:
    """A segment as retention sees it. `ts_end` (ns) is not before its newest record; None if unknown."""

    base: int
    size_bytes: int
    ts_end: int | None


def expired(segments: Sequence[SegmentAge], keep: Retention, now_ns: int) -> list[int]:
    """Return the bases of the segments to delete, oldest first; `segments` is sorted and its last one stays.

    Example:
        >>> three = [SegmentAge(base=b, size_bytes=10, ts_end=None) for b in (0, 5, 9)]
        >>> expired(three, Retention(max_bytes=20), now_ns=0)
        [0]
    """
    size_bytes = sum(segment.size_bytes for segment in segments)
    bases: list[int] = []
    for segment in segments[:-1]:
        too_big = keep.max_bytes is not None and size_bytes > keep.max_bytes
        too_old = (
            keep.max_age_s is not None and segment.ts_end is not None and now_ns - segment.ts_end > keep.max_age_s * 1e9
        )
        if not (too_big or too_old):
            break
        bases.append(segment.base)
        size_bytes -= segment.size_bytes
    return bases


def apply_retention(directory: str, keep: Retention, now_ns: int) -> list[int]:
    """Delete the expired segments of a partition's directory and return their bases.

    Raises: OSError.
    """
    if keep.max_age_s is None and keep.max_bytes is None:
        return []
    bases = expired(_ages(directory), keep, now_ns)
    for base in bases:
        os.unlink(os.path.join(directory, segment_name(base)))
        crash_point("log.retention.after")
    return bases


def _ages(directory: str) -> list[SegmentAge]:
    bases = segment_bases(os.listdir(directory))
    paths = [os.path.join(directory, segment_name(base)) for base in bases]
    # A segment's records are not newer than the first one of the next segment.
    ends = [*(_first_append_ns(path) for path in paths[1:]), None]
    sizes = [os.path.getsize(path) for path in paths]
    return [
        SegmentAge(base=base, size_bytes=size, ts_end=end) for base, size, end in zip(bases, sizes, ends, strict=True)
    ]


def _first_append_ns(path: str) -> int | None:
    with open(path, "rb", buffering=0) as file:
        return append_ns(file.read(FRAME_HEAD_BYTES))
