"""Writers of the log on brokers that forget them: after seconds here, after days with the settings they come with."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import kafka
import kafka.errors
import pytest
from kafka_support import admin_of
from log_support import TP, append_json, numbers, read_all, until

from connectors.log import open_reader
from market.kafka_log import kafka_log
from market.records import JSON_KIND, LogWriter, OffsetOutOfRange, Patience, Record
from sinks import kafka_producer
from sinks.errors import LogWriteFailed, WriterFenced
from sinks.kafka_json import JsonMirror
from sinks.log import open_writer
from sinks.retention import KEEP_ALL
from tests.services import kafka as broker_service
from tests.services.base import Missing

NAMES = {
    "auto.create.topics.enable": "true",
    "transactional.id.expiration.ms": "1500",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
}
PRODUCERS = {"producer.id.expiration.ms": "1000", "producer.id.expiration.check.interval.ms": "200"}


@pytest.fixture(scope="module")
def forgets_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker_that_forgets(tmp_path_factory.mktemp("names"), NAMES) as url:
        yield url


@pytest.fixture(scope="module")
def forgets_producers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker_that_forgets(tmp_path_factory.mktemp("producers"), PRODUCERS) as url:
        yield url


@contextmanager
def broker_that_forgets(directory: Path, changes: dict[str, str]) -> Iterator[str]:
    try:
        command, port = broker_service.prepare(directory, changes)
        broker = broker_service.run(command, directory, port)
    except Missing as error:
        pytest.skip(f"no kafka: {error}")
    try:
        yield broker.url
    finally:
        broker.stop()


def log_at(url: str) -> str:
    return f"{url}/{uuid4().hex}"


def forgotten_name(url: str) -> bool:
    """Whether the broker knows no name of a writer of this log."""
    with closing(admin_of(url)) as client:
        found = client.list_transactions()
    prefix = f"mandi/{url.rpartition('/')[2]}."
    return not any(each.transactional_id.startswith(prefix) for known in found.values() for each in known)


def forgotten_producers(url: str) -> bool:
    """Whether the leader of TP knows nobody who wrote there."""
    theirs = kafka.TopicPartition(f"{url.rpartition('/')[2]}.{TP.topic}", TP.partition)
    with closing(admin_of(url)) as client:
        return not client.describe_producers([theirs])[theirs].active_producers


def producer_id(writer: LogWriter) -> int:
    return writer._producer._identities[TP].producer_id  # type: ignore[attr-defined]


def close_failed(writer: LogWriter) -> None:
    with pytest.raises(LogWriteFailed, match="failed before"):
        writer.close()


def records(url: str) -> list[Record]:
    reader = open_reader(url)
    try:
        return read_all(reader)
    finally:
        reader.close()


def test_a_writer_whose_name_was_forgotten_is_shut_out(forgets_names: str) -> None:
    url = log_at(forgets_names)
    older = open_writer(url)
    append_json(older, 3)
    until(lambda: forgotten_name(url))
    append_json(older, 1, first=3)  # it lives, and writes all the time
    newer = open_writer(url)
    last = newer.last_record(TP)
    assert producer_id(newer) != producer_id(older), "nothing was forgotten: nothing was tested"
    assert last is not None
    assert (last.value[:2], last.meta) == (b"3.", {"repeats": 3})
    older.append(TP, JSON_KIND, b"99")
    with pytest.raises(WriterFenced, match="InvalidProducerEpoch"):
        older.flush()
    close_failed(older)
    append_json(newer, 2, first=4)
    newer.close()
    assert numbers(records(url)) == [0, 1, 2, 3, 4, 5]


def test_what_it_wrote_until_it_was_shut_out_is_the_newest_record(
    forgets_names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for who comes after a newer one that died in between."""
    url = log_at(forgets_names)
    older = open_writer(url)
    append_json(older, 1)
    until(lambda: forgotten_name(url))
    died, newest = open_writer(url), open_writer(url)

    def raced(tp: object) -> object:
        found = look(tp)
        append_json(older, 2, first=1)  # between the look of the one that dies and its claim
        monkeypatch.setattr(died._topics, "before", die)
        return found

    def die(*_: object) -> None:
        raise LogWriteFailed("a test")

    look = died._topics.newest
    monkeypatch.setattr(died._topics, "newest", raced)
    with pytest.raises(LogWriteFailed, match="a test"):
        died.last_record(TP)
    died.close()
    assert [record.meta for record in records(url)][-1] == {"repeats": 0}, "what it left"
    last = newest.last_record(TP)
    assert last is not None
    assert (last.value[:2], last.meta) == (b"2.", {"repeats": 2})
    older.append(TP, JSON_KIND, b"99")
    with pytest.raises(WriterFenced):
        older.flush()
    close_failed(older)
    newest.close()
    assert numbers(records(url)) == [0, 1, 2]


