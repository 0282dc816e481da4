"""How much a flow gathers before it writes to a store."""

from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from store_rows import batch_of, rows_of

from benchmarks.stores import trades
from pipelines.engine.outputs import FLUSH_BYTES, StoreSink
from sinks.base import Rows, WriteResult


@dataclass(slots=True)
class Recording:
    """A store that only counts the rows of each write."""

    name: str
    writes: list[int] = field(default_factory=list)

    def write(self, rows: Rows) -> WriteResult:
        self.writes.append(sum(batch.num_rows for batches in rows.values() for batch in batches))
        return WriteResult(rows_in={}, rows_written={}, seconds=0.0)

    def close(self) -> None:
        pass


def _written(store: str, table: str, batch: pa.RecordBatch, times: int) -> list[int]:
    sink = Recording(store)
    part = StoreSink(open_sink=lambda: sink).build_part("step", "store", None)
    for _ in range(times):
        part.write_batch([(table, batch)])
    part.snapshot()
    return sink.writes


@pytest.mark.parametrize(("store", "writes"), [("timescale", [60_000] * 7), ("clickhouse", [200_000, 200_000, 20_000])])
def test_clickhouse_gets_larger_writes(store: str, writes: list[int]) -> None:
    assert _written(store, "trades", trades(0, 20_000), 21) == writes


@pytest.mark.parametrize("store", ["timescale", "clickhouse"])
def test_wide_rows_are_written_before_they_fill_the_memory(store: str) -> None:
    batch = batch_of("books", rows_of("books", 4_000))
    writes = _written(store, "books", batch, 30)
    assert sum(writes) == 120_000
    assert max(writes) <= FLUSH_BYTES / batch.nbytes * 4_000 + 4_000


def test_an_epoch_writes_what_there_is_once() -> None:
    assert _written("clickhouse", "trades", trades(0, 10), 3) == [30]
