"""How often a reader asks a real broker, and what it makes of answers that take long."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from kafka_support import OwnLog
from log_support import TP, append_json, numbers, read_all, until

from connectors import kafka as reading
from connectors import kafka_fetch
from connectors.kafka_fetch import Fetcher
from connectors.log import open_reader
from market.records import JSON_KIND, LogReader, LogReplaced, LogUnavailable, Patience, TopicPartition
from sinks.log import open_writer

TPS = [TopicPartition(f"market.prices.{name}") for name in ("copper", "cotton", "gold", "silver", "zinc")]


@pytest.fixture
def reader(own_log: OwnLog) -> Iterator[LogReader]:
    """One that has read two records of each partition to the end."""
    with closing(open_writer(own_log.url)) as writer:
        for tp in TPS * 2:
            writer.append(tp, JSON_KIND, b"0")
    with closing(open_reader(own_log.url)) as opened:
        assert [len(read_all(opened, tp)) for tp in TPS] == [2] * len(TPS)
        yield opened


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[Any]]:
    """Called with how long an answer shall take: the looks at the broker, as they come."""

    def take(seconds: float) -> list[Any]:
        answers: list[Any] = []
        look = Fetcher.now

        def slowly(*words: Any) -> Any:
            answers.append(look(*words))
            time.sleep(seconds)
            return answers[-1]

        monkeypatch.setattr(Fetcher, "now", slowly)
        return answers

    return take


def test_a_round_of_reads_is_one_look(
    reader: LogReader, looks: Callable[[float], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_FRESH_S", 60.0)  # whatever else the machine does
    answers = looks(0.0)
    for rounds in range(1, 4):
        assert [reader.read(tp, 2) for tp in TPS] == [[]] * len(TPS)
        assert len(answers) == rounds, "each answer is good for one read"


def test_an_answer_that_takes_long_is_an_answer(reader: LogReader, looks: Callable[[float], list[Any]]) -> None:
    time.sleep(2 * reading._FRESH_S)  # what was asked before is too old
    answers = looks(5 * reading._FRESH_S)
    assert reader.read(TPS[0], 2) == []
    assert len(answers) == 1


def test_an_answer_about_a_topic_that_was_made_anew_since_is_not_taken(own_log: OwnLog) -> None:
    """Of its old records: they have the offsets of new ones."""
    with closing(open_reader(own_log.url)) as reader:
        with closing(open_writer(own_log.url)) as writer:
            append_json(writer, 1)
            assert numbers(read_all(reader)) == [0]
            while not is_waiting(reader):
                reader.wait(0.02)
            append_json(writer, 1, first=1)
            assert numbers(reader.read(TP, 1)) == [1], "before the answer to who waited for it was taken"
        own_log.delete()
        with closing(open_writer(own_log.url)) as writer:
            append_json(writer, 1, first=100)
            with pytest.raises(LogReplaced):
                until(lambda: reader.read(TP, 2))
            assert numbers(read_all(reader)) == [100]
            assert not reader.wait(0.0)
            append_json(writer, 2, first=101)
            assert numbers(read_all(reader, offset=1)) == [101, 102]


def is_waiting(reader: LogReader) -> bool:
    waiting = cast(Any, reader)._fetcher._waiting.values()
    return any(not each.answer.is_done for each in waiting)


def test_a_broker_that_gives_nothing_is_asked_again_after_a_pause(
    reader: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        reader, "_patience", Patience(stopped=lambda: len(told) == 2, on_wait=lambda why, _: told.append(why))
    )
    monkeypatch.setattr(kafka_fetch, "_messages", lambda *_: [])  # as of a partition whose next records were compacted
    with pytest.raises(LogUnavailable, match="later records"):
        reader.read(TPS[0], 0)
    assert reader.wait(5.0), "who reads is told"


def test_a_broker_that_nobody_knows_is_no_error_of_who_waits(
    reader: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it has gone between the look at who leads and the question."""
    monkeypatch.setattr(Fetcher, "_by_leader", lambda _, __, positions: {99: dict(positions)})
    assert not reader.wait(0.2)
