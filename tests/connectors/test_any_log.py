"""What holds for every log, embedded or on Kafka: order, positions, waiting, going on after a crash."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_support import NEVER, TP, append_json, finish, numbers, read_all, sample, start, url_of

from connectors.log import open_reader
from market.records import JSON_KIND, LogReader, OffsetOutOfRange, TopicPartition
from market.schemas import SCHEMAS, TICKS
from sinks.errors import LogWriteFailed
from sinks.log import open_writer
from tests.services.base import Server


@pytest.fixture
def reader(log_url: str) -> Iterator[LogReader]:
    opened = open_reader(log_url)
    yield opened
    opened.close()


def content(url: str) -> list[int]:
    reader = open_reader(url)
    try:
        return numbers(read_all(reader))
    finally:
        reader.close()


def test_every_schema_comes_back_equal(log_url: str, reader: LogReader) -> None:
    writer = open_writer(log_url)
    batches = {name: sample(schema, 100) for name, schema in SCHEMAS.items()}
    for name, batch in batches.items():
        writer.append(TP, name, batch, key="gold", meta={"seq": 1})
    writer.flush()
    found = read_all(reader)
    assert {record.kind: record.batch for record in found} == batches
    assert {(record.key, record.meta["seq"]) for record in found} == {("gold", 1)}
    writer.close()


def test_a_log_that_is_not_there_is_empty(log_url: str) -> None:
    reader = open_reader(log_url)
    assert (reader.partitions("*"), reader.begin_offset(TP), reader.end_offset(TP)) == ([], 0, 0)
    assert reader.read(TP, 0) == []
    assert not reader.wait(0.0)
    with pytest.raises(OffsetOutOfRange):
        reader.read(TP, 1)
    writer = open_writer(log_url)
    append_json(writer, 1)
    assert reader.wait(5.0)
    assert numbers(reader.read(TP, 0)) == [0]
    writer.close()
    reader.close()


def check_any_read(url: str, data: st.DataObject) -> None:
    with (
        closing(open_writer(url, fsync=NEVER, segment_bytes=data.draw(st.integers(1, 4000)))) as writer,
        closing(open_reader(url)) as reader,
    ):
        count = 0
        for _ in range(data.draw(st.integers(1, 30))):
            if data.draw(st.booleans()):
                flushes = data.draw(st.integers(1, 10))
                append_json(writer, flushes, first=count, size=data.draw(st.integers(1, 3000)))
                count += flushes
            offset = data.draw(st.integers(0, count + 2))
            if offset > count:
                with pytest.raises(OffsetOutOfRange) as caught:
                    reader.read(TP, offset)
                assert (caught.value.begin, caught.value.end) == (0, count)
            else:
                found = numbers(reader.read(TP, offset, max_bytes=data.draw(st.integers(1, 10_000))))
                assert found == list(range(offset, offset + len(found)))
                assert bool(found) == (offset < count)
            assert reader.end_offset(TP) == count
            assert reader.behind(TP, offset) == max(0, count - offset)


@settings(max_examples=40)
@given(data=st.data())
def test_any_read_gives_what_was_written(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    check_any_read(url_of(tmp_path_factory.mktemp("log")), data)


@settings(max_examples=6)  # opening and closing take a second
@given(data=st.data())
def test_any_read_gives_what_was_written_to_kafka(kafka_broker: Server, data: st.DataObject) -> None:
    check_any_read(f"{kafka_broker.url}/{uuid4().hex}", data)


@pytest.mark.parametrize("size", [70_000, 5_000_000])
def test_a_record_longer_than_any_read_comes_whole(log_url: str, reader: LogReader, size: int) -> None:
    writer = open_writer(log_url, fsync=NEVER, segment_bytes=1 << 20)
    values = [random.Random(nth).randbytes(size) for nth in range(3)]  # noise, which zstd cannot shorten
    for value in values:
        writer.append(TP, JSON_KIND, value)
    writer.flush()
    assert [record.value for record in read_all(reader)] == values
    assert reader.read(TP, 2, max_bytes=1)[0].value == values[2]
    writer.close()


def test_partitions_are_found_by_glob(log_url: str, reader: LogReader) -> None:
    writer = open_writer(log_url, fsync=NEVER)
    given_tps = [TopicPartition(f"market.prices.{name}", part) for name in ("gold", "silver") for part in (0, 11, 2)]
    for tp in [*given_tps, TopicPartition("market.bars")]:
        writer.append(tp, JSON_KIND, b"0")
    writer.flush()
    assert reader.partitions("market.prices.*") == sorted(given_tps)
    assert reader.partitions("market.bars") == [TopicPartition("market.bars")]
    writer.close()


def test_a_sleeping_reader_is_woken(log_url: str, reader: LogReader) -> None:
    writer = open_writer(log_url, fsync=NEVER)
    append_json(writer, 1)
    assert numbers(read_all(reader)) == [0]
    reader.wait(0.0)
    for number in range(1, 20):
        late = threading.Timer(0.01, append_json, (writer, 1, number))
        late.start()
        started_s = time.process_time()
        assert reader.wait(20.0)
        assert time.process_time() - started_s < 1.0
        late.join()
        assert numbers(reader.read(TP, number)) == [number]
    writer.close()


def test_wait_ends_at_its_time_out(log_url: str, reader: LogReader) -> None:
    open_writer(log_url).close()
    reader.wait(0.0)
    started_s = time.monotonic()
    assert not reader.wait(0.1)
    assert 0.1 <= time.monotonic() - started_s < 5


WRITE = """
import sys
from market.records import TopicPartition
from sinks.log import open_writer
tp = TopicPartition("market.prices.gold")
writer = open_writer(sys.argv[1], segment_bytes=20_000)
for number in range(int(sys.argv[2])):
    writer.append(tp, "json", f"{number}".ljust(number * 7 % 900, ".").encode())
    if number % 3 == 0:
        writer.flush()
