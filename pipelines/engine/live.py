"""Ask a kernel by time only while nothing waits to be read: a flow that is behind would take its delay for silence."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import pyarrow as pa

from market.kernel import Kernel, Outputs
from market.records import LogReader, TopicPartition

_RESUMED_S: Final = 5.0  # whoever writes the log was perhaps started with us, and has not begun
_AGAIN_NS: Final = 1_000_000_000


@dataclass(slots=True)
class Reading:
    """How far the source has read, told by the source itself, against the ends of the price topics."""

    lag: Callable[[LogReader, TopicPartition, int], None]
    open_reader: Callable[[], LogReader]
    fresh_s: float = 0.1  # every shard asks: one look is for all
    _read: dict[TopicPartition, int] = field(default_factory=dict)
    _reader: LogReader | None = None
    _began_s: float = field(default_factory=monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: bool = True
    _looked_s: float = -1e9

    def __call__(self, reader: LogReader, tp: TopicPartition, next_offset: int) -> None:
        self._read[tp] = next_offset
        self.lag(reader, tp, next_offset)

    def caught_up(self) -> bool:
        """Whether nothing in the log waits to be read.

        Never before the source's first look, at which it tells of every partition: loading a state may take long.
        """
        if not self._read or monotonic() < self._began_s + _RESUMED_S:
            return False
        with self._lock:  # the shards may be in several threads
            if monotonic() >= self._looked_s + self.fresh_s:
                reader = self._reader = self._reader or self.open_reader()
                self._waiting = any(reader.behind(tp, offset) for tp, offset in list(self._read.items()))
                self._looked_s = monotonic()
            return not self._waiting


def _nothing() -> None:
    pass


class LiveKernel:
    """Another kernel of one shard, asked by time at most once a second; a market.kernel.Kernel.

    `told` is called after each time the kernel was asked.
    """

    def __init__(self, kernel: Kernel, reading: Reading, told: Callable[[], None] = _nothing) -> None:
        self._kernel, self._reading, self._told = kernel, reading, told
        self._not_before = 0

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        outputs = self._kernel.on_batch(arrivals)
        self._told()
        return outputs

    def on_time(self, now_ns: int) -> Outputs:
        self._not_before = now_ns + _AGAIN_NS
        if not self._reading.caught_up():
            return {}
        outputs = self._kernel.on_time(now_ns)
        self._told()
        return outputs

    def on_eof(self) -> Outputs:
        return self._kernel.on_eof()

    def next_wake_ns(self) -> int | None:
        due = self._kernel.next_wake_ns()
        return None if due is None else max(due, self._not_before)

    def on_history_lost(self) -> None:
        self._kernel.on_history_lost()

    def snapshot(self) -> object:
        return self._kernel.snapshot()

    def restore(self, state: object) -> None:
        self._kernel.restore(state)
