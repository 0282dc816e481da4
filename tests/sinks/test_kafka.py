"""The log on Kafka: who may write, what topics are made of, what a reader is told, and a broker that goes away."""

import random
import threading
import time
from contextlib import closing
from pathlib import Path

import kafka
import kafka.admin
import pytest
from kafka_support import OwnLog
from log_support import TP, append_json, numbers, read_all, sample, until

from connectors.log import open_reader
from market.kafka_log import MAX_RECORD_BYTES, ForeignRecord
from market.records import JSON_KIND, LogUnavailable, LogWriter, OffsetOutOfRange, Patience, Record, TopicPartition
from market.schemas import TICKS
from sinks import kafka_producer
from sinks.errors import LogWriteFailed, WriterFenced
from sinks.log import open_writer
from sinks.retention import Retention
from tests.services import kafka as broker_service
from tests.services.base import Missing, Server


@pytest.fixture
def url(own_log: OwnLog) -> str:
    return own_log.url


def close_failed(writer: LogWriter) -> None:
    with pytest.raises(LogWriteFailed, match="failed before"):
        writer.close()


def test_the_newest_writer_shuts_out_the_one_before_it(url: str) -> None:
    older = open_writer(url)
    older.append(TP, "ticks", sample(TICKS, 3), key="gold", meta={"seq": 7})
    older.flush()
    newer = open_writer(url)
    last = newer.last_record(TP)
    assert last is not None
    assert (last.kind, last.key, last.meta, last.num_rows) == ("ticks", "gold", {"seq": 7}, 0)
    older.append(TP, "ticks", sample(TICKS, 5))
    with pytest.raises(WriterFenced, match="InvalidProducerEpoch"):
        older.flush()
    close_failed(older)
    newer.append(TP, "ticks", sample(TICKS, 2))
    newer.close()
    reader = open_reader(url)
    assert [record.num_rows for record in read_all(reader)] == [3, 0, 2]
    reader.close()


@pytest.mark.parametrize("value", [None, b"", b"xx", b"hello, world " * 9])
def test_a_record_that_is_not_ours_ends_who_reads_it_and_who_would_write_behind_it(
    kafka_broker: Server, url: str, own_log: OwnLog, value: bytes | None
) -> None:
    with closing(open_writer(url)) as writer:
        append_json(writer, 1)
        writer.flush()
    foreign = kafka.KafkaProducer(bootstrap_servers=kafka_broker.url.removeprefix("kafka://"))
    foreign.send(own_log.name_of(), value=value, key=b"k", partition=TP.partition).get(timeout=20)
    foreign.close()
    said = rf"record 1 of {TP} is none of Mandi's \(.+'A record that is not ours'"
    with closing(open_reader(url)) as reader, pytest.raises(ForeignRecord, match=said):
        read_all(reader)
    with closing(open_writer(url)) as writer, pytest.raises(ForeignRecord, match=said):
        append_json(writer, 1)


