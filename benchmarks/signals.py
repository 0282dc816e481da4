"""Cost of what is derived from the market, in processor time of one core. So far: books."""

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from market.book import BOOK_ARRIVALS, BookKernel
from market.schemas import BUY, IMAGE, SELL, SET

_CHANGES: Final = 200_000
_BATCH_ROWS: Final = 20_000
_INSTRUMENTS: Final = 5
_STEP_NS: Final = 200_000  # 5,000 changes a second of market time
_WAYS: Final = ("price", "level", "entry")


def bench_signals(directory: Path) -> Mapping[str, object]:
    """Book updates per second and core, for each way in which venues tell a book."""
    del directory
    return {"book_updates_per_s_core": {way: round(_updates_per_s(way)) for way in _WAYS}}


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
