"""The fits dataflow: the forecasts' requests in, fitted models out. A process of its own, which nobody waits for.

A fit takes some 40 ms, and the first one two seconds more, in which forecasts go on with what they have. A fit holds
from where the forecasts flow reads it (pipelines.forecasts), so it does not matter when it is done.

Delivery: at least once; a fit is known by its model and the last bar it was made of.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any, Final

import bytewax.operators as op
import pyarrow as pa
from bytewax.dataflow import Dataflow

from market import topics
from market.records import LogReader, LogWriter, Record, TopicPartition, joined
from market.schemas import FORECAST_STEPS, PRICE_SCALE
from pipelines.engine.log_source import LogSource
from pipelines.engine.observe import Lag
from pipelines.engine.outputs import TopicSink
from pipelines.engine.steps import Output

_POLL: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitsConfig:
    """What the flow needs. `now` is the market clock, which fits do not need; `stop` ends it."""

    open_reader: Callable[[], LogReader]
    open_writer: Callable[[], LogWriter]
    now: Callable[[], int]
    stop: Event


def build(config: FitsConfig) -> Dataflow:
    """Wire the flow."""
    flow = Dataflow("fits")
    requests = LogSource(
        open_reader=config.open_reader,
        patterns=[topics.FIT_REQUESTS],
        convert=_newest,
        stop=config.stop,
        on_read=Lag("fits"),
        poll=_POLL,
    )
    fitted = op.filter_map("fit", op.input("requests", flow, requests), _fitted)
    op.output("topics", fitted, TopicSink(open_writer=config.open_writer, target=_target))
    return flow


def _target(name: str) -> TopicPartition:
    assert name == "forecast_steps"
    return TopicPartition(topics.FITS, topics.FROM_ANALYTICS)


def _newest(tp: TopicPartition, records: list[Record], is_start: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The newest request of each instrument: after a pause the older ones are of no use."""
    del tp, is_start
    newest = {row["instrument"]: row for row in joined(records).to_pylist()}
    yield from newest.items()


def _fitted(item: tuple[str, dict[str, Any]]) -> tuple[str, Output] | None:
    from market.forecasters.fitting import fit

    request = item[1]
    found = fit([close / PRICE_SCALE for close in request["closes"]])
    rows = [
        {
            "venue": request["venue"],
            "instrument": request["instrument"],
            "ts_close": request["ts_close"],
            "fit": json.dumps({"model": model, "parameters": parameters}),
        }
        for model, parameters in found.items()
    ]
    if not rows:
        return None
    return "fits", Output(name="forecast_steps", batch=pa.RecordBatch.from_pylist(rows, schema=FORECAST_STEPS))
