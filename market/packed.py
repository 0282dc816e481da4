"""Few rows as bytes: what a quiet market's records hold instead of an Arrow stream.

An Arrow stream costs about 100 us and 1 kB before its first row. At a thousand messages a second most records have one
row and five readers, so that was most of the machine. Packed, a row costs about 100 bytes and 5 us, and any number
of records become one batch in one step.

    u32 rows | u32 names_bytes | names (JSON: the dictionary of each dictionary column)
    | rows, each of one width: u32 null bits, then every column | the texts of the text columns, row by row

Integers are little-endian. A dictionary column is its code, a text column its length in UTF-8 bytes. What is null is 0.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from market.columns import integers
from market.schemas import SCHEMAS

MOST_ROWS: Final = 64
"""More rows than this are smaller and no slower as Arrow."""

KINDS: Final = ("ticks", "fx", "depth")
"""Schemas that may be packed."""

_HEAD: Final = struct.Struct("<II")
_LONGEST_TEXT: Final = 0xFFFF
_CODES: Final[Mapping[pa.DataType, tuple[str, str]]] = {
    pa.int8(): ("b", "<i1"),
    pa.int16(): ("h", "<i2"),
    pa.int32(): ("i", "<i4"),
    pa.int64(): ("q", "<i8"),
    pa.bool_(): ("?", "?"),
    pa.utf8(): ("H", "<u2"),
}


_Parts = tuple[int, bytes, bytes, bytes]
"""Number of rows, names, rows, texts."""


class _Layout:
    # How the rows of one schema lie in memory.

    def __init__(self, schema: pa.Schema) -> None:
        stored = [field.type.index_type if _is_dictionary(field) else field.type for field in schema]
        self.schema = schema
        self.names, self.types = tuple(schema.names), tuple(schema.types)
        self.row = struct.Struct("<I" + "".join(_CODES[kind][0] for kind in stored))
        self.dtype = np.dtype(
            [("nulls", "<u4"), *((f.name, _CODES[t][1]) for f, t in zip(schema, stored, strict=True))]
        )
        self.texts = tuple(at for at, field in enumerate(schema) if field.type == pa.utf8())
        self.dictionaries = tuple(at for at, field in enumerate(schema) if _is_dictionary(field))


def _is_dictionary(field: pa.Field) -> bool:
    return isinstance(field.type, pa.DictionaryType)


_LAYOUTS: Final = {kind: _Layout(SCHEMAS[kind]) for kind in KINDS}


class BadPackedRows(ValueError):
    """The bytes are no packed rows."""


@dataclass(slots=True)
class PackedRows:
    """Rows of the schema `kind`, as bytes. Errors: BadPackedRows where they are not what they say."""

    kind: str
    data: bytes
    _cut: _Parts | None = field(default=None, init=False, repr=False, compare=False)

    def check(self) -> None:
        """Raise BadPackedRows if the kind cannot be packed, or the length is not what the head says."""
        if self.kind not in _LAYOUTS:
            raise BadPackedRows(f"rows of kind {self.kind!r} are never packed")
        _ = self._parts

    def __len__(self) -> int:
        rows: int = self._parts[0]
        return rows

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows as tuples in the order of the schema's columns, names and texts as strings."""
        try:
            yield from self._rows()
        except (ValueError, IndexError, TypeError) as error:
            raise BadPackedRows(str(error)) from error

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        layout = _LAYOUTS[self.kind]
        _, names, fixed, texts = self._parts
        dictionaries = list(zip(layout.dictionaries, orjson.loads(names), strict=True))
        at = 0
        for nulls, *row in layout.row.iter_unpack(fixed):
            for column, values in dictionaries:
                row[column] = values[row[column]] if values else None
            for column in layout.texts:
                length = row[column]
                row[column] = texts[at : at + length].decode()
                at += length
            if nulls:
                for column in _columns_of(nulls):
                    row[column] = None
            yield tuple(row)

    @property
    def _parts(self) -> _Parts:
        # By hand: functools.cached_property takes a lock, which is half of the time.
        if self._cut is None:
            self._cut = self._cut_up()
        return self._cut

    def _cut_up(self) -> _Parts:
        if len(self.data) < _HEAD.size:
            raise BadPackedRows(f"{len(self.data)} bytes are too few for packed rows")
        rows, names_bytes = _HEAD.unpack_from(self.data)
        begin = _HEAD.size + names_bytes
        end = begin + rows * _LAYOUTS[self.kind].row.size
        if end > len(self.data):
            raise BadPackedRows(f"{rows} rows need {end} bytes, and there are {len(self.data)}")
        return rows, self.data[_HEAD.size : begin], self.data[begin:end], self.data[end:]


@lru_cache(maxsize=4_096)
def _columns_of(nulls: int) -> tuple[int, ...]:
    # There are about as many patterns of nulls as kinds of rows.
    return tuple(at for at in range(32) if nulls >> at & 1)


