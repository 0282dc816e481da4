"""The log's reader: order, positions, waiting, damage, and what it sees of a living writer."""

import threading
import time
from pathlib import Path

import pytest
from log_support import NEVER, TP, append_json, numbers, read_all, segments, until, url_of

from connectors.log import PartitionSummary, describe, open_reader
from market.records import (
    JSON_KIND,
    CorruptRecord,
    LogReader,
    OffsetOutOfRange,
    Record,
    TopicPartition,
    encode_frame,
)
from market.segments import FUTEX_NUMBERS, CorruptSegment
from sinks.log import open_writer


def frame(number: int, size: int = 20) -> bytes:
    value = f"{number}".ljust(size, ".").encode()
    return encode_frame(Record(offset=number, ts_append=number, kind=JSON_KIND, payload=value))


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """The empty first segment of a log, for tests that are the writer themselves."""
    path = tmp_path / TP.topic / "0" / f"{0:020d}.seg"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.fixture
def reader(tmp_path: Path) -> "object":
    opened = open_reader(url_of(tmp_path))
    yield opened
    opened.close()


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_wait_tells_of_each_append_once(tmp_path: Path, reader: LogReader) -> None:
    writers = [open_writer(url_of(tmp_path), fsync=NEVER) for _ in range(3)]
    assert reader.wait(0.0), "there is a log"
    for nth, writer in enumerate(writers * 4):
        assert not reader.wait(0.0)
        writer.append(TopicPartition("t", nth % 3), JSON_KIND, b"0")
        assert not reader.wait(0.0)
        writer.flush()
        assert reader.wait(0.0)
    for writer in writers:
        writer.flush()  # nothing new: nothing to tell
        writer.close()
    assert not reader.wait(0.0)


@pytest.mark.parametrize("call", ["futex", "none", "unknown"])
def test_a_sleeping_reader_is_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    if call == "none":
        monkeypatch.setattr("connectors.log_signal.FUTEX_NUMBERS", {})
    if call == "unknown":  # as where the call is forbidden: the reader must poll then, not spin
        known = dict.fromkeys(FUTEX_NUMBERS, 9999)
        monkeypatch.setattr("connectors.log_signal.FUTEX_NUMBERS", known)
    writer = open_writer(url_of(tmp_path), fsync=NEVER)
    reader = open_reader(url_of(tmp_path))
    reader.wait(0.0)
    for number in range(20):
        late = threading.Timer(0.01, append_json, (writer, 1, number))
        late.start()
        started_s = time.process_time()
        assert reader.wait(20.0)
        assert time.process_time() - started_s < 1.0
        late.join()
        assert numbers(reader.read(TP, number)) == [number]
    writer.close()
    reader.close()


def test_a_record_is_seen_only_when_its_last_byte_is_there(segment: Path, reader: LogReader) -> None:
    add(segment, frame(0))
    assert numbers(reader.read(TP, 0)) == [0]
    data = frame(1) + frame(2)
    for nth, byte in enumerate(data):
        seen = numbers(reader.read(TP, 1))
        assert seen == ([1] if nth >= len(frame(1)) else [])
        assert reader.end_offset(TP) == 1 + len(seen)
        assert reader.behind(TP, 1) == len(seen)
        add(segment, bytes([byte]))
    assert numbers(reader.read(TP, 1)) == [1, 2]


def test_a_length_that_is_seen_before_its_bytes_is_waited_for(segment: Path, reader: LogReader) -> None:
    add(segment, frame(0) + frame(1)[:12] + bytes(len(frame(1)) - 12))
    for _ in range(3):
        assert numbers(reader.read(TP, 0)) == [0]
        assert reader.read(TP, 1) == []
    segment.write_bytes(frame(0) + frame(1))
    assert numbers(reader.read(TP, 1)) == [1]


def test_a_torn_tail_that_a_new_writer_replaces_is_never_seen(tmp_path: Path, reader: LogReader) -> None:
    writer = open_writer(url_of(tmp_path), fsync=NEVER)
    append_json(writer, 2)
    writer.close()
    (segment,) = segments(tmp_path)
    add(segment, frame(2, size=300)[:-5])
    assert numbers(read_all(reader)) == [0, 1]
    writer = open_writer(url_of(tmp_path), fsync=NEVER)
    append_json(writer, 2, first=2)
    assert numbers(reader.read(TP, 2)) == [2, 3]
    writer.close()


