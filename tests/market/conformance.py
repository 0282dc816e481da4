"""What every kernel must do, run over every kernel by test_conformance.py.

A kernel is entered in KERNELS with how to build it and which of its output rows are samples (exempt).
"""

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
from arrivals import batch, joined
from bar_rows import of_market
from book_rows import changes
from eventful_rows import anomaly_kernel, arbitrage_kernel, near_parity, odd_gold
from join_rows import joins
from leg_rows import legs
from reference import Row

from market.admission import AdmissionKernel
from market.anomalies import AnomalyKernel
from market.arbitrage import ArbitrageKernel
from market.bars import BarsKernel
from market.book import BookKernel
from market.detectors.generic import GenericDetector
from market.forecasts import ForecastKernel
from market.kernel import Kernel
from market.quality import QualityKernel
from market.trade_join import TradeJoinKernel


@dataclass(frozen=True)
class Entry:
    build: Callable[[], Kernel]
    outputs: tuple[str, ...]
    batch: Callable[[list[Row]], pa.RecordBatch] = batch
    """What makes the kernel's input of the rows of an imagined market."""
    says: bool = True
    """Whether it has anything to say of markets drawn at random."""
    lasts: bool = True
    """Whether its input goes on over days as its rows do."""
    asked: bool = False
    """Whether a clock makes it say more than samples: what falls due while nothing comes."""


KERNELS = {
    "bars": Entry(BarsKernel, ("bars",)),
    "bars-sampled": Entry(lambda: BarsKernel(sample_ns=1), ("bars",)),
    "bars-1m-1h": Entry(lambda: BarsKernel(intervals=("1h", "1m")), ("bars",)),
    "arbitrage": Entry(ArbitrageKernel, ("arbitrage",), legs, says=False, asked=True),
    "arbitrage-parity": Entry(arbitrage_kernel, ("arbitrage",), near_parity, lasts=False, asked=True),
    "quality": Entry(QualityKernel, ("status",), asked=True),
    "anomalies": Entry(lambda: AnomalyKernel(generic=GenericDetector), ("anomalies",), says=False, asked=True),
    "anomalies-usual": Entry(anomaly_kernel, ("anomalies",), odd_gold, lasts=False, asked=True),
    "admission": Entry(AdmissionKernel, ("trades", "quotes", "late", "rejected")),
    "book": Entry(BookKernel, ("books",), changes),
    "trade-join": Entry(TradeJoinKernel, ("trade_events",), joins),
    "forecasts": Entry(ForecastKernel, ("forecasts", "forecast_scores", "fit_requests"), of_market),
}


def run(
    kernel: Kernel,
    chunks: Iterable[list[Row]],
    *,
    batch: Callable[[list[Row]], pa.RecordBatch] = batch,
    resume: Callable[[Kernel], Kernel] | None = None,
) -> dict:
    """Feed chunks, end the input, and return every output as plain rows, without samples and what had only them."""
    outputs = []
    for chunk in chunks:
        outputs.append(kernel.on_batch(batch(chunk)))
        if resume is not None:
            kernel = resume(kernel)
    outputs.append(kernel.on_eof())
    rows = {name: b.to_pylist() for name, b in joined(outputs).items()}
    kept = {name: [row for row in found if row.get("final", True)] for name, found in rows.items()}
    return {name: found for name, found in kept.items() if found or not rows[name]}


def resumed(build: Callable[[], Kernel]) -> Callable[[Kernel], Kernel]:
    """A crash and a restart: a fresh kernel from the pickled snapshot."""

    def restart(kernel: Kernel) -> Kernel:
        fresh = build()
        fresh.restore(pickle.loads(pickle.dumps(kernel.snapshot())))
        return fresh

    return restart


def ipc(b: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, b.schema) as writer:
        writer.write_batch(b)
    return sink.getvalue().to_pybytes()