def test_what_the_older_writer_wrote_until_it_was_shut_out_is_the_newest_record(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = open_writer(url), open_writer(url)
    append_json(older, 1)
    newest = newer._topics.newest

    def raced(tp: TopicPartition) -> object:
        found = newest(tp)
        append_json(older, 2, first=1)  # between the look of the newer one and its claim
        return found

    monkeypatch.setattr(newer._topics, "newest", raced)
    last = newer.last_record(TP)
    assert last is not None
    assert (last.value[:2], last.meta) == (b"2.", {"repeats": 2})
    older.append(TP, JSON_KIND, b"3")
    with pytest.raises(WriterFenced):
        older.flush()
    close_failed(older)
    append_json(newer, 1, first=3)
    newer.close()
    reader = open_reader(url)
    assert numbers(read_all(reader)) == [0, 1, 2, 3]
    reader.close()


def test_partitions_have_writers_of_their_own(url: str) -> None:
    first, second = open_writer(url), open_writer(url)
    other = TopicPartition(TP.topic, 1)
    for number in range(3):
        first.append(TP, JSON_KIND, str(number).encode())
        second.append(other, JSON_KIND, str(number).encode())
        first.flush()
        second.flush()
    first.close()
    second.close()
    reader = open_reader(url)
    assert numbers(read_all(reader)) == numbers(read_all(reader, other)) == [0, 1, 2]
    reader.close()


def test_a_foreign_record_in_between_ends_the_writer(url: str, own_log: OwnLog, kafka_broker: Server) -> None:
    writer = open_writer(url)
    append_json(writer, 1)
    foreign = kafka.KafkaProducer(bootstrap_servers=kafka_broker.url.removeprefix("kafka://"))
    name, part = own_log.theirs()
    foreign.send(name, value=b"not ours", partition=part).get(10)
    foreign.close()
    writer.append(TP, JSON_KIND, b"1")
    with pytest.raises(WriterFenced, match="record 1 became 2"):
        writer.flush()
    close_failed(writer)


def test_a_writer_whose_topic_is_deleted_ends_and_the_next_makes_it(
    url: str, own_log: OwnLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "GONE_S", 0.5)
    waits: list[str] = []
    writer = open_writer(url, patience=Patience(on_wait=lambda reason, _: waits.append(reason)))
    append_json(writer, 3)
    own_log.delete()
    writer.append(TP, JSON_KIND, b"3")
    with pytest.raises(LogWriteFailed, match="was a topic deleted"):
        writer.flush()
    assert "UnknownTopicOrPartition" in waits[0], "one of several brokers may not know of it: not at once"
    assert not own_log.has(), "and does not come back by itself"
    close_failed(writer)
    writer = open_writer(url)
    assert writer.last_record(TP) is None
    append_json(writer, 2)
    writer.close()
    assert records_of(url) == [0, 1]


def test_a_writer_whose_topic_is_made_anew_ends_and_the_next_goes_on(url: str, own_log: OwnLog) -> None:
    writer = open_writer(url)
    append_json(writer, 3)
    own_log.delete()
    other = open_writer(url)
    other.last_record(TopicPartition(TP.topic, 1))  # whoever else writes the topic makes it again
    other.close()
    writer.append(TP, JSON_KIND, b"3")
    with pytest.raises(LogWriteFailed, match=r"record 3 .* became 0: it was cut, or made anew"):
        writer.flush()
    close_failed(writer)
    writer = open_writer(url)
    assert writer.last_record(TP) is not None
    append_json(writer, 2, first=4)
    writer.close()
    assert records_of(url) == [3, 4, 5], "what was acknowledged is there"


def test_a_quiet_writer_sees_that_its_topic_was_made_anew(
    url: str, own_log: OwnLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "_SURE_S", 0.0)
    writer = open_writer(url)
    append_json(writer, 3)
    own_log.delete()
    other = open_writer(url)
    other.last_record(TP)
    other.close()
    writer.append(TP, JSON_KIND, b"3")
    with pytest.raises(LogWriteFailed, match="has lost record 2"):
        writer.flush()
    close_failed(writer)
    assert records_of(url) == []


def test_a_topic_that_gets_more_partitions_is_written_on(url: str, own_log: OwnLog) -> None:
    writer = open_writer(url)
    append_json(writer, 3)
    own_log.grow(TP.topic, 6)
    append_json(writer, 1, first=3)
    writer.append(TopicPartition(TP.topic, 5), JSON_KIND, b"0")
    writer.close()
    writer = open_writer(url)
    append_json(writer, 1, first=4)
    writer.close()
    assert records_of(url) == [0, 1, 2, 3, 4]


def records_of(url: str) -> list[int]:
    reader = open_reader(url)
    try:
        return numbers(read_all(reader))
    finally:
        reader.close()


def test_topics_are_made_as_the_settings_say(url: str, own_log: OwnLog) -> None:
    keep = Retention(max_age_s=86_400, max_bytes=1 << 30)
    writer = open_writer(f"{url}?partitions=3", retention=keep)
    writer.last_record(TP)
    writer.last_record(TopicPartition(TP.topic, 4))  # more partitions than the topic was made with
    writer.close()
    (found,) = own_log.admin.describe_topics([own_log.name_of()])
    assert len(found["partitions"]) == 5
    resource = kafka.admin.ConfigResource(kafka.admin.ConfigResourceType.TOPIC, own_log.name_of())
    text = str(own_log.admin.describe_configs([resource]))
    for name, value in {
        "retention.ms": "86400000",
        "retention.bytes": str(1 << 30),
        "cleanup.policy": "delete",
    }.items():
        assert name in text
        assert value in text


def test_an_offset_that_retention_dropped_is_out_of_range(url: str, own_log: OwnLog) -> None:
    writer, reader = open_writer(url), open_reader(url)
    append_json(writer, 10)
    assert numbers(reader.read(TP, 0, max_bytes=1)) == [0]
    own_log.admin.delete_records({own_log.theirs(): 6})
    fresh = open_reader(url)
    for offset in (5, 11):
        with pytest.raises(OffsetOutOfRange) as caught:
            fresh.read(TP, offset)
        assert (caught.value.offset, caught.value.begin, caught.value.end) == (offset, 6, 10)
    assert numbers(fresh.read(TP, 6)) == [6, 7, 8, 9]
    assert (fresh.begin_offset(TP), fresh.end_offset(TP)) == (6, 10)
    for opened in (writer, reader, fresh):
        opened.close()


def test_a_writer_goes_on_in_a_partition_that_retention_emptied(url: str, own_log: OwnLog) -> None:
    writer = open_writer(url)
    append_json(writer, 4)
    writer.close()
    own_log.admin.delete_records({own_log.theirs(): 4})
    writer = open_writer(url)
    assert writer.last_record(TP) is None
    assert writer.append(TP, JSON_KIND, b"4") == 4
    writer.close()
    reader = open_reader(url)
    assert numbers(read_all(reader, offset=4)) == [4]
    reader.close()


def test_a_record_that_is_too_long_is_refused(url: str) -> None:
    writer = open_writer(url)
    with pytest.raises(ValueError, match="cut smaller batches"):
        writer.append(TP, JSON_KIND, random.Random(1).randbytes(MAX_RECORD_BYTES + 1))
    append_json(writer, 1)
    writer.close()


@pytest.mark.parametrize(("count", "size"), [(20, 100_000), (1, 5_000_000)])
def test_a_writer_takes_over_behind_a_long_batch(count: int, size: int, url: str) -> None:
    def number_of(record: Record) -> int:
        return int(record.value.partition(b".")[0])

    for first in (0, count):
        with closing(open_writer(url)) as writer:
            last = writer.last_record(TP)
            assert last is None or number_of(last) == count - 1
            for number in range(first, first + count):
                writer.append(TP, JSON_KIND, b"%d." % number + random.Random(number).randbytes(size))
    with closing(open_reader(url)) as reader:
        found = [number_of(record) for record in read_all(reader) if "repeats" not in record.meta]
    assert found == list(range(2 * count))


def test_many_and_large_records_in_one_flush_keep_their_order(url: str) -> None:
    writer, reader = open_writer(url), open_reader(url)
    for number in range(60):
        writer.append(TP, JSON_KIND, f"{number}".ljust(400_000, ".").encode())
    writer.flush()
    assert numbers(read_all(reader)) == list(range(60))
    writer.close()
    reader.close()


@pytest.mark.timeout(120)  # a partition that is never given back is waited for without end
def test_a_partition_that_waited_is_read_to_its_end_while_another_is_read(url: str) -> None:
    writer, other = open_writer(url), TopicPartition(TP.topic, 1)
    for number in range(5_000):
        writer.append(TP, JSON_KIND, str(number).encode())
    writer.append(other, JSON_KIND, b"0")
    writer.close()
    reader = open_reader(url)
    found = [record.value for record in reader.read(TP, 0, max_bytes=200)]
    assert len(reader.read(other, 0)) == 1
    while records := reader.read(TP, len(found)):
        found += [record.value for record in records]
    assert found == [str(number).encode() for number in range(5_000)]
    reader.close()


def test_keys_and_times_are_kafkas_too(url: str, own_log: OwnLog, kafka_broker: Server) -> None:
    writer = open_writer(url, clock_ns=lambda: 1_795_000_000_123_456_789)
    writer.append(TP, "ticks", sample(TICKS, 1), key="gold")
    writer.close()
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=kafka_broker.url.removeprefix("kafka://"), enable_auto_commit=False
    )
    consumer.assign([own_log.theirs()])
    consumer.seek_to_beginning()
    (message,) = consumer.poll(10_000)[own_log.theirs()]
    consumer.close()
    assert (message.key, message.timestamp) == (b"gold", 1_795_000_000_123)


