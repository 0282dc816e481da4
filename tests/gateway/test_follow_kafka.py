"""The follower on a real broker whose topics are deleted, made anew or given partitions: told, and never silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from gateway_support import TOPIC, batch, trade
from kafka_support import OwnLog

from connectors import kafka_topics
from connectors.log import open_reader
from gateway.follow import Follower
from market.records import TopicPartition
from sinks.log import open_writer
from tests.gateway.test_follow import Recorder, until
from tests.services.base import Server

OTHER = "market.prices.cotton"


class Log(OwnLog):
    def append(self, topic: str, *seqs: int) -> None:
        """By a writer of its own, which makes topics that are not there. One record a row."""
        writer = open_writer(self.url)
        for seq in seqs:
            writer.append(TopicPartition(topic), "ticks", batch("ticks", trade(seq)))
        writer.close()


@asynccontextmanager
async def following(broker: Server) -> AsyncIterator[tuple[Log, Follower, Recorder]]:
    """A follower that has read five rows of TOPIC and one of OTHER."""
    log, recorder = Log(broker.url), Recorder()
    log.append(TOPIC, *range(5))
    log.append(OTHER, 0)
    reader = partial(open_reader, log.url)
    follower = Follower(reader, recorder, asyncio.get_running_loop(), tail_records=100)
    follower.start()
    try:
        await until(lambda: follower.caught_up_within(1.0) and len(recorder.primed) == 6)
        yield log, follower, recorder
    finally:
        follower.stop()
        follower.join(10.0)
        log.close()


def numbers(recorder: Recorder) -> list[int]:
    """What was published: the rows by number."""
    return [int(data.partition(b'"seq":')[2].partition(b",")[0]) for data in recorder.published]


def test_a_topic_that_is_made_anew_is_told_and_published_whole(kafka_broker: Server) -> None:
    async def run() -> None:
        async with following(kafka_broker) as (log, follower, recorder):
            await asyncio.to_thread(log.delete, TOPIC)
            log.append(TOPIC, *range(100, 108))  # more than were read
            await until(lambda: len(recorder.published) >= 8)
            assert numbers(recorder) == list(range(100, 108))
            assert recorder.lost == [(TOPIC, "log_truncated")]
            log.append(TOPIC, 108)
            await until(lambda: numbers(recorder)[-1] == 108)
            await until(lambda: follower.caught_up_within(1.0))

    asyncio.run(run())


def test_a_topic_that_is_deleted_is_told_and_holds_up_no_other(
    kafka_broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_topics, "GONE_S", 0.5)

    async def run() -> None:
        async with following(kafka_broker) as (log, follower, recorder):
            await asyncio.to_thread(log.delete, TOPIC)
            await until(lambda: recorder.lost)
            assert recorder.lost == [(TOPIC, "log_truncated")]
            log.append(OTHER, 7)
            await until(lambda: numbers(recorder) == [7])
            await until(lambda: follower.caught_up_within(1.0))
            log.append(TOPIC, 8, 9)
            await until(lambda: numbers(recorder) == [7, 8, 9])

    asyncio.run(run())


def test_a_topic_that_gets_more_partitions_is_followed_on(kafka_broker: Server) -> None:
    async def run() -> None:
        async with following(kafka_broker) as (log, _, recorder):
            log.append(TOPIC, 5)
            log.grow(TOPIC, 6)
            log.append(TOPIC, 6)
            await until(lambda: numbers(recorder) == [5, 6])
            assert recorder.lost == []

    asyncio.run(run())
