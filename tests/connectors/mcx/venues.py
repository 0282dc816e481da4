"""Simulated venues on real sockets with their real feeds, on one clock that stands until the test moves it."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from bloomberg_server import Clock, S, ScriptedMarket

from connectors.cme.config import CmeConfig
from connectors.cme.source import open_feed as open_cme
from connectors.feed import FeedThread
from connectors.ice.config import IceConfig
from connectors.ice.source import open_feed as open_ice
from connectors.mcx.config import McxConfig
from connectors.mcx.source import open_feed as open_mcx
from feeds_simulator.cme.server import CmeSimulator
from feeds_simulator.cme.server import SimulatorConfig as CmeServer
from feeds_simulator.events import BookEvent, Level, Listing, StatusEvent, TradeEvent
from feeds_simulator.ice.server import PATH, IceSimulator
from feeds_simulator.ice.server import SimulatorConfig as IceServer
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.mcx.server import McxSimulator
from feeds_simulator.mcx.server import SimulatorConfig as McxServer
from feeds_simulator.mcx.symbols import kite_symbol
from market.instruments import InstrumentMaster
from market.schemas import QUOTE, TRADE

DEADLINE_S = 12.0


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


class Venue:
    """A simulator in a thread of its own, the feed that is connected to it, and what came of it."""

    def __init__(
        self,
        key: str,
        listings: Sequence[Listing],
        clock: Clock,
        build: Callable[..., Any],
        connect: Callable[[Any], FeedThread],
    ) -> None:
        self.key, self.clock, self._build, self._market = key, clock, build, ScriptedMarket(listings)
        self.symbol = next(one.symbol for one in listings if one.key == key)
        self._commodity = InstrumentMaster.load().commodity_of(key)
        self.port = 0
        self.up()
        self.feed = connect(self.simulator)
        self.feed.start()
        self.batches: list[pa.RecordBatch] = []
        self.quotes = self.trades = 0
        self.states: dict[str | None, str] = {}

    def up(self) -> None:
        self.simulator = self._build(self.port, self._market)
        self._loop, self._stop, listening = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
        run = self.simulator.run(self._stop, lambda _port: listening.set())
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(run))
        self._thread.start()
        assert listening.wait(DEADLINE_S)
        self.port = self.simulator.port

    def down(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def say(self, *events: Any) -> None:
        async def publish() -> None:
            self.simulator.publish([list(events)], self.clock.ns)
            self.simulator.flush()

        asyncio.run_coroutine_threadsafe(publish(), self._loop).result(DEADLINE_S)

    def open(self, price: int) -> None:
        """Begin the session, with a first book."""
        before = self.quotes
        self.say(*(StatusEvent(self.clock.ns, one.symbol, "OPEN") for one in self._market.listings.values()))
        self.say(self._book(price))
        # With its quote: one that came later would be taken for the answer to the next.
        self.until(lambda: self.states.get(None) == "LIVE" and self.quotes > before)

    def trade(self, price: int, qty: int) -> None:
        """Let lots trade at a price in ticks."""
        before = self.trades
        self.say(TradeEvent(self.clock.ns, self.symbol, f"t{self.clock.ns}", price, qty, "B"))
        self.until(lambda: self.trades > before)

    def quote(self, price: int) -> None:
        """Quote around a price in ticks, never twice the same."""
        before = self.quotes
        self.say(self._book(price))
        self.until(lambda: self.quotes > before)

    def _book(self, price: int) -> BookEvent:
        lots = 40 + self.clock.ns // S % 7
        bids, asks = (tuple(Level(price + side * n, lots + n, 1) for n in range(1, 6)) for side in (-1, 1))
        return BookEvent(self.clock.ns, self.symbol, bids, asks, True)

    def take(self) -> None:
        flush = self.feed.take()
        for commodity, batch in flush.ticks:
            if commodity == self._commodity:
                self.batches.append(batch)
                names = zip(batch.column("kind").to_pylist(), batch.column("instrument").to_pylist(), strict=True)
                kinds = [kind for kind, name in names if name == self.key]
                self.quotes += kinds.count(QUOTE)
                self.trades += kinds.count(TRADE)
        if flush.status is not None:
            self.states |= {row["instrument"]: row["quality"] for row in flush.status.to_pylist()}

    def until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not met():
            assert time.monotonic() < deadline, (self.key, self.states, self.quotes)
            self.feed.wait(0.02)
            self.take()


def comex(clock: Clock, key: str, *others: str) -> Venue:
    """COMEX gold over FIX."""
    return Venue(
        key,
        [Listing(one, one, Decimal("0.1")) for one in (*others, key)],
        clock,
        lambda port, market: CmeSimulator(CmeServer(port=port), clock, market=market),
        lambda server: open_cme(
            CmeConfig(host="127.0.0.1", port=server.port, password="demo-secret", products=(("XCEC", "GC"),)), clock
        ),
    )


def ice(clock: Clock, key: str, tick: str) -> Venue:
    """A product of ICE over its WebSocket."""
    return Venue(
        key,
        [Listing(ice_symbol(key), key, Decimal(tick))],
        clock,
        lambda port, market: IceSimulator(IceServer(port=port), clock, market=market),
        lambda server: open_ice(
            IceConfig(url=f"ws://127.0.0.1:{server.port}{PATH}", key="demo", secret="demo-secret"), clock
        ),
    )


def mcx(clock: Clock, key: str) -> Venue:
    """A product of MCX over Kite's WebSocket."""

    def connect(server: McxSimulator) -> FeedThread:
        at = f"127.0.0.1:{server.port}"
        config = McxConfig(
            url=f"ws://{at}/",
            rest_url=f"http://{at}",
            api_key="demo",
            access_token=lambda: "demo-token",
            rest_interval_s=0.05,
        )
        return open_mcx(config, clock)

    return Venue(
        key,
        [Listing(kite_symbol(key), key, Decimal(1))],
        clock,
        lambda port, market: McxSimulator(McxServer(port=port, rest_interval_s=0.0), clock, market=market),
        connect,
    )
