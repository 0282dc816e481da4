"""Rows per second of `write` into both stores: trades in batches as the pipeline writes them.

python -m benchmarks.stores [--batches 8] [--rows 50000]

The embedded stores; or, where MANDI_TIMESCALE names a server, a database of its own there that is dropped at the end.
The ceiling of a client is what it sends of the same rows, made ready before, into a table without keys or indexes.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import clickhouse_connect
import numpy as np
import psycopg
import pyarrow as pa

from market.schemas import PRICE_SCALE, TRADES
from sinks import clickhouse
from sinks.base import Sink
from sinks.clickhouse import ClickHouseSink
from sinks.columns import table_spec, to_table
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.migrations import migrate_clickhouse, migrate_timescale
from sinks.pgcopy import binary_copy
from sinks.timescale import TimescaleSink

T = TypeVar("T")  # what a client sends

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


def bench_stores(directory: Path, batches: int = BATCHES, rows: int = BATCH_ROWS) -> dict[str, dict[str, float]]:
    """Measure new rows, the same once more (a replay), and batches half of which is there, in rows per second."""
    postgres, served = EmbeddedPostgres(directory), EmbeddedClickHouse(directory, port=0)
    try:
        url = served.start()
        migrate_clickhouse(url)
        with _database(os.environ.get("MANDI_TIMESCALE", "embedded"), postgres) as dsn:
            found = {sink.name: _bench(sink, batches, rows) for sink in (TimescaleSink(dsn), ClickHouseSink(url))}
            ceilings = {
                "timescale": _timescale_ceiling(dsn, batches, rows),
                "clickhouse": _clickhouse_ceiling(url, batches, rows),
            }
        for name, ceiling in ceilings.items():
            found[name] |= {
                "ceiling_rows_per_s": round(ceiling),
                "of_ceiling": round(found[name]["new_rows_per_s"] / ceiling, 3),
            }
        return found
    finally:
        postgres.stop()
        served.stop()


@contextmanager
def _database(server: str, embedded: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database: the embedded one, or one made on the server and dropped."""
    if server == "embedded":
        migrate_timescale(dsn := embedded.start())
        yield dsn
        return
    name = f"mandi_bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            migrate_timescale(dsn := f"{server.rpartition('/')[0]}/{name}")
            yield dsn
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _timescale_ceiling(dsn: str, batches: int, rows: int) -> float:
    spec = table_spec("trades")
    made = [binary_copy(spec, to_table(spec, [trades(nth * rows, rows)], "")) for nth in range(batches)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE market.ceiling (LIKE market.trades)")

        def send(data: bytes) -> None:
            with connection.cursor() as cursor, cursor.copy("COPY market.ceiling FROM STDIN (FORMAT binary)") as copy:
                copy.write(data)

        return _per_s(send, made, rows)


def _clickhouse_ceiling(url: str, batches: int, rows: int) -> float:
    spec = table_spec("trades")
    made = [clickhouse.arrow_stream(spec, to_table(spec, [trades(nth * rows, rows)], "")) for nth in range(batches)]
    with closing(clickhouse_connect.get_client(dsn=url, compress=False, autogenerate_session_id=False)) as client:
        client.command("CREATE TABLE market.ceiling AS market.trades ENGINE = MergeTree ORDER BY tuple()")
        names = [column.name for column in spec.columns]

        def send(data: bytes) -> None:
            client.raw_insert("market.ceiling", names, data, settings=clickhouse.INSERT_SETTINGS, fmt="ArrowStream")

        return _per_s(send, made, rows)


def _per_s(send: Callable[[T], None], made: list[T], rows: int) -> float:
    send(made[0])
    begun_s = time.perf_counter()
    for data in made:
        send(data)
    return len(made) * rows / (time.perf_counter() - begun_s)


def _bench(sink: Sink, batches: int, rows: int) -> dict[str, float]:
    data = [trades(nth * rows, rows) for nth in range(batches)]
    # The first half of each is there by then, so that PostgreSQL stages and upserts all of it.
    mixed = [trades(batches * rows + (nth - 1) * (rows // 2), rows) for nth in range(batches)]
    sink.write({"trades": [trades(-1, 1)]})  # connections are made once
    seconds = {"new": _seconds(sink, data), "replayed": _seconds(sink, data), "half_replayed": _seconds(sink, mixed)}
    sink.close()
    return {f"{name}_rows_per_s": round(batches * rows / each) for name, each in seconds.items()}


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
    with tempfile.TemporaryDirectory(prefix="mandi-bench-") as name:
        print(json.dumps(bench_stores(Path(name), arguments.batches, arguments.rows), indent=2))


if __name__ == "__main__":
    main()
