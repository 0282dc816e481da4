"""Rows as PostgreSQL's binary COPY takes them, built a column at a time.

Every row gets the room of the widest one, in a matrix of bytes. What a shorter text or a null leaves free of it is cut
out at the end, in one go.

Source: https://www.postgresql.org/docs/17/sql-copy.html, "Binary Format"; for a numeric, src/backend/utils/adt/
numeric.c, numeric_recv (2026-11-22).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sinks.columns import Column, TableSpec

Values = npt.NDArray[Any]

_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, nothing more in the header
_END: Final = b"\xff\xff"
_MATRIX_BYTES: Final = 16 << 20  # at once: a text may be of any length
_COLUMN_BYTES: Final = 48  # of a time, which is two fields; all but texts have less
_NULL: Final = -1

_POSTGRES_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01
_INTEGERS: Final = {pa.int8(): ">i2", pa.int32(): ">i4", pa.int64(): ">i8"}  # PostgreSQL has none of one byte

# A numeric is digits to the base of 10,000, of which these are before the point; behind it are three, for our nine.
_NEGATIVE: Final = 0x4000
_SCALE: Final = 9
_WHOLE_OF_38: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A column on the wire: `values` as `type` of numpy; of texts that differ in length, their bytes one after another.

    `lengths` is None if every row has all the bytes of `type`; it is _NULL where a row is null.
    """

    type: npt.DTypeLike
    values: Values
    lengths: Values | None = None
    is_ragged: bool = False


