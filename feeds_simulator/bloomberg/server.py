"""The simulated Bloomberg on a TCP socket, port 8194 as the terminal's: knows connections and their subscriptions.

Delivery: as `pacing`. The SDK always reads its socket, so a client that leaves more than `unsent_limit_bytes` unread is
cut. What a fault drops on the way is told to those who lost it as DATALOSS, as the real service does.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from feeds_simulator.bloomberg import fields
from feeds_simulator.bloomberg.framing import Body, FramingError, Unframer, frame
from feeds_simulator.bloomberg.streams import Client
from feeds_simulator.bloomberg.venue import Entitlements, Venue
from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.link import Link, Socket
from feeds_simulator.news import NewsDesk
from feeds_simulator.pacing import Market, Pacer
from market.instruments import InstrumentMaster

PORT: Final = 8194
HELLO_WITHIN_S: Final = 10.0
_READ_BYTES: Final = 64 * 1024
_EVENT_MESSAGES: Final = 500
"""Messages of one event at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How to run the server. `seed` of the news; `news_every_s`: mean time to a headline."""

    host: str = "127.0.0.1"
    port: int = PORT
    seed: int = 7
    entitlements: Entitlements = field(default_factory=Entitlements)
    news_every_s: float = 20.0
    start_ns: int | None = None
    """When the stream of news begins; None: now."""
    unsent_limit_bytes: int = 32 * 1024 * 1024


class BloombergSimulator:
    """The server. `run` serves until told to stop; `faults`, `venue` and `news` may be used meanwhile."""

    def __init__(
        self,
        config: SimulatorConfig,
        now: Callable[[], int],
        market: Market,
        faults: Faults | None = None,
    ) -> None:
        """`now` is ns by the market clock."""
        self._config, self._now = config, now
        self.faults = faults or Faults()
        self.counters: Counter[str] = Counter()
        self.port = 0
        listings = list(market.listings.values())
        self.venue = Venue(listings, config.entitlements)
        master = InstrumentMaster.load()
        commodity_of = {listing.key: master.commodity_of(listing.key) for listing in listings}
        self.venue.cover(commodity_of)
        start_ns = now() if config.start_ns is None else config.start_ns
        self.news = NewsDesk(config.seed, start_ns, sorted(set(commodity_of.values())), config.news_every_s)
        self._pacer = Pacer(market, self, now, faults=self.faults)
        self._links: set[_Link] = set()

    def heard(self, symbol: str) -> bool:
        """Say whether anybody is told what happens to a symbol."""
        return self.venue.heard(symbol)

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set. `on_listening` is called with the bound port once clients can connect."""
        server = await asyncio.start_server(self._serve_client, self._config.host, self._config.port)
        self.port = server.sockets[0].getsockname()[1]
        if on_listening is not None:
            on_listening(self.port)
        try:
            await self._pacer.run_until(stop)
        finally:
            server.close()
            for link in list(self._links):
                link.abort()

    # --- asked by the pacer ---------------------------------------------------------------------

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:
        del ts_send  # the SDK's events carry no time of sending
        self.venue.publish_news(self.news.pull(self._now()))
        self.venue.publish(actions, self._now())

    def keep_house(self, at_s: float, published_ns: int) -> None:
        del at_s, published_ns
        now_ns = self._now()
        for link in list(self._links):
            link.suffer(link.wire, self.faults, now_ns)

    def flush(self) -> None:
        now_ns = self._now()
        for link in list(self._links):
            link.flush(self.faults, now_ns, self._config.unsent_limit_bytes)

    def lost(self) -> dict[str, int]:
        """Return how many trades, corrections and busts of each instrument were told as lost on the way."""
        return dict(self.venue.lost)

    # --- clients --------------------------------------------------------------------------------

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(self.faults, self._now(), _garbled)
        link = _Link(cast(asyncio.Transport, writer.transport), wire, self.venue)
        if self.faults.down:
            link.abort()
            return
        self._links.add(link)
        self.counters["connections"] += 1
        try:
            await self._converse(reader, link)
        except (OSError, TimeoutError):
            self.counters["lost"] += 1
        except (FramingError, KeyError, TypeError, ValueError):
            self.counters["refused"] += 1  # a peer that does not speak our framing
        finally:
            self._links.discard(link)
            self.venue.detach(link.client)
            link.abort()

    async def _converse(self, reader: asyncio.StreamReader, link: "_Link") -> None:
        unframer = Unframer()
        async with asyncio.timeout(HELLO_WITHIN_S):
            data = await reader.read(_READ_BYTES)
        while data:
            for request in unframer.feed(data):
                if link.half_open:
                    continue  # it was read before, and is not heard
                self._answer(link, request)
            self.flush()
            data = await reader.read(_READ_BYTES)

    def _answer(self, link: "_Link", request: Body) -> None:
        op, client = request["op"], link.client
        if op == "hello":
            link.answer({"type": 0, "welcome": {"serverId": "simulator"}})
        elif op == "ping":
            link.answer({"type": 0})
        elif op == "open":
            self.venue.open_service(client, int(request["id"]), str(request["service"]))
        elif op in ("subscribe", "resubscribe"):
            self.venue.subscribe(client, request)
        elif op == "unsubscribe":
            self.venue.unsubscribe(client, int(request["id"]))
        else:
            self.counters["unknown_requests"] += 1


class _Link(Link):
    # A socket and the venue's view of it.

    def __init__(self, socket: Socket, wire: Wire[bytes], venue: Venue) -> None:
        super().__init__(socket)
        self.wire, self._venue = wire, venue
        self.client = Client()

    def answer(self, body: Body) -> None:
        if self.can_write:
            self.socket.write(frame(body))

    def flush(self, faults: Faults, now_ns: int, unsent_limit_bytes: int) -> None:
        """Write what there is to say; what is lost on the way is told in its place, until that gets through."""
        events, self.client.out = self.client.out, []
        chunks = list(self.wire.due(now_ns))
        lost: list[Any] = []
        for kind, messages in events:
            if kind != fields.SUBSCRIPTION_DATA:
                chunks.append(frame({"type": kind, "messages": messages}))
            elif faults.stall:
                lost += messages
            else:
                for start in range(0, len(messages), _EVENT_MESSAGES):
                    said = self._losses(lost) + messages[start : start + _EVENT_MESSAGES]
                    lost = [] if self._send_data(said, faults, chunks) else said
        if lost:
            self._venue.lose(self.client, lost)
        if chunks and self.can_write and not self.write(b"".join(chunks), unsent_limit_bytes):
            self.abort()

    # What tells that messages were lost.
    def _losses(self, lost: list[Any]) -> list[Any]:
        if lost:
            self._venue.lose(self.client, lost)
        told, self.client.out = self.client.out, []
        return [message for _, messages in told for message in messages]

    # Returns whether the wire dropped nothing.
    def _send_data(self, messages: list[Any], faults: Faults, chunks: list[bytes]) -> bool:
        dropped = faults.done["dropped"]
        chunks.extend(self.wire.send(frame({"type": fields.SUBSCRIPTION_DATA, "messages": messages})))
        return faults.done["dropped"] == dropped


def _garbled(data: bytes) -> bytes:
    # The frame keeps its length; its content is damaged.
    return data[:4] + b"\xff" + data[5:]
