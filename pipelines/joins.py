"""The joins dataflow: the trading backend's events and the price topics in, `user.trades` out.

Each shard is told all events, and keeps those of its instruments. Events are read before the ticks of the same look at
the log, so a flow that catches up has an event before the prices after it (market/trade_join.py says what that is for).

Delivery: state and positions recover together; rows are at least once, told apart by `event_id` and `as_known_at`.
Step ids are stable: recovery is keyed by them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Event
from typing import Final

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from market import topics
from market.instruments import InstrumentMaster
from market.records import LogReader, LogWriter, Record, TopicPartition
from market.trade_events import from_log
from market.trade_join import TradeJoinKernel, of_events, of_ticks
from market.watermark import Lateness
from pipelines import metrics
from pipelines.engine.log_source import LogSource, ticks_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import Chunk, kernel_step

_POLL: Final = timedelta(seconds=1)  # the first price is due a second after its event anyway
_MASTER: Final = InstrumentMaster.load()
_SHARDS: Final = tuple(sorted({contract.commodity for contract in _MASTER.contracts}))


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinsConfig:
    """What the flow needs. `now` is the market clock; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    lateness: Lateness = field(default_factory=Lateness)


def build(config: JoinsConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("joins")
    source = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.TRADING_EVENTS, topics.PRICES_PATTERN],
        convert=_chunks,
        stop=config.stop,
        on_read=Lag("joins"),
        poll=_POLL,
    )
    arrivals = op.input("events_and_prices", flow, source)
    joined = kernel_step("join", arrivals, lambda: _kernel(config.lateness), now=config.now)
    op.output("topics", joined, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _kernel(lateness: Lateness) -> TradeJoinKernel:
    return TradeJoinKernel(lateness, told=lambda outcome: metrics.TRADE_JOINS.labels(outcome).inc())


def _target(name: str) -> TopicPartition:
    assert name == "trade_events"
    return TopicPartition(topics.USER_TRADES, topics.FROM_ANALYTICS)


def _chunks(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Chunk]]:
    if tp.topic == topics.TRADING_EVENTS:
        yield from _events(tp, records, is_start)
        return
    for shard, chunk in ticks_of(tp, records, is_start):
        yield shard, replace(chunk, arrivals=of_ticks(chunk.arrivals))


def _events(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Chunk]]:
    found = [record for record in records if "repeats" not in record.meta]  # a broker's way to shut a writer out
    events = from_log([record.value for record in found])
    offsets = pa.array([record.offset for record in found], pa.int64())
    arrivals = of_events(events, str(tp), offsets)
    shards = pa.array([_MASTER.commodity_of(name) for name in events.column("instrument").to_pylist()], pa.utf8())
    for shard in _SHARDS:
        mine = arrivals.filter(pc.equal(shards, shard))
        next_offset = records[-1].offset + 1
        yield (
            shard,
            Chunk(source=str(tp), first=records[0].offset, next=next_offset, arrivals=mine, is_start=is_start),
        )