def pack(kind: str, rows: Sequence[tuple[Any, ...]], names: Sequence[Sequence[str]]) -> PackedRows | None:
    """Pack rows in the order of the columns of `kind`; None if they are too many, or a text is too long.

    `names` are the dictionaries of the dictionary columns, in which the rows hold codes.
    """
    if kind not in _LAYOUTS or not 0 < len(rows) <= MOST_ROWS:
        return None
    layout, texts = _LAYOUTS[kind], []
    named = orjson.dumps(names)
    parts = [_HEAD.pack(len(rows), len(named)), named]
    for row in rows:
        plain, nulls = list(row), 0
        for column in layout.texts:
            if plain[column] is not None:
                text = plain[column].encode()
                if len(text) > _LONGEST_TEXT:
                    return None
                plain[column] = len(text)
                texts.append(text)
        if None in plain:
            for column, value in enumerate(plain):
                if value is None:
                    nulls |= 1 << column
                    plain[column] = 0
        parts.append(layout.row.pack(nulls, *plain))
    return PackedRows(kind, b"".join(parts + texts))


def unpack(parts: Sequence[PackedRows]) -> pa.RecordBatch:
    """Return the rows of one or more packs of one kind as one batch, in order. Raises: BadPackedRows."""
    layout = _LAYOUTS[parts[0].kind]
    found = [part._parts for part in parts]
    rows = np.frombuffer(b"".join([fixed for _, _, fixed, _ in found]), layout.dtype)
    texts = b"".join([text for *_, text in found])
    nulls = int(np.bitwise_or.reduce(rows["nulls"])), int(np.bitwise_and.reduce(rows["nulls"]))
    try:
        columns = [_column(layout, at, rows, found, texts, nulls) for at in range(len(layout.names))]
        return pa.RecordBatch.from_arrays(columns, schema=layout.schema)
    except (pa.ArrowException, ValueError, IndexError, TypeError) as error:
        raise BadPackedRows(str(error)) from error


def _column(
    layout: _Layout, at: int, rows: npt.NDArray[Any], found: Sequence[_Parts], texts: bytes, nulls: tuple[int, int]
) -> pa.Array:
    # `nulls`: the bits of columns that are null somewhere, and everywhere. Most are neither or both, and cost nothing.
    name, kind, bit = layout.names[at], layout.types[at], 1 << at
    if nulls[1] & bit and at not in layout.dictionaries:
        return pa.nulls(len(rows), kind)
    mask = (rows["nulls"] & bit).astype(np.bool_) if nulls[0] & bit else None
    if at in layout.texts:
        return _texts(layout, at, rows, mask, texts)
    if at in layout.dictionaries:
        codes, names = _merged(rows[name], layout.dictionaries.index(at), found)
        return pa.DictionaryArray.from_arrays(integers(codes, kind.index_type, mask), names)
    return pa.array(rows[name], kind, mask=mask) if kind == pa.bool_() else integers(rows[name], kind, mask)


def _merged(codes: npt.NDArray[Any], number: int, found: Sequence[_Parts]) -> tuple[npt.NDArray[Any], pa.Array]:
    """Codes into one dictionary for all packs. Their own are nearly always the same: a venue lists a few months."""
    distinct = dict.fromkeys(names for _, names, _, _ in found)
    if len(distinct) == 1:
        return codes, _named(next(iter(distinct)))[number]
    merged: dict[str, int] = {}
    table: list[int] = []  # the dictionaries of all packs end to end, as codes into the merged one
    starts = {}
    for names in distinct:
        starts[names] = len(table)
        table += [merged.setdefault(name, len(merged)) for name in orjson.loads(names)[number]]
    start = np.repeat([starts[names] for _, names, _, _ in found], [rows for rows, _, _, _ in found])
    return np.array(table or [0])[np.minimum(codes + start, max(0, len(table) - 1))], pa.array(merged, pa.utf8())


@lru_cache(maxsize=1_024)
def _named(names: bytes) -> tuple[pa.Array, ...]:
    return tuple(pa.array(each, pa.utf8()) for each in orjson.loads(names))


def _texts(
    layout: _Layout, at: int, rows: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, texts: bytes
) -> pa.Array:
    """A text column, cut out of the texts, which lie row by row and within a row column by column."""
    names = [layout.schema.field(column).name for column in layout.texts]
    ends = np.cumsum(np.column_stack([rows[name] for name in names]).astype(np.int64).ravel()).tolist()
    if ends and ends[-1] > len(texts):
        raise BadPackedRows(f"the texts need {ends[-1]} bytes, and there are {len(texts)}")
    every, first = len(names), layout.texts.index(at)
    begins = [0, *ends]
    found = [texts[begins[n] : begins[n + 1]].decode() for n in range(first, len(ends), every)]
    return pa.array(found, pa.utf8(), mask=mask)