@pytest.mark.parametrize("at", range(len(frame(0))))
def test_damage_with_data_behind_it_is_raised_after_the_good_records(segment: Path, reader: LogReader, at: int) -> None:
    damaged = bytearray(frame(1))
    damaged[at] ^= 0x20
    add(segment, frame(0) + damaged)
    assert numbers(reader.read(TP, 0)) == [0]
    add(segment, frame(2))
    for _ in range(2):
        with pytest.raises(CorruptSegment) as caught:
            reader.read(TP, 1)
        assert (caught.value.path, caught.value.position) == (str(segment), len(frame(0)))
    with pytest.raises(CorruptSegment):
        reader.end_offset(TP)


@pytest.mark.parametrize("end", [frame(1)[:-1], frame(1)[:3], frame(1)[:-1] + b"?"])
def test_an_unfinished_end_of_a_full_segment_is_damage(segment: Path, reader: LogReader, end: bytes) -> None:
    add(segment, frame(0) + end)
    assert numbers(reader.read(TP, 0)) == [0]
    assert reader.read(TP, 1) == []
    (segment.parent / f"{1:020d}.seg").write_bytes(frame(1))
    with pytest.raises(CorruptSegment):
        reader.read(TP, 1)


def test_a_missing_segment_is_damage_and_not_the_end(segment: Path, reader: LogReader) -> None:
    add(segment, frame(0))
    assert numbers(reader.read(TP, 0)) == [0]
    (segment.parent / f"{5:020d}.seg").write_bytes(frame(5))
    with pytest.raises(CorruptSegment, match="record 1 is missing"):
        until(lambda: reader.read(TP, 1))
    with pytest.raises(CorruptSegment, match="record 1 is missing"):
        reader.read(TP, 3)


def test_offsets_that_do_not_follow_are_damage(segment: Path, reader: LogReader) -> None:
    add(segment, frame(0) + frame(2))
    assert numbers(reader.read(TP, 0)) == [0]
    with pytest.raises(CorruptSegment, match="offset 2 where 1 must follow"):
        reader.read(TP, 1)


def test_an_unknown_payload_is_a_corrupt_record(segment: Path, reader: LogReader) -> None:
    add(segment, encode_frame(Record(offset=0, ts_append=0, kind="ticks", payload=b"no arrow here")))
    with pytest.raises(CorruptRecord, match="cannot be decoded"):
        reader.read(TP, 0)


def test_a_log_that_was_deleted_under_the_reader_is_out_of_range(tmp_path: Path, reader: LogReader) -> None:
    writer = open_writer(url_of(tmp_path), fsync=NEVER)
    append_json(writer, 3)
    assert len(read_all(reader)) == 3
    writer.close()
    segments(tmp_path)[0].unlink()
    with pytest.raises(OffsetOutOfRange):
        reader.read(TP, 3)


def test_a_log_that_was_cut_under_the_reader_is_out_of_range(segment: Path, reader: LogReader) -> None:
    add(segment, frame(0) + frame(1))
    assert numbers(reader.read(TP, 0)) == [0, 1]
    segment.write_bytes(frame(0))
    with pytest.raises(OffsetOutOfRange) as caught:
        until(lambda: reader.read(TP, 2))
    assert (caught.value.begin, caught.value.end) == (0, 1)


@pytest.mark.parametrize("records", [0, 3])
def test_an_emptied_directory_is_noticed_at_once(segment: Path, reader: LogReader, records: int) -> None:
    segment.write_bytes(b"".join(map(frame, range(records))))
    assert len(reader.read(TP, 0)) == records
    reader.read(TP, records)
    segment.unlink()
    (segment.parent / f"{7:020d}.seg").write_bytes(frame(7))
    with pytest.raises(OffsetOutOfRange):
        reader.read(TP, records)


def test_describe_says_what_is_there_and_what_is_wrong(tmp_path: Path) -> None:
    writer = open_writer(url_of(tmp_path), fsync=NEVER, segment_bytes=200, clock_ns=lambda: 42)
    append_json(writer, 4)
    writer.append(TopicPartition("market.bars", 1), JSON_KIND, b"0")
    writer.close()
    bars, gold = describe(url_of(tmp_path))
    size_bytes = sum(path.stat().st_size for path in segments(tmp_path))
    assert gold == PartitionSummary(topic=TP.topic, partition=0, begin=0, end=4, size_bytes=size_bytes, ts_append=42)
    assert (bars.topic, bars.partition, bars.end) == ("market.bars", 1, 1)
    newest = segments(tmp_path)[-1]
    newest.write_bytes(b"\x01" * 5 + newest.read_bytes())
    gold = describe(url_of(tmp_path))[1]
    assert (gold.end, gold.ts_append) == (3, None)
    assert "a wrong length, as record 3 behind it is intact" in gold.problem
