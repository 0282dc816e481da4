"""The CME feed: its session on a TCP connection."""

import asyncio
from collections.abc import Callable

from connectors.cme.config import CmeConfig
from connectors.cme.constants import VENUE
from connectors.cme.session import Session
from connectors.feed import FeedThread, Positions
from connectors.tcp import Address, keep_connected
from connectors.ticks import FeedOutput
from connectors.transport import Backoff


def open_feed(config: CmeConfig, now: Callable[[], int], resume: Positions | None = None) -> FeedThread:
    """Build the feed, not yet started. `resume`: the positions of the rows that were written last."""
    address = Address(
        host=config.host,
        port=config.port,
        open_timeout_s=config.open_timeout_s,
        stable_after_s=config.stable_after_s,
    )
    output = FeedOutput()
    session = Session(config, output, resume)

    async def connect(feed: FeedThread, stop: asyncio.Event) -> None:
        await keep_connected(feed, address, now, stop, Backoff(), lambda: feed.step(session.farewell))

    return FeedThread(VENUE, session, output, connect, now, max_rows=config.max_rows)
