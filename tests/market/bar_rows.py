"""Builds the forecast kernel's input: from plain values, and from the rows of an imagined market."""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from reference import SECOND, Row

from market.schemas import FORECAST_STEPS, QUALITIES

WIDTH_NS = 60 * SECOND
_NOTHING = dict.fromkeys(FORECAST_STEPS.names)


def steps(rows: Iterable[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of FORECAST_STEPS; a column that is left out is null."""
    return pa.RecordBatch.from_pylist([{**_NOTHING, **row} for row in rows], schema=FORECAST_STEPS)


def bar(number: int, close: int, instrument: str = "XCEC:GC:202612", **other: Any) -> dict[str, Any]:
    """The bar that ends `number` minutes after the epoch."""
    return {
        "venue": instrument[:4],
        "instrument": instrument,
        "ts_close": number * WIDTH_NS,
        "close": close,
        "width": 10**8,
        "volume": 5 * 10**9,
        "quality": QUALITIES[0],
        "as_known_at": number * WIDTH_NS + 7,
        **other,
    }


def fit(
    number: int, model: str = "auto_ets", instrument: str = "XCEC:GC:202612", **parameters: float
) -> dict[str, Any]:
    """A fit on the bars up to `number`."""
    text = json.dumps({"model": model, "parameters": parameters})
    return {"venue": instrument[:4], "instrument": instrument, "ts_close": number * WIDTH_NS, "fit": text}


def of_market(rows: list[Row]) -> pa.RecordBatch:
    """A bar, or a fit, for each row of a market of ticks."""
    return steps(_of_market(row) for row in rows if row.instrument is not None)


def _of_market(row: Row) -> dict[str, Any]:
    number = row.ts // WIDTH_NS + 1
    if row.kind == "quote":
        return fit(
            number - row.name % 3, ("auto_ets", "auto_theta")[row.name % 2], row.instrument, level=2.0, alpha=0.5
        )
    quality = QUALITIES[row.size % len(QUALITIES)] if row.kind == "state" else QUALITIES[0]
    book = {"mid_price": row.price, "micro_price": row.price + 1, "imbalance": 10**8, "spread": 2}
    return bar(
        number,
        max(1 - 10**18, min(10**18 - 1, row.price)),
        row.instrument,
        quality=quality,
        volume=min(row.size, 10**18 - 1),
        **(book if row.name % 2 and row.kind == "trade" else {}),
    )
