"""`mandi sql`: one query to one store, with the pipeline running or not."""

import sys
from collections.abc import Sequence

import clickhouse_connect
import polars as pl
import psycopg
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from mandi.errors import MandiError, UsageError
from mandi.settings import Settings
from mandi.stores import open_stores

_MAX_CELL = 60


def query(settings: Settings, store: str, text: str, form: str) -> int:
    """Run a query and print its result. Raises: MandiError with the store's own message."""
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is binary: send it to a file, as in `mandi sql --format parquet '...' > out.parquet`")
    with open_stores(settings, only=(store,)) as stores:
        found = _clickhouse(stores.clickhouse, text) if store == "clickhouse" else _timescale(stores.timescale, text)
    _print(found, form)
    return 0


def _clickhouse(url: str, text: str) -> pl.DataFrame:
    try:
        client = clickhouse_connect.get_client(dsn=url)
        try:
            # 2: no writes and no DDL, but the client may still set its formats.
            return pl.DataFrame(pl.from_arrow(client.query_arrow(text, use_strings=True, settings={"readonly": 2})))
        finally:
            client.close()
    except (ClickHouseError, pa.ArrowInvalid) as error:
        raise MandiError(f"ClickHouse: {_first_line(error)}") from error


def _timescale(dsn: str, text: str) -> pl.DataFrame:
    try:
        with psycopg.connect(dsn, options="-c default_transaction_read_only=on") as connection:
            cursor = connection.execute(text)
            if cursor.description is None:
                raise UsageError("the query returns no rows: `mandi sql` is for SELECT")
            names = [column.name for column in cursor.description]
            return _frame(names, cursor.fetchall())
    except psycopg.Error as error:
        raise MandiError(f"TimescaleDB: {_first_line(error)}") from error


def _frame(names: Sequence[str], rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    # SQL may name two columns alike, a frame may not: count, count_2.
    names = [
        name if name not in names[:at] else f"{name}_{names[: at + 1].count(name)}" for at, name in enumerate(names)
    ]
    series = [pl.Series(name, list(column), strict=False) for name, column in zip(names, columns, strict=True)]
    return pl.DataFrame(series)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _print(found: pl.DataFrame, form: str) -> None:
    if form == "parquet":
        found.write_parquet(sys.stdout.buffer)
    elif form == "csv":
        print(found.write_csv(), end="")
    elif form == "json":
        print(_exact(found).write_json())
    else:
        with pl.Config(
            tbl_rows=10_000,
            tbl_cols=-1,
            fmt_str_lengths=_MAX_CELL,
            tbl_width_chars=2_000,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
        ):
            print(_trimmed(found))
        print(f"{found.height} row{'' if found.height == 1 else 's'}")


def _trimmed(found: pl.DataFrame) -> pl.DataFrame:
    """Decimals without the zeros behind their last digit: 1313.7, not 1313.700000000."""
    plain = pl.col(pl.Decimal).cast(pl.String).str.replace(r"(\.\d*?)0+$", "${1}").str.strip_suffix(".")
    return found.with_columns(plain)


def _exact(found: pl.DataFrame) -> pl.DataFrame:
    """Decimals as text: JSON numbers would go through floats."""
    return found.with_columns(pl.col(pl.Decimal).cast(pl.String))
