"""Cost of what is derived from the market, in processor time of one core: books, detectors, parity, forecasts."""

import json
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from market.anomalies import AnomalyKernel
from market.arbitrage import ArbitrageKernel
from market.book import BOOK_ARRIVALS, BookKernel
from market.forecasters.online import FITTED
from market.forecasts import ForecastKernel
from market.kernel import ARRIVALS, Kernel
from market.quality import QualityKernel
from market.schemas import BUY, FORECAST_STEPS, IMAGE, PRICE_SCALE, QUALITIES, QUOTE, SELL, SET, TRADE
from market.trade_join import TradeJoinKernel, of_ticks

_CHANGES: Final = 200_000
_BATCH_ROWS: Final = 20_000
_INSTRUMENTS: Final = 5
_STEP_NS: Final = 200_000  # 5,000 changes a second of market time
_WAYS: Final = ("price", "level", "entry")


_AT_NS: Final = 1_795_446_000 * 10**9  # 2026-11-23 15:00 UTC, a Monday on which all of these trade
_TICKS: Final = 100_000
_TICK_ROWS: Final = 1_000  # what half a second of a busy shard holds
_PRICES: Final = {"XCEC:GC:202612": 4_150.0, "XIMC:GOLD:202612": 128_000.0, "BBG:USDINR:SPOT": 89.0}
_LEARNT: Final = 45_000  # by then parity knows the usual level of its basis, and looks for opportunities
_FEW: Final = 3
_BLOCK: Final = 100
_BLOCKS: Final = 20
_BARS: Final = 150
_FORECAST: Final = 20  # instruments


def bench_signals(directory: Path) -> Mapping[str, object]:
    """Return what each kernel does per second of one core.

    Books by the way in which venues tell them; ticks (a trade to three quotes, 2,000 a second of market time) through
    all detectors; quotes of a pair and its rate through parity; forecasts, each one model's at a bar, for all horizons.
    """
    del directory
    trades, quotes = _ticks(0.25), _ticks(0.0)
    return {
        "book_updates_per_s_core": {way: round(_updates_per_s(way)) for way in _WAYS},
        "detector_ticks_per_s_core": round(_rows_per_s(AnomalyKernel(), trades)),
        "parity_quotes_per_s_core": round(_rows_per_s(ArbitrageKernel(), quotes, first=_LEARNT)),
        "forecasts_per_s_core": round(_forecasts_per_s()),
        "us_per_record_of_3_rows": _us_per_record(trades),
    }


def _us_per_record(ticks: pa.RecordBatch) -> dict[str, int]:
    """What a kernel costs where a look at the log finds one small record: the median over blocks of 100."""
    kernels: dict[str, tuple[Kernel, pa.RecordBatch]] = {
        "quality": (QualityKernel(), ticks),
        "anomalies": (AnomalyKernel(), ticks),
        "arbitrage": (ArbitrageKernel(), ticks),
        "joins": (TradeJoinKernel(), of_ticks(ticks)),
        "book": (BookKernel(), _changes("price")),
    }
    return {name: round(_median_us(kernel, rows)) for name, (kernel, rows) in kernels.items()}


def _median_us(kernel: Kernel, rows: pa.RecordBatch) -> float:
    records = [rows.slice(start, _FEW) for start in range(0, _FEW * _BLOCK * _BLOCKS, _FEW)]
    blocks = []
    for first in range(0, len(records), _BLOCK):
        begun_s = time.process_time()
        for record in records[first : first + _BLOCK]:
            kernel.on_batch(record)
        blocks.append((time.process_time() - begun_s) / _BLOCK)
    return statistics.median(blocks) * 1e6


def _rows_per_s(kernel: Kernel, arrivals: pa.RecordBatch, first: int = _TICK_ROWS) -> float:
    """Rows a second of those from `first` on: what is loaded or learnt once is no part of it."""
    begun_s = time.process_time()
    for start in range(0, arrivals.num_rows, _TICK_ROWS):
        begun_s = time.process_time() if start == first else begun_s
        kernel.on_batch(arrivals.slice(start, _TICK_ROWS))
    return float((arrivals.num_rows - first) / (time.process_time() - begun_s))


def _ticks(share_of_trades: float) -> pa.RecordBatch:
    """Trades and quotes that walk at random, of a COMEX and an MCX contract and the rate between them."""
    chance, names, rows = np.random.default_rng(1), list(_PRICES), np.arange(_TICKS)
    code = chance.integers(0, len(names), _TICKS)
    steps = np.cumsum(chance.normal(0, 2e-6, (_TICKS, len(names))), axis=0)
    price = (np.array(list(_PRICES.values())) * (1 + steps))[rows, code]
    fixed = (np.round(price, 2) * 100).astype(np.int64) * 10**7
    trade = chance.random(_TICKS) < share_of_trades
    at, lots = _AT_NS + rows * 500_000, np.full(_TICKS, 10**9)
    columns: dict[str, Any] = {
        "kind": np.where(trade, TRADE, QUOTE).astype(np.int8),
        "venue": _named([name[:4] if name[:4] != "BBG:" else "BBG" for name in names], code, pa.int8()),
        "instrument": _named(names, code, pa.int32()),
        "ts_event": at,
        "ts_recv": at + 1_000_000,
        "seq": rows,
        "price": _masked(fixed, trade),
        "size": _masked(lots, trade),
        "side": _masked(np.ones(_TICKS, np.int8), trade),
        "bid_price": _masked(fixed - 10**7, ~trade),
        "bid_size": _masked(lots, ~trade),
        "ask_price": _masked(fixed + 10**7, ~trade),
        "ask_size": _masked(lots, ~trade),
        "flags": np.zeros(_TICKS, np.int32),
        "source": _named(["bench"], np.zeros(_TICKS, np.int64), pa.int8()),
        "source_offset": rows,
        "source_row": np.zeros(_TICKS, np.int64),
    }
    return pa.RecordBatch.from_arrays([_array(columns.get(each.name), each.type) for each in ARRIVALS], schema=ARRIVALS)


