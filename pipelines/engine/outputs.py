"""Where flows write: derived topics of the log, and the stores. Both commit at the end of each epoch.

Bytewax tells a partitioned sink when an epoch ends by asking for its snapshot, and counts the epoch only after
that. What an epoch wrote is therefore on disk before its input is done with: nothing is lost, and after a
crash the last epoch comes again, which natural keys absorb.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import pyarrow as pa
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from market.records import LogWriter, TopicPartition
from pipelines import metrics
from pipelines.engine.blame import blamed
from pipelines.engine.steps import Output
from sinks.base import Sink
from sinks.errors import SinkError
from sinks.failures import CLICKHOUSE
from sinks.faults import crash_point

FLUSH_ROWS: Final = 50_000
"""A store write larger than this is not faster (docs/performance.md), and memory is better spent elsewhere."""

FLUSH_ROWS_OF: Final = {CLICKHOUSE: 200_000}
"""Where it is another. ClickHouse makes a part of each write; to make and merge few large ones costs half as much."""

FLUSH_BYTES: Final = 16 << 20
"""A store write larger than this takes memory that is better spent elsewhere: a snapshot of a book is ten trades."""

TableRows = tuple[str, pa.RecordBatch]
"""A table's name and rows for it."""


X = TypeVar("X")
S = TypeVar("S")


@dataclass(slots=True)
class _Guarded(StatefulSinkPartition[X, S], Generic[X, S]):
    part: StatefulSinkPartition[X, S]
    failed: bool = False

    def write_batch(self, values: list[X]) -> None:
        with self._watched():
            self.part.write_batch(values)

    def snapshot(self) -> S:
        with self._watched():
            return self.part.snapshot()

    def close(self) -> None:
        with suppress(SinkError, OSError) if self.failed else nullcontext():
            self.part.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with blamed():
                yield
        except BaseException:
            self.failed = True
            raise


def guarded(part: StatefulSinkPartition[X, S]) -> StatefulSinkPartition[X, S]:
    """Keep `close` of a part that failed from failing, too: Bytewax would abort the process, and hide the reason."""
    return _Guarded(part)


@dataclass(slots=True)
class _TopicPart(StatefulSinkPartition[Output, None]):
    writer: LogWriter
    target: Callable[[str], TopicPartition]

    def write_batch(self, values: list[Output]) -> None:
        for output in values:
            self.writer.append(self.target(output.name), output.name, output.batch)
        self.writer.flush()

    def snapshot(self) -> None:
        crash_point("topic.sync.before")
        self.writer.sync()
        crash_point("topic.sync.after")

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSink(FixedPartitionedSink[Output, None]):
    """Append outputs to the topic-partition that `target` names for their kind.

    Delivery: at least once; rows are told apart by their natural key.
    """

    open_writer: Callable[[], LogWriter]
    target: Callable[[str], TopicPartition]

    def list_parts(self) -> list[str]:
        return ["log"]

    @blamed()
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Output, None]:
        return guarded(_TopicPart(self.open_writer(), self.target))


@dataclass(slots=True)
class _StorePart(StatefulSinkPartition[TableRows, None]):
    sink: Sink
    pending: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0

    def write_batch(self, values: Sequence[TableRows]) -> None:
        for table, batch in values:
            self.pending.setdefault(table, []).append(batch)
            self.rows += batch.num_rows
            self.size_bytes += batch.nbytes
            if self.rows >= FLUSH_ROWS_OF.get(self.sink.name, FLUSH_ROWS) or self.size_bytes >= FLUSH_BYTES:
                self._flush()

    def snapshot(self) -> None:
        self._flush()

    def close(self) -> None:
        self._flush()
        self.sink.close()

    def _flush(self) -> None:
        if not self.rows:
            return
        # Taken first: after a failure `close` has nothing to wait for.
        pending, rows = self.pending, self.rows
        self.pending, self.rows, self.size_bytes = {}, 0, 0
        with metrics.SINK_FLUSH_SECONDS.labels(self.sink.name).time():
            self.sink.write(pending)
        metrics.SINK_ROWS.labels(self.sink.name).inc(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSink(FixedPartitionedSink[TableRows, None]):
    """Write rows to a store, once an epoch or at FLUSH_ROWS or FLUSH_BYTES.

    Delivery: at least once, and idempotent by natural key: the store ends up with each row once. A store that is
        away is waited for: the log keeps the data, and this flow's memory stays below them.
    """

    open_sink: Callable[[], Sink]

    def list_parts(self) -> list[str]:
        return ["store"]

    @blamed()
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[TableRows, None]:
        return guarded(_StorePart(self.open_sink()))
