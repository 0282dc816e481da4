"""Any kernel as one Bytewax step, with the log position it was taken at inside its state.

The item of a stream is `(shard, Chunk)` into a step and `(shard, Output)` out of it. The state of a step says which
offset of which source comes next. Rows at another offset are refused: never skipped, never counted twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import bytewax.operators as op
import pyarrow as pa
from bytewax.operators import KeyedStream, StatefulBatchLogic

from market.kernel import Kernel, Outputs
from pipelines.engine.blame import blamed
from pipelines.engine.recovery import StateMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive records of one source: offsets [first, next).

    Shape: `arrivals` has the schema market.kernel.ARRIVALS. `is_start` says that the source begins here.
    """

    source: str
    first: int
    next: int
    arrivals: pa.RecordBatch
    is_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One named output batch of a kernel."""

    name: str
    batch: pa.RecordBatch


STATE_VERSION: Final = 9
"""Raised with every change of what a kernel's snapshot holds: an older state is then rebuilt, not misread."""

State = tuple[int, Mapping[str, int], object]
"""STATE_VERSION, next offset by source, and the kernel's snapshot taken there."""


class _KernelLogic(StatefulBatchLogic[Chunk, Output, State]):
    def __init__(
        self, step_id: str, kernel: Kernel, resume: State | None, now: Callable[[], int], *, ends: bool
    ) -> None:
        self._step_id, self._kernel, self._now, self._ends = step_id, kernel, now, ends
        self._next: dict[str, int] = {}
        if resume is not None:
            version, positions, snapshot = resume
            if version != STATE_VERSION:
                raise StateMismatch(step_id, "a state of version", STATE_VERSION, version)
            self._next = dict(positions)
            kernel.restore(snapshot)

    @blamed()
    def on_batch(self, values: list[Chunk]) -> tuple[Iterable[Output], bool]:
        outputs: list[Output] = []
        for chunk in values:
            self._expect(chunk)
            outputs += _outputs(self._kernel.on_batch(chunk.arrivals))
            self._next[chunk.source] = chunk.next
        return outputs, self.RETAIN

    @blamed()
    def on_notify(self) -> tuple[Iterable[Output], bool]:
        return _outputs(self._kernel.on_time(self._now())), self.RETAIN

    def on_eof(self) -> tuple[Iterable[Output], bool]:
        # The end of a live log is a shutdown, not the end of the market: its bars stay open.
        return (_outputs(self._kernel.on_eof()) if self._ends else []), self.RETAIN

    def notify_at(self) -> datetime | None:
        due = self._kernel.next_wake_ns()
        if due is None:
            return None
        return datetime.now(UTC) + timedelta(microseconds=max(0, due - self._now()) / 1000)

    def snapshot(self) -> State:
        return STATE_VERSION, dict(self._next), self._kernel.snapshot()

    def _expect(self, chunk: Chunk) -> None:
        expected = self._next.get(chunk.source)
        if chunk.first != expected and not (expected is None and chunk.is_start):
            raise StateMismatch(self._step_id, chunk.source, expected, chunk.first)
        if expected is None and chunk.first > 0:
            self._kernel.on_history_lost()  # a rebuild from a log whose beginning retention has dropped


def _outputs(outputs: Outputs) -> list[Output]:
    return [Output(name=name, batch=batch) for name, batch in outputs.items()]


def kernel_step(
    step_id: str,
    up: KeyedStream[Chunk],
    build: Callable[[], Kernel],
    *,
    now: Callable[[], int],
    ends: bool = False,
) -> KeyedStream[Output]:
    """Run one kernel per shard. `ends`: the end of the input closes what is open (replay), else it is kept.

    Delivery: the state, with its position in the log, is snapshotted with the source once an epoch.
    Raises: StateMismatch when a state and its source disagree about where to go on.
    """

    @blamed()
    def logic(resume: State | None) -> _KernelLogic:
        return _KernelLogic(step_id, build(), resume, now, ends=ends)

    return op.stateful_batch(step_id, up, logic)