writer.close()
"""

FOLLOW = """
import sys
from connectors.log import open_reader
from market.records import TopicPartition
tp = TopicPartition("market.prices.gold")
reader = open_reader(sys.argv[1])
seen = 0
while seen < int(sys.argv[2]):
    records = reader.read(tp, seen)
    for record in records:
        assert (record.offset, int(record.value.rstrip(b"."))) == (seen, seen), (record.offset, seen)
        seen += 1
    if not records and not reader.wait(20):
        sys.exit(f"nothing came after record {seen}")
print(seen)
"""


def test_two_processes_follow_a_third_and_see_all_in_order(log_url: str) -> None:
    count = 3001
    readers = [start(FOLLOW, log_url, count) for _ in range(2)]
    finish(start(WRITE, log_url, count))
    assert [finish(process).strip() for process in readers] == [str(count)] * 2


def test_offsets_go_on_where_the_last_writer_stopped(log_url: str) -> None:
    for start_at in (0, 3):
        writer = open_writer(log_url)
        last = writer.last_record(TP)
        assert (int(last.value) + 1 if last else 0) == start_at
        next_offset = last.offset + 1 if last else 0
        for nth in range(3):
            number = start_at + nth
            offset = writer.append(TP, JSON_KIND, str(number).encode(), meta={"seq": number})
            assert offset == next_offset + nth
        last = writer.last_record(TP)
        assert last is not None
        assert last.meta == {"seq": start_at + 2}
        writer.close()
    assert content(log_url) == [0, 1, 2, 3, 4, 5]


def test_nothing_is_seen_before_flush(log_url: str) -> None:
    writer = open_writer(log_url)
    reader = open_reader(log_url)
    writer.append(TP, "ticks", sample(TICKS, 5), key="gold")
    assert reader.read(TP, 0) == []
    writer.flush()
    (record,) = reader.read(TP, 0)
    assert (record.kind, record.key, record.batch) == ("ticks", "gold", sample(TICKS, 5))
    writer.close()
    reader.close()


APPEND_FOR_EVER = """
import sys
from market.records import TopicPartition
from sinks.log import open_writer
tp = TopicPartition("market.prices.gold")
writer = open_writer(sys.argv[1], segment_bytes=2000)
last = writer.last_record(tp)
number = int(last.value.rstrip(b".")) + 1 if last else 0
while True:
    for _ in range(number % 7 + 1):
        writer.append(tp, "json", f"{number}".ljust(number % 300, ".").encode())
        number += 1
    writer.flush()
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_flushed(log_url: str) -> None:
    flushed = 0
    reader = open_reader(log_url)  # lives through all of it
    seen: list[int] = []
    offset = 0
    for round_ in range(12 if log_url.startswith("file:") else 5):  # a start takes longer on Kafka
        process = start(APPEND_FOR_EVER, log_url)
        assert process.stdout is not None
        for _ in range(3 + 17 * round_):
            flushed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = [int(line) for line in process.communicate()[0].split() if line.isdigit()]
        flushed = max([flushed, *told[:-1]])  # the last line may be cut
        found = read_all(reader, offset=offset)
        seen, offset = seen + numbers(found), offset + len(found)
        assert seen == list(range(len(seen)))
        assert len(seen) >= flushed
    assert content(log_url) == seen
    reader.close()


def test_a_record_that_could_not_be_read_again_is_refused(log_url: str) -> None:
    writer = open_writer(log_url)
    with pytest.raises(ValueError, match="cannot hold"):
        writer.append(TP, "ticks", b"{}")
    with pytest.raises(ValueError, match="cannot hold"):
        writer.append(TP, JSON_KIND, sample(TICKS, 1))
    writer.close()
    with pytest.raises(LogWriteFailed, match="closed"):
        writer.append(TP, JSON_KIND, b"0")