def test_a_mirror_whose_name_was_forgotten_is_shut_out(forgets_names: str) -> None:
    url = log_at(forgets_names)
    log = kafka_log(url)
    older, newer = (JsonMirror(log, KEEP_ALL, lambda: 0, Patience()) for _ in range(2))
    older.write("market.json.gold", [("gold", b"0")])
    until(lambda: forgotten_name(url))
    newer.write("market.json.gold", [("gold", b"1"), ("gold", b"2")])
    with pytest.raises(WriterFenced):
        older.write("market.json.gold", [("gold", b"99")])
    newer.write("market.json.gold", [("gold", b"3")])
    older.close()
    newer.close()
    assert values(forgets_names, log.name_of("market.json.gold")) == [b"0", b"1", b"1", b"2", b"3"]


def test_a_topic_that_is_deleted_is_not_made_by_asking_for_it(
    forgets_names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a broker that would: with its own settings, not with those of our topics."""
    monkeypatch.setattr(kafka_producer, "GONE_S", 0.5)
    url = log_at(forgets_names)
    writer, reader = open_writer(url), open_reader(url)
    append_json(writer, 3)
    assert numbers(read_all(reader)) == [0, 1, 2]
    name = f"{url.rpartition('/')[2]}.{TP.topic}"
    with closing(admin_of(url)) as client:
        client.delete_topics([name])
        until(lambda: not client.describe_topics([name])[0]["partitions"])
        writer.append(TP, JSON_KIND, b"3")
        with pytest.raises(LogWriteFailed, match="was a topic deleted"):
            writer.flush()
        with pytest.raises(OffsetOutOfRange):
            until(lambda: reader.read(TP, 3))
        assert not client.describe_topics([name])[0]["partitions"]
    close_failed(writer)
    reader.close()


def test_a_writer_that_was_forgotten_looks_before_it_writes(
    forgets_producers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "_SURE_S", 0.5)
    url = log_at(forgets_producers)
    older = open_writer(url)
    append_json(older, 3)
    newer = open_writer(url)
    assert newer.last_record(TP) is not None
    append_json(newer, 1, first=3)
    until(lambda: forgotten_producers(url))
    older.append(TP, JSON_KIND, b"99")
    with pytest.raises(WriterFenced, match="record 3 is not ours"):
        older.flush()
    close_failed(older)
    append_json(newer, 2, first=4)  # it was forgotten, too, and nobody has written since
    newer.close()
    assert numbers(records(url)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("arrives", [True, False], ids=["the answer is lost", "the request is lost"])
def test_a_batch_without_an_answer_is_written_once_after_the_broker_forgot_it(
    arrives: bool, forgets_producers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producer, "_SURE_S", 0.5)
    url = log_at(forgets_producers)
    waits: list[str] = []

    def wait(reason: str, _pause_s: float) -> None:
        waits.append(reason)
        until(lambda: forgotten_producers(url))

    writer = open_writer(url, patience=Patience(on_wait=wait))
    append_json(writer, 3)
    lose(writer, arrives=arrives, monkeypatch=monkeypatch)
    append_json(writer, 2, first=3)
    assert waits == ["KafkaConnectionError: a test", ""]
    writer.close()
    assert numbers(records(url)) == [0, 1, 2, 3, 4]


def lose(writer: LogWriter, *, arrives: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks with the next request to write, before or after it has arrived."""
    producer: Any = writer._producer  # type: ignore[attr-defined]
    ask: Callable[..., Any] = producer._ask

    def break_once(request: Any, node: int | None = None) -> Any:
        if type(request).__name__ != "ProduceRequest":
            return ask(request, node)
        monkeypatch.setattr(producer, "_ask", ask)
        if arrives:
            ask(request, node)
        raise kafka.errors.KafkaConnectionError("a test")

    monkeypatch.setattr(producer, "_ask", break_once)


def values(url: str, name: str) -> list[bytes]:
    consumer = kafka.KafkaConsumer(bootstrap_servers=url.removeprefix("kafka://"), enable_auto_commit=False)
    consumer.assign([kafka.TopicPartition(name, 0)])
    consumer.seek_to_beginning()
    found = [message.value for messages in consumer.poll(10_000).values() for message in messages]
    consumer.close()
    return found
