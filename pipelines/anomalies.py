"""The anomalies dataflow: price topics in, `market.anomalies` out: what is odd, since when, and who else saw it.

USDINR is a witness in every shard with a contract in rupees: ingest tells it among the ticks of such a commodity, so
that both have one order, which a restart repeats. In its own shard it is watched itself. A kernel is asked by time only
while all that is in the log has been read (pipelines.engine.live).

Delivery: state and positions recover together; rows are at least once, told apart by `anomaly_id`.
Step ids are stable: recovery is keyed by them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Final

import bytewax.operators as op
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from market import topics
from market.anomalies import USDINR, AnomalyKernel
from market.detectors.generic import GenericDetector
from market.detectors.protocol import KINDS
from market.instruments import InstrumentMaster
from market.records import LogReader, LogWriter, Record, TopicPartition
from market.watermark import Lateness
from pipelines import metrics
from pipelines.engine.live import LiveKernel, Reading
from pipelines.engine.log_source import TICKS_KIND, LogSource, ticks_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import Chunk, Output, kernel_step

_POLL: Final = timedelta(milliseconds=500)  # a step is a second
_RATE: Final = InstrumentMaster.load().commodity_of(USDINR)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomaliesConfig:
    """What the flow needs. `now` is the market clock; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    lateness: Lateness = field(default_factory=Lateness)


def build(config: AnomaliesConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("anomalies")
    for kind in KINDS:
        metrics.ANOMALIES.labels(kind)  # from 0: a surge may be the first of its kind
    reading = Reading(Lag("anomalies"), config.open_reader)
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.PRICES_PATTERN],
        convert=_with_rate,
        stop=config.stop,
        on_read=reading,
        poll=_POLL,
    )
    ticks = op.input("prices", flow, source)
    split = op.branch("rate", ticks, lambda item: item[0] == _RATE)
    rate = kernel_step(
        "watch_rate",
        split.trues,
        lambda: LiveKernel(AnomalyKernel(config.lateness, rates=frozenset(), generic=GenericDetector), reading),
        now=config.now,
    )
    others = kernel_step(
        "watch",
        split.falses,
        lambda: LiveKernel(AnomalyKernel(config.lateness, generic=GenericDetector), reading),
        now=config.now,
    )
    out = op.map("count", op.merge("anomalies", rate, others), _counted)
    op.output("topics", out, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _with_rate(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Chunk]]:
    return ticks_of(tp, records, is_start, kinds=(TICKS_KIND, topics.FX_KIND))


def _target(name: str) -> TopicPartition:
    assert name == "anomalies"
    return TopicPartition(topics.ANOMALIES, topics.FROM_ANALYTICS)


def _counted(item: tuple[str, Output]) -> tuple[str, Output]:
    batch = item[1].batch
    ended = batch.filter(pc.is_valid(batch.column("ts_end")))
    for kind in ended.column("kind").to_pylist():
        metrics.ANOMALIES.labels(kind).inc()
    return item
