"""The quality dataflow: price topics in, `market.status` out: which instruments are to be trusted, and why not.

A silence of a whole shard is known by the clock alone, so the kernel is asked by time. It is asked only while all
that is in the log has been read: a flow that is behind would take its own delay for the market's silence.

Delivery: state and positions recover together; status rows are at least once, told apart by their natural key.
Step ids are stable: recovery is keyed by them.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from market import topics
from market.quality import QualityKernel
from market.records import LogReader, LogWriter, TopicPartition
from market.watermark import Lateness
from pipelines import metrics
from pipelines.engine.live import LiveKernel, Reading
from pipelines.engine.log_source import LogSource, ticks_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import kernel_step

_POLL: Final = timedelta(milliseconds=500)  # a second is the resolution of a silence
_COUNT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """What the flow needs. `now` is the market clock; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    lateness: Lateness = field(default_factory=Lateness)


def build(config: QualityConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("quality")
    reading, tally = Reading(Lag("quality"), config.open_reader), Tally()
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.PRICES_PATTERN],
        convert=ticks_of,
        stop=config.stop,
        on_read=reading,
        poll=_POLL,
    )
    ticks = op.input("prices", flow, source)
    status = kernel_step("watch", ticks, lambda: live(config.lateness, reading, tally), now=config.now)
    op.output("topics", status, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def live(lateness: Lateness, reading: Reading, tally: "Tally") -> LiveKernel:
    """The quality kernel of one shard, asked by time only while the flow is not behind, and counted."""
    kernel = QualityKernel(lateness)
    tally.kernels.append(kernel)
    return LiveKernel(kernel, reading, tally.export)


def _target(name: str) -> TopicPartition:
    assert name == "status"
    return TopicPartition(topics.STATUS, topics.FROM_ANALYTICS)


@dataclass(slots=True)
class Tally:
    """What the kernels of all shards find, summed up for Prometheus about once a second."""

    kernels: list[QualityKernel] = field(default_factory=list)
    _counted_s: float = -1e9

    def export(self) -> None:
        if monotonic() < self._counted_s + _COUNT_S:
            return
        self._counted_s = monotonic()
        counts, skews = Counter[tuple[str, str]](), dict[str, int]()
        for kernel in self.kernels:
            for key, instruments in kernel.counts().items():
                counts[key] += instruments
            for venue, offset_ns in kernel.skews().items():
                skews[venue] = max(skews.get(venue, 0), offset_ns or 0, key=abs)
        for (venue, quality), instruments in counts.items():
            metrics.INSTRUMENTS.labels(venue, quality).set(instruments)
        for venue, offset_ns in skews.items():
            metrics.CLOCK_SKEW_SECONDS.labels(venue).set(offset_ns / 1e9)