def test_readers_and_writers_wait_for_a_broker_that_was_killed(tmp_path: Path) -> None:
    try:
        command, port = broker_service.prepare(tmp_path)
        broker = broker_service.run(command, tmp_path, port)
    except Missing as error:
        pytest.skip(f"no kafka: {error}")
    waits: list[str] = []
    stop = threading.Event()
    patience = Patience(stopped=stop.is_set, on_wait=lambda reason, _: waits.append(reason))
    writer, reader = open_writer(broker.url, patience=patience), open_reader(broker.url, patience=patience)
    append_json(writer, 1)
    assert numbers(read_all(reader)) == [0]

    broker.kill()
    waits.clear()
    writer.append(TP, JSON_KIND, b"1")
    flushed = threading.Thread(target=writer.flush)
    flushed.start()
    until(lambda: waits)
    broker = broker_service.run(command, tmp_path, port)
    flushed.join(60)
    assert not flushed.is_alive()
    assert waits[-1] == "", "the end of the outage is told"
    until(lambda: numbers(read_all(reader)) == [0, 1])
    assert reader.end_offset(TP) == 2

    broker.kill()
    writer.append(TP, JSON_KIND, b"2")
    threading.Timer(0.5, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(LogUnavailable):
        writer.flush()
    with pytest.raises(LogUnavailable):
        reader.end_offset(TP)
    assert time.monotonic() - began_s < 30
    reader.close()
    close_failed(writer)
