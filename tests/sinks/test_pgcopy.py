"""Rows in PostgreSQL's binary COPY, read back field by field as its documentation says."""

import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from store_rows import TABLES, batch_of, expected, rows_of

from sinks import pgcopy
from sinks.columns import Column, table_spec, to_table
from sinks.pgcopy import binary_copy

POSTGRES_EPOCH_US = 946_684_800_000_000
FORMATS = {pa.int8(): ">h", pa.int32(): ">i", pa.int64(): ">q"}


def decoded(data: bytes, columns: tuple[Column, ...]) -> list[tuple[Any, ...]]:
    """The slow and obvious way."""
    assert data[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    rows, at = [], 19
    while True:
        [count] = struct.unpack_from(">h", data, at)
        at += 2
        if count == -1:
            assert at == len(data)
            return rows
        row = []
        for column in columns:
            both = []
            for part in range(2 if column.kind == "time" else 1):
                [length] = struct.unpack_from(">i", data, at)
                raw = None if length == -1 else data[at + 4 : at + 4 + length]
                at += 4 + max(length, 0)
                both.append(None if raw is None else value(raw, column, part))
                count -= 1
            if len(both) == 2 and None not in both:
                assert both[0] == both[1] // 1000
            assert (both[0] is None) == (both[-1] is None)
            row.append(both[-1])
        assert count == 0
        rows.append(tuple(row))


def value(raw: bytes, column: Column, part: int) -> Any:
    if column.kind == "text":
        return raw.decode()
    if column.kind == "boolean":
        assert raw in (b"\0", b"\1")
        return raw == b"\1"
    if column.kind in ("decimal", "volume"):
        count, weight, sign, scale = struct.unpack_from(">hhHh", raw)
        digits = struct.unpack_from(f">{count}h", raw, 8)
        assert len(raw) == 8 + 2 * count
        assert scale == 9
        assert sign in (0, 0x4000)
        assert all(0 <= digit < 10_000 for digit in digits)
        whole = sum(digit * 10 ** (4 * (count - 1 - nth)) for nth, digit in enumerate(digits))
        return Decimal(f"{'-' if sign else ''}{whole}e{4 * (weight + 1 - count)}")
    [number] = struct.unpack(">q" if column.kind == "time" else FORMATS[column.type], raw)
    return number + POSTGRES_EPOCH_US if column.kind == "time" and part == 0 else number


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("matrix_bytes", [1, 4_000, 16 << 20])
def test_every_value_of_every_table_is_there(table: str, matrix_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgcopy, "_MATRIX_BYTES", matrix_bytes)
    spec, rows = table_spec(table), rows_of(table, 16)
    found = decoded(binary_copy(spec, to_table(spec, [batch_of(table, rows)], "")), spec.columns)
    assert sorted(found, key=repr) == expected(table, rows)


@pytest.mark.parametrize("kind", ["all null", "no null", "one width"])
def test_columns_without_exceptions_and_of_nothing_else(kind: str) -> None:
    def kept(row: dict[str, Any]) -> dict[str, Any]:
        if kind == "all null":
            return row | {"ts_recv": None, "price": None, "size": None, "side": None, "trade_id": None}
        return row | {"ts_recv": -1_001, "price": -1, "size": 10**17, "trade_id": "" if kind == "one width" else "abc"}

    spec = table_spec("trades")
    rows = [
        kept(row) | {"instrument": "X", "venue": "X", "side": 1 if kind != "all null" else None}
        for row in rows_of("trades", 9)
    ]
    found = decoded(binary_copy(spec, to_table(spec, [batch_of("trades", rows)], "")), spec.columns)
    assert sorted(found, key=repr) == expected("trades", rows)


def test_volumes_of_38_digits() -> None:
    spec = table_spec("bars")
    limit = 10**38 - 1
    multiples = [0, 1, -1, limit, -limit, 10**9, 1 << 64, -(1 << 64), (1 << 96) - 1, -(1 << 32), 12_345_678_900_001]
    volumes = [Decimal(f"{multiple}e-9") for multiple in multiples]  # scaleb would round to 28 digits
    rows = [row | {"volume": volume} for row, volume in zip(rows_of("bars", len(volumes)), volumes, strict=True)]
    found = decoded(binary_copy(spec, to_table(spec, [batch_of("bars", rows)], "")), spec.columns)
    at = [column.name for column in spec.columns].index("volume")
    assert [row[at] for row in found] == volumes


def test_nothing_is_a_copy_of_no_rows() -> None:
    spec = table_spec("trades")
    assert decoded(binary_copy(spec, to_table(spec, [batch_of("trades", [])], "")), spec.columns) == []
