"""A log with two replicas on two brokers, of which one is killed and comes back: every record, once and in order."""

import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from log_support import read_all

from connectors.log import open_reader
from market.records import JSON_KIND, LogReader, TopicPartition
from sinks.embedded.processes import free_port
from sinks.log import open_writer
from tests.chaos.broker import Broker, broker_in
from tests.chaos.harness import until
from tests.services import kafka
from tests.services.base import LOOPBACK

pytestmark = pytest.mark.timeout(240)

TPS = [TopicPartition(f"market.prices.c{number}") for number in range(8)]
VOTERS = "controller.quorum.voters"
AGREED = 20
"""Records that are read of each partition before the next thing happens."""


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[tuple[Broker, Broker]]:
    """Two of one cluster. The first is its controller, too."""
    with broker_in(tmp_path / "first") as first, second_broker(tmp_path / "first", tmp_path / "second") as second:
        yield first, second


@contextmanager
def second_broker(first: Path, directory: Path) -> Iterator[Broker]:
    directory.mkdir()
    lines = (first / "server.properties").read_text().splitlines()
    voters = dict(line.split("=", 1) for line in lines)[VOTERS]
    port = free_port()
    listeners = f"PLAINTEXT://{LOOPBACK}:{port}"
    changes = {"process.roles": "broker", "node.id": "2", VOTERS: voters}
    command, _ = kafka.prepare(directory, {**changes, "listeners": listeners, "advertised.listeners": listeners})
    found = Broker(command, directory, port, kafka.run(command, directory, port))
    try:
        yield found
    finally:
        found.server.stop()


def test_a_broker_that_dies_costs_no_record_of_a_log_with_replicas(brokers: tuple[Broker, Broker]) -> None:
    first, second = brokers
    url = f"kafka://{LOOPBACK}:{first.port},{LOOPBACK}:{second.port}/two?replication=2"
    with writing(url) as written, closing(open_reader(url)) as reader:
        found: dict[TopicPartition, list[int]] = {tp: [] for tp in TPS}
        follow(reader, found)
        second.kill()
        follow(reader, found)
        second.start()
        follow(reader, found)
    with closing(open_reader(url)) as reader:
        for tp in TPS:
            assert found[tp] == list(range(len(found[tp])))
            assert [int(record.value) for record in read_all(reader, tp)] == list(range(written[tp]))


@contextmanager
def writing(url: str) -> Iterator[dict[TopicPartition, int]]:
    """While inside, numbers are written into all partitions, at random; yields how many by now."""
    chance, stop, written = random.Random(8), threading.Event(), dict.fromkeys(TPS, 0)

    def write() -> None:
        with closing(open_writer(url)) as writer:
            while not stop.wait(0.005):
                tp = chance.choice(TPS)
                writer.append(tp, JSON_KIND, b"%d" % written[tp])
                writer.flush()
                written[tp] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join()


def follow(reader: LogReader, found: dict[TopicPartition, list[int]]) -> None:
    """Read all partitions, until there are AGREED more of each."""
    wanted = {tp: len(numbers) + AGREED for tp, numbers in found.items()}

    def enough() -> bool:
        for tp, numbers in found.items():
            numbers += [int(record.value) for record in reader.read(tp, len(numbers))]
        reader.wait(0.1)
        return all(len(found[tp]) >= wanted[tp] for tp in TPS)

    until(enough, every_s=0.0)
