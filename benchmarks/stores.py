"""Rows per second of `write` into both stores: trades in batches as the pipeline writes them.

python -m benchmarks.stores [--batches 8] [--rows 50000]

The embedded stores; or, where MANDI_TIMESCALE names a server, a database of its own there that is dropped at the end.

Of each batch, one after the other, so that a busy machine slows all of them alike:

new         `write` of rows that the store does not have
plain       the client library's own insert of them, made ready before, into a table of the same keys and indexes
ceiling     the same into a table that has none, and in ClickHouse keeps nothing

Then `write` of all of them again (replayed), and of batches half of which is there.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

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

Send = Callable[[pa.RecordBatch], float]  # gives the seconds it took

BATCH_ROWS: Final = 50_000
BATCHES: Final = 12
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
    """Measure each way of each store, in rows per second: of the median batch.

    Units: `of_plain` and `of_ceiling`, the part of each that new rows reach.
    """
    postgres, served = EmbeddedPostgres(directory), EmbeddedClickHouse(directory, port=0)
    try:
        url = served.start()
        migrate_clickhouse(url)
        server = os.environ.get("MANDI_TIMESCALE", "embedded")
        with _database(server, postgres) as dsn, _timescale_clients(dsn) as clients:
            found = {"timescale": _bench(TimescaleSink(dsn), clients, batches, rows)}
        with _clickhouse_clients(url) as clients:
            return found | {"clickhouse": _bench(ClickHouseSink(url), clients, batches, rows)}
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


@contextmanager
def _timescale_clients(dsn: str) -> Iterator[Mapping[str, Send]]:
    spec = table_spec("trades")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE market.plain (LIKE market.trades INCLUDING ALL)")
        connection.execute("CREATE TABLE market.ceiling (LIKE market.trades)")

        def into(name: str) -> Send:
            def send(batch: pa.RecordBatch) -> float:
                data = binary_copy(spec, to_table(spec, [batch], ""))
                begun_s = time.perf_counter()
                with connection.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN (FORMAT binary)") as copy:
                    copy.write(data)
                return time.perf_counter() - begun_s

            return send

        yield {"plain": into("market.plain"), "ceiling": into("market.ceiling")}


@contextmanager
def _clickhouse_clients(url: str) -> Iterator[Mapping[str, Send]]:
    spec = table_spec("trades")
    names = [column.name for column in spec.columns]
    with closing(clickhouse_connect.get_client(dsn=url, compress=False, autogenerate_session_id=False)) as client:
        client.command("CREATE TABLE market.plain AS market.trades")
        client.command("CREATE TABLE market.ceiling AS market.trades ENGINE = Null")

        def into(name: str) -> Send:
            def send(batch: pa.RecordBatch) -> float:
                data = clickhouse.arrow_stream(spec, to_table(spec, [batch], ""))
                begun_s = time.perf_counter()
                client.raw_insert(name, names, data, settings=clickhouse.INSERT_SETTINGS, fmt="ArrowStream")
                return time.perf_counter() - begun_s

            return send

        yield {"plain": into("market.plain"), "ceiling": into("market.ceiling")}


def _bench(sink: Sink, clients: Mapping[str, Send], batches: int, rows: int) -> dict[str, float]:
    def write(batch: pa.RecordBatch) -> float:
        return sink.write({"trades": [batch]}).seconds

    ways = {"new": write, **clients}
    for send in ways.values():
        send(trades(-1, 1))  # connections are made once
    data = [trades(nth * rows, rows) for nth in range(batches)]
    # The first half of each is there by then, so that PostgreSQL stages and upserts all of it.
    mixed = [trades(batches * rows + (nth - 1) * (rows // 2), rows) for nth in range(batches)]
    turns = [{name: send(batch) for name, send in ways.items()} for batch in data]
    seconds = {name: [turn[name] for turn in turns] for name in ways}
    seconds |= {"replayed": [write(batch) for batch in data], "half_replayed": [write(batch) for batch in mixed]}
    sink.close()
    per_s = {name: rows / statistics.median(each) for name, each in seconds.items()}
    parts = {f"of_{name}": round(per_s["new"] / per_s[name], 3) for name in clients}
    return {f"{name}_rows_per_s": float(round(each)) for name, each in per_s.items()} | parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--rows", type=int, default=BATCH_ROWS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mandi-bench-") as name:
        print(json.dumps(bench_stores(Path(name), arguments.batches, arguments.rows), indent=2))


if __name__ == "__main__":
    main()
