"""The analytics dataflow of bars: price topics in; `market.bars`, and the ledger of late and refused rows, out.

Delivery: state and positions recover together (pipelines.engine.recovery); derived topics are at least once.
Step ids are stable: recovery is keyed by them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Final

import bytewax.operators as op
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from market import topics
from market.bars import BarsKernel
from market.records import LogReader, LogWriter, TopicPartition
from market.schemas import INTERVALS_NS
from market.watermark import Lateness
from pipelines import metrics
from pipelines.balance import BalancedAdmission
from pipelines.engine.log_source import LogSource, ticks_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import Output, kernel_step

SAMPLE_NS: Final = 200_000_000
"""Forming bars are sampled five times a second: as often as a chart can be read."""

_POLL: Final = timedelta(milliseconds=200)  # as often as forming bars are sampled

_TARGETS: Final = {"bars": topics.BARS, "late": topics.LATE, "rejected": topics.REJECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsConfig:
    """What the flow needs. `now` is the market clock; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    lateness: Lateness = field(default_factory=Lateness)
    intervals: Sequence[str] = tuple(INTERVALS_NS)
    sample_ns: int | None = SAMPLE_NS


def build(config: BarsConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("bars")
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.PRICES_PATTERN],
        convert=ticks_of,
        stop=config.stop,
        on_read=Lag("bars"),
        poll=_POLL,
    )
    ticks = op.input("prices", flow, source)
    bars = kernel_step(
        "fold",
        ticks,
        lambda: BarsKernel(config.intervals, config.lateness, config.sample_ns),
        now=config.now,
    )
    judged = kernel_step("admit", ticks, lambda: BalancedAdmission("bars", config.lateness), now=config.now)
    ledger = op.filter("ledger", judged, lambda item: item[1].name in ("late", "rejected"))
    out = op.map("count", op.merge("outputs", bars, ledger), _counted)
    op.output("topics", out, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _target(name: str) -> TopicPartition:
    return TopicPartition(_TARGETS[name], topics.FROM_ANALYTICS)


def _counted(item: tuple[str, Output]) -> tuple[str, Output]:
    output = item[1]
    if output.name == "late":
        metrics.LATE_ROWS.inc(output.batch.num_rows)
    elif output.name == "rejected":
        for reason, rows in Counter(output.batch.column("reason").to_pylist()).items():
            metrics.REJECTED_ROWS.labels(reason).inc(rows)
    else:
        final = pc.sum(output.batch.column("final")).as_py() or 0
        metrics.BARS.labels("final").inc(final)
        metrics.BARS.labels("forming").inc(output.batch.num_rows - final)
    return item
