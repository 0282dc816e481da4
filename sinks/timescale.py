"""Write rows into PostgreSQL or TimescaleDB: all tables of a write in one transaction.

Rows are copied straight into the table (`sinks/pgcopy.py`). If the store has one of their keys already (a crash, a
replay), that copy is undone, and they go through a temporary table and ON CONFLICT on the natural key; so do those
after them, until all of a write are new again. What each way costs: docs/performance.md.
"""

import time
from datetime import date
from typing import Final

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from sinks.base import Rows, WriteResult
from sinks.columns import Column, TableSpec, table_spec, to_table
from sinks.deadline import answers_within
from sinks.failures import TIMESCALE, timescale_failures
from sinks.faults import crash_point
from sinks.pgcopy import binary_copy

_MONTHS_AT_ONCE: Final = 24
_DAY_NS: Final = 86_400 * 10**9
STATEMENT_TIMEOUT_S: Final = 60.0
CONNECT_TIMEOUT_S: Final = 10
_ANSWER_FACTOR: Final = 3  # a write may take this many times as long as one statement: then its server is mute

_POSTGRES_TYPES: Final = {
    "time": "timestamptz",
    "decimal": "numeric(18,9)",
    "volume": "numeric(38,9)",
    "text": "text",
    "boolean": "boolean",
}
_INTEGERS: Final = {pa.int8(): "smallint", pa.int32(): "integer", pa.int64(): "bigint"}
RAW_TABLES: Final = ("trades", "quotes", "books")
"""Tables in pieces by `ts_event`, whose old rows are dropped (`sinks/expiry.py`)."""

# A late row may open chunks that were compressed, of which the server otherwise takes 100,000 rows a transaction.
# Where there is no TimescaleDB it is a name without a meaning.
_UNCOMPRESSED_ROWS: Final = "timescaledb.max_tuples_decompressed_per_dml_transaction=0"


