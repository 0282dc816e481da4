"""A dataflow on several workers: where a process sits in the cluster, and which part of the log a worker reads.

The topics of a pattern are dealt out to as many lanes as there are workers, each topic to one lane; kernels follow
their key, and one worker writes. So no output depends on the number of workers, and neither does the order of a key.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

SEAT: Final = "MANDI_SEAT"
"""Environment of a process that `mandi run --processes` started: PROCESS WORKERS ADDRESS ..."""

_lanes: Final[ContextVar[int]] = ContextVar("lanes", default=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One process of a cluster: its number, the addresses of all, and the worker threads of each."""

    process: int = 0
    workers: int = 1
    addresses: Sequence[str] = ()

    @property
    def lanes(self) -> int:
        return self.workers * max(1, len(self.addresses))

    def to_text(self) -> str:
        return " ".join([str(self.process), str(self.workers), *self.addresses])


def seat_of_this_process() -> Seat | None:
    """Return where a launcher has put this process; None: it is no part of a cluster."""
    text = os.environ.get(SEAT)
    if not text:
        return None
    process, workers, *addresses = text.split()
    return Seat(process=int(process), workers=int(workers), addresses=addresses)


@contextmanager
def divided(lanes: int) -> Iterator[None]:
    """Sources of the log that are built inside have so many lanes."""
    token = _lanes.set(lanes)
    try:
        yield
    finally:
        _lanes.reset(token)


def lanes_here() -> int:
    """The lanes of a source that is built here."""
    return _lanes.get()


def lane_names(lanes: int) -> list[str]:
    """The names of the partitions of a source."""
    return ["log"] if lanes == 1 else [f"log/{lane}" for lane in range(lanes)]


def lane_of(topic: str, lanes: int) -> str:
    """The lane that reads a topic."""
    return lane_names(lanes)[zlib.crc32(topic.encode()) % lanes]
