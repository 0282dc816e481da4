"""Readers and writers of a log on Kafka without a broker, or whose partition has no leader for a while."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import kafka
import kafka.admin
import kafka.errors
import pytest
from log_support import TP

from connectors import kafka as reading
from connectors.kafka import open_kafka_reader
from market.kafka_log import KafkaLog
from market.records import LogUnavailable, Patience, TopicPartition
from sinks.embedded.processes import free_port
from sinks.errors import LogWriteFailed
from sinks.kafka import Topics
from sinks.retention import KEEP_ALL

LOG = KafkaLog(servers=("nowhere:9092",))
AWAY = [kafka.errors.UnknownBrokerIdError(-1), kafka.errors.LeaderNotAvailableError(), kafka.errors.NodeNotReadyError()]


class LeaderlessAdmin:
    """Stands for KafkaAdminClient of a broker that stood still: it answers, but TP has no leader at first.

    What it raises is what kafka-python 3.0.12 raises: it looks for broker -1, which no list of brokers has.
    """

    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    def describe_topics(self, _names: list[str] | None) -> list[dict[str, Any]]:
        partitions = [{"partition_index": n} for n in range(TP.partition + 1)]
        return [{"name": LOG.name_of(TP.topic), "topic_id": "1", "error_code": 0, "partitions": partitions}]

    def list_partition_offsets(self, wanted: dict[Any, Any], **_: object) -> dict[Any, Any]:
        self._fail()
        return {theirs: SimpleNamespace(offset=7) for theirs in wanted}

    def create_partitions(self, _counts: dict[str, int]) -> None:
        self._fail()

    def _fail(self) -> None:
        if self._failures:
            raise self._failures.pop(0)


@pytest.fixture
def leaderless(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Exception]], None]:
    def install(failures: list[Exception]) -> None:
        monkeypatch.setattr(kafka.admin, "KafkaAdminClient", lambda **_: LeaderlessAdmin(failures))
        manager = SimpleNamespace(cluster=SimpleNamespace(config={}))
        monkeypatch.setattr(kafka, "KafkaConsumer", lambda **_: SimpleNamespace(_manager=manager))
        monkeypatch.setattr("time.sleep", lambda _: None)  # the pauses

    return install


def waiting(told: list[str]) -> Patience:
    return Patience(on_wait=lambda reason, _: told.append(reason))


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
def test_a_partition_without_a_leader_is_waited_for(error: Exception, leaderless: Callable[..., None]) -> None:
    told: list[str] = []
    leaderless([error, error])
    assert open_kafka_reader(LOG, waiting(told)).end_offset(TP) == 7
    assert told == [str(error), str(error), ""], "the outage and its end are told"


def test_a_reader_that_waits_for_a_leader_can_be_stopped(leaderless: Callable[..., None]) -> None:
    leaderless([kafka.errors.UnknownBrokerIdError(-1)] * 9)
    with pytest.raises(LogUnavailable, match="UnknownBrokerIdError: -1"):
        open_kafka_reader(LOG, Patience(stopped=lambda: True)).end_offset(TP)


def test_what_waiting_does_not_cure_is_raised_at_once(leaderless: Callable[..., None]) -> None:
    leaderless([kafka.errors.TopicAuthorizationFailedError()])
    with pytest.raises(kafka.errors.TopicAuthorizationFailedError):
        open_kafka_reader(LOG, Patience()).end_offset(TP)


def test_a_writer_waits_for_the_broker_that_makes_its_partitions(leaderless: Callable[..., None]) -> None:
    told: list[str] = []
    leaderless([kafka.errors.UnknownBrokerIdError(1)])
    beyond = TopicPartition(TP.topic, TP.partition + 1)
    Topics(LOG, KEEP_ALL, waiting(told)).ensure(beyond)
    assert told == ["UnknownBrokerIdError: 1", ""]

    leaderless([kafka.errors.PolicyViolationError()])
    with pytest.raises(LogWriteFailed):
        Topics(LOG, KEEP_ALL, Patience()).ensure(beyond)


def test_who_waits_for_a_broker_has_no_more_threads_at_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_ASK_MS", 200)
    threads: list[int] = []
    patience = Patience(
        stopped=lambda: len(threads) == 3,
        on_wait=lambda *_: threads.append(sum(each.name.startswith("kafka-io") for each in threading.enumerate())),
    )
    log = KafkaLog(servers=(f"127.0.0.1:{free_port()}",))
    for ask in (lambda reader: reader.partitions("*"), lambda reader: reader._fetcher):
        threads.clear()
        with pytest.raises(LogUnavailable):
            ask(open_kafka_reader(log, patience))
        assert threads == [0, 0, 0]
