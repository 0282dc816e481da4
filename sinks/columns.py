"""From log batches to rows of a table: what a table is (from its schema), and exact values without row loops.

int64 price, size -> decimal128(18, 9)      the same 64 bits, given a scale
ts_*, as_known_at -> int64 ns               each store makes its own time type of it
dictionaries      -> utf8, NUL characters replaced (PostgreSQL has no text with NUL)
null in a key     -> '' where null means something (NULL_IS_EMPTY), else the write is refused
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from market.schemas import NATURAL_KEYS, PRICE_LIMIT, SCHEMAS
from sinks.errors import StoreRejected

Kind = Literal["time", "decimal", "volume", "text", "integer", "boolean"]

DECIMAL: Final = pa.decimal128(18, 9)
VOLUME: Final = pa.decimal128(38, 9)
NUL: Final = "\x00"
NUL_SHOWN_AS: Final = "\N{SYMBOL FOR NULL}"

_PRICES: Final = frozenset(
    {
        "price",
        "size",
        "quantity",
        "open",
        "high",
        "low",
        "close",
        "vwap",
        "slippage",
        "imbalance",
        "gross",
        "net",
        "basis",
        "level",
        "score",
        "value",
        "expected",
        "mean",
        "lo",
        "hi",
        "crash_probability",
        "crash_base",
        "skill",
        "coverage",
        "actual",
        "abs_error",
        "naive_abs_error",
    }
)
_WALL_CLOCK: Final = frozenset({"ts_recv", "as_known_at"})

NULL_IS_EMPTY: Final = frozenset({("trades", "trade_id"), ("status", "instrument")})
"""Key columns in which null means something (no id, the whole venue): stored as '', as keys are never null."""

REPLACED_BY: Final = {
    "gaps": "ts_resolved",
    "trade_events": "as_known_at",
    "anomalies": "as_known_at",
}
"""Tables in which a later row replaces an earlier one of the same key, unless its column named here is lower
(null is lowest): a gap once resolved does not open again when its first row is replayed, and a trade event keeps what
the market did after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a stored table."""

    name: str
    kind: Kind
    type: pa.DataType
    in_key: bool

    @property
    def is_wall_clock(self) -> bool:
        """Whether it differs between two runs over the same input."""
        return self.name in _WALL_CLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A stored table, derived from its schema: columns, natural key, and what a second row of a key does."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    version: str | None
    """In a table whose rows are replaced, the column that says which is the newer."""

    @property
    def replaces(self) -> bool:
        return self.version is not None

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """In the order of the key."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)


@cache
def table_spec(name: str) -> TableSpec:
    """Describe the stored table `name`. Raises: StoreRejected if no store has such a table."""
    if name not in NATURAL_KEYS:
        raise StoreRejected("store", f"there is no table {name}")
    key = NATURAL_KEYS[name]
    columns = tuple(_column(field, field.name in key) for field in SCHEMAS[name])
    return TableSpec(name=name, columns=columns, key=key, version=REPLACED_BY.get(name))


def table_names() -> list[str]:
    """The tables a store has."""
    return [name for name in SCHEMAS if name in NATURAL_KEYS]


def _column(field: pa.Field, in_key: bool) -> Column:
    name, kind = field.name, field.type
    if pa.types.is_decimal(kind):
        return Column(name=name, kind="volume", type=VOLUME, in_key=in_key)
    if pa.types.is_boolean(kind):
        return Column(name=name, kind="boolean", type=kind, in_key=in_key)
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return Column(name=name, kind="text", type=pa.utf8(), in_key=in_key)
    if name.startswith("ts_") or name in ("as_known_at", "watermark"):
        return Column(name=name, kind="time", type=pa.int64(), in_key=in_key)
    if name in _PRICES or name.endswith(("_price", "_size")) or name.startswith(("markout_", "cost_", "net_")):
        return Column(name=name, kind="decimal", type=DECIMAL, in_key=in_key)
    return Column(name=name, kind="integer", type=kind, in_key=in_key)


def to_table(spec: TableSpec, batches: Sequence[pa.RecordBatch], store: str) -> pa.Table:
    """Return the rows of `batches` as a store takes them, each natural key once.

    Shape: batches of SCHEMAS[spec.name] -> columns as in `spec.columns`, rows in order of arrival. Of the rows
        of one key the first stays; in a table that replaces, the last of the highest version.
    Raises: StoreRejected for a null in a key, a price outside of decimal(18, 9), another schema.
    """
    schema = SCHEMAS[spec.name]
    for batch in batches:
        if not batch.schema.equals(schema):
            raise StoreRejected(store, f"a batch of {spec.name} has another schema: {batch.schema.names}")
    rows = pa.Table.from_batches(batches, schema).unify_dictionaries()
    arrays = [_convert(column, rows.column(column.name), spec, store) for column in spec.columns]
    return _each_key_once(spec, pa.table(arrays, names=[column.name for column in spec.columns]))


def _convert(column: Column, chunked: pa.ChunkedArray, spec: TableSpec, store: str) -> pa.Array:
    array = chunked.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow keeps an empty one chunked
        array = pa.array([], array.type)
    if column.kind == "text":
        array = _plain_text(array)
        array = array.fill_null("") if (spec.name, column.name) in NULL_IS_EMPTY else array
    if column.in_key and array.null_count:
        raise StoreRejected(store, f"{spec.name}.{column.name} is null in {array.null_count} rows")
    return to_decimal(array, f"{spec.name}.{column.name}", store) if column.kind == "decimal" else array


def _plain_text(array: pa.Array) -> pa.Array:
    # On the dictionary where there is one: it has few values, the rows are many.
    if pa.types.is_dictionary(array.type):
        words = _without_nul(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, words).dictionary_decode()
    return _without_nul(array)


def _without_nul(words: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring(words, NUL)).as_py():
        return words
    return pc.replace_substring(words, NUL, NUL_SHOWN_AS)


def to_decimal(array: pa.Array, name: str, store: str) -> pa.Array:
    """Give int64 multiples of 1e-9 their scale: decimal128(18, 9) with the same integer inside."""
    ends = pc.min_max(array)
    for end in (ends["min"].as_py(), ends["max"].as_py()):
        if end is not None and abs(end) >= PRICE_LIMIT:
            raise StoreRejected(store, f"{name} = {end} is outside of decimal(18, 9)")
    raw = np.asarray(array.fill_null(0))
    words = np.empty((len(raw), 2), np.int64)
    words[:, 0] = raw
    words[:, 1] = raw >> 63  # sign extension to 128 bits
    validity = pa.array(np.asarray(array.is_valid())).buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(DECIMAL, len(raw), [validity, pa.py_buffer(words)])


def _each_key_once(spec: TableSpec, table: pa.Table) -> pa.Table:
    keys = keys_of(spec, table)
    # Keys whose hashes all differ do. That is known in a third of the time.
    if keys.hash_rows().n_unique() == keys.height or keys.n_unique() == keys.height:
        return table
    numbered = keys.with_row_index("row")
    if spec.version is not None:
        version = pl.Series("version", table.column(spec.version).fill_null(-(2**63)).to_numpy())
        numbered = numbered.with_columns(version).sort("version", "row")
    kept = numbered.unique(spec.key, keep="last" if spec.replaces else "first", maintain_order=True)
    return table.take(pa.array(kept["row"].sort().to_numpy()))


def keys_of(spec: TableSpec, table: pa.Table) -> pl.DataFrame:
    """The natural keys of `table` as a frame to join on."""
    frame = pl.from_arrow(table.select(list(spec.key)))
    assert isinstance(frame, pl.DataFrame)
    return frame
