"""The URL of a log on Kafka, and waiting for a broker."""

import pytest

from market.kafka_log import KafkaLog, insist, kafka_log
from market.records import LogUnavailable, Patience
from market.segments import UnsupportedLog


def test_a_url_says_where_and_how() -> None:
    assert kafka_log("kafka://a:9092") == KafkaLog(servers=("a:9092",))
    full = kafka_log("kafka://a:9092,b:9093/desk?partitions=6&replication=3&ssl_cafile=/etc/ca.pem")
    assert (full.servers, full.prefix) == (("a:9092", "b:9093"), "desk.")
    assert (full.partitions, full.replication) == (6, 3)
    assert full.client == {"security_protocol": "SSL", "ssl_cafile": "/etc/ca.pem"}
    assert kafka_log("kafka://a:9092?partitions=1").partitions == 2, "ingest and analytics have one each"


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://a:9092/a/b",
        "kafka://a",
        "kafka://a:9092,",
        "kafka://a:99999",
        "kafka://u:secret@a:9092",
        "file:///a",
    ]
    + [f"kafka://a:9092?{option}" for option in ("replication=0", "partitions=x", "acks=1")],
)
def test_a_wrong_url_is_refused_in_words(url: str) -> None:
    with pytest.raises(UnsupportedLog):
        kafka_log(url)


def test_topics_of_other_logs_are_not_ours() -> None:
    desk, whole = kafka_log("kafka://a:9092/desk"), kafka_log("kafka://a:9092")
    assert desk.topic_of(desk.name_of("market.bars")) == "market.bars"
    assert desk.topic_of("market.bars") is None
    assert desk.topic_of("desk.") is None
    assert whole.topic_of("market.bars") == "market.bars"


class Away(Exception):
    pass


def asker(failures: int) -> "object":
    left = [failures]

    def ask() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise Away(f"{left[0]} to go")
        return "here"

    return ask


def test_a_broker_that_is_away_is_asked_with_growing_pauses_and_all_are_told() -> None:
    told: list[tuple[str, float]] = []
    slept: list[float] = []
    patience = Patience(on_wait=lambda reason, pause_s: told.append((reason, pause_s)))
    assert insist(asker(3), patience, Away, slept.append) == "here"
    assert told == [("2 to go", 0.1), ("1 to go", 0.2), ("0 to go", 0.4), ("", 0.0)]
    assert sum(slept) == pytest.approx(0.7)
    assert max(slept) <= 0.2, "it must look whether to stop"


def test_who_is_told_to_stop_does_not_wait_on() -> None:
    slept: list[float] = []
    with pytest.raises(LogUnavailable, match="to go"):
        insist(asker(10), Patience(stopped=lambda: bool(slept)), Away, slept.append)
    assert len(slept) == 1


def test_an_error_that_waiting_does_not_cure_is_raised_at_once() -> None:
    def ask() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        insist(ask, Patience(), Away, lambda _: None)
