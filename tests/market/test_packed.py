"""Packed rows: the same rows as Arrow, from one pack or many, and any bytes give rows or BadPackedRows."""

from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_support import sample

from market.packed import KINDS, MOST_ROWS, BadPackedRows, PackedRows, pack, unpack
from market.records import Record, decode_frame, encode_frame, joined, scan_frames
from market.schemas import SCHEMAS, TICKS


def packed(batch: pa.RecordBatch, kind: str) -> PackedRows:
    found = pack(kind, *coded(batch))
    assert found is not None
    return found


def coded(batch: pa.RecordBatch) -> tuple[list[tuple[Any, ...]], list[list[str]]]:
    """Rows with codes instead of names, and the names."""
    is_named = [isinstance(column, pa.DictionaryArray) for column in batch.columns]
    columns = [column.indices if named else column for column, named in zip(batch.columns, is_named, strict=True)]
    names = [column.dictionary.to_pylist() for column, named in zip(batch.columns, is_named, strict=True) if named]
    return list(zip(*(column.to_pylist() for column in columns), strict=True)), names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(1,), (3,), (1, 1, 1), (2, MOST_ROWS, 5)])
def test_packs_of_any_rows_come_back_as_one_batch(kind: str, sizes: tuple[int, ...]) -> None:
    batches = [sample(SCHEMAS[kind], size, salt) for salt, size in enumerate(sizes)]
    found = unpack([packed(batch, kind) for batch in batches])
    assert found.schema.equals(SCHEMAS[kind])
    found.validate(full=True)
    assert found.to_pylist() == [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_one_by_one_are_those_of_the_batch(kind: str) -> None:
    batch = sample(SCHEMAS[kind], 12)
    assert list(packed(batch, kind).rows()) == list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def test_packs_with_the_same_and_with_other_names_are_told_apart() -> None:
    batches = [sample(TICKS, rows, salt) for rows, salt in ((4, 0), (1, 3), (4, 0), (2, 9), (1, 3))]
    found = unpack([packed(batch, "ticks") for batch in batches])
    assert found.to_pylist() == [row for batch in batches for row in batch.to_pylist()]


def test_packed_and_arrow_records_join_in_order() -> None:
    batches = [sample(TICKS, rows, rows) for rows in (2, 1, 80, 3)]
    payloads = [packed(batch, "ticks") if batch.num_rows < MOST_ROWS else batch for batch in batches]
    records = [Record(offset=n, ts_append=n, kind="ticks", payload=payload) for n, payload in enumerate(payloads)]
    again = [decode_frame(frame) for record in records for frame in scan_frames(encode_frame(record))]
    assert again == records
    assert [record.num_rows for record in again] == [2, 1, 80, 3]
    assert joined(again).to_pylist() == [row for batch in batches for row in batch.to_pylist()]


def test_too_many_rows_and_too_long_texts_are_left_to_arrow() -> None:
    rows, names = coded(sample(TICKS, MOST_ROWS + 1))
    assert pack("ticks", rows, names) is None
    at = TICKS.get_field_index("trade_id")
    assert pack("ticks", [(*rows[0][:at], "x" * 70_000, *rows[0][at + 1 :])], names) is None
    assert pack("bars", [], []) is None


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_give_rows_or_a_clear_error(tail: bytes, cut: int) -> None:
    whole = packed(sample(TICKS, 2), "ticks").data
    for data in (tail, whole[: len(whole) - cut] + tail, tail + whole):
        for read in (_as_batch, _as_tuples):
            with suppress(BadPackedRows):
                read(PackedRows("ticks", data))


def _as_batch(found: PackedRows) -> None:
    unpack([found]).validate(full=True)


def _as_tuples(found: PackedRows) -> None:
    list(found.rows())
