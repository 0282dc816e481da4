"""The log's follower: tail into the image, then every row once and in order, losses told, failures survived."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway_support import TOPIC, MemoryLog, bar, batch, trade

from gateway.follow import Follower
from gateway.rows import Row
from market.topics import BARS

DEADLINE_S = 20.0


class Recorder:
    """A Sink that writes down what it is told."""

    def __init__(self) -> None:
        self.primed: list[bytes] = []
        self.published: list[bytes] = []
        self.finished = 0
        self.lost: list[tuple[str, str]] = []

    def prime(self, topic: str, rows: Sequence[Row]) -> None:  # noqa: ARG002
        assert not self.finished
        self.primed += [row.data for row in rows]

    def finish_prime(self) -> None:
        self.finished += 1

    def publish(self, topic: str, rows: Sequence[Row]) -> None:  # noqa: ARG002
        self.published += [row.data for row in rows]

    def lose(self, topic: str, reason: str) -> None:
        self.lost.append((topic, reason))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def following(log: MemoryLog, tail_records: int = 1_000) -> AsyncIterator[tuple[Follower, Recorder]]:
    recorder = Recorder()
    follower = Follower(lambda: log, recorder, asyncio.get_running_loop(), tail_records=tail_records)
    follower.start()
    try:
        yield follower, recorder
    finally:
        follower.stop()
        follower.join(5.0)


def test_the_tail_is_image_and_what_comes_after_is_live() -> None:
    async def run() -> None:
        log = MemoryLog()
        for seq in range(10):
            log.append(TOPIC, "ticks", trade(seq))
        async with following(log, tail_records=4) as (follower, recorder):
            await until(lambda: recorder.finished)
            assert len(recorder.primed) == 4
            log.append(TOPIC, "ticks", *(trade(seq) for seq in range(10, 1_010)))
            log.append(BARS, "bars", bar(0))  # a topic that did not exist at start
            await until(lambda: len(recorder.published) == 1_001)
            ticks = [data for data in recorder.published if b"trade_id" in data]
            assert all(f'"seq":{seq},'.encode() in data for seq, data in enumerate(ticks, start=10))
            await until(lambda: follower.caught_up_within(1.0))
            await until(lambda: follower.lag_rows == {TOPIC: 0, BARS: 0})

    asyncio.run(run())


def test_rows_dropped_by_retention_are_told_and_reading_goes_on() -> None:
    async def run() -> None:
        log = MemoryLog()
        log.append(TOPIC, "ticks", trade(0))
        async with following(log) as (follower, recorder):
            await until(lambda: follower.caught_up_within(1.0))
            log.append_batch(TOPIC, "ticks", batch("ticks", trade(5)), keep_from=5)
            log.append(TOPIC, "ticks", trade(6))
            await until(lambda: len(recorder.published) == 2)
            assert [f'"seq":{seq},'.encode() in data for seq, data in enumerate(recorder.published, 5)] == [True, True]
            assert recorder.lost == [(TOPIC, "log_truncated")]

    asyncio.run(run())


def test_a_bad_record_is_counted_and_skipped() -> None:
    async def run() -> None:
        log = MemoryLog()
        async with following(log) as (follower, recorder):
            await until(lambda: recorder.finished)
            log.append_batch(TOPIC, "bars", batch("ticks", trade(1)))
            log.append(TOPIC, "ticks", trade(2))
            await until(lambda: recorder.published)
            assert follower.bad_records == 1

    asyncio.run(run())


def test_a_log_that_fails_is_tried_again() -> None:
    async def run() -> None:
        log = MemoryLog()
        log.append(TOPIC, "ticks", trade(1))
        log.failure = OSError("no log today")
        async with following(log) as (follower, recorder):
            await until(lambda: follower.failures)
            assert not follower.caught_up_within(60.0)
            assert "no log today" in follower.error
            log.failure = None
            await until(lambda: follower.caught_up_within(1.0))
            assert len(recorder.primed) == 1

    asyncio.run(run())
