"""Names of the log's files, and what is damage and what is a write under way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.records import JSON_KIND, Record, TopicPartition, encode_frame
from market.segments import (
    UnsupportedLog,
    append_ns,
    damage,
    intact_frames,
    log_directory,
    partition_path,
    segment_bases,
    segment_name,
    surviving_frame,
)


def frame(offset: int) -> bytes:
    return encode_frame(Record(offset=offset, ts_append=offset - 3, kind=JSON_KIND, payload=b"v" * 40))


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "../x", "a b", "x" * 250, "a\0"])
def test_a_topic_cannot_leave_the_directory(topic: str) -> None:
    with pytest.raises(ValueError, match="topic-partition"):
        partition_path(TopicPartition(topic))


@pytest.mark.parametrize("url", ["", "/tmp", "file:", "file:x", "file://host/x", "http://x/y", "kafka://h:9092"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsupportedLog):
        log_directory(url)


def test_a_url_is_unquoted() -> None:
    assert log_directory("file:///a%20b/c") == "/a b/c"


@given(st.sets(st.integers(0, 10**19)))
def test_names_sort_as_offsets(bases: set[int]) -> None:
    names = sorted(map(segment_name, bases), reverse=True)
    assert segment_bases([*names, "writer.lock", "1.seg"]) == sorted(bases)


@pytest.mark.parametrize("at", range(len(frame(5))))
def test_damage_at_any_byte_is_told_from_a_torn_tail(at: int) -> None:
    data = changed(frame(5), at)
    assert surviving_frame(data, 0, 5) is None
    found = surviving_frame(data + frame(6) + frame(7), 0, 5)
    assert found is not None
    assert found.offset == 6
    assert damage(data + frame(6), 5, is_full=False) is not None
    assert damage(data, 5, is_full=True) is not None


def test_a_whole_frame_is_no_damage() -> None:
    assert damage(frame(5), 5, is_full=True) is None
    assert damage(b"", 5, is_full=True) is None


@pytest.mark.parametrize("bytes_there", range(1, len(frame(5))))
def test_a_write_under_way_is_no_damage_until_the_segment_is_full(bytes_there: int) -> None:
    part = frame(5)[:bytes_there]
    grown = part + bytes(len(frame(5)) - bytes_there)  # its length can be seen before its bytes
    for data in (part, grown, bytes(bytes_there)):
        assert damage(data, 5, is_full=False) is None or data == frame(5)
        assert damage(data, 5, is_full=True) is not None or data == frame(5)


def test_an_intact_frame_with_another_offset_is_damage() -> None:
    assert damage(frame(6), 5, is_full=False) == "offset 6 where 5 must follow"
    frames, error = intact_frames(frame(5) + frame(7), 5)
    assert [found.offset for found in frames] == [5]
    assert error is not None
    assert error.position == len(frame(5))


def test_append_time_is_read_from_the_head() -> None:
    assert append_ns(frame(1)) == -2
    assert append_ns(frame(1)[:23]) is None
