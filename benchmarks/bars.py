"""Measure bars: the columnar pipeline in Bytewax, and the same job with one Python object per tick, in one run.

Both run in this process on one core, on the same ticks (50 instruments, 20,000 ticks per second of market time, in
order), from batches in memory to bars counted. The median of several alternating runs counts.
"""

import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
import numpy as np
import pyarrow as pa
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from market.bars import BarsKernel
from market.kernel import arrivals
from market.schemas import INTERVALS_NS, TICKS, TRADE
from pipelines.engine.steps import Chunk, kernel_step

INSTRUMENTS: Final = 50
TICKS_PER_SECOND: Final = 20_000
BATCH_ROWS: Final = 20_000
BATCHES: Final = 200
OBJECT_BATCHES: Final = 20
RUNS: Final = 5
_SECOND: Final = 1_000_000_000


def bench_bars(directory: Path) -> Mapping[str, object]:  # noqa: ARG001 - the suite's signature
    """Return ticks per second of each way, and their ratio."""
    with _one_core():
        batches = [_batch(number) for number in range(BATCHES)]
        objects = [_objects(batch) for batch in batches[:OBJECT_BATCHES]]
        one, seven, per_object = [], [], []
        for _ in range(RUNS):
            one.append(_columnar(batches, ("1s",)))
            seven.append(_columnar(batches, tuple(INTERVALS_NS)))
            per_object.append(_per_object(objects))
    rates = {
        "columnar_1s_ticks_per_s": statistics.median(one),
        "columnar_7_intervals_ticks_per_s": statistics.median(seven),
        "object_1s_ticks_per_s": statistics.median(per_object),
    }
    return {
        **{name: round(rate) for name, rate in rates.items()},
        "columnar_over_object": round(rates["columnar_1s_ticks_per_s"] / rates["object_1s_ticks_per_s"], 1),
        "batch_rows": BATCH_ROWS,
        "instruments": INSTRUMENTS,
        "runs": RUNS,
        "cores": 1,
    }


