"""The Kernel protocol: every computation of Mandi is a pure object between two Arrow batches.

A kernel reads no clock, does no I/O and knows no engine. **Chunk invariance is the law**: for the same rows in the
same order, the concatenation of its outputs is the same bytes wherever the input was cut and wherever it was
snapshotted and restored. Samples that are marked as such (forming bars) are exempt.
`tests/market/conformance.py` holds every kernel to it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import pyarrow as pa

from market.schemas import TICKS

Outputs = Mapping[str, pa.RecordBatch]
"""Output name -> a non-empty batch of the schema of that name."""

ARRIVALS = pa.schema(
    [
        *TICKS,
        pa.field("source", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""What a kernel is fed: ticks in arrival order, each with where it came from (market.schemas.LATE)."""


class Kernel(Protocol):
    """One shard's computation. One instance sees all rows of its shard, in order."""

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        """Fold a batch of ARRIVALS, which is not changed, and return what follows from it."""

    def on_time(self, now_ns: int) -> Outputs:
        """Return the samples that are due at market time `now_ns`. Never moves event time: rows do."""

    def on_eof(self) -> Outputs:
        """No row will come any more: return everything that was still open, as final."""

    def next_wake_ns(self) -> int | None:
        """Market time at which `on_time` has something to say; None if it has not."""

    def on_history_lost(self) -> None:
        """Rows before the first one to come are gone for good: say nothing that would have needed them."""

    def snapshot(self) -> object:
        """Return the state as a picklable value that later calls do not change."""

    def restore(self, state: object) -> None:
        """Continue from a snapshot, as if nothing had happened since it was taken."""


def arrivals(ticks: pa.RecordBatch, source: str, offsets: pa.Array, rows: pa.Array) -> pa.RecordBatch:
    """Give a ticks batch its source columns."""
    zeros = pa.Array.from_buffers(pa.int8(), ticks.num_rows, [None, pa.py_buffer(bytes(ticks.num_rows))])
    where = pa.DictionaryArray.from_arrays(zeros, _names_of(source))
    return pa.RecordBatch.from_arrays([*ticks.columns, where, offsets, rows], schema=ARRIVALS)


@lru_cache(maxsize=256)
def _names_of(source: str) -> pa.Array:
    return pa.array([source], pa.utf8())
