"""`mandi replay`: files through the same kernels and sinks as live, into both stores."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from connectors.replay import ReplayFileError
from mandi.errors import MandiError
from mandi.flows import open_sink
from mandi.progress import counting
from mandi.settings import Settings
from mandi.stores import Stores, open_stores
from mandi.summary import output_hash
from market.watermark import Lateness
from pipelines import replay as dataflow
from sinks.base import Retry, RetryingSink
from sinks.errors import SinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    files: Sequence[Path]
    speed: float | None
    intervals: tuple[str, ...]
    lateness: Lateness
    batch_rows: int
    workers: int


def replay(settings: Settings, options: ReplayOptions) -> int:
    """Replay and print the summary as one JSON line. Raises: MandiError."""
    began = time.monotonic()
    with open_stores(settings) as stores:
        try:
            tally = _run(options, stores)
        except (ReplayFileError, SinkError) as error:
            raise MandiError(str(error)) from error
        summary = {
            "rows_in": tally.rows_in,
            "rows_out": tally.rows_out,
            "late": tally.rows["late"],
            "rejected": tally.rows["rejected"],
            "conflated": 0,
            "bars": tally.rows["bars"],
            "seconds": round(time.monotonic() - began, 3),
            "output_hash": output_hash(stores),
        }
    print(orjson.dumps(summary).decode(), flush=True)
    return 0


def _run(options: ReplayOptions, stores: Stores) -> dataflow.Tally:
    stop = threading.Event()
    retry = Retry(stop=stop)
    with counting("rows replayed") as advance:
        return dataflow.run(
            dataflow.ReplayConfig(
                files=options.files,
                open_sinks=[
                    lambda: RetryingSink(open_sink("timescale", stores), retry),
                    lambda: RetryingSink(open_sink("clickhouse", stores), retry),
                ],
                lateness=options.lateness,
                intervals=options.intervals,
                speed=options.speed,
                batch_rows=options.batch_rows,
                workers=options.workers,
                stop=stop,
                on_rows=advance,
            )
        )