def _array(column: Any, kind: pa.DataType) -> pa.Array:
    if column is None:
        return pa.nulls(_TICKS, kind)
    if isinstance(column, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(column.indices.cast(kind.index_type), column.dictionary)
    return pa.array(column).cast(kind)


def _named(names: Sequence[str], code: Any, index: pa.DataType) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(code).cast(index), list(names))


def _masked(numbers: Any, shown: Any) -> pa.Array:
    return pa.array(numbers, mask=~shown)


def _forecasts_per_s() -> float:
    """Forecasts of all nine models, naive and the ensemble among them, with their scores, intervals and rows."""
    kernel, made, begun_s = ForecastKernel(), 0, 0.0
    for number in range(2 * _BARS):
        if number == _BARS:  # by now they are awake
            begun_s = time.process_time()
        rows = [_bar(code, number) for code in range(_FORECAST)]
        rows += [_fit(row, model) for row in rows for model in FITTED] if number == _BARS // 2 else []
        outputs = kernel.on_batch(pa.RecordBatch.from_pylist(rows, schema=FORECAST_STEPS))
        if number >= _BARS:
            made += _FORECAST * len(set(outputs["forecast_scores"].column("model").to_pylist()))
    return made / (time.process_time() - begun_s)


def _fit(row: dict[str, Any], model: str) -> dict[str, Any]:
    parameters = {"level": row["close"] / PRICE_SCALE, "alpha": 0.8, "trend": 0.01, "beta": 0.1}
    fit = json.dumps({"model": model, "parameters": parameters})
    return {name: row.get(name) for name in ("venue", "instrument", "ts_close")} | {"fit": fit}


def _bar(code: int, number: int) -> dict[str, Any]:
    price = 10**12 + random.Random(number * 1_000 + code).randrange(-(10**9), 10**9)
    at = _AT_NS + number * 60 * 10**9
    return {
        "venue": "XCEC",
        "instrument": f"XCEC:GC:20{27 + code // 12}{code % 12 + 1:02d}",
        "ts_close": at,
        "close": price,
        "width": 10**9,
        "volume": 10**10,
        "quality": QUALITIES[0],
        "as_known_at": at,
        "mid_price": price,
        "micro_price": price + 10**7,
        "imbalance": 10**8,
        "spread": 10**8,
        "fit": None,
    }


def _updates_per_s(way: str) -> float:
    arrivals = _changes(way)
    kernel = BookKernel()
    begun_s = time.process_time()
    for start in range(0, arrivals.num_rows, _BATCH_ROWS):
        kernel.on_batch(arrivals.slice(start, _BATCH_ROWS))
    return float(arrivals.num_rows / (time.process_time() - begun_s))


# Images of ten levels a side, then changes of size at any of them, each an atomic change of its own.
def _changes(way: str) -> pa.RecordBatch:
    chance = random.Random(1)
    rows = [_row(way, code, 0, IMAGE, None, 0, 0) for code in range(_INSTRUMENTS)]
    places = [(code, side, level) for code in range(_INSTRUMENTS) for side in (BUY, SELL) for level in range(1, 11)]
    rows += [_row(way, code, 0, SET, side, level, 5) for code, side, level in places]
    for number in range(_CHANGES):
        code, side, level = chance.choice(places)
        rows.append(_row(way, code, number * _STEP_NS, SET, side, level, chance.randint(1, 99)))
    names = [f"XCEC:GC:2026{month:02d}" for month in range(1, _INSTRUMENTS + 1)]
    columns = dict(zip(BOOK_ARRIVALS.names, zip(*rows, strict=True), strict=True))
    dictionaries = {"venue": ["XCEC"], "instrument": names}
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(columns[each.name], each.type.index_type), dictionaries[each.name])
        if each.name in dictionaries
        else pa.array(columns[each.name], each.type)
        for each in BOOK_ARRIVALS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=BOOK_ARRIVALS)


def _row(way: str, code: int, ts: int, action: int, side: int | None, level: int, lots: int) -> tuple[Any, ...]:
    at = 10**18 + ts
    position = level if way == "level" and level else None
    entry_id = f"{side}/{level}" if way == "entry" and level else None
    price = (1000 - (side or 0) * level) * 10**9
    return (0, code, at, at, ts, action, side, position, entry_id, price, lots * 10**9, None, True)
