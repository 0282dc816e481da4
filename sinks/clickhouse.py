"""Write rows into ClickHouse over HTTP: Arrow in, and only rows whose natural key is not there yet.

ClickHouse has no unique keys. So before an insert the keys that exist within the bounds of the batch are read,
block by block, and the rows that have one are dropped; a repeated write inserts nothing. Rows that are newer than
all the store has of them are not looked for (`sinks.clickhouse_newest`). Nobody else may insert between the two: that
is what `sinks.clickhouse_fence` sees to. So plain SELECTs are exact at all times, and ReplacingMergeTree is the
second net.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import clickhouse_connect
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.base import Rows, WriteResult
from sinks.clickhouse_fence import is_shut_out, take_over
from sinks.clickhouse_newest import Newest, spans_of
from sinks.columns import Column, TableSpec, keys_of, table_spec, to_table
from sinks.embedded.sqltext import quote, quote_name
from sinks.errors import StoreUnavailable
from sinks.failures import CLICKHOUSE, clickhouse_failures
from sinks.faults import crash_point

CONNECT_TIMEOUT_S: Final = 10
SEND_RECEIVE_TIMEOUT_S: Final = 60

MAX_LISTED_VALUES: Final = 500
"""More distinct texts than this in a key column are bounded by first and last instead of listed."""

INSERT_SETTINGS: Final = {
    # The default (on since 25.x) hands rows to a queue of the server.
    "async_insert": 0,
    # A replay of daily bars spans more than the default of 100 months.
    "max_partitions_per_insert_block": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """The session of the server in which nobody else inserts, and what is known for as long as it is ours."""

    settings: dict[str, str]
    newest: Newest


class ClickHouseSink:
    """The ClickHouse store.

    Delivery: tables are written one after the other; a write that fails between two is completed by repeating it.
        Of several that write at once, on whatever host, one does at a time; the others find themselves shut out,
        and repeat.
    """

    name = CLICKHOUSE

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._session: _Session | None = None  # None: it is not known whether an INSERT is on its way

    def write(self, rows: Rows) -> WriteResult:
        """Write all tables of `rows`. Raises: StoreUnavailable, StoreRejected."""
        begun_s = time.perf_counter()
        tables = {name: to_table(table_spec(name), batches, CLICKHOUSE) for name, batches in rows.items()}
        crash_point("clickhouse.write.before")
        written: dict[str, int] = {}
        try:
            with clickhouse_failures():
                for name in sorted(tables):
                    if written:
                        crash_point("clickhouse.write.between_tables")
                    written[name] = self._write_table(table_spec(name), tables[name])
        except BaseException:
            self.close()
            raise
        crash_point("clickhouse.write.after")
        rows_in = {name: sum(batch.num_rows for batch in batches) for name, batches in rows.items()}
        return WriteResult(rows_in=rows_in, rows_written=written, seconds=time.perf_counter() - begun_s)

    def close(self) -> None:
        """Close the connections; the next write opens new ones."""
        if self._client is not None:
            self._client.close()
        self._client = self._session = None

    def _write_table(self, spec: TableSpec, table: pa.Table) -> int:
        if table.num_rows == 0:
            return 0
        client = self._connected()
        for _ in range(2):  # a session also ends of age, when nothing was written for long
            if self._session is None:
                self._session = _Session(settings=take_over(client), newest=Newest(client))
            try:
                return self._write_through(client, self._session, spec, table)
            except ClickHouseError as error:
                if not is_shut_out(error):
                    raise
                self._session = None
        raise StoreUnavailable(CLICKHOUSE, "another process writes into it")

    def _write_through(self, client: Client, session: _Session, spec: TableSpec, table: pa.Table) -> int:
        spans = spans_of(spec, table)
        if spec.replaces:
            new = _changed_rows(client, spec, table)
        else:
            new = _new_rows(client, spec, table, session.newest.not_newer(spec, table, spans))
        if new.num_rows:
            _insert(client, spec, new, session.settings)
        session.newest.add(spec, spans)
        return int(new.num_rows)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = clickhouse_connect.get_client(
                dsn=self._url,
                database="market",
                compress=False,  # measured on loopback: compression costs more than it saves
                autogenerate_session_id=False,
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=SEND_RECEIVE_TIMEOUT_S,
                client_name="mandi sink",
            )
        return self._client


def stored_table(spec: TableSpec) -> str:
    """The table that holds the rows of `spec`; where that has another name, the contract's name is a view on it."""
    if spec.name == "status":  # its order was another one once (migration 0030)
        return "market.status_rows"
    return f"market.{spec.name}_log" if spec.replaces else f"market.{spec.name}"


