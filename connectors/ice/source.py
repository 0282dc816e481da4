"""The ICE feed: its session on a WebSocket."""

import asyncio
from collections.abc import Callable
from typing import Final

from connectors.feed import FeedThread, Positions
from connectors.ice.config import IceConfig
from connectors.ice.session import Session
from connectors.ticks import FeedOutput
from connectors.transport import Backoff, Link, keep_connected

VENUE: Final = "ice"


def open_feed(config: IceConfig, now: Callable[[], int], resume: Positions | None = None) -> FeedThread:
    """Build the feed, not yet started. `resume`: the positions of the rows that were written last."""
    link = Link(
        url=config.url,
        open_timeout_s=config.open_timeout_s,
        ping_interval_s=config.ping_interval_s,
        dead_after_s=config.dead_after_s,
        stable_after_s=config.stable_after_s,
    )

    async def connect(feed: FeedThread, stop: asyncio.Event) -> None:
        await keep_connected(feed, link, now, stop, Backoff())

    output = FeedOutput()
    return FeedThread(VENUE, Session(config, output, resume), output, connect, now, max_rows=config.max_rows)
