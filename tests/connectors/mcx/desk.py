"""The simulated broker and the feed, each in a thread, joined by a real socket; the market says what it is told."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from connectors.feed import FeedThread, Flush
from connectors.mcx.config import McxConfig
from connectors.mcx.source import open_feed
from feeds_simulator.events import BookEvent, Event, Level, Listing, StatusEvent, TradeEvent
from feeds_simulator.mcx.server import ANGEL, ANGEL_PATH, McxSimulator, SimulatorConfig
from feeds_simulator.mcx.symbols import kite_symbol
from market.schemas import PRICE_SCALE, QUOTE, TRADE

DEADLINE_S = 20.0
GOLD = "XIMC:GOLD:202702"
CRUDE = "XIMC:CRUDEOIL:202702"
NOON_NS = 1_796_884_200_000_000_000  # Thursday 10 December 2026, 12:00 in India
_TICKS = {"GOLD": "1", "CRUDEOIL": "1", "COTTON": "10", "COTTONCNDY": "10"}
_FAR = 1 << 62


class ScriptedMarket:
    """What the test says happens; the market model stands here otherwise."""

    def __init__(self, keys: Sequence[str] = (GOLD, CRUDE)) -> None:
        listed = [Listing(kite_symbol(key), key, Decimal(_TICKS[key.split(":")[1]])) for key in keys]
        self.listings: Mapping[str, Listing] = {listing.symbol: listing for listing in listed}
        self._queue: deque[list[Event]] = deque()

    @property
    def next_ns(self) -> int:
        return _FAR

    def pull(self, until_ns: int, max_actions: int) -> list[list[Event]]:  # noqa: ARG002
        return [self._queue.popleft() for _ in range(min(len(self._queue), max_actions))]

    def skip_to(self, ts_ns: int) -> None:  # noqa: ARG002
        raise AssertionError("nothing is ever late")

    def say(self, *events: Event) -> None:
        self._queue.append(list(events))


class Clock:
    """Market time: starts at noon and runs with the wall clock, plus what the test adds."""

    def __init__(self, at_ns: int = NOON_NS) -> None:
        self.shift_ns = at_ns - time.time_ns()

    def __call__(self) -> int:
        return time.time_ns() + self.shift_ns


def book(ts: int, key: str, bid: int, *, qty: int = 3, levels: int = 5) -> BookEvent:
    bids = tuple(Level(bid - n, qty + n, 1 + n) for n in range(levels))
    asks = tuple(Level(bid + 1 + n, qty + n, 1 + n) for n in range(levels))
    return BookEvent(ts, kite_symbol(key), bids, asks, True)


def trade(ts: int, key: str, price: int, qty: int) -> TradeEvent:
    return TradeEvent(ts, kite_symbol(key), f"t{ts}", price, qty, "B")


class Exchange:
    """McxSimulator in a thread of its own."""

    def __init__(self, clock: Clock, market: Any = None, **options: Any) -> None:
        self.clock = clock
        self.market = market or ScriptedMarket()
        self.config = SimulatorConfig(**{"heartbeat_s": 0.2, "rest_interval_s": 0.0, **options})
        self.simulator = McxSimulator(self.config, clock, market=self.market)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._up.wait(DEADLINE_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self.simulator.run(self._stop, lambda _port: self._up.set()))
        self._loop.close()

    @property
    def url(self) -> str:
        path = ANGEL_PATH if self.config.broker == ANGEL else "/"
        return f"ws://127.0.0.1:{self.simulator.port}{path}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.simulator.port}"

    def open(self, keys: Sequence[str] = (GOLD, CRUDE)) -> None:
        """The session begins, with a book in each contract."""
        for key in keys:
            now = self.clock()
            self.market.say(StatusEvent(now, kite_symbol(key), "OPEN"), book(now, key, 1_000))

    def trade(self, key: str, price: int, qty: int) -> None:
        self.market.say(trade(self.clock(), key, price, qty))

    def book(self, key: str, bid: int) -> None:
        self.market.say(book(self.clock(), key, bid))

    def do(self, action: Callable[[], Any]) -> Any:
        """Run in the simulator's loop: it is not thread-safe."""

        async def run() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE_S)

    def inject(self, message: str | bytes) -> None:
        """Send any message to every client."""
        self.do(lambda: [client.out.append(message) for client in self.simulator.venue.clients])

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the simulator has come so far."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.do(condition):
            assert time.monotonic() < deadline, "the simulator does not get there"
            time.sleep(0.005)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)


class Desk:
    """Takes from a feed until what it waits for is there."""

    def __init__(self, exchange: Exchange, resume: Mapping[str, int | str] | None = None, **options: Any) -> None:
        settings: dict[str, Any] = {
            "broker": exchange.config.broker,
            "url": exchange.url,
            "rest_url": exchange.rest_url,
            "api_key": exchange.config.api_key,
            "access_token": lambda: exchange.config.access_token,
            "client_code": exchange.config.client_code,
            "feed_token": lambda: exchange.config.feed_token,
            "rest_interval_s": 0.05,
            **options,
        }
        self.config = McxConfig(**settings)
        self.rows: list[dict[str, Any]] = []
        self.depth: list[dict[str, Any]] = []
        self.ledgers: dict[str, list[dict[str, Any]]] = {"gaps": [], "rejected": [], "status": [], "news": []}
        self.flush: Flush | None = None
        self.feed: FeedThread = open_feed(self.config, exchange.clock, resume)
        self.feed.start()

    def take(self) -> None:
        flush = self.flush = self.feed.take()
        self.rows += [row for _, batch in flush.ticks for row in batch.to_pylist()]
        self.depth += [row for _, batch in flush.depth for row in batch.to_pylist()]
        for name, rows in self.ledgers.items():
            batch = getattr(flush, name)
            rows += [] if batch is None else batch.to_pylist()

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"not in time; {self.counters}, {self.ledgers}"
            self.feed.wait(0.02)
            self.take()

    @property
    def counters(self) -> Mapping[str, int]:
        return {} if self.flush is None else self.flush.counters

    @property
    def trades(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kind"] == TRADE]

    @property
    def quotes(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kind"] == QUOTE]

    @property
    def qualities(self) -> list[tuple[str | None, str]]:
        return [(row["instrument"], row["quality"]) for row in self.ledgers["status"]]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return self.ledgers["gaps"]

    def resolved(self) -> list[dict[str, Any]]:
        return [gap for gap in self.gaps if gap["ts_resolved"] is not None]

    def live(self, times: int = 1) -> None:
        self.until(lambda: self.qualities.count((None, "LIVE")) >= times)


def sizes(desk: Desk, key: str = GOLD) -> list[int]:
    """Lots of the trades that came of a contract, in their order."""
    return [row["size"] // PRICE_SCALE for row in desk.trades if row["instrument"] == key]


def contract_of(mcx: Exchange, key: str) -> Any:
    """What the simulated exchange knows of a contract."""
    return mcx.simulator.board.by_market[kite_symbol(key)]