def sent_once(data: bytes) -> Any:  # the library's types do not know it; urllib3, below it, does
    """What clickhouse-connect is given to insert, so that it does not send it again by itself.

    It repeats an insert whose answer was lost if its body is `bytes` (1.12, _backend/http_sync.py), and the rows are
    there twice. It is for us to repeat it, after looking what is there.
    """
    return memoryview(data)


def _insert(client: Client, spec: TableSpec, rows: pa.Table, session: dict[str, str]) -> None:
    client.raw_insert(
        stored_table(spec),
        [column.name for column in spec.columns],
        sent_once(arrow_stream(spec, rows)),
        settings={**INSERT_SETTINGS, **session},
        fmt="ArrowStream",
    )


def _new_rows(client: Client, spec: TableSpec, table: pa.Table, doubtful: pa.Table) -> pa.Table:
    """The rows of `table` whose key the store does not have, which it can have of `doubtful` rows only."""
    if not doubtful.num_rows:
        return table
    keys = keys_of(spec, table).with_row_index("row")
    for block in _read(client, spec, spec.key_columns, doubtful):
        keys = keys.join(block, on=list(spec.key), how="anti", maintain_order="left")
        if keys.is_empty():
            break
    return table if keys.height == table.num_rows else table.take(pa.array(keys["row"].to_numpy()))


def _changed_rows(client: Client, spec: TableSpec, table: pa.Table) -> pa.Table:
    """The rows of `table` that the store does not have as they are, without those older than what it has."""
    assert spec.version is not None
    rows = pl.from_arrow(table)
    assert isinstance(rows, pl.DataFrame)
    left = rows.with_row_index("row")
    names = [column.name for column in spec.columns]
    for block in _read(client, spec, spec.columns, table):
        left = left.join(block, on=names, how="anti", nulls_equal=True)
        stored = block.select(*spec.key, pl.col(spec.version).fill_null(-(2**63)).alias("stored_version"))
        older = pl.col(spec.version).fill_null(-(2**63)) < pl.col("stored_version")
        behind = left.join(stored, on=list(spec.key), how="inner").filter(older)
        left = left.join(behind.select("row"), on="row", how="anti")
    return table.take(pa.array(left["row"].sort().to_numpy()))


def _read(client: Client, spec: TableSpec, columns: tuple[Column, ...], table: pa.Table) -> Iterator[pl.DataFrame]:
    """Yield what the store has within the bounds of the keys of `table`, as `to_table` would give it.

    Streamed, so that a batch with wide bounds costs time, not memory.
    """
    selected = ", ".join(f"{_read_expression(column)} AS {quote_name(column.name)}" for column in columns)
    bounds = " AND ".join(_bound(column, table) for column in spec.key_columns)
    statement = f"SELECT {selected} FROM market.{spec.name} AS t WHERE {bounds}"
    with client.query_arrow_stream(statement) as stream:
        for batch in stream:
            frame = pl.from_arrow(pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame


def _read_expression(column: Column) -> str:
    name = f"t.{quote_name(column.name)}"
    if column.kind == "time":
        return f"toUnixTimestamp64Nano({name})"
    # LowCardinality would come as a dictionary, and Bool as UInt8.
    return f"toString({name})" if column.kind == "text" else name


def _bound(column: Column, table: pa.Table) -> str:
    name = f"t.{quote_name(column.name)}"
    values = table.column(column.name)
    if column.kind == "text":
        distinct = pc.unique(values)
        if len(distinct) <= MAX_LISTED_VALUES:
            return f"{name} IN ({', '.join(quote(value) for value in distinct.to_pylist())})"
        ends = pc.min_max(distinct)
        return f"{name} BETWEEN {quote(ends['min'].as_py())} AND {quote(ends['max'].as_py())}"
    ends = pc.min_max(values)
    first, last = (_literal(column, ends[end].as_py()) for end in ("min", "max"))
    return f"{name} BETWEEN {first} AND {last}"


def _literal(column: Column, value: int) -> str:
    # A comparison with the time's own type keeps the primary index usable.
    return f"fromUnixTimestamp64Nano(toInt64({value}), 'UTC')" if column.kind == "time" else str(value)


def _stored_columns(spec: TableSpec, table: pa.Table) -> pa.Table:
    arrays = [
        _timestamps(table.column(column.name)) if column.kind == "time" else table.column(column.name)
        for column in spec.columns
    ]
    return pa.table(arrays, names=[column.name for column in spec.columns])


def _timestamps(nanoseconds: pa.ChunkedArray) -> pa.ChunkedArray:
    return nanoseconds.cast(pa.timestamp("ns")).cast(pa.timestamp("ns", "UTC"))


def arrow_stream(spec: TableSpec, table: pa.Table) -> bytes:
    """The rows of `to_table` as the server takes them, columns in the order of the table's."""
    stored = _stored_columns(spec, table)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, stored.schema) as writer:
        writer.write_table(stored.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data
