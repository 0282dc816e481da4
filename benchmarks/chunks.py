"""What the width of TimescaleDB's chunks costs: the same fortnight of trades written, late rows, queries, a prune.

MANDI_TIMESCALE=postgresql://... python -m benchmarks.chunks [--rows 30000]

Each width has a database of its own on that server, which is dropped at the end.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import psycopg
import pyarrow as pa

from market.schemas import PRICE_SCALE, TRADES
from sinks.migrations import migrate_timescale
from sinks.timescale import TimescaleSink

ROWS: Final = 30_000  # a day
_DAYS: Final = 14
_WIDTHS: Final = ("1 hour", "6 hours", "1 day", "7 days")
_SEED: Final = 5
_DAY_NS: Final = 86_400 * 10**9
_FIRST_NS: Final = 1_794_787_200 * 10**9  # 2026-11-16
_INSTRUMENTS: Final = [f"XCEC:GC:2026{month:02}" for month in range(1, 13)]
_DAY_OF_ONE: Final = (
    "SELECT max(price), sum(size) FROM market.trades WHERE instrument = 'XCEC:GC:202612' "
    "AND ts_event >= '2026-11-25' AND ts_event < '2026-11-26'"
)
_HOUR_OF_ALL: Final = (
    "SELECT instrument, sum(size) FROM market.trades WHERE ts_event >= '2026-11-29 23:00' GROUP BY instrument"
)


def bench_chunks(directory: Path, rows: int = ROWS) -> Mapping[str, object]:  # noqa: ARG001
    """Units: `*_rows_per_s`; `*_ms` the best of five; `drop_s` to drop the first half. Raises: KeyError (no server)."""
    return {width: _bench(os.environ["MANDI_TIMESCALE"], width, rows) for width in _WIDTHS}


def _bench(server: str, width: str, rows: int) -> dict[str, float]:
    name = f"mandi_chunks_{os.getpid()}"
    dsn = f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            migrate_timescale(dsn)
            return _measure(dsn, width, rows)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _measure(dsn: str, width: str, rows: int) -> dict[str, float]:
    chance = np.random.default_rng(_SEED)
    days = [_trades(chance, _FIRST_NS + day * _DAY_NS, _DAY_NS, rows, day * rows) for day in range(_DAYS)]
    late = _trades(chance, _FIRST_NS, _DAYS * _DAY_NS, rows, _DAYS * rows)
    with psycopg.connect(dsn, autocommit=True) as connection, closing(TimescaleSink(dsn)) as sink:
        connection.execute("SELECT set_chunk_time_interval('market.trades', %s::interval)", [width])
        new_s = _seconds(lambda: [sink.write({"trades": [batch]}) for batch in days])
        late_s = _seconds(lambda: sink.write({"trades": [late]}))
        connection.execute("VACUUM ANALYZE market.trades")
        chunks = len(connection.execute("SELECT show_chunks('market.trades')").fetchall())
        one_s = min(_seconds(lambda: connection.execute(_DAY_OF_ONE).fetchall()) for _ in range(5))
        all_s = min(_seconds(lambda: connection.execute(_HOUR_OF_ALL).fetchall()) for _ in range(5))
        half = datetime.fromtimestamp((_FIRST_NS + 7 * _DAY_NS) / 1e9, UTC)
        drop_s = _seconds(lambda: connection.execute("SELECT market.drop_before('trades', %s)", [half]))
    return {
        "chunks": chunks,
        "new_rows_per_s": round(_DAYS * rows / new_s),
        "late_rows_per_s": round(rows / late_s),
        "day_of_one_ms": round(one_s * 1e3, 2),
        "hour_of_all_ms": round(all_s * 1e3, 2),
        "drop_s": round(drop_s, 3),
    }


def _trades(chance: np.random.Generator, first_ns: int, span_ns: int, rows: int, seq: int) -> pa.RecordBatch:
    ts_event = first_ns + np.sort(chance.integers(0, span_ns, rows))
    codes = pa.array(chance.integers(0, len(_INSTRUMENTS), rows).astype(np.int32))
    columns = {
        "venue": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["XCEC"])),
        "instrument": pa.DictionaryArray.from_arrays(codes, pa.array(_INSTRUMENTS)),
        "ts_event": pa.array(ts_event),
        "ts_recv": pa.array(ts_event + 1_000_000),
        "seq": pa.array(seq + np.arange(rows)),
        "trade_id": pa.array(seq + np.arange(rows)).cast(pa.utf8()),
        "price": pa.array(PRICE_SCALE * (4_000 + chance.integers(0, 100, rows))),
        "size": pa.array(PRICE_SCALE * chance.integers(1, 9, rows)),
        "side": pa.array(np.ones(rows, np.int8)),
        "flags": pa.array(np.zeros(rows, np.int32)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in TRADES.names], schema=TRADES)


def _seconds(call: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    call()
    return time.perf_counter() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    print(json.dumps(bench_chunks(Path(), parser.parse_args().rows), indent=2))


if __name__ == "__main__":
    main()
