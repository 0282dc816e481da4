"""The MCX feed: its session on a WebSocket, with the broker's REST interface beside it.

Four tasks: keep the socket connected, take the instruments of the day, ask for the quotes the session wants, and
notice a connection on which not even heartbeats come. Waiting is real time; what the session is told is the market
clock.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlencode

from connectors.daemon import in_daemon_thread
from connectors.errors import RestRefused
from connectors.feed import FeedThread, Positions
from connectors.mcx.angel import Angel
from connectors.mcx.codec import Kite
from connectors.mcx.config import McxConfig
from connectors.mcx.constants import AUTH_RETRY_S, HTTP_FORBIDDEN, HTTP_UNAUTHORIZED, KITE
from connectors.mcx.instruments import Dump, read_angel, read_kite
from connectors.mcx.packets import Broker
from connectors.mcx.quotes import read_quotes
from connectors.mcx.rest import Rest
from connectors.mcx.session import Session
from connectors.mcx.state import date_of
from connectors.ticks import FeedOutput
from connectors.transport import Backoff, Link, keep_connected

VENUE: Final = "mcx"

_LIST_EVERY_S: Final = 1.0  # between two looks whether the day is another
_SCRIP_MASTER: Final = "/OpenAPI_File/files/OpenAPIScripMaster.json"


def open_feed(config: McxConfig, now: Callable[[], int], resume: Positions | None = None) -> FeedThread:
    """Build the feed, not yet started. `resume`: the positions of the rows that were written last."""
    output = FeedOutput()
    broker: Broker = Kite() if config.broker == KITE else Angel(buy_flag=config.buy_flag)
    session = Session(config, broker, output, resume)
    source = _Source(config, session, now)
    return FeedThread(VENUE, session, output, source.run, now, max_rows=config.max_rows)


class _Source:
    def __init__(self, config: McxConfig, session: Session, now: Callable[[], int]) -> None:
        self._config, self._session, self._now = config, session, now
        self._rest = Rest(config.rest_url, self._rest_headers, config.rest_timeout_s)
        self._listed = asyncio.Event()

    async def run(self, feed: FeedThread, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(work) for work in (self._list(feed, stop), self._ask(feed, stop))]
            tasks.create_task(self._connect(feed, stop))
            tasks.create_task(self._watch(feed, stop))
            await stop.wait()
            for task in asking:  # an answer that is not there by now is not needed, and may never come
                task.cancel()

    async def _connect(self, feed: FeedThread, stop: asyncio.Event) -> None:
        await _either(self._listed, stop)
        if not stop.is_set():
            await keep_connected(feed, self._link, self._now, stop, Backoff())

    async def _list(self, feed: FeedThread, stop: asyncio.Event) -> None:
        day, retry = None, Backoff(first_s=AUTH_RETRY_S / 5, cap_s=AUTH_RETRY_S * 2)
        while not stop.is_set():
            today, wait_s = date_of(self._now()), _LIST_EVERY_S
            if today != day:
                try:
                    dump = await self._dump()
                    feed.step(self._session.enlist, dump.listings, self._now())
                    self._listed.set()
                    day = today
                    retry.reset()
                except RestRefused as refused:
                    feed.step(self._session.unlisted, str(refused), self._now())
                    denied = refused.status in (HTTP_UNAUTHORIZED, HTTP_FORBIDDEN)
                    wait_s = retry.next_delay_s(AUTH_RETRY_S if denied else 0.0)
            await _pause(stop, wait_s)

    async def _dump(self) -> Dump:
        # Read in a thread: a dump of all exchanges is a hundred thousand rows.
        today = date_of(self._now())
        if self._config.broker == KITE:
            text = await self._rest.get("/instruments/MCX")
            dump = await _aside(lambda: read_kite(text.decode("utf-8", "replace"), today))
        else:
            text = await self._rest.get(_SCRIP_MASTER)
            dump = await _aside(lambda: read_angel(text, today))
        if not dump.listings:
            raise RestRefused(200, "DataException", f"no future of ours in the dump ({dict(dump.skipped)})")
        return dump

    async def _ask(self, feed: FeedThread, stop: asyncio.Event) -> None:
        while not stop.is_set():
            asked = self._session.quotes_wanted(self._now())
            if asked:
                await self._ask_quotes(feed, asked)
            await _pause(stop, self._config.rest_interval_s if asked else 0.1)

    async def _ask_quotes(self, feed: FeedThread, asked: list[str]) -> None:
        query = "&".join(f"i={quote(f'MCX:{symbol}')}" for symbol in asked)
        try:
            quotes = read_quotes(await self._rest.get(f"/quote?{query}"))
        except RestRefused as refused:
            feed.step(self._session.quotes_failed, asked, refused.reason)
            return
        feed.step(self._session.quoted, asked, quotes, self._now())

    async def _watch(self, feed: FeedThread, stop: asyncio.Event) -> None:
        loop, limit_s = asyncio.get_running_loop(), self._config.silent_after_s
        seen, since_s = self._session.alive, loop.time()
        while not stop.is_set():
            await _pause(stop, min(0.25, limit_s / 4))
            before, seen = seen, self._session.alive
            if seen is None or seen != before or feed.full():
                since_s = loop.time()
            elif loop.time() - since_s > limit_s:
                feed.step(self._session.silent, limit_s)

    # ---- credentials

    def _link(self) -> Link:
        config = self._config
        url, headers = config.url, {}
        if config.broker == KITE:
            query = urlencode({"api_key": config.api_key, "access_token": config.access_token()})
            url, headers = f"{url}?{query}", {"X-Kite-Version": "3"}
        else:
            headers = {
                "Authorization": f"Bearer {config.access_token()}",
                "x-api-key": config.api_key,
                "x-client-code": config.client_code,
                "x-feed-token": config.feed_token(),
            }
        return Link(
            url=url,
            headers=headers,
            open_timeout_s=config.open_timeout_s,
            ping_interval_s=config.ping_interval_s,
            dead_after_s=config.dead_after_s,
            stable_after_s=config.stable_after_s,
        )

    def _rest_headers(self) -> dict[str, str]:
        config = self._config
        if config.broker != KITE:
            return {}
        return {"X-Kite-Version": "3", "Authorization": f"token {config.api_key}:{config.access_token()}"}


async def _aside(work: Callable[[], Dump]) -> Dump:
    return await asyncio.wrap_future(in_daemon_thread(work, "mcx-dump"))


async def _pause(stop: asyncio.Event, delay_s: float) -> None:
    try:
        async with asyncio.timeout(delay_s):
            await stop.wait()
    except TimeoutError:
        pass


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in (first, second)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
