"""A feed's thread: how it ends, and who hears of it."""

import asyncio
from types import MappingProxyType

import pytest

from connectors.errors import FeedFailed
from connectors.feed import FeedThread
from connectors.ticks import FeedOutput


class Silent:
    """Stands for a session that says and hears nothing."""

    counters = MappingProxyType[str, int]({})
    lost = None
    min_retry_s = 0.0

    def positions(self) -> dict[str, int]:
        return {}


def feed(connect) -> FeedThread:
    return FeedThread("VENUE", Silent(), FeedOutput(), connect, lambda: 0, max_rows=10)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), OSError("gone")], ids=["cancelled", "error"])
def test_a_feed_that_ends_unasked_says_so(error: BaseException) -> None:
    async def connect(_feed: FeedThread, _stop: asyncio.Event) -> None:
        raise error

    running = feed(connect)
    running.start()
    assert running.wait(10)
    with pytest.raises(FeedFailed) as failed:
        running.take()
    assert type(failed.value.__cause__) is type(error)
    running.stop()


def test_a_feed_that_is_stopped_can_still_be_emptied() -> None:
    async def connect(_feed: FeedThread, stop: asyncio.Event) -> None:
        await stop.wait()
        raise asyncio.CancelledError

    running = feed(connect)
    running.start()
    running.stop()
    assert running.take().rows == 0
