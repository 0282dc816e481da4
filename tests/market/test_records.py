"""Frames: what goes in comes out, and any bytes give frames or CorruptRecord."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_support import sample

from market.records import JSON_KIND, CorruptRecord, Record, decode_frame, encode_frame, scan_frames
from market.schemas import SCHEMAS


def record(offset: int = 0, value: bytes = b"{}", **more: object) -> Record:
    return Record(offset=offset, ts_append=-5, kind=JSON_KIND, payload=value, **more)


@pytest.mark.parametrize("rows", [0, 1, 5, 3000])
@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_batch_of_every_schema_comes_back_equal(name: str, rows: int) -> None:
    batch = sample(SCHEMAS[name], rows)
    given_record = Record(offset=7, ts_append=9, kind=name, key="gold", payload=batch, meta={"seq": 2**60, "a": "b"})
    (frame,) = scan_frames(encode_frame(given_record))
    found = decode_frame(frame)
    assert found.batch is not None
    assert found.batch.schema.equals(batch.schema, check_metadata=True)
    assert found == given_record


@given(st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=3000), st.text(max_size=50))
def test_any_bytes_value_comes_back_equal(offset: int, ts_append: int, value: bytes, key: str) -> None:
    given_record = Record(offset=offset, ts_append=ts_append, kind=JSON_KIND, key=key, payload=value)
    (frame,) = scan_frames(encode_frame(given_record))
    assert decode_frame(frame) == given_record


@given(st.binary(max_size=500), st.integers(0, 20))
def test_any_bytes_give_frames_or_corrupt_record(data: bytes, position: int) -> None:
    found = []
    with suppress(CorruptRecord):
        found.extend((frame.start, frame.end) for frame in scan_frames(data, position))
    assert all(position <= start < end <= len(data) for start, end in found)


def test_every_changed_bit_is_seen() -> None:
    whole = encode_frame(record(1)) + encode_frame(record(2))
    first_bytes = len(encode_frame(record(1)))
    for bit in range(8 * first_bytes):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            frames = list(scan_frames(bytes(damaged)))
        except CorruptRecord:
            continue
        assert frames == [], "only a length that runs past the end is no error, and then nothing is found"


@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
def test_a_cut_gives_the_frames_before_it(values: list[bytes], data: st.DataObject) -> None:
    frames = [encode_frame(record(offset, value)) for offset, value in enumerate(values)]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, frames[: nth + 1])) for nth in range(len(frames))]
    assert [frame.end for frame in scan_frames(whole[:cut])] == [end for end in ends if end <= cut]
