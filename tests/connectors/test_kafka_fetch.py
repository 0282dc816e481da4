"""How often a reader asks a real broker, and what it makes of answers that take long."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka_support import OwnLog
from log_support import read_all

from connectors import kafka as reading
from connectors.kafka_fetch import Fetcher
from connectors.log import open_reader
from market.records import JSON_KIND, LogReader, TopicPartition
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
