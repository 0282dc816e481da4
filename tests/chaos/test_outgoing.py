"""kill -9 of the flows that tell others, mirror and webhooks: each message arrives, in order, and some come again.

What they promise is at least once: after a crash the last epoch comes again, under the same ids.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import kafka
import orjson
import pytest
from arrivals import batch
from reference import SECOND, Row

from market import topics
from market.kafka_log import kafka_log
from market.records import JSON_KIND, TopicPartition
from market.schemas import TICKS
from sinks.log import open_writer
from tests.chaos.harness import Flows, tell, until
from tests.services.base import Server
from tests.sinks.webhook_receiver import WebhookReceiver, registered

pytestmark = pytest.mark.timeout(300)

T0 = 1_790_000_000 * SECOND
GOLD = "XCEC:GC:202612"
KEY = b"k" * 24
AN_APPEND = 20
CRASHES, KILLS = 3, 3
SAID = TopicPartition(topics.ARBITRAGE, topics.FROM_ANALYTICS)


def kill_again_and_again(flows: Flows, name: str, feed: Callable[[], None], point: str, chance: random.Random) -> None:
    """At its commit point, twice in a row too, and at random moments; each time with more to say."""
    for _ in range(CRASHES):
        feed()
        flows.crash({name: f"{point}:1"})
    for _ in range(KILLS):
        feed()
        flows.start(name)
        time.sleep(chance.uniform(0, 1.0))
        flows.kill(name)
    feed()
    flows.start(name)


def assert_at_least_once(heard: Sequence[int], numbers: int) -> None:
    """All of them, in order; and who comes again begins at one that came before, and goes on in order from there."""
    assert sorted(set(heard)) == list(range(numbers))
    most = -1
    for before, now in itertools.pairwise(heard):
        most = max(most, before)
        assert now == before + 1 or now <= most, (before, now)
    again = len(heard) - numbers
    tell(f"{again} of {numbers} came again")
    assert 0 < again <= (CRASHES + KILLS) * numbers


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    found = WebhookReceiver(KEY)
    yield found
    found.close()


def test_webhooks_that_are_killed_leave_nothing_out(receiver: WebhookReceiver, tmp_path: Path) -> None:
    numbers, settings = iter(range(10_000)), registered(tmp_path, receiver.url, KEY, SAID.topic)
    with Flows(tmp_path / "flows", settings, forked=True) as flows:

        def feed() -> None:
            writer = open_writer(flows.url)
            for _ in range(AN_APPEND):
                writer.append(SAID, JSON_KIND, orjson.dumps({"n": next(numbers)}))
            writer.close()

        kill_again_and_again(flows, "webhooks", feed, "webhooks.write.after", random.Random(1))
        count = next(numbers)
        until(lambda: heard(receiver)[-1:] == [count - 1])
        flows.stop("webhooks")
        whole = heard(receiver)
        feed()
        flows.start("webhooks")
        until(lambda: len(heard(receiver)) >= len(whole) + AN_APPEND)
        flows.stop("webhooks")
    assert heard(receiver)[len(whole) :] == list(range(count + 1, next(numbers))), "what counts is not sent again"
    assert_at_least_once(whole, count)
    bodies: dict[str, bytes] = {}
    assert all(bodies.setdefault(message_id, body) == body for message_id, body in receiver.taken)
    assert len(bodies) == count + AN_APPEND


def heard(receiver: WebhookReceiver) -> list[int]:
    return [orjson.loads(body)["data"]["n"] for _, body in list(receiver.taken)]


def test_a_mirror_that_is_killed_leaves_nothing_out(kafka_broker: Server, tmp_path: Path) -> None:
    url, numbers = f"{kafka_broker.url}/{uuid4().hex}", iter(range(10_000))
    with Flows(tmp_path / "flows", {"MANDI_LOG": url}, forked=True) as flows:

        def feed() -> None:
            writer, rows = open_writer(url), [next(numbers) for _ in range(AN_APPEND)]
            ticks = batch([Row("trade", "XCEC", GOLD, T0 + n, T0 + n, SECOND, SECOND, n, n, f"T{n}") for n in rows])
            writer.append(topics.prices("gold"), "ticks", ticks.select(TICKS.names), key="gold")
            writer.close()

        kill_again_and_again(flows, "mirror", feed, "mirror.write.after", random.Random(2))
        count = next(numbers)
        with Mirrored(url) as mirrored:
            until(lambda: mirrored.heard()[-1:] == [count - 1])
            flows.stop("mirror")
            whole = mirrored.heard()
            feed()
            flows.start("mirror")
            until(lambda: len(mirrored.heard()) >= len(whole) + AN_APPEND)
            flows.stop("mirror")
            again = mirrored.heard()[len(whole) :]
    assert again == list(range(count + 1, next(numbers))), "what counts is not written again"
    assert_at_least_once(whole, count)


class Mirrored:
    """Reads the topic of gold as others would."""

    def __init__(self, url: str) -> None:
        log = kafka_log(url)
        self._where = kafka.TopicPartition(log.name_of(topics.json_mirror("gold")), 0)
        self._consumer = kafka.KafkaConsumer(bootstrap_servers=list(log.servers), enable_auto_commit=False)
        self._consumer.assign([self._where])
        self._consumer.seek(self._where, 0)
        self._heard: list[int] = []

    def __enter__(self) -> "Mirrored":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close(autocommit=False)

    def heard(self) -> list[int]:
        while found := self._consumer.poll(300).get(self._where):
            self._heard += [int(orjson.loads(message.value)["seq"]) for message in found]
        return list(self._heard)
