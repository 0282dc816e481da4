"""Rows per second of `write` into both embedded stores: trades in batches as the pipeline writes them.

python -m benchmarks.stores [--batches 8] [--rows 50000]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from market.schemas import PRICE_SCALE, TRADES
from sinks.base import Sink
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.migrations import migrate_clickhouse, migrate_timescale
from sinks.timescale import TimescaleSink

BATCH_ROWS: Final = 50_000
BATCHES: Final = 8
_INSTRUMENTS: Final = ["XCEC:GC:202612", "XIMC:GOLD:202612", "XCEC:SI:202612"]
_FIRST_NS: Final = 1_795_231_397_678_000_000


def trades(first: int, rows: int) -> pa.RecordBatch:
    """`rows` trades a microsecond apart, numbered from `first`."""
    number = np.arange(first, first + rows)
    columns = {
        "venue": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["XCEC"])),
        "instrument": pa.DictionaryArray.from_arrays(pa.array((number % 3).astype(np.int32)), pa.array(_INSTRUMENTS)),
        "ts_event": pa.array(_FIRST_NS + number * 1_000),
        "ts_recv": pa.array(_FIRST_NS + number * 1_000 + 700),
        "seq": pa.array(number),
        "trade_id": pa.array(number).cast(pa.utf8()),
        "price": pa.array(2_650 * PRICE_SCALE + number % 1_000 * (PRICE_SCALE // 10)),
        "size": pa.array((1 + number % 9) * PRICE_SCALE),
        "side": pa.array((number % 3 - 1).astype(np.int8)),
        "flags": pa.array(np.zeros(rows, np.int32)),
    }
    return pa.RecordBatch.from_arrays([columns[field.name] for field in TRADES], schema=TRADES)


def bench_stores(batches: int = BATCHES, rows: int = BATCH_ROWS) -> dict[str, dict[str, float]]:
    """Measure new rows, and the same rows once more (a replay), in rows per second, by store."""
    with tempfile.TemporaryDirectory(prefix="mandi-bench-") as name:
        postgres, clickhouse = EmbeddedPostgres(Path(name)), EmbeddedClickHouse(Path(name), port=0)
        try:
            dsn, url = postgres.start(), clickhouse.start()
            migrate_timescale(dsn)
            migrate_clickhouse(url)
            return {sink.name: _bench(sink, batches, rows) for sink in (TimescaleSink(dsn), ClickHouseSink(url))}
        finally:
            postgres.stop()
            clickhouse.stop()


def _bench(sink: Sink, batches: int, rows: int) -> dict[str, float]:
    data = [trades(nth * rows, rows) for nth in range(batches)]
    sink.write({"trades": [trades(-1, 1)]})  # connections and staging tables are made once
    new, again = _seconds(sink, data), _seconds(sink, data)
    sink.close()
    total = batches * rows
    return {"new_rows_per_s": round(total / new), "replayed_rows_per_s": round(total / again)}


def _seconds(sink: Sink, data: list[pa.RecordBatch]) -> float:
    begun_s = time.perf_counter()
    for batch in data:
        sink.write({"trades": [batch]})
    return time.perf_counter() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--rows", type=int, default=BATCH_ROWS)
    arguments = parser.parse_args()
    print(json.dumps(bench_stores(arguments.batches, arguments.rows), indent=2))


if __name__ == "__main__":
    main()
