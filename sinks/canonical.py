"""One hash of what a store holds, equal in both stores when they hold the same rows.

Each table is read as text, ordered by natural key, and hashed as it streams. A line has the columns in the order
of the schema, separated by TAB and ended by LF: times in ns, decimals as integer multiples of 1e-9, booleans as
0 or 1, text as lower-case hex of its UTF-8 bytes, null as \\N.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import clickhouse_connect
import psycopg
from psycopg import sql

from sinks.columns import Column, TableSpec, table_names, table_spec
from sinks.embedded.sqltext import quote_name
from sinks.failures import clickhouse_failures, timescale_failures

_READ_BYTES: Final = 1 << 20


def canonical_hash(store: str, *, wall_clock: bool = True) -> dict[str, str]:
    """Hash every table of the store at an address: `postgresql://...` or `http(s)://...`.

    `wall_clock=False` leaves out the columns that differ between two runs over the same input.
    Raises: StoreUnavailable, StoreRejected (not migrated).
    """
    if store.startswith("http"):
        return canonical_hash_clickhouse(store, wall_clock=wall_clock)
    return canonical_hash_timescale(store, wall_clock=wall_clock)


def canonical_hash_timescale(dsn: str, *, wall_clock: bool = True) -> dict[str, str]:
    """Hash every table of a PostgreSQL or TimescaleDB store, in one snapshot."""
    with timescale_failures(), psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return {name: _hash(_timescale_lines(connection, table_spec(name), wall_clock)) for name in table_names()}


def canonical_hash_clickhouse(url: str, *, wall_clock: bool = True) -> dict[str, str]:
    """Hash every table of a ClickHouse store."""
    with clickhouse_failures():
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False, compress=False)
        try:
            found = {}
            for name in table_names():
                stream: Any = client.raw_stream(_clickhouse_sql(table_spec(name), wall_clock), fmt="TabSeparated")
                found[name] = _hash(iter(lambda: stream.read(_READ_BYTES), b""))  # noqa: B023 (used up here)
                stream.close()
            return found
        finally:
            client.close()


def _hash(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def compared_columns(spec: TableSpec, wall_clock: bool) -> list[Column]:
    """The columns of a canonical line."""
    return [column for column in spec.columns if wall_clock or not column.is_wall_clock]


_TIMESCALE_TEXT: Final = {
    "time": "{}",
    "decimal": "trunc({} * 1000000000)",
    "volume": "trunc({} * 1000000000)",
    "text": "encode(convert_to({}, 'UTF8'), 'hex')",
    "integer": "{}",
    "boolean": "{}::int",
}
_CLICKHOUSE_TEXT: Final = {
    "time": "toUnixTimestamp64Nano({})",
    # A decimal's number of units, exactly: the product has scale 9 and no fraction.
    "decimal": "toString(toInt128(toDecimal128({}, 9) * 1000000000))",
    "volume": "toString(toInt256(toDecimal256({}, 9) * 1000000000))",
    "text": "lower(hex({}))",
    "integer": "{}",
    "boolean": "toUInt8({})",
}


def _timescale_name(column: Column) -> sql.Identifier:
    return sql.Identifier(f"{column.name}_ns" if column.kind == "time" else column.name)


def timescale_texts(columns: Sequence[Column]) -> list[sql.Composed]:
    """The expressions of PostgreSQL that give the columns' fields of a canonical line; null is null."""
    return [sql.SQL(_TIMESCALE_TEXT[column.kind]).format(_timescale_name(column)) for column in columns]


def _timescale_lines(connection: psycopg.Connection, spec: TableSpec, wall_clock: bool) -> Iterator[bytes]:
    selected = sql.SQL(", ").join(timescale_texts(compared_columns(spec, wall_clock)))
    order = sql.SQL(", ").join(
        sql.SQL('{} COLLATE "C"' if column.kind == "text" else "{}").format(_timescale_name(column))
        for column in spec.key_columns
    )
    query = sql.SQL("COPY (SELECT {} FROM {} ORDER BY {}) TO STDOUT").format(
        selected, sql.Identifier("market", spec.name), order
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for chunk in copy:
            yield bytes(chunk)


def clickhouse_texts(columns: Sequence[Column]) -> list[str]:
    """The expressions of ClickHouse that give the columns' fields of a canonical line, of a table `t`; null is null."""
    return [_CLICKHOUSE_TEXT[column.kind].format(f"t.{quote_name(column.name)}") for column in columns]


def _clickhouse_sql(spec: TableSpec, wall_clock: bool) -> str:
    selected = ", ".join(clickhouse_texts(compared_columns(spec, wall_clock)))
    order = ", ".join(f"t.{quote_name(name)}" for name in spec.key)
    return f"SELECT {selected} FROM market.{spec.name} AS t ORDER BY {order}"