@contextmanager
def _one_core() -> Iterator[None]:
    """Pin this process to one core, where the system lets us."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _batch(number: int) -> pa.RecordBatch:
    """Ticks of one batch: prices walk by ticks, sizes are whole lots, `ts_recv` is 1 ms after the event."""
    random = np.random.default_rng(number)
    step = _SECOND // TICKS_PER_SECOND
    ts = 1_700_000_000 * _SECOND + (np.arange(BATCH_ROWS) + number * BATCH_ROWS) * step
    names = [f"XCEC:T{i:02}:202612" for i in range(INSTRUMENTS)]
    columns: dict[str, Any] = {
        "kind": pa.array(np.full(BATCH_ROWS, TRADE, np.int8)),
        "venue": pa.DictionaryArray.from_arrays(np.zeros(BATCH_ROWS, np.int8), ["XCEC"]),
        "instrument": pa.DictionaryArray.from_arrays(
            random.integers(0, INSTRUMENTS, BATCH_ROWS).astype(np.int32), names
        ),
        "ts_event": pa.array(ts),
        "ts_recv": pa.array(ts + 1_000_000),
        "seq": pa.array(np.arange(BATCH_ROWS) + number * BATCH_ROWS),
        "price": pa.array(1_300 * _SECOND + random.integers(-500, 500, BATCH_ROWS) * 10**8),
        "size": pa.array(random.integers(1, 20, BATCH_ROWS) * _SECOND),
        "side": pa.array(np.ones(BATCH_ROWS, np.int8)),
        "flags": pa.array(np.zeros(BATCH_ROWS, np.int32)),
    }
    ticks = pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(BATCH_ROWS, field.type)) for field in TICKS], schema=TICKS
    )
    rows = pa.array(np.arange(BATCH_ROWS))
    return arrivals(ticks, "bench/0", pa.array(np.full(BATCH_ROWS, number)), rows)


Tick = tuple[str, tuple[int, int, int]]


def _objects(batch: pa.RecordBatch) -> list[Tick]:
    """The same ticks as (instrument, (ts, price, size)) tuples, the cheapest object there is."""
    keys = batch.column("instrument").to_pylist()
    columns = (batch.column(name).to_pylist() for name in ("ts_event", "price", "size"))
    return list(zip(keys, zip(*columns, strict=True), strict=True))


def _columnar(batches: Sequence[pa.RecordBatch], intervals: Sequence[str]) -> float:
    chunks = [
        [("gold", Chunk(source="bench/0", first=n, next=n + 1, arrivals=batch, is_start=n == 0))]
        for n, batch in enumerate(batches)
    ]
    flow, counter = Dataflow("columnar"), _Counter()
    ticks = op.input("in", flow, _Source(chunks))
    bars = kernel_step("fold", ticks, lambda: BarsKernel(intervals), now=time.time_ns, ends=True)
    op.output("out", op.map("count", bars, lambda item: item[1].batch.num_rows), counter)
    return _rate(flow, BATCH_ROWS * len(batches), counter)


def _per_object(batches: Sequence[list[Tick]]) -> float:
    flow, counter = Dataflow("object"), _Counter()
    ticks = op.input("in", flow, _Source(batches))
    bars = op.stateful_batch("fold", ticks, lambda _: _ObjectBars())
    op.output("out", op.map("count", bars, lambda _: 1), counter)
    return _rate(flow, BATCH_ROWS * len(batches), counter)


def _rate(flow: Dataflow, rows: int, counter: "_Counter") -> float:
    began = time.perf_counter()
    cluster_main(flow, [], 0)  # type: ignore[no-untyped-call]
    elapsed = time.perf_counter() - began
    expected = rows / TICKS_PER_SECOND * INSTRUMENTS
    if counter.bars < expected * 0.99:
        raise RuntimeError(f"only {counter.bars} bars came out, of about {expected:.0f}")
    return rows / elapsed


class _ObjectBars(StatefulBatchLogic[tuple[int, int, int], tuple[int, ...], None]):
    """One instrument's 1 s bars, tick by tick; in-order input, so it judges no lateness: less work than ours."""

    def __init__(self) -> None:
        self._window = -1
        self._bar: list[int] = []

    def on_batch(self, values: list[tuple[int, int, int]]) -> tuple[Iterable[tuple[int, ...]], bool]:
        closed = []
        for ts, price, size in values:
            window = ts // _SECOND
            if window != self._window:
                if self._bar:
                    closed.append((self._window, *self._bar))
                self._window, self._bar = window, [price, price, price, price, 0, 0, 0]
            bar = self._bar
            if price > bar[1]:
                bar[1] = price
            if price < bar[2]:
                bar[2] = price
            bar[3] = price
            bar[4] += size
            bar[5] += price * size
            bar[6] += 1
        return closed, self.RETAIN

    def on_eof(self) -> tuple[Iterable[tuple[int, ...]], bool]:
        return [(self._window, *self._bar)], self.DISCARD

    def snapshot(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Source(FixedPartitionedSource[Any, None]):
    batches: Sequence[list[Any]]

    def list_parts(self) -> list[str]:
        return ["memory"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Part":  # noqa: ARG002
        return _Part(iter(self.batches))


@dataclass(slots=True)
class _Part(StatefulSourcePartition[Any, None]):
    batches: Iterator[list[Any]]

    def next_batch(self) -> list[Any]:
        return next(self.batches)

    def snapshot(self) -> None:
        return None


@dataclass(slots=True)
class _Counter(DynamicSink[int]):
    """Counts what comes out, so that no work can be skipped."""

    bars: int = 0

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_CounterPart":  # noqa: ARG002
        return _CounterPart(self)


@dataclass(slots=True)
class _CounterPart(StatelessSinkPartition[int]):
    counter: _Counter

    def write_batch(self, items: list[int]) -> None:
        self.counter.bars += sum(items)
