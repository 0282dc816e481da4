"""Topics on a real broker that are deleted, made anew or given more partitions while they are read."""

import pytest
from kafka_support import OwnLog
from log_support import TP, append_json, numbers, read_all, until

from connectors import kafka_topics
from connectors.kafka_topics import KnownTopics
from connectors.log import open_reader
from market.records import JSON_KIND, LogReader, LogReplaced, OffsetOutOfRange, Patience, TopicPartition
from sinks.log import open_writer

OTHER = TopicPartition("market.prices.cotton")


@pytest.fixture
def log(own_log: OwnLog, monkeypatch: pytest.MonkeyPatch) -> OwnLog:
    monkeypatch.setattr(kafka_topics, "GONE_S", 0.5)
    return own_log


def write(url: str, count: int) -> None:
    """Records of TP and one of OTHER, by a writer that makes the topics that are not there."""
    writer = open_writer(url)
    append_json(writer, count)
    writer.append(OTHER, JSON_KIND, b"0")
    writer.close()


def make_anew(log: OwnLog, count: int) -> None:
    log.delete()
    writer = open_writer(log.url)
    append_json(writer, count)
    writer.close()


def reading(url: str, count: int) -> LogReader:
    """A reader that has read so many records, and waits for the next."""
    reader = open_reader(url)
    assert reader.partitions("market.prices.*") == [OTHER, TP]
    assert numbers(read_all(reader)) == list(range(count))
    assert len(read_all(reader, OTHER)) == 1
    return reader


@pytest.mark.parametrize("count", [0, 1, 3, 5, 8])
def test_a_topic_that_is_made_anew_is_told_however_long_it_is(count: int, log: OwnLog) -> None:
    write(log.url, 5)
    reader = reading(log.url, 5)
    make_anew(log, count)
    with pytest.raises(LogReplaced) as caught:
        until(lambda: reader.partitions("*") and reader.read(TP, 5) and False)
    assert (caught.value.tp, caught.value.offset, caught.value.begin, caught.value.end) == (TP, 5, 0, count)
    assert "deleted or made anew" in str(caught.value)
    assert numbers(read_all(reader)) == list(range(count)), "told once; then it is a topic like any other"
    assert reader.read(OTHER, 1) == []
    reader.close()


def test_a_topic_that_is_deleted_is_told_and_holds_up_no_other(log: OwnLog) -> None:
    write(log.url, 5)
    waits: list[str] = []
    reader = open_reader(log.url, patience=Patience(on_wait=lambda reason, _: waits.append(reason)))
    assert numbers(read_all(reader)) == [0, 1, 2, 3, 4]
    assert len(read_all(reader, OTHER)) == 1
    log.delete()
    with pytest.raises(LogReplaced) as caught:
        until(lambda: reader.read(TP, 5))
    assert (caught.value.offset, caught.value.begin, caught.value.end) == (5, 0, 0)
    assert "UnknownTopicOrPartitionError" in waits[0]
    assert waits[-1] == ""
    waits.clear()
    assert reader.read(TP, 0) == []
    assert (reader.begin_offset(TP), reader.end_offset(TP), reader.behind(TP, 5)) == (0, 0, 0)
    assert reader.partitions("market.prices.*") == [OTHER]
    assert reader.read(OTHER, 1) == []
    assert waits == [], "nobody waits for it"
    write(log.url, 2)
    until(lambda: reader.partitions("market.prices.*") == [OTHER, TP])
    assert numbers(read_all(reader)) == [0, 1]
    assert len(read_all(reader, OTHER)) == 3
    reader.close()


def test_a_topic_that_was_deleted_before_is_out_of_range(log: OwnLog) -> None:
    write(log.url, 5)
    log.delete()
    reader = open_reader(log.url)
    with pytest.raises(OffsetOutOfRange) as caught:
        reader.read(TP, 5)
    assert (caught.value.begin, caught.value.end) == (0, 0)
    assert reader.end_offset(TP) == 0
    reader.close()


def test_a_topic_that_gets_more_partitions_is_read_on(log: OwnLog) -> None:
    write(log.url, 5)
    reader, writer = reading(log.url, 5), open_writer(log.url)
    append_json(writer, 1, first=5)
    log.grow(TP.topic, 6)
    append_json(writer, 1, first=6)
    writer.append(TopicPartition(TP.topic, 5), JSON_KIND, b"0")  # and the new ones, once something is there
    writer.close()
    assert numbers(read_all(reader, offset=5)) == [5, 6]
    until(lambda: reader.partitions("market.prices.*") == [OTHER, TP, TopicPartition(TP.topic, 5)])
    assert len(read_all(reader, TopicPartition(TP.topic, 5))) == 1
    reader.close()


def test_a_topic_is_gone_only_after_a_while() -> None:
    """One of several brokers may not know of it for a moment."""
    now_s = 0.0
    known = KnownTopics(lambda: now_s)
    assert known.see({"a": "1", "b": "2"}) == []
    assert known.unseen(["b"]) == ["a"]
    assert known.miss(["a"]) == []
    now_s = 4.9
    assert known.miss(["a"]) == []
    assert known.see({"a": "1"}) == []
    now_s = 9.0
    assert known.miss(["a"]) == []
    now_s = 14.0
    assert known.miss(["a"]) == ["a"]
    assert known.unseen(["b"]) == []
    assert known.see({"a": "3", "b": "4"}) == ["b"]
