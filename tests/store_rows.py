"""What the tests of the stores share: batches of any table, with nulls, extremes and hard text; rows read back."""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import clickhouse_connect
import psycopg
import pyarrow as pa
from psycopg import sql

from market.schemas import NATURAL_KEYS, PRICE_LIMIT, SCHEMAS

TABLES = list(NATURAL_KEYS)
_COLUMNS = {**{table: schema.names for table, schema in SCHEMAS.items()}, "trades_net": SCHEMAS["trades"].names}
NOW_NS = 1_795_231_397_678_000_001
TEXTS = ["", "plain", "tab\t quote' double\" back\\slash", "line\r\nend", "रुपया 金 \U0001f4c8", "\\N", "a\x00b"]


def rows_of(table: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """`count` rows with different natural keys, the same for the same seed."""
    chance = random.Random(f"{table}/{seed}")
    return [
        {field.name: _value(field, table, number + seed * 1_000_000, chance) for field in SCHEMAS[table]}
        for number in range(count)
    ]


def _value(field: pa.Field, table: str, number: int, chance: random.Random) -> Any:
    name, kind = field.name, field.type
    if name in NATURAL_KEYS[table]:
        return _key_value(table, name, kind, number)
    if field.nullable and chance.random() < 0.2:
        return None
    if name.startswith("ts_") or name in ("as_known_at", "watermark"):
        return NOW_NS + chance.randrange(-(10**18), 10**18)
    if pa.types.is_decimal(kind):
        return Decimal(chance.randrange(-(10**37), 10**37)).scaleb(-9)
    if pa.types.is_boolean(kind):
        return chance.random() < 0.5
    if pa.types.is_dictionary(kind):
        return chance.choice(["XCEC", "XIMC", "LIVE"])
    if pa.types.is_string(kind):
        return chance.choice(TEXTS)
    if pa.types.is_int64(kind):
        return chance.choice([0, 1, -1, PRICE_LIMIT - 1, 1 - PRICE_LIMIT, chance.randrange(10**15)])
    return chance.randrange(-100, 100)


def _key_value(table: str, name: str, kind: pa.DataType, number: int) -> Any:
    if name in ("ts_event", "ts_open"):
        return NOW_NS + (
            number if table == "books" else number // 3
        )  # keys that differ by a nanosecond, or only in another column
    if name == "instrument":
        return ["XCEC:GC:202612", "XIMC:GOLD:202612"][number % 2]
    if name == "trade_id":
        return [None, "7", "a'b"][number % 3]
    if name == "interval":
        return ["1s", "1m"][number % 2]
    return f"{name}/{number}" if pa.types.is_string(kind) or pa.types.is_dictionary(kind) else number


def batch_of(table: str, rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    schema = SCHEMAS[table]
    plain = [
        field.with_type(field.type.value_type if pa.types.is_dictionary(field.type) else field.type) for field in schema
    ]
    found = pa.RecordBatch.from_pylist(list(rows), schema=pa.schema(plain))
    arrays = [
        column.dictionary_encode().cast(field.type) if pa.types.is_dictionary(field.type) else column
        for column, field in zip(found.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def expected(table: str, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The rows as a store should give them back, sorted: '' for null text in a key, exact decimals, ns."""
    return sorted((tuple(_stored(table, name, row[name]) for name in SCHEMAS[table].names) for row in rows), key=repr)


def _stored(table: str, name: str, value: Any) -> Any:
    prices = ("price", "size", "quantity", "open", "high", "low", "close", "vwap", "slippage", "imbalance")
    prices += ("gross", "net", "basis", "level")
    prices += ("score", "value", "expected")
    prices += ("mean", "lo", "hi", "crash_probability", "crash_base", "skill", "coverage")
    prices += ("actual", "abs_error", "naive_abs_error")
    if value is None:
        return "" if name in NATURAL_KEYS[table] else None
    if isinstance(value, str):
        return value.replace("\x00", "\N{SYMBOL FOR NULL}")
    if isinstance(value, int) and (
        name in prices or name.endswith(("_price", "_size")) or name.startswith(("markout_", "cost_", "net_"))
    ):
        return Decimal(value).scaleb(-9)
    return value


def _is_time(name: str) -> bool:
    return name.startswith("ts_") or name in ("as_known_at", "watermark")


def read_timescale(dsn: str, table: str) -> list[tuple[Any, ...]]:
    names = [f"{name}_ns" if _is_time(name) else name for name in _COLUMNS[table]]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier("market", table)
    )
    with psycopg.connect(dsn) as connection:
        return sorted(connection.execute(query).fetchall(), key=repr)


def read_clickhouse(url: str, table: str, final: bool = False) -> list[tuple[Any, ...]]:
    names = [f"toUnixTimestamp64Nano(t.`{name}`)" if _is_time(name) else f"t.`{name}`" for name in _COLUMNS[table]]
    client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
    rows = client.query(f"SELECT {', '.join(names)} FROM market.{table} AS t{' FINAL' if final else ''}").result_rows
    client.close()
    return sorted(map(tuple, rows), key=repr)
