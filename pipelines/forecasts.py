"""The forecasts dataflow: bars, books and fits are put into one order and written down; forecasts are made from that.

What is read from three topics comes in whatever order it comes, and another order after a crash. So the first half of
the flow takes final bars of one width, gives each the newest book, and appends them, with the fits as they come, to
`market.forecast.steps`. The second half makes forecasts from that topic alone: whatever is rebuilt from it, or resumed
in it, is the same to the byte. After a crash the first half may append bars again; the kernel knows them by their time.

Delivery: state and positions recover together; rows are at least once, told apart by their natural keys.
Step ids are stable: recovery is keyed by them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from threading import Event
from time import monotonic
from typing import Any, Final

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow

from market import topics
from market.columns import concat_batches
from market.forecasts import WIDTH, ForecastKernel
from market.kernel import Kernel
from market.records import LogReader, LogWriter, Record, TopicPartition, joined
from market.schemas import FORECAST_STEPS, PRICE_LIMIT
from pipelines import metrics
from pipelines.engine.log_source import LogSource
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import Chunk, Output, kernel_step

_POLL: Final = timedelta(seconds=1)  # bars are of seconds at least
_POLL_STEPS: Final = timedelta(milliseconds=250)  # little is in that topic, and a forecast waits for it
_COUNT_S: Final = 5.0
_ALL: Final = "all"
_STEPS: Final = "forecast_steps"
_TARGETS: Final = {
    _STEPS: topics.FORECAST_STEPS,
    "forecasts": topics.FORECASTS,
    "forecast_scores": topics.FORECASTS,
    "fit_requests": topics.FIT_REQUESTS,
}
_OF_BOOK: Final = ("instrument", "mid_price", "micro_price", "imbalance", "bid_1_price", "ask_1_price")
_LEAST_SCORES: Final = 100.0
"""A share of fewer scores, over all instruments, is not told: an alert would be of chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastsConfig:
    """What the flow needs. `width`: of the bars at which forecasts are made; `stop` ends it with its state kept."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event
    width: str = WIDTH


def build(config: ForecastsConfig) -> Dataflow:
    """Wire the flow."""
    flow, tally = Dataflow("forecasts"), _Tally()
    lag = Lag("forecasts")
    market = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.BOOKS, topics.BARS, topics.FITS],
        convert=Sequencer(config.width),
        stop=config.stop,
        on_read=lag,
        poll=_POLL,
    )
    steps = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.FORECAST_STEPS],
        convert=_chunk,
        stop=config.stop,
        on_read=lag,
        poll=_POLL_STEPS,
    )
    taken = op.input("market", flow, market)
    op.output("steps", taken, TopicSink(open_writer=config.open_writer, target=_target))
    made = kernel_step("forecast", op.input("in_order", flow, steps), lambda: tally.of(config.width), now=config.now)
    told = op.map("tell", made, tally.tell)
    op.output("topics", told, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _target(name: str) -> TopicPartition:
    return TopicPartition(_TARGETS[name], topics.FROM_ANALYTICS)


@dataclass(slots=True)
class Sequencer:
    """Bars of one width, each with the newest book there was, and fits, in the order they are read.

    State: a row a book; not recovered, since what was written down is.
    """

    width: str
    _books: dict[str, dict[str, int | None]] = field(default_factory=dict)

    def __call__(self, tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Output]]:
        del is_start
        if tp.topic == topics.BOOKS:
            self._open_books(records)
            return
        if tp.topic == topics.FITS:
            yield _ALL, Output(name=_STEPS, batch=joined(records))
            return
        rows = [row for record in records for row in self._bars(record)]
        if rows:
            yield _ALL, Output(name=_STEPS, batch=pa.RecordBatch.from_pylist(rows, schema=FORECAST_STEPS))

    def _open_books(self, records: list[Record]) -> None:
        books = concat_batches([record.batch.select(_OF_BOOK) for record in records if record.batch is not None])
        for row in books.to_pylist():
            bid, ask = row.pop("bid_1_price"), row.pop("ask_1_price")
            row["spread"] = None if bid is None or ask is None else ask - bid
            self._books[row.pop("instrument")] = row

    def _bars(self, record: Record) -> Iterator[dict[str, Any]]:
        bars = record.batch
        if bars is None or not pc.any(bars.column("final")).as_py():
            return  # nine records of ten hold samples alone
        wanted = pc.and_(bars.column("final"), pc.equal(bars.column("interval"), self.width))
        for bar in bars.filter(wanted).to_pylist():
            yield {
                "venue": bar["venue"],
                "instrument": bar["instrument"],
                "ts_close": bar["ts_close"],
                "close": bar["close"],
                "width": min(bar["high"] - bar["low"], PRICE_LIMIT - 1),
                "volume": int(min(bar["volume"].scaleb(9), Decimal(PRICE_LIMIT - 1))),
                "quality": bar["quality"],
                "as_known_at": bar["as_known_at"],
                **self._books.get(bar["instrument"], {}),
            }


def _chunk(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, Chunk]]:
    yield (
        _ALL,
        Chunk(
            source=str(tp),
            first=records[0].offset,
            next=records[-1].offset + 1,
            arrivals=joined(records),
            is_start=is_start,
        ),
    )


@dataclass(slots=True)
class _Tally:
    """How good the forecasts are, for Prometheus, every few seconds."""

    kernels: list[ForecastKernel] = field(default_factory=list)
    _told_s: float = -1e9

    def of(self, width: str) -> Kernel:
        kernel = ForecastKernel(width)
        self.kernels.append(kernel)
        return kernel

    def tell(self, item: tuple[str, Output]) -> tuple[str, Output]:
        if item[1].name == "forecasts":
            metrics.FORECASTS.inc(item[1].batch.num_rows)
        if monotonic() >= self._told_s + _COUNT_S:
            self._told_s = monotonic()
            for kernel in self.kernels:
                _export(kernel)
        return item


def _export(kernel: ForecastKernel) -> None:
    for (level, horizon_s), (hits, scored) in kernel.coverage().items():
        if scored >= _LEAST_SCORES:
            metrics.FORECAST_COVERAGE.labels(f"{level:g}", f"{horizon_s}s").set(hits / scored)
    for (model, horizon_s), (lost, naive) in kernel.losses().items():
        if naive > 0:
            metrics.FORECAST_SKILL.labels(model, f"{horizon_s}s").set(1 - lost / naive)
