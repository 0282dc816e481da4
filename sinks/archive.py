"""Take the rows of both stores out into files, and put them back: exact, by column name, one file a table.

PostgreSQL: `COPY` as text, which is the same in every version and with or without hypertables, through gzip.
ClickHouse: Parquet, of the rows as the contract's names show them. Which version of a replaced row is the newest is
known to the store by the order of its inserts only, so the older versions stay behind.
"""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import clickhouse_connect
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg import sql

from sinks.clickhouse import INSERT_SETTINGS, sent_once, stored_table
from sinks.clickhouse_fence import is_shut_out, take_over
from sinks.columns import table_names, table_spec
from sinks.embedded.sqltext import quote_name
from sinks.errors import SinkError, StoreRejected, StoreUnavailable
from sinks.failures import CLICKHOUSE, TIMESCALE, clickhouse_failures, timescale_failures
from sinks.timescale import RAW_TABLES, column_types

_READ_BYTES: Final = 1 << 20
_LEVEL: Final = 1  # rows compress to about a quarter at any level; this one is the fastest
_BATCH_ROWS: Final = 200_000
_COLUMNS: Final = "columns.json"


def refuse_rows(dsn: str, url: str) -> None:
    """See that neither store has rows, before one of them is touched.

    Raises: StoreRejected if one has; StoreUnavailable.
    """
    with timescale_failures(), psycopg.connect(dsn) as connection:
        for name in table_names():
            _refuse_timescale_rows(connection, name)
    with clickhouse_failures(), closing(_client(url)) as client:
        _refuse_clickhouse_rows(client)


def dump_timescale(dsn: str, to: Path) -> dict[str, int]:
    """Write the rows of all tables into the new directory `to`, in one snapshot; return their number by table.

    Raises: StoreUnavailable, StoreRejected, OSError.
    """
    to.mkdir(parents=True)
    counts: dict[str, int] = {}
    columns = {name: _timescale_columns(name) for name in table_names()}
    with timescale_failures(), psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name in table_names():
            query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
                sql.SQL(", ").join(map(sql.Identifier, columns[name])), sql.Identifier("market", name)
            )
            with gzip.open(to / f"{name}.copy.gz", "wb", _LEVEL) as file, connection.cursor() as cursor:
                with cursor.copy(query) as copy:
                    for chunk in copy:
                        file.write(chunk)
                counts[name] = cursor.rowcount
    (to / _COLUMNS).write_text(json.dumps(columns))
    return counts


def load_timescale(dsn: str, source: Path) -> dict[str, int]:
    """Put the rows of `dump_timescale` into a store without any; all of them or, if it raises, none.

    Raises: StoreRejected if it has rows already, or lacks a column; StoreUnavailable; OSError.
    """
    counts: dict[str, int] = {}
    columns: dict[str, list[str]] = json.loads((source / _COLUMNS).read_text())
    with timescale_failures(), psycopg.connect(dsn) as connection:
        for name, names in columns.items():
            _refuse_timescale_rows(connection, name)
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier("market", name), sql.SQL(", ").join(map(sql.Identifier, names))
            )
            with connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for chunk in _chunks(source / f"{name}.copy.gz"):
                        copy.write(chunk)
                counts[name] = cursor.rowcount
            if name in RAW_TABLES:
                _into_pieces(connection, name)
    return counts


def _into_pieces(connection: psycopg.Connection, name: str) -> None:
    """Make the partitions, where there are such, of rows that were copied without them."""
    rest = sql.Identifier("market", f"{name}_rest")
    if connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"market.{name}_rest"]).fetchone() == (True,):
        months = sql.SQL("SELECT DISTINCT date_trunc('month', ts_event AT TIME ZONE 'UTC')::date FROM {}").format(rest)
        connection.execute(sql.SQL("SELECT market.make_room(%s, ARRAY({}))").format(months), [name])


def empty_timescale(dsn: str) -> None:
    """Delete all rows of all tables. Raises: StoreUnavailable, StoreRejected."""
    tables = sql.SQL(", ").join(sql.Identifier("market", name) for name in table_names())
    with timescale_failures(), psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(tables))


