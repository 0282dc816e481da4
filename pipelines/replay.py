"""The replay dataflow: files in, both stores out, through the same kernels and sinks as live.

The end of the files makes every open bar final. There is no recovery store: a replay that was cut short is run
again, and natural keys make what it had already written change nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.repeats import Repeats
from connectors.replay import DEFAULT_BATCH_ROWS, ReplayBatch, ReplayFile
from market.admission import AdmissionKernel
from market.bars import BarsKernel
from market.columns import values
from market.quality import QualityKernel
from market.schemas import INTERVALS_NS
from market.watermark import Lateness
from pipelines.engine.outputs import StoreSink, TableRows
from pipelines.engine.recovery import execute
from pipelines.engine.steps import Chunk, Output, kernel_step
from sinks.base import Sink

_SLICE_NS: Final = 50_000_000  # at a set speed rows are let go in slices of market time this long
_NEVER: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """`speed` None is as fast as it goes, else market seconds per second. `on_rows` is told of rows read."""

    files: Sequence[Path]
    open_sinks: Sequence[Callable[[], Sink]]
    lateness: Lateness = field(default_factory=Lateness)
    intervals: Sequence[str] = tuple(INTERVALS_NS)
    speed: float | None = None
    batch_rows: int = DEFAULT_BATCH_ROWS
    workers: int = 1
    stop: Event = field(default_factory=Event)
    on_rows: Callable[[int], None] = lambda _: None


@dataclass(slots=True)
class Tally:
    """Rows in and out of one replay; every row in comes out under exactly one name."""

    rows: Counter[str] = field(default_factory=Counter)

    @property
    def rows_in(self) -> int:
        return self.rows["in"]

    @property
    def rows_out(self) -> int:
        return self.rows["trades"] + self.rows["quotes"]


def run(config: ReplayConfig) -> Tally:
    """Replay the files to their end and return the tally.

    Raises: ReplayFileError, StoreRejected.
    """
    tally = Tally()
    execute(_build(config, tally), workers=config.workers, epoch=_NEVER)
    return tally


def _build(config: ReplayConfig, tally: Tally) -> Dataflow:
    flow = Dataflow("replay")
    batches = op.input("files", flow, _FileSource(config, tally))
    ticks = op.flat_map("ticks", batches, _chunks)
    refused = op.filter_map("refused", batches, _refused)

    def no_clock() -> int:
        return 0  # a replay takes no samples, so no kernel asks

    bars = kernel_step("fold", ticks, lambda: BarsKernel(config.intervals, config.lateness), now=no_clock, ends=True)
    watched = kernel_step("watch", ticks, lambda: QualityKernel(config.lateness), now=no_clock, ends=True)
    states = op.filter_map("states", watched, _of_instruments)
    admitted = kernel_step("admit", ticks, lambda: AdmissionKernel(config.lateness), now=no_clock, ends=True)

    def table_rows(item: tuple[str, Output]) -> tuple[str, TableRows]:
        tally.rows[item[1].name] += item[1].batch.num_rows
        return "store", (item[1].name, item[1].batch)

    rows = op.map("count", op.merge("outputs", bars, admitted, refused, states), table_rows)
    for number, open_sink in enumerate(config.open_sinks):
        op.output(f"store_{number}", rows, StoreSink(open_sink=open_sink))
    return flow


def _chunks(batch: ReplayBatch) -> Iterator[tuple[str, Chunk]]:
    for commodity, arrivals in batch.arrivals:
        # A file has no log offsets; one run reads it once, from the start, so there is nothing to check.
        yield commodity, Chunk(source="file", first=0, next=0, arrivals=arrivals, is_start=True)


def _of_instruments(item: tuple[str, Output]) -> tuple[str, Output] | None:
    """Drop what is about a venue as a whole: every shard says it, and which of them is stored last is chance."""
    batch = item[1].batch.filter(pc.is_valid(item[1].batch.column("instrument")))
    return (item[0], Output(name="status", batch=batch)) if batch.num_rows else None


def _refused(batch: ReplayBatch) -> tuple[str, Output] | None:
    return None if batch.rejected is None else ("rejected", Output(name="rejected", batch=batch.rejected))


@dataclass(frozen=True, slots=True)
class _FileSource(FixedPartitionedSource[ReplayBatch, None]):
    config: ReplayConfig
    tally: Tally

    def list_parts(self) -> list[str]:
        return ["files"]  # one after the other: file order is order of arrival

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_FilePart":
        return _FilePart(self.config, self.tally)


class _FilePart(StatefulSourcePartition[ReplayBatch, None]):
    def __init__(self, config: ReplayConfig, tally: Tally) -> None:
        self._config, self._tally = config, tally
        self._batches = _all_batches(config)
        self._pace = None if config.speed is None else _Pace(config.speed)
        self._next: ReplayBatch | None = None

    def next_batch(self) -> Iterable[ReplayBatch]:
        if self._config.stop.is_set():
            raise KeyboardInterrupt
        if self._next is None:
            self._next = next(self._batches, None)
            if self._next is None:
                raise StopIteration
        if self._pace is not None and self._pace.wait_s(self._next) > 0:
            return []
        batch, self._next = self._next, None
        self._tally.rows["in"] += batch.rows_in
        self._config.on_rows(batch.rows_in)
        return [batch]

    def next_awake(self) -> datetime | None:
        if self._next is None or self._pace is None:
            return None
        return datetime.now(UTC) + timedelta(seconds=min(0.1, self._pace.wait_s(self._next)))

    def snapshot(self) -> None:
        return None


class _Pace:
    """When a batch is due: market time runs `speed` times as fast as the wall, from the first row on."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: tuple[float, int] | None = None

    def wait_s(self, batch: ReplayBatch) -> float:
        starts = [int(values(arrivals.column("ts_event"))[0]) for _, arrivals in batch.arrivals]
        if not starts:
            return 0.0
        if self._began is None:
            self._began = monotonic(), min(starts)
        began_at, began_ns = self._began
        return began_at + (min(starts) - began_ns) / 1e9 / self._speed - monotonic()


def _all_batches(config: ReplayConfig) -> Iterator[ReplayBatch]:
    repeats = Repeats()
    for path in config.files:
        for batch in ReplayFile(path=path, batch_rows=config.batch_rows).batches(repeats):
            yield from [batch] if config.speed is None else _sliced(batch)


def _sliced(batch: ReplayBatch) -> Iterator[ReplayBatch]:
    """Cut a batch where event time steps into another slice, so that a set speed is smooth."""
    refused = batch.rejected
    extra = batch.rows_in - sum(arrivals.num_rows for _, arrivals in batch.arrivals)
    for commodity, arrivals in batch.arrivals:
        for part in _time_slices(arrivals):
            yield ReplayBatch(rows_in=part.num_rows + extra, arrivals=[(commodity, part)], rejected=refused)
            refused, extra = None, 0
    if refused is not None:
        yield ReplayBatch(rows_in=extra, arrivals=[], rejected=refused)


def _time_slices(arrivals: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    slices = values(arrivals.column("ts_event")) // _SLICE_NS
    cuts = [0, *((slices[1:] != slices[:-1]).nonzero()[0] + 1).tolist(), arrivals.num_rows]
    for start, end in pairwise(cuts):
        yield arrivals.slice(start, end - start)