class TimescaleSink:
    """The PostgreSQL or TimescaleDB store.

    Delivery: `write` is one transaction; repeating it changes nothing (ON CONFLICT on the natural key).
    """

    name = TIMESCALE

    def __init__(self, dsn: str, *, statement_timeout_s: float = STATEMENT_TIMEOUT_S) -> None:
        self._dsn = dsn
        self._statement_timeout_s = statement_timeout_s
        self._connection: psycopg.Connection | None = None
        self._staged: set[str] = set()
        self._repeating: set[str] = set()  # tables whose last write had keys that were there

    def write(self, rows: Rows) -> WriteResult:
        """Write all tables of `rows` in one transaction. Raises: StoreUnavailable, StoreRejected."""
        begun_s = time.perf_counter()
        tables = {name: to_table(table_spec(name), batches, TIMESCALE) for name, batches in rows.items()}
        crash_point("timescale.write.before")
        written: dict[str, int] = {}
        try:
            with timescale_failures():
                connection = self._connected()
                silent_s = _ANSWER_FACTOR * self._statement_timeout_s
                with answers_within(connection, silent_s):
                    for name in sorted(tables.keys() & set(RAW_TABLES)):
                        _make_room(connection, name, tables[name])
                    with connection.transaction():
                        for name in sorted(tables):  # one order in every writer: no deadlocks between tables
                            written[name] = self._write_table(connection, table_spec(name), tables[name])
                        crash_point("timescale.write.before_commit")
        except BaseException:
            self.close()  # the connection's state is not known; the next write opens a new one
            raise
        crash_point("timescale.write.after")
        rows_in = {name: sum(batch.num_rows for batch in batches) for name, batches in rows.items()}
        return WriteResult(rows_in=rows_in, rows_written=written, seconds=time.perf_counter() - begun_s)

    def close(self) -> None:
        """Close the connection; the next write opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._staged.clear()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            options = (
                f"-c statement_timeout={int(self._statement_timeout_s * 1000)} -c timezone=UTC -c {_UNCOMPRESSED_ROWS}"
            )
            self._connection = psycopg.connect(
                self._dsn,
                autocommit=True,  # transactions are ours: `with connection.transaction()`
                options=options,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="mandi sink",
                # A host that vanished is noticed within a minute, not after two hours.
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
        return self._connection

    def _write_table(self, connection: psycopg.Connection, spec: TableSpec, table: pa.Table) -> int:
        if table.num_rows == 0:
            return 0
        data = binary_copy(spec, table)
        if not spec.replaces and spec.name not in self._repeating:
            try:
                with connection.transaction():  # within the write's own: a savepoint
                    return _copy(connection, sql.Identifier("market", spec.name), spec, data)
            except psycopg.errors.UniqueViolation:
                self._repeating.add(spec.name)
        written = self._upsert(connection, spec, data)
        if written == table.num_rows:
            self._repeating.discard(spec.name)
        return written

    def _upsert(self, connection: psycopg.Connection, spec: TableSpec, data: bytes) -> int:
        if spec.name not in self._staged:
            connection.execute(stage_sql(spec))
            self._staged.add(spec.name)
        else:
            connection.execute(sql.SQL("TRUNCATE {}").format(_stage(spec)))
        _copy(connection, _stage(spec), spec, data)
        return connection.execute(insert_sql(spec)).rowcount


def _make_room(connection: psycopg.Connection, name: str, table: pa.Table) -> None:
    # Before the write, some years at a time: what was made stays if the rest of it has to be repeated.
    wanted = months(table)
    for at in range(0, len(wanted), _MONTHS_AT_ONCE):
        connection.execute("SELECT market.make_room(%s, %s)", [name, wanted[at : at + _MONTHS_AT_ONCE]])


def _copy(connection: psycopg.Connection, into: sql.Identifier, spec: TableSpec, data: bytes) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(into, _listed(_names(spec.columns)))
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            copy.write(data)
        return cursor.rowcount


def months(table: pa.Table) -> list[date]:
    """The first days of the months that the rows of a raw table are of."""
    days = table.column("ts_event").to_numpy() // _DAY_NS
    found: list[date] = np.unique(np.unique(days).astype("datetime64[D]").astype("datetime64[M]")).tolist()
    return found


def _stage(spec: TableSpec) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"stage_{spec.name}")


def column_types(column: Column) -> list[tuple[str, str]]:
    """Names and types of the PostgreSQL columns that hold `column`: two for a time, one otherwise."""
    if column.kind == "time":
        return [(column.name, "timestamptz"), (f"{column.name}_ns", "bigint")]
    if column.kind == "integer":
        return [(column.name, _INTEGERS[column.type])]
    return [(column.name, _POSTGRES_TYPES[column.kind])]


def _names(columns: tuple[Column, ...]) -> list[str]:
    return [name for column in columns for name, _ in column_types(column)]


def _listed(names: list[str], prefix: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for name in names)


def stage_sql(spec: TableSpec) -> sql.Composed:
    """CREATE TABLE of the temporary table rows are copied into."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} " + kind).format(sql.Identifier(name))
        for column in spec.columns
        for name, kind in column_types(column)
    )
    return sql.SQL("CREATE TEMP TABLE {} ({})").format(sql.Identifier(f"stage_{spec.name}"), columns)


def insert_sql(spec: TableSpec) -> sql.Composed:
    """INSERT from the staging table; what happens to a key that is there already depends on the table."""
    names = _names(spec.columns)
    key = _names(spec.key_columns)
    insert = sql.SQL("INSERT INTO {table} AS t ({names}) SELECT {names} FROM {stage} ON CONFLICT ({key}) ").format(
        table=sql.Identifier("market", spec.name), names=_listed(names), stage=_stage(spec), key=_listed(key)
    )
    if spec.version is None:
        return insert + sql.SQL("DO NOTHING")
    others = [name for name in names if name not in key]
    update = sql.SQL("DO UPDATE SET ({names}) = ROW({new}) WHERE ({old}) IS DISTINCT FROM ({new})").format(
        names=_listed(others), new=_listed(others, "excluded."), old=_listed(others, "t.")
    )
    version = sql.Identifier(f"{spec.version}_ns")
    newer = sql.SQL(" AND coalesce(excluded.{v}, -9223372036854775808) >= coalesce(t.{v}, -9223372036854775808)")
    return insert + update + newer.format(v=version)
