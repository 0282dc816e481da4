"""The flows of forecasts and fits: bars in, forecasts and scores out, the same over restarts as in one run."""

import random
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from connectors.log import open_reader
from market import topics
from market.records import LogWriter, TopicPartition
from market.schemas import BARS, BOOKS, NATURAL_KEYS
from pipelines import fits, forecasts
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer

GC, OUT = "XCEC:GC:202612", TopicPartition(topics.FORECASTS, topics.FROM_ANALYTICS)
MINUTE_NS = 60 * 10**9
T0_NS = 1_795_181_400 * 10**9  # 2026-11-20 13:30 UTC, a Friday on which gold trades until 22:00


def bars(numbers: range, **other: Any) -> pa.RecordBatch:
    """Final 1m bars of a random walk, each after a sample of it and beside a bar of another width."""
    rows = []
    for number in numbers:
        price = 4_150 * 10**9 + random.Random(number).randrange(-50, 50) * 10**8
        ts_open = T0_NS + number * MINUTE_NS
        row = {
            "venue": "XCEC",
            "instrument": GC,
            "interval": "1m",
            "ts_open": ts_open,
            "ts_close": ts_open + MINUTE_NS,
            "revision": 0,
            "final": True,
            **dict.fromkeys(("open", "low", "close", "vwap"), price),
            "high": price + 10**9,
            "volume": Decimal(7),
            "trades": 3,
            "quality": "LIVE",
            "as_known_at": ts_open + MINUTE_NS + 5,
            **other,
        }
        rows += [{**row, "final": False, "close": price + 7}, row, {**row, "interval": "5m", "close": price + 9}]
    return encoded(rows, BARS)


