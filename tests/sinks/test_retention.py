"""Which segments retention deletes, and that it never makes a hole."""

import multiprocessing
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_support import NEVER, TP, append_json, numbers, read_all, segments, url_of

from connectors.log import open_reader
from market.records import OffsetOutOfRange
from sinks.log import open_writer
from sinks.retention import Retention, SegmentAge, expired

SECOND_NS = 1_000_000_000


@given(
    st.lists(st.tuples(st.integers(0, 100), st.none() | st.integers(0, 100)), min_size=1, max_size=8),
    st.none() | st.integers(0, 300),
    st.none() | st.integers(0, 100),
)
def test_a_prefix_goes_and_the_newest_stays(
    sizes_and_ends: list[tuple[int, int | None]], max_bytes: int | None, max_age_s: int | None
) -> None:
    found = [
        SegmentAge(base=base, size_bytes=size, ts_end=None if end is None else end * SECOND_NS)
        for base, (size, end) in enumerate(sizes_and_ends)
    ]
    gone = expired(found, Retention(max_bytes=max_bytes, max_age_s=max_age_s), 100 * SECOND_NS)
    assert gone == list(range(len(gone)))
    assert len(gone) < len(found)
    left = found[len(gone) :]
    if len(left) > 1:
        assert max_bytes is None or sum(segment.size_bytes for segment in left) <= max_bytes
        assert max_age_s is None or left[0].ts_end is None or left[0].ts_end >= (100 - max_age_s) * SECOND_NS


def test_size_bounds_a_partition_and_its_readers_are_told(tmp_path: Path) -> None:
    writer = open_writer(url_of(tmp_path), fsync=NEVER, segment_bytes=200, retention=Retention(max_bytes=500))
    reader = open_reader(url_of(tmp_path))
    append_json(writer, 4)
    assert numbers(reader.read(TP, 0, max_bytes=64)) == [0]
    append_json(writer, 26, first=4)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 700
    begin = reader.begin_offset(TP)
    assert begin > 10
    for offset in (1, 0, begin - 1):  # 1: its file is still open here, though deleted
        with pytest.raises(OffsetOutOfRange) as caught:
            reader.read(TP, offset)
        assert (caught.value.offset, caught.value.begin, caught.value.end) == (offset, begin, 30)
    assert numbers(read_all(reader, offset=begin)) == list(range(begin, 30))
    writer.close()
    reader.close()


def test_a_reader_at_the_end_of_a_deleted_segment_is_told(tmp_path: Path) -> None:
    writer = open_writer(url_of(tmp_path), fsync=NEVER, segment_bytes=200, retention=Retention(max_bytes=500))
    reader = open_reader(url_of(tmp_path))
    append_json(writer, 3)
    assert len(read_all(reader)) == 3
    append_json(writer, 30, first=3)
    with pytest.raises(OffsetOutOfRange):
        reader.read(TP, 3)
    writer.close()
    reader.close()


def test_age_is_that_of_the_records_and_topics_have_their_own(tmp_path: Path) -> None:
    now = [0]
    keep = Retention(max_age_s=1, by_topic={"market.prices.*": Retention(max_age_s=100)})
    writer = open_writer(url_of(tmp_path), fsync=NEVER, segment_bytes=200, retention=keep, clock_ns=lambda: now[0])
    for number in range(12):
        now[0] = number * 20 * SECOND_NS
        append_json(writer, 1, first=number)
    assert [int(path.stem) for path in segments(tmp_path)] == [3, 6, 9]
    writer.close()


def write_on(directory: Path) -> None:
    """Append what is left of 40 records; the first new segment has five old ones deleted."""
    writer = open_writer(url_of(directory), fsync=NEVER, segment_bytes=200, retention=Retention(max_bytes=900))
    last = writer.last_record(TP)
    first = 0 if last is None else last.offset + 1
    append_json(writer, 40 - first, first=first)
    writer.close()


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_kill_between_two_deletions_leaves_no_hole_and_the_next_writer_deletes_the_rest(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    writer = open_writer(url_of(killed), fsync=NEVER, segment_bytes=200)
    append_json(writer, 30)
    writer.close()
    shutil.copytree(killed, alone)
    write_on(alone)
    before = segments(killed)
    monkeypatch.setenv("MANDI_CRASH_AT", f"log.retention.after:{nth}")
    process = multiprocessing.get_context("fork").Process(target=write_on, args=[killed])
    process.start()
    process.join()
    monkeypatch.delenv("MANDI_CRASH_AT")
    assert process.exitcode == 9
    assert segments(killed)[:-1] == before[nth:]  # the last one has just been begun
    reader = open_reader(url_of(killed))
    begin = reader.begin_offset(TP)
    left = numbers(read_all(reader, offset=begin))
    assert left == list(range(begin, left[-1] + 1))
    assert left[-1] >= 29
    write_on(killed)
    assert [path.name for path in segments(killed)] == [path.name for path in segments(alone)]
    assert numbers(read_all(reader, offset=left[-1] + 1)) == list(
        range(left[-1] + 1, 40)
    )  # where a flow was, it goes on
    reader.close()
