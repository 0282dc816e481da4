"""The backend's topic on a real broker: positions of our own, transactions, deletions, and both sources at once."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
from backend_events import insert, ledger, logged, outbox, payload
from backend_flow import flow
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from kafka.admin import KafkaAdminClient
from log_support import until

from connectors.backend import kafka
from connectors.backend.config import BadAddress, KafkaConfig, OutboxConfig
from connectors.backend.feed import BackendConfig, open_feed
from connectors.backend.kafka import KafkaSource
from connectors.backend.source import Messages, Positions, SourceUnavailable
from connectors.log import open_reader
from market import topics
from pipelines.backend import POSITIONS
from pipelines.engine.positions import saved_positions
from tests.services.base import Server

START: Positions = {}


class Topic:
    """A topic of its own on the broker, and readers of it."""

    def __init__(self, server: str, partitions: int = 1) -> None:
        self.server, self.name = server, f"desk.{uuid.uuid4().hex[:12]}"
        self.admin = AdminClient({"bootstrap.servers": server})
        self._sources: list[KafkaSource] = []
        self.create(partitions)

    @property
    def url(self) -> str:
        return f"kafka://{self.server}/{self.name}"

    def create(self, partitions: int = 1) -> None:
        self.admin.create_topics([NewTopic(self.name, partitions, 1)])[self.name].result()

    def id(self) -> str:
        with closing(KafkaAdminClient(bootstrap_servers=self.server)) as admin:
            return str(admin.describe_topics([self.name])[0]["topic_id"])

    def make_anew(self) -> None:
        self.admin.delete_topics([self.name])[self.name].result()
        until(lambda: self.name not in self.admin.list_topics(timeout=10).topics)
        self.create()

    def write(self, *payloads: bytes | None, partition: int = 0) -> None:
        producer = self.producer()
        for each in payloads:
            producer.produce(self.name, each, partition=partition)
        assert producer.flush(30) == 0

    def producer(self, **settings: str) -> Producer:
        return Producer({"bootstrap.servers": self.server, "linger.ms": 0, **settings})

    def source(self, resume: Positions = START) -> KafkaSource:
        self._sources.append(KafkaSource(KafkaConfig.parse(self.url), resume))
        return self._sources[-1]

    def channel(self, partition: int = 0) -> str:
        return f"backend/kafka/{self.name}/{partition}"

    def close(self) -> None:
        for source in self._sources:
            source.close()


@pytest.fixture
def topic(kafka_broker: Server) -> Iterator[Topic]:
    found = Topic(kafka_broker.url.removeprefix("kafka://"))
    yield found
    found.close()


def read(source: KafkaSource, enough: Callable[[Messages], bool] = lambda found: bool(found.messages)) -> Messages:
    """Read until a read is enough."""
    while not enough(found := source.read(1.0)):
        pass
    return found


def raws(source: KafkaSource, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        found += [message.raw for message in source.read(1.0).messages]
    return found


def test_records_come_from_the_beginning_and_then_from_the_position(topic: Topic) -> None:
    topic.write(payload(1), payload(2))
    found = read(topic.source())
    assert [message.raw for message in found.messages] == [payload(1), payload(2)]
    assert found.positions == {topic.channel(): "2", f"backend/kafka/{topic.name}": topic.id()}
    topic.write(payload(3))
    assert raws(topic.source(found.positions), 1) == [payload(3)]


def test_a_record_without_a_value_is_an_empty_message(topic: Topic) -> None:
    topic.write(None, payload(1))
    assert raws(topic.source(), 2) == [b"", payload(1)]


def test_every_partition_is_read_and_those_that_are_added(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_LOOK_EVERY_S", 0.1)
    source = topic.source()
    topic.write(payload(1))
    assert raws(source, 1) == [payload(1)]
    topic.admin.create_partitions([NewPartitions(topic.name, 2)])[topic.name].result()
    topic.write(payload(2), partition=1)
    assert raws(source, 1) == [payload(2)]


def test_an_aborted_transaction_never_was(topic: Topic) -> None:
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(30)
    for number, end in ((1, producer.abort_transaction), (2, producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic.name, payload(number), partition=0)
        producer.flush(30)
        end(30)
    assert raws(topic.source(), 1) == [payload(2)]


def test_records_deleted_before_they_were_read_are_a_gap(topic: Topic) -> None:
    topic.write(*map(payload, range(5)))
    topic.admin.delete_records([TopicPartition(topic.name, 0, 3)])[TopicPartition(topic.name, 0)].result()
    source = topic.source({topic.channel(): "1"})
    lost = read(source, lambda found: bool(found.gaps))
    assert [(gap["channel"], gap["seq_from"], gap["seq_to"]) for gap in lost.gaps] == [(topic.channel(), 1, 2)]
    assert raws(source, 2) == [payload(3), payload(4)]


def test_a_topic_made_anew_is_read_from_its_beginning(topic: Topic) -> None:
    topic.write(payload(1))
    source = topic.source({topic.channel(): "100"})
    lost = read(source, lambda found: bool(found.gaps))
    assert "made anew" in lost.gaps[0]["reason"]
    assert raws(source, 1) == [payload(1)]


@pytest.mark.parametrize("stopped", [False, True], ids=["while it is read", "while nobody reads"])
def test_a_topic_made_anew_and_longer_than_before_is_read_from_its_beginning(
    stopped: bool, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "_LOOK_EVERY_S", 0.1)
    topic.write(*map(payload, range(3)))
    source = topic.source()
    found = read(source)
    while found.positions[topic.channel()] != "3":
        found = read(source)
    if stopped:
        source.close()
        source = topic.source(found.positions)
    topic.make_anew()
    topic.write(*map(payload, range(10, 15)))
    gaps, raw, positions = list[object](), list[bytes](), {**found.positions}
    while raw[-5:] != [payload(number) for number in range(10, 15)]:
        with suppress(SourceUnavailable):  # while it is not there
            found = source.read(1.0)
            gaps += [(gap["channel"], gap["seq_from"], gap["seq_to"], gap["reason"]) for gap in found.gaps]
            raw += [message.raw for message in found.messages]
            positions |= found.positions
    assert gaps == [(topic.channel(), 3, 3, "the topic was made anew: what was behind the position is gone")]
    assert positions == {topic.channel(): "5", f"backend/kafka/{topic.name}": topic.id()}
    topic.write(payload(15))
    assert raws(topic.source(positions), 1) == [payload(15)], "told once"


def test_a_topic_that_is_not_there_yet_is_waited_for(kafka_broker: Server) -> None:
    source = KafkaSource(KafkaConfig.parse(f"{kafka_broker.url}/desk.{uuid.uuid4().hex}"), {})
    with pytest.raises(SourceUnavailable, match="no topic"):
        source.read(1.0)
    source.close()


def test_a_broker_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_MS", 200)
    source = KafkaSource(KafkaConfig(servers=("127.0.0.1:9",), topic="desk"), {})
    with pytest.raises(SourceUnavailable, match="kafka"):
        source.read(0.2)
    source.close()


def test_an_event_that_comes_by_topic_and_outbox_is_in_the_log_once(
    topic: Topic, postgres_dsn: str, tmp_path: Path
) -> None:
    url, numbers = tmp_path.as_uri(), range(40)
    with outbox(postgres_dsn) as table:
        config = BackendConfig(kafka=KafkaConfig.parse(topic.url), outbox=OutboxConfig(dsn=postgres_dsn, table=table))
        topic.write(*map(payload, numbers[:20]), b"poison")
        with psycopg.connect(postgres_dsn) as connection:
            insert(connection, table, *map(payload, numbers[:30]))
        with flow(url, partial(open_feed, config)):
            until(lambda: len(logged(url)) == 30 and len(ledger(url)) == 1)
        with psycopg.connect(postgres_dsn) as connection:  # what was in one comes again in the other
            insert(connection, table, *map(payload, numbers[5:]))
        topic.write(*map(payload, numbers[::-1]))
        with flow(url, partial(open_feed, config)):
            until(lambda: len(logged(url)) >= 40)
            until(lambda: saved_positions(open_reader(url), POSITIONS).get(topic.channel()) == "61")
            until(lambda: str(saved_positions(open_reader(url), POSITIONS)[f"backend/outbox/{table}"]).endswith("/65"))
    assert sorted(logged(url)) == sorted(f"e-{number}" for number in numbers)
    (row,) = ledger(url)
    assert (row["source"], row["source_offset"], row["raw"]) == (topic.channel(), 20, "poison")
    assert ledger(url, topics.STATUS) == []


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://host/topic",
        "http://host:1/topic",
        "kafka://host:1",
        "kafka://host:1/a/b",
        "kafka://u:p@h:1/t",
    ],
)
def test_a_url_that_is_no_topic_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(BadAddress) as caught:
        KafkaConfig.parse(url)
    assert "u:p" not in str(caught.value)