def encoded(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        is_name = pa.types.is_dictionary(field.type)
        array = pa.array([row.get(field.name) for row in rows], field.type.value_type if is_name else field.type)
        if is_name:
            names = array.dictionary_encode()
            array = pa.DictionaryArray.from_arrays(names.indices.cast(field.type.index_type), names.dictionary)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def book() -> pa.RecordBatch:
    row = {"venue": "XCEC", "instrument": GC, "ts_event": T0_NS, "state": "NORMAL", "quality": "LIVE"}
    sides = {"mid_price": 10, "micro_price": 12, "imbalance": 5 * 10**8, "bid_1_price": 8, "ask_1_price": 12}
    return encoded([row | sides], BOOKS)


def append(log: str, topic: str, kind: str, batch: pa.RecordBatch) -> None:
    writer = open_writer(log)
    writer.append(TopicPartition(topic, topics.FROM_ANALYTICS), kind, batch)
    writer.flush()
    writer.close()


class Killed(Exception): ...


class Dying:
    """A writer whose process is killed as it syncs for the n-th time: what was appended is there, its epoch is not."""

    def __init__(self, writer: LogWriter, syncs: list[int]) -> None:
        self._writer, self._syncs = writer, syncs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def sync(self) -> None:
        self._syncs[0] -= 1
        if self._syncs[0] == 0:
            raise Killed


def run(
    log: str, directory: Path, module: Any, config: Callable[..., Any], opens: Callable[[], Any] | None = None
) -> None:
    """Read the log to its end. What a flow reads of its own output may take a second run."""
    stop = Event()
    stop.set()
    opened = {"open_reader": partial(open_reader, log), "open_writer": opens or partial(open_writer, log)}
    run_flow(directory.name, partial(module.build, config(**opened, now=lambda: 0, stop=stop)), directory)


def forecast(log: str, directory: Path) -> None:
    for _ in range(2):
        run(log, directory, forecasts, forecasts.ForecastsConfig)


def read(log: str, topic: str, kind: str) -> list[dict[str, Any]]:
    reader, tp = open_reader(log), TopicPartition(topic, topics.FROM_ANALYTICS)
    records = reader.read(tp, reader.begin_offset(tp), 1 << 24)
    reader.close()
    return [row for record in records if record.kind == kind for row in record.batch.to_pylist()]


def test_forecasts_and_scores_are_the_same_over_restarts_and_fits_come_in(tmp_path: Path) -> None:
    pieces, whole = (tmp_path / "pieces").as_uri(), (tmp_path / "whole").as_uri()
    append(pieces, topics.BOOKS, "books", book())
    for numbers in (range(50), range(50, 121)):
        append(pieces, topics.BARS, "bars", bars(numbers))
        forecast(pieces, tmp_path / "forecasts")
    (request,) = read(pieces, topics.FIT_REQUESTS, "fit_requests")
    assert (request["instrument"], len(request["closes"])) == (
        GC,
        request["ts_close"] // MINUTE_NS - T0_NS // MINUTE_NS,
    )
    run(pieces, tmp_path / "fits", fits, fits.FitsConfig)
    # The fit is asked for within the first 120 bars; what it says of the bars that follow is scored.
    forecast(pieces, tmp_path / "forecasts")
    append(pieces, topics.BARS, "bars", bars(range(121, 130)))
    forecast(pieces, tmp_path / "forecasts")
    steps = read(pieces, topics.FORECAST_STEPS, "forecast_steps")
    assert [row["close"] is None for row in steps].count(True) == 2
    assert len(steps) == 130 + 2
    assert (steps[0]["spread"], steps[0]["imbalance"]) == (4, 5 * 10**8)
    made, scores = read(pieces, topics.FORECASTS, "forecasts"), read(pieces, topics.FORECASTS, "forecast_scores")
    assert {row["model"] for row in scores} == {
        *("naive", "drift", "ewma", "holt_winters", "snarimax", "linear", "auto_ets", "auto_theta", "ensemble")
    }
    # The same steps, all at once and from the beginning: the same forecasts.
    writer = open_writer(whole)
    batch = pa.RecordBatch.from_pylist(steps, schema=forecasts.FORECAST_STEPS)
    writer.append(TopicPartition(topics.FORECAST_STEPS, topics.FROM_ANALYTICS), "forecast_steps", batch)
    writer.flush()
    writer.close()
    forecast(whole, tmp_path / "again")
    assert read(whole, topics.FORECASTS, "forecasts") == made
    assert read(whole, topics.FORECASTS, "forecast_scores") == scores
    assert REGISTRY.get_sample_value("mandi_forecast_coverage", {"level": "0.9", "horizon": "60s"})


@pytest.mark.parametrize("syncs", [1, 2])  # of the steps, of the forecasts
def test_after_a_kill_every_forecast_that_is_made_again_is_the_same(tmp_path: Path, syncs: int) -> None:
    killed, whole = (tmp_path / "killed").as_uri(), (tmp_path / "whole").as_uri()
    append(whole, topics.BARS, "bars", bars(range(30)))
    forecast(whole, tmp_path / "at_once")
    expected = {key_of(row): row for row in read(whole, topics.FORECASTS, "forecasts")}
    append(killed, topics.BARS, "bars", bars(range(20)))
    forecast(killed, tmp_path / "forecasts")
    append(killed, topics.BARS, "bars", bars(range(20, 30)))
    left = [syncs]
    for _ in range(3):  # one of them dies, the others are the restarts
        opens = lambda: Dying(open_writer(killed), left)  # noqa: E731
        with suppress(Killed):
            run(killed, tmp_path / "forecasts", forecasts, forecasts.ForecastsConfig, opens)
    assert left[0] < 0, "it was not killed"
    made = read(killed, topics.FORECASTS, "forecasts")
    assert {key_of(row) for row in made} == expected.keys()
    assert all(row == expected[key_of(row)] for row in made)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in NATURAL_KEYS["forecasts"])


def test_bars_that_are_written_again_change_nothing(tmp_path: Path) -> None:
    log = (tmp_path / "log").as_uri()
    append(log, topics.BARS, "bars", bars(range(10)))
    forecast(log, tmp_path / "forecasts")
    made = read(log, topics.FORECASTS, "forecasts")
    append(log, topics.BARS, "bars", bars(range(10)))
    append(log, topics.BARS, "bars", bars(range(4, 6), revision=1, close=1))
    forecast(log, tmp_path / "forecasts")
    assert len(made) == 7 * 6
    assert read(log, topics.FORECASTS, "forecasts") == made


def test_of_a_market_that_is_not_live_nothing_is_said(tmp_path: Path) -> None:
    log = (tmp_path / "log").as_uri()
    append(log, topics.BARS, "bars", bars(range(10)))
    append(log, topics.BARS, "bars", bars(range(10, 13), quality="DELAYED"))
    append(log, topics.BARS, "bars", bars(range(13, 14)))
    forecast(log, tmp_path / "forecasts")
    silent, *after = read(log, topics.FORECASTS, "forecasts")[7 * 6 :]
    assert (silent["reason"], silent["mean"], silent["lo"], silent["hi"]) == ("quality: DELAYED", None, None, None)
    assert len(after) == 6
    assert all(row["mean"] is not None for row in after)
