"""The venue on a TCP socket: paces the market by the market clock and says in FIX what happens.

Delivery: an event is written within about a millisecond of its `ts_event`. A client that leaves more than
`unsent_limit_bytes` unread is cut; nobody else waits for it.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from feeds_simulator.cme.dialects import DIALECTS
from feeds_simulator.cme.sessions import WINDOW, Connection
from feeds_simulator.cme.venue import Venue
from feeds_simulator.cme.wire import Reader
from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from feeds_simulator.pacing import Market, Pacer

READ_BYTES: Final = 65_536
HALF_OPEN_KEPT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How to run the venue. `passwords` by SenderCompID of the client; `rate` in messages/s over all instruments."""

    host: str = "127.0.0.1"
    port: int = 0
    comp_id: str = "CME"
    passwords: Mapping[str, str] = field(default_factory=lambda: {"MANDI": "demo-secret"}, repr=False)
    dialect: str = "levels-44"
    seed: int = 7
    rate: float = 400.0
    always_open: bool = False
    bust_every: int = 0
    correct_every: int = 0
    truth_path: Path | None = None
    window: int = WINDOW
    unsent_limit_bytes: int = 8 * 1024 * 1024


class CmeSimulator:
    """The venue. `run` serves until told to stop; `faults`, `counters` and `port` may be read and set meanwhile."""

    def __init__(
        self,
        config: SimulatorConfig,
        now: Callable[[], int],
        faults: Faults | None = None,
        market: Market | None = None,
    ) -> None:
        self._config, self._now = config, now
        market = market or _market(config, now())
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
        self._pacer = Pacer(market, self, now, faults=self.faults, truth_path=config.truth_path)
        self._links: set[_Link] = set()

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set, then log everybody out.

        Delivery: `on_listening` is called with the bound port once clients can connect.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Link(self), self._config.host, self._config.port)
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
            link.write()

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
            link.suffer(now_ns)

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
        link.write()

    @property
    def unsent_limit_bytes(self) -> int:
        return self._config.unsent_limit_bytes


def _market(config: SimulatorConfig, start_ns: int) -> MarketModel:
    return MarketModel(
        ModelConfig(
            start_ns=start_ns,
            seed=config.seed,
            rate=config.rate,
            profiles=PROFILES["cme"],
            always_open=config.always_open,
            bust_every=config.bust_every,
            correct_every=config.correct_every,
        )
    )


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


class _Link(asyncio.Protocol):
    # A socket and the venue's view of it.

    def __init__(self, simulator: CmeSimulator) -> None:
        self._simulator = simulator
        self.reader = Reader()
        self.connection = Connection(simulator.wire())
        self._transport: asyncio.Transport | None = None
        self._half_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        plain = transport.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.heard_ns = self.connection.sent_ns = self._simulator.clock_ns()
        if not self._simulator.opened(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._half_open:
            self._simulator.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._simulator.closed(self)

    def flush(self, now_ns: int) -> None:
        """Write what is due, also what the wire had kept back."""
        self.connection.out += self.connection.wire.due(now_ns)
        self.write()

    def write(self) -> None:
        connection, transport = self.connection, self._transport
        if transport is None or self._half_open or not (connection.out or connection.close):
            return
        messages, connection.out = connection.out, []
        transport.write(b"".join(messages))
        if transport.get_write_buffer_size() > self._simulator.unsent_limit_bytes:
            self._simulator.counters["slow_consumers"] += 1
            transport.abort()
        elif connection.close:
            transport.close()

    def suffer(self, now_ns: int) -> None:
        """Let happen to the socket what goes wrong by time."""
        if self._transport is None:
            return
        if self.connection.wire.must_close(now_ns):
            self._transport.abort()
        elif self._simulator.faults.half_open and not self._half_open:
            self._half_open = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(HALF_OPEN_KEPT_S, self._transport.abort)


async def serve(
    config: SimulatorConfig,
    now: Callable[[], int],
    stop: asyncio.Event,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Run the venue until `stop` is set. `now` is ns by the market clock."""
    await CmeSimulator(config, now).run(stop, on_listening)