def binary_copy(spec: TableSpec, table: pa.Table) -> bytes:
    """Encode the rows of `sinks.columns.to_table`.

    Shape: a table of `spec.columns` -> all of a COPY ... (FORMAT binary); a time is two fields, timestamptz (rounded
        down to microseconds, so that a time never moves into the next interval) and bigint.
    """
    texts = [table.column(column.name) for column in spec.columns if column.kind == "text"]
    widest = sum(pc.max(pc.binary_length(text)).as_py() or 0 for text in texts) + _COLUMN_BYTES * len(spec.columns)
    rows = max(1, _MATRIX_BYTES // widest)
    pieces = (_rows(spec, table.slice(at, rows)) for at in range(0, table.num_rows, rows))
    return b"".join([_HEAD, *pieces, _END])


def _rows(spec: TableSpec, table: pa.Table) -> memoryview:
    fields = [field for column in spec.columns for field in _fields(column, _whole(table.column(column.name)))]
    parts = [
        (f"{part}{nth}", ">i4" if part == "length" else field.type)
        for nth, field in enumerate(fields)
        for part in ("length", "value")
    ]
    layout = np.dtype([("count", ">i2"), *parts])
    rows = np.empty(table.num_rows, layout)
    matrix = rows.view(np.uint8).reshape(table.num_rows, layout.itemsize)
    matrix[:] = np.frombuffer(_alike(fields, layout), np.uint8)
    kept = None if all(field.lengths is None for field in fields) else np.ones(matrix.shape, np.bool_)
    at = layout["count"].itemsize
    for nth, field in enumerate(fields):
        at += layout[f"length{nth}"].itemsize
        width = layout[f"value{nth}"].itemsize
        room = slice(at, at + width)
        at = room.stop
        if field.lengths is not None and kept is not None:
            rows[f"length{nth}"] = field.lengths
            kept[:, room] = np.arange(width, dtype=np.int32) < field.lengths[:, None]
        if field.is_ragged and kept is not None:
            matrix[:, room][kept[:, room]] = field.values
        else:
            rows[f"value{nth}"] = field.values
    return (matrix if kept is None else matrix[kept]).data.cast("B")


def _alike(fields: Sequence[_Field], layout: np.dtype[Any]) -> bytes:
    """A row of which only what all rows have alike is set."""
    row = np.zeros(1, layout)
    row["count"] = len(fields)
    for nth in range(len(fields)):
        row[f"length{nth}"] = layout[f"value{nth}"].itemsize
    return row.tobytes()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _fields(column: Column, array: pa.Array) -> Iterator[_Field]:
    if column.kind == "text":
        yield _text(array)
    elif column.kind == "time":
        nanoseconds = array.fill_null(0).to_numpy()
        yield _fixed(">i8", nanoseconds // 1000 - _POSTGRES_EPOCH_US, array)
        yield _fixed(">i8", nanoseconds, array)
    elif column.kind == "decimal":
        yield _numeric(*_parts_of_18(_words(array)[:, 0]), array)
    elif column.kind == "volume":
        yield _numeric(*_parts_of_38(_words(array)), array)
    elif column.kind == "boolean":
        yield _fixed("u1", array.fill_null(False).to_numpy(zero_copy_only=False), array)
    else:
        yield _fixed(_INTEGERS[column.type], array.fill_null(0).to_numpy(), array)


def _fixed(kind: npt.DTypeLike, values: Values, array: pa.Array) -> _Field:
    if not array.null_count:
        return _Field(type=kind, values=values)
    width = np.dtype(kind).itemsize
    return _Field(type=kind, values=values, lengths=np.where(np.asarray(array.is_valid()), np.int32(width), _NULL))


def _text(array: pa.Array) -> _Field:
    full = array.fill_null("")
    offsets = np.frombuffer(full.buffers()[1], np.int32)[full.offset : full.offset + len(full) + 1]
    data = full.buffers()[2]
    values = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data else np.empty(0, np.uint8)
    lengths = np.diff(offsets)
    kind = f"V{lengths.max()}"
    if not array.null_count and lengths.min() == lengths.max():
        return _Field(type=kind, values=values.view(kind) if len(values) else np.zeros(1, kind))
    lengths = np.where(np.asarray(array.is_valid()), lengths, np.int32(_NULL))
    return _Field(type=kind, values=values, lengths=lengths, is_ragged=True)


def _words(array: pa.Array) -> Values:
    """The two 64-bit words, low and high, of each decimal128, whatever they are where it is null."""
    return np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)[array.offset : array.offset + len(array)]


def _parts_of_18(raw: Values) -> tuple[list[Values], Values, Values]:
    """Digits before the point, fraction, sign of multiples of 1e-9 that fit into int64 (columns.to_decimal)."""
    whole, fraction = np.divmod(np.abs(raw), 10**_SCALE)
    high, rest = np.divmod(whole, 10**8)
    return [high, *np.divmod(rest, 10**4)], fraction, raw < 0


def _parts_of_38(words: Values) -> tuple[list[Values], Values, Values]:
    """The same of 128 bits, which numpy does not have: long division by 32 bits at a time."""
    low, high = words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
    negative = words[:, 1] < 0
    low = np.where(negative, ~low + np.uint64(1), low)
    high = np.where(negative, ~high + (low == 0), high)
    limbs = [half for word in (high, low) for half in (word >> np.uint64(32), word & np.uint64(0xFFFF_FFFF))]
    limbs, fraction = _divided(limbs, 10**_SCALE)
    digits: list[Values] = []
    for _ in range(_WHOLE_OF_38):
        limbs, digit = _divided(limbs, 10**4)
        digits.insert(0, digit)
    return digits, fraction, negative


def _divided(limbs: Sequence[Values], by: int) -> tuple[list[Values], Values]:
    """Quotient, and remainder, of numbers of 32 bits a limb, the highest first; `by` has less than 32 bits."""
    quotient, remainder = [], np.zeros_like(limbs[0])
    for limb in limbs:
        part = remainder << np.uint64(32) | limb
        quotient.append(part // np.uint64(by))
        remainder = part % np.uint64(by)
    return quotient, remainder


def _numeric(whole: Sequence[Values], fraction: Values, negative: Values, array: pa.Array) -> _Field:
    # Leading and trailing digits may be 0 here: the server drops them (make_result).
    high, rest = np.divmod(fraction.astype(np.int64) * 1000, 10**8)
    digits = [*whole, high, *np.divmod(rest, 10**4)]
    parts = np.empty((4 + len(digits), len(array)), np.int16)
    parts[0], parts[1], parts[2], parts[3] = len(digits), len(whole) - 1, negative * _NEGATIVE, _SCALE
    for nth, digit in enumerate(digits, 4):
        parts[nth] = digit
    return _fixed((">i2", len(parts)), parts.T, array)
