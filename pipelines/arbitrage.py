"""The arbitrage dataflow: price topics, the exchange rate and books among them, in; `market.arbitrage` out.

Delivery: state and positions recover together; rows are at least once, told apart by their natural key.
Step ids are stable: recovery is keyed by them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from market import topics
from market.arbitrage import ArbitrageKernel
from market.records import LogReader, LogWriter, TopicPartition
from market.reference import Reference
from market.watermark import Lateness
from pipelines import metrics
from pipelines.engine.live import LiveKernel, Reading
from pipelines.engine.log_source import LogSource, legs_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import kernel_step

_POLL: Final = timedelta(milliseconds=500)  # an opportunity is of seconds
_COUNT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbitrageConfig:
    """What the flow needs. `now` is the market clock; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    lateness: Lateness = field(default_factory=Lateness)


def build(config: ArbitrageConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("arbitrage")
    reading, tally = Reading(Lag("arbitrage"), config.open_reader), _Tally()
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.prices(commodity).topic for commodity in Reference.load().commodities],
        convert=legs_of,
        stop=config.stop,
        on_read=reading,
        poll=_POLL,
    )
    legs = op.input("prices", flow, source)
    found = kernel_step("compare", legs, lambda: _live(config.lateness, reading, tally), now=config.now)
    op.output("topics", found, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _live(lateness: Lateness, reading: Reading, tally: "_Tally") -> LiveKernel:
    kernel = ArbitrageKernel(lateness)
    tally.kernels.append(kernel)
    return LiveKernel(kernel, reading, tally.export)


def _target(name: str) -> TopicPartition:
    assert name == "arbitrage"
    return TopicPartition(topics.ARBITRAGE, topics.FROM_ANALYTICS)


@dataclass(slots=True)
class _Tally:
    """What is open in all shards, for Prometheus, about once a second."""

    kernels: list[ArbitrageKernel] = field(default_factory=list)
    _counted_s: float = -1e9

    def export(self) -> None:
        if monotonic() < self._counted_s + _COUNT_S:
            return
        self._counted_s = monotonic()
        for kernel in self.kernels:
            for commodity, opportunities in kernel.open_count().items():
                metrics.ARBITRAGE_OPEN.labels(commodity).set(opportunities)
