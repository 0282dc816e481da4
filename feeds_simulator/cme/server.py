"""The venue on a TCP socket: paces the market by the market clock and says in FIX what happens.

Delivery: an event is written within about a millisecond of its `ts_event`. A client that leaves more than
`unsent_limit_bytes` unread is cut; nobody else waits for it.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from feeds_simulator.cme.dialects import DIALECTS
from feeds_simulator.cme.sessions import WINDOW, Connection
from feeds_simulator.cme.venue import Venue
from feeds_simulator.cme.wire import Reader
from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.link import Link
from feeds_simulator.pacing import Market, Pacer

READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How to run the venue. `passwords` by SenderCompID of the client."""

    host: str = "127.0.0.1"
    port: int = 0
    comp_id: str = "CME"
    passwords: Mapping[str, str] = field(default_factory=lambda: {"MANDI": "demo-secret"}, repr=False)
    dialect: str = "levels-44"
    window: int = WINDOW
    unsent_limit_bytes: int = 8 * 1024 * 1024


class CmeSimulator:
    """The venue. `run` serves until told to stop; `faults`, `counters` and `port` may be read and set meanwhile."""

    def __init__(
        self,
        config: SimulatorConfig,
        now: Callable[[], int],
        market: Market,
        faults: Faults | None = None,
    ) -> None:
        self._config, self._now = config, now
        self.faults = faults or Faults()
        self.counters: Counter[str] = Counter()
        self.port = 0
        self.venue = Venue(
            market.listings,
            DIALECTS[config.dialect],
            config.passwords,
            comp_id=config.comp_id,
            faults=self.faults,
            counters=self.counters,
            window=config.window,
        )
        self._pacer = Pacer(market, self, now, faults=self.faults)
        self._links: set[_Link] = set()

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set, then log everybody out.

        Delivery: `on_listening` is called with the bound port once clients can connect.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Line(self), self._config.host, self._config.port)
        self.port = server.sockets[0].getsockname()[1]
        if on_listening is not None:
            on_listening(self.port)
        try:
            await self._pacer.run_until(stop)
        finally:
            server.close()
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self.venue.acceptor.now_ns = self.clock_ns()
        for link in list(self._links):
            if link.connection.client is not None:
                self.venue.acceptor.log_out(link.connection.client, "the venue stops")
            link.connection.close = True
            link.tell()

    def clock_ns(self) -> int:
        """The venue's clock."""
        return self._now() + self.faults.clock_offset_ns

    # ---- asked by the pacer

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:
        self.venue.publish(actions, ts_send)

    def heard(self, symbol: str) -> bool:
        """Say whether a client has asked for the trades of a symbol and is still in session."""
        return self.venue.heard(symbol)

    def keep_house(self, at_s: float, published_ns: int) -> None:  # noqa: ARG002
        self.venue.acceptor.now_ns = self.clock_ns()
        self.venue.acceptor.tick(now_or_never=self.faults.closing)
        now_ns = self._now()
        for link in list(self._links):
            link.suffer(link.connection.wire, self.faults, now_ns)

    def flush(self) -> None:
        now_ns = self._now()
        for link in list(self._links):
            link.flush(now_ns)

    # ---- asked by the links

    def opened(self, link: "_Link") -> bool:
        """A client connected; False if it is to be cut."""
        if self.faults.down:
            return False
        self._links.add(link)
        self.counters["connections"] += 1
        return True

    def wire(self) -> Wire[bytes]:
        """A wire for a new connection."""
        return Wire(self.faults, self._now(), Garbler())

    def closed(self, link: "_Link") -> None:
        """A client's socket is gone; its session stays."""
        self._links.discard(link)
        self.venue.acceptor.detach(link.connection)

    def received(self, link: "_Link", data: bytes) -> None:
        """Take what a client sent."""
        acceptor = self.venue.acceptor
        acceptor.now_ns = self.clock_ns()
        for begin_string, message in link.reader.feed(data):
            acceptor.receive(link.connection, begin_string, message)
        link.tell()

    @property
    def unsent_limit_bytes(self) -> int:
        return self._config.unsent_limit_bytes


class Garbler:
    """Damages messages by turns: CheckSum, BodyLength too long, too short."""

    def __init__(self) -> None:
        self._turn = 0

    def __call__(self, message: bytes) -> bytes:
        self._turn += 1
        if self._turn % 3 == 1:
            return message[:-4] + b"%03d\x01" % ((int(message[-4:-1]) + 1) % 256)
        head, _, rest = message.partition(b"\x019=")
        length, _, rest = rest.partition(b"\x01")
        lie = int(length) + (60 if self._turn % 3 == 2 else -9)
        return b"%b\x019=%d\x01%b" % (head, lie, rest)


class _Line(asyncio.Protocol):
    # Reads a socket for its link.

    def __init__(self, simulator: CmeSimulator) -> None:
        self._simulator = simulator
        self._link: _Link | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = transport.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link = _Link(cast(asyncio.Transport, transport), self._simulator)  # uvloop's is none by class
        if not self._simulator.opened(self._link):
            self._link.abort()

    def data_received(self, data: bytes) -> None:
        if self._link is not None and not self._link.half_open:
            self._simulator.received(self._link, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._link is not None:
            self._simulator.closed(self._link)


class _Link(Link):
    # A socket and the venue's view of it.

    def __init__(self, transport: asyncio.Transport, simulator: CmeSimulator) -> None:
        super().__init__(transport)
        self._transport, self._simulator = transport, simulator
        self.reader = Reader()
        self.connection = Connection(simulator.wire())
        self.connection.heard_ns = self.connection.sent_ns = simulator.clock_ns()

    def flush(self, now_ns: int) -> None:
        """Write what is due, also what the wire had kept back."""
        self.connection.out += self.connection.wire.due(now_ns)
        self.tell()

    def tell(self) -> None:
        """Write what there is to say, and close if that was the end."""
        connection = self.connection
        if not self.can_write or not (connection.out or connection.close):
            return
        messages, connection.out = connection.out, []
        if not self.write(b"".join(messages), self._simulator.unsent_limit_bytes):
            self._simulator.counters["slow_consumers"] += 1
            self.abort()
        elif connection.close:
            self._transport.close()
