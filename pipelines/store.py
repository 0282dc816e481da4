"""One dataflow a store: the log in, rows of the store out.

Each store has a flow of its own, so one that is down holds up no other: its flow waits, and the log holds the data.
Trades and quotes pass the same admission as in the bars flow, so a store holds what came straight through; bars
and the ledger come from the derived topics.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import Final

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from market import topics
from market.records import LogReader
from market.watermark import Lateness
from pipelines import metrics
from pipelines.balance import BalancedAdmission
from pipelines.engine.log_source import Derived, LogSource, derived_of, ticks_of
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import StoreSink, TableRows
from pipelines.engine.steps import Output, kernel_step
from sinks.base import Sink

_POLL: Final = timedelta(seconds=1)  # rows are written once an epoch anyway

_DERIVED: Final = (
    topics.BARS,
    topics.BOOKS,
    topics.STATUS,
    topics.LATE,
    topics.REJECTED,
    topics.TRADING_EVENTS,
    topics.USER_TRADES,
    topics.NEWS,
    topics.ANOMALIES,
    topics.ARBITRAGE,
    topics.FORECASTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """What the flow needs. `name` is the store's; it names the flow, its metrics and its recovery store.

    `lag` is told of every read.
    """

    name: str
    lag: Lag
    open_reader: Callable[[], LogReader]
    open_sink: Callable[[], Sink]
    now: Callable[[], int]
    stop: Event
    lateness: Lateness = field(default_factory=Lateness)


def build(config: StoreConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow(config.name)
    prices = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.PRICES_PATTERN],
        convert=ticks_of,
        stop=config.stop,
        on_read=config.lag,
        poll=_POLL,
    )
    derived = LogSource(
        open_reader=config.open_reader,
        patterns=_DERIVED,
        convert=derived_of,
        stop=config.stop,
        on_read=config.lag,
        poll=_POLL,
    )
    ticks = op.input("prices", flow, prices)
    admitted = kernel_step("admit", ticks, lambda: BalancedAdmission(config.name, config.lateness), now=config.now)
    straight = op.filter_map("straight", admitted, _trades_and_quotes)
    others = op.filter_map("derived_rows", op.input("derived", flow, derived), _stored)
    op.output("store", op.merge("rows", straight, others), StoreSink(open_sink=config.open_sink))
    return flow


def _trades_and_quotes(item: tuple[str, Output]) -> tuple[str, TableRows] | None:
    output = item[1]
    if output.name not in ("trades", "quotes"):
        return None  # the ledger comes from its topics
    metrics.ROWS.labels(output.name, "all").inc(output.batch.num_rows)
    return "store", (output.name, output.batch)


def _stored(item: tuple[str, Derived]) -> tuple[str, TableRows] | None:
    derived = item[1]
    batch: pa.RecordBatch = derived.batch
    if derived.kind == "bars":
        batch = batch.filter(batch.column("final"))  # forming bars go to the wire only
    elif derived.kind == "arbitrage":
        batch = batch.filter(pc.not_equal(batch.column("state"), "watch"))  # samples, too
    elif derived.topic == topics.USER_TRADES:
        batch = batch.filter(pc.is_valid(batch.column("as_known_at")))  # the others came from the backend's topic
    return ("store", (derived.kind, batch)) if batch.num_rows else None
