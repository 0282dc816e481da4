"""The simulated Bloomberg in a thread, with a market that does what the test says. Used by tests of both sides."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from feeds_simulator.bloomberg import blpapi
from feeds_simulator.bloomberg.server import BloombergSimulator, SimulatorConfig
from feeds_simulator.events import BookEvent, Event, Level, Listing, TradeEvent

T0 = 1_795_000_000_000_000_000
MS = 1_000_000
S = 1_000_000_000

USDINR = Listing("USDINR", "BBG:USDINR:SPOT", Decimal("0.0025"))
EURUSD = Listing("EURUSD", "BBG:EURUSD:SPOT", Decimal("0.00001"))
GOLD = Listing("GC Z26", "BBG:GC:202612", Decimal("0.1"))
LISTINGS = (USDINR, EURUSD, GOLD)


class Clock:
    """A market clock that stands until it is told to go on."""

    def __init__(self, ns: int = T0) -> None:
        self.ns = ns

    def __call__(self) -> int:
        return self.ns


class ScriptedMarket:
    """Nothing happens but what is put in."""

    def __init__(self, listings: Sequence[Listing] = LISTINGS) -> None:
        self.listings = {listing.symbol: listing for listing in listings}
        self._actions: list[list[Event]] = []
        self._lock = threading.Lock()

    @property
    def next_ns(self) -> int:
        with self._lock:
            return self._actions[0][0].ts_event if self._actions else 2**62

    def put(self, *events: Event) -> None:
        with self._lock:
            self._actions.append(list(events))

    def pull(self, until_ns: int, max_actions: int = 1_000_000) -> list[list[Event]]:
        with self._lock:
            due = [action for action in self._actions[:max_actions] if action[0].ts_event <= until_ns]
            del self._actions[: len(due)]
            return due

    def skip_to(self, ts_ns: int) -> None:
        raise AssertionError(f"skipped to {ts_ns}")


def book(listing: Listing, bid: tuple[str, int] | None, ask: tuple[str, int] | None, at: int = T0) -> BookEvent:
    """A book of one level a side."""
    sides = [() if top is None else (Level(listing.ticks(Decimal(top[0])), top[1], 1),) for top in (bid, ask)]
    return BookEvent(at, listing.symbol, sides[0], sides[1], True)


def trade(listing: Listing, price: str, qty: int, trade_id: str, at: int = T0, *, corrects: bool = False) -> TradeEvent:
    return TradeEvent(at, listing.symbol, trade_id, listing.ticks(Decimal(price)), qty, "B", corrects)


class Running:
    """A running server. `do` runs something of it in its own thread, between two turns of its loop."""

    def __init__(self, simulator: BloombergSimulator, market: ScriptedMarket, clock: Clock) -> None:
        self.simulator, self.market, self.clock = simulator, market, clock
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        return self.simulator.port

    def do(self, action: Callable[..., Any], *arguments: Any) -> Any:
        assert self.loop is not None

        async def run() -> Any:
            result = action(*arguments)
            self.simulator.flush()
            return result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def happen(self, *events: Event) -> None:
        """Let events happen as one action and be said."""
        self.do(lambda: self.simulator.publish([list(events)], self.clock.ns))

    def links(self) -> int:
        return len(self.simulator._links)


@contextmanager
def serving(
    config: SimulatorConfig | None = None,
    clock: Clock | None = None,
    port: int = 0,
    listings: Sequence[Listing] = LISTINGS,
) -> Iterator[Running]:
    """Serve on a free port until the block ends."""
    clock, market = clock or Clock(), ScriptedMarket(listings)
    config = replace(config or SimulatorConfig(news_every_s=1e9), port=port)
    running = Running(BloombergSimulator(config, clock, market=market), market, clock)
    listening = threading.Event()

    def serve() -> None:
        async def main() -> None:
            running.loop = asyncio.get_running_loop()
            running.stop = stop  # type: ignore[attr-defined]
            await running.simulator.run(stop, lambda _port: listening.set())

        stop = asyncio.Event()
        asyncio.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    assert listening.wait(10)
    try:
        yield running
    finally:
        assert running.loop is not None
        running.loop.call_soon_threadsafe(running.stop.set)  # type: ignore[attr-defined]
        thread.join(10)
        assert not thread.is_alive()


def options(port: int, **settings: Any) -> blpapi.SessionOptions:
    made = blpapi.SessionOptions()
    made.setServerHost("127.0.0.1")
    made.setServerPort(port)
    for name, value in settings.items():
        getattr(made, name)(value)
    return made


@contextmanager
def started(port: int, **settings: Any) -> Iterator[blpapi.Session]:
    """A started session, stopped at the end."""
    session = blpapi.Session(options(port, **settings))
    assert session.start()
    try:
        yield session
    finally:
        session.stop()


def until(session: blpapi.Session, name: str, seconds: float = 10.0) -> tuple[blpapi.Message, list[str]]:
    """Return the next message of a name, and the names of all messages until it."""
    names: list[str] = []
    while True:
        event = session.nextEvent(int(seconds * 1000))
        if event.eventType() == blpapi.Event.TIMEOUT:
            raise AssertionError(f"no {name} within {seconds} s, but {names}")
        for message in event:
            names.append(str(message.messageType()))
            if names[-1] == name:
                return message, names


def subscribed(
    session: blpapi.Session, topic: str, fields: str = "BID,ASK,BID_SIZE,ASK_SIZE", settings: str = "", key: Any = 1
) -> blpapi.CorrelationId:
    """Subscribe to one topic; the status is still to be read."""
    correlation = blpapi.CorrelationId(key)
    entries = blpapi.SubscriptionList()
    entries.add(topic, fields, settings, correlation)
    session.subscribe(entries)
    return correlation
