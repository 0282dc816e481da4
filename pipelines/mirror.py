"""The mirror dataflow, with the log on Kafka and only where it is wanted: price topics in, the same rows as JSON out.

Topic `market.json.<commodity>`, one message a trade, quote, bust or correction, keyed by instrument.

Delivery: at least once; after a crash the last epoch comes again. A message is told apart by instrument, kind,
    ts_event, seq and trade_id. Step ids are stable: recovery is keyed by them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from market import topics
from market.json_rows import json_of_ticks
from market.records import LogReader, Record, TopicPartition, joined
from pipelines import metrics
from pipelines.engine.log_source import TICKS_KIND, LogSource
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import guarded
from sinks.faults import crash_point
from sinks.kafka_json import JsonMirror

_POLL: Final = timedelta(milliseconds=100)

Rows = tuple[str, Sequence[tuple[str, bytes]]]
"""A topic, and (key, JSON) messages for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorConfig:
    """What the flow needs. `stop` ends it with its position kept."""

    open_reader: Callable[[], LogReader]
    open_mirror: Callable[[], JsonMirror]
    stop: Event


def build(config: MirrorConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("mirror")
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.PRICES_PATTERN],
        convert=_json_of,
        stop=config.stop,
        on_read=Lag("mirror"),
        poll=_POLL,
    )
    op.output("json", op.input("prices", flow, source), _MirrorSink(config))
    return flow


def _json_of(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Rows]]:
    ticks = [record for record in records if record.kind == TICKS_KIND]
    if ticks:
        yield "json", (topics.json_mirror(topics.commodity_of(tp.topic)), list(json_of_ticks(joined(ticks))))


@dataclass(frozen=True, slots=True)
class _MirrorSink(FixedPartitionedSink[Rows, None]):
    config: MirrorConfig

    def list_parts(self) -> list[str]:
        return ["json"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Rows, None]:
        return guarded(_MirrorPart(self.config.open_mirror()))


@dataclass(slots=True)
class _MirrorPart(StatefulSinkPartition[Rows, None]):
    mirror: JsonMirror

    def write_batch(self, values: list[Rows]) -> None:
        for topic, rows in values:
            self.mirror.write(topic, rows)  # acknowledged when it returns: an epoch has nothing left to wait for
            metrics.ROWS.labels("json", "all").inc(len(rows))
        crash_point("mirror.write.after")

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self.mirror.close()