def _refuse_timescale_rows(connection: psycopg.Connection, name: str) -> None:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier("market", name))
    if connection.execute(query).fetchone() != (False,):
        raise _has_rows(TIMESCALE, name)


def _timescale_columns(name: str) -> list[str]:
    return [each for column in table_spec(name).columns for each, _ in column_types(column)]


def dump_clickhouse(url: str, to: Path) -> dict[str, int]:
    """Write the rows of all tables into the new directory `to`; return their number by table.

    A table is read at one instant, one table after the other.
    Raises: StoreUnavailable, StoreRejected, OSError.
    """
    to.mkdir(parents=True)
    with clickhouse_failures(), closing(_client(url)) as client:
        return {name: _dump_table(client, name, to / f"{name}.parquet") for name in table_names()}


def _dump_table(client: Client, name: str, path: Path) -> int:
    spec = table_spec(name)
    selected = ", ".join(quote_name(column.name) for column in spec.columns)
    least, rows = _count(client, name), 0
    writer: pq.ParquetWriter | None = None
    try:
        with client.query_arrow_stream(f"SELECT {selected} FROM market.{name}") as stream:
            for batch in stream:
                table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
                writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table)
                rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    if rows < least:  # an answer that breaks off looks like one that ends
        raise StoreUnavailable(CLICKHOUSE, f"{name} was cut off after {rows} of {least} rows")
    return rows


@contextmanager
def loaded_clickhouse(url: str, source: Path) -> Iterator[dict[str, int]]:
    """Put the rows of `dump_clickhouse` into a store without any; yield their number by table.

    If that fails, or what is done inside, they are deleted again.
    Writers of before are shut out (`sinks.clickhouse_fence`): they know by themselves which keys are there.
    Raises: StoreRejected if it has rows already, lacks a column, or another process begins to write; StoreUnavailable;
    OSError.
    """
    counts: dict[str, int] = {}
    with clickhouse_failures(), closing(_client(url)) as client:
        session = take_over(client)
        _refuse_clickhouse_rows(client)
        try:
            for path in sorted(source.glob("*.parquet")):
                counts[path.stem] = _load_table(client, path, session)
            yield counts
        except BaseException as error:
            if isinstance(error, ClickHouseError) and is_shut_out(error):  # its rows must not go with ours
                raise StoreRejected(CLICKHOUSE, "another process writes into it: stop that one first") from error
            _take_back(client)
            raise


def _take_back(client: Client) -> None:
    """Delete what was loaded, and what may still be on its way. Raises: StoreUnavailable if that cannot be."""
    try:
        with clickhouse_failures():
            take_over(client)
            _truncate(client)
    except (SinkError, KeyboardInterrupt) as error:
        reason = getattr(error, "reason", "interrupted")
        do = "a part of the backup is in it: `mandi rebuild --stores --yes-delete-all-rows`, then restore again"
        raise StoreUnavailable(CLICKHOUSE, f"{reason}; {do}") from error


def _load_table(client: Client, path: Path, session: dict[str, str]) -> int:
    table, rows = stored_table(table_spec(path.stem)), 0
    for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = sent_once(sink.getvalue().to_pybytes())
        client.raw_insert(table, batch.schema.names, data, settings=INSERT_SETTINGS | session, fmt="ArrowStream")
        rows += batch.num_rows
    return rows


def empty_clickhouse(url: str) -> None:
    """Delete all rows of all tables. Raises: StoreUnavailable, StoreRejected."""
    with clickhouse_failures(), closing(_client(url)) as client:
        _truncate(client)


def _truncate(client: Client) -> None:
    for name in table_names():
        client.command(f"TRUNCATE TABLE {stored_table(table_spec(name))}")


def _refuse_clickhouse_rows(client: Client) -> None:
    for name in table_names():
        if _count(client, name):
            raise _has_rows(CLICKHOUSE, name)


def _count(client: Client, name: str) -> int:
    return int(client.query(f"SELECT count() FROM market.{name}").result_rows[0][0])


def _client(url: str) -> Client:
    return clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False, compress=False)


def _has_rows(store: str, name: str) -> StoreRejected:
    return StoreRejected(
        store, f"{name} has rows: only an empty store is restored (`mandi rebuild --stores` empties it)"
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk
