"""The private framing: wherever the stream is cut, the same bodies; any bytes, bodies or a clean error."""

import itertools

import pytest
from fuzz_framing import BODIES, STREAM, fuzz
from hypothesis import given
from hypothesis import strategies as st

from feeds_simulator.bloomberg.framing import FRAME_LIMIT_BYTES, FramingError, Unframer


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_split_at_every_position(cut: int) -> None:
    unframer = Unframer()
    assert [*unframer.feed(STREAM[:cut]), *unframer.feed(STREAM[cut:])] == BODIES
    assert unframer.pending_bytes == 0


@given(st.lists(st.integers(0, len(STREAM))))
def test_split_anywhere(cuts: list[int]) -> None:
    unframer, found = Unframer(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        found += unframer.feed(STREAM[start:end])
    assert found == BODIES


def test_too_long_is_refused_before_it_is_buffered() -> None:
    unframer = Unframer()
    with pytest.raises(FramingError, match="bytes"):
        list(unframer.feed((FRAME_LIMIT_BYTES + 1).to_bytes(4, "big")))
    assert unframer.pending_bytes <= 4


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"{", b"\xff", b""])
def test_not_an_object(body: bytes) -> None:
    with pytest.raises(FramingError):
        list(Unframer().feed(len(body).to_bytes(4, "big") + body))


def test_any_bytes_give_bodies_or_an_error() -> None:
    found = fuzz(3_000)
    assert found["bodies"] > 0
    assert found["errors"] > 0
