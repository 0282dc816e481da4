"""The ICE venue on a socket: writes what the venue says, as the pacer hands it what happens.

One task paces: what has happened is encoded and written to every socket in the same turn of the event loop.
One task per socket answers requests.

Delivery: as `pacing`. A client that leaves more than `unsent_limit_bytes` unread is closed with 4008; nobody else
waits for it.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count, islice
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.frames import frame
from feeds_simulator.ice.messages import TRADES, error
from feeds_simulator.ice.requests import Credential, Reception
from feeds_simulator.ice.session import REPLAY_WINDOW
from feeds_simulator.ice.venue import CLOSE_AUTH, CLOSE_RESTART, CLOSE_SLOW, Connection, Counters, Venue
from feeds_simulator.link import WebSocketLink
from feeds_simulator.pacing import Market, Pacer

PATH: Final = "/v1/feed"
PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 30.0  # with the ping's 20 s: a peer silent for 2.5 x 20 s is dead
REPLAY_CHUNK: Final = 200  # messages between two looks at the client's buffer: about 50 kB
REPLAY_BUFFER_BYTES: Final = 256 * 1024
ABORT_AFTER_S: Final = 5.0  # for a closing client that does not read


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How to run the venue."""

    host: str = "127.0.0.1"
    port: int = 0
    credentials: Mapping[str, Credential] = field(default_factory=lambda: {"demo": Credential("demo-secret")})
    auth_within_s: float = 10.0
    heartbeat_s: float = 5.0
    keep_session_s: float = 600.0
    replay_window: int = REPLAY_WINDOW
    unsent_limit_bytes: int = 4 * 1024 * 1024


class IceSimulator:
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
        self.counters = Counters()
        self.port = 0
        self.venue = Venue(
            market.listings,
            faults=self.faults,
            counters=self.counters,
            window=config.replay_window,
            heartbeat_s=config.heartbeat_s,
            keep_s=config.keep_session_s,
        )
        run, numbers = f"{now() // 1_000_000:x}", count(1)  # a later run gives other session ids; they are no secret
        self._reception = Reception(self.venue, config.credentials, now, lambda: f"{run}-{next(numbers)}")
        self._pacer = Pacer(market, self, now, faults=self.faults)
        self._links: set[_Link] = set()

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set, then close every socket with 1012.

        Delivery: `on_listening` is called with the bound port once clients can connect.
        """
        async with serve_websocket(
            self._serve_client,
            self._config.host,
            self._config.port,
            process_request=self._only_the_feed,
            compression=None,
            ping_interval=PING_EVERY_S,
            ping_timeout=PONG_WITHIN_S,
            close_timeout=ABORT_AFTER_S,
            write_limit=REPLAY_BUFFER_BYTES,
            max_size=1 << 20,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            if on_listening is not None:
                on_listening(self.port)
            try:
                await self._pacer.run_until(stop)
            finally:
                server.close(code=CLOSE_RESTART, reason="restart")
                for link in self._links:
                    asyncio.get_running_loop().call_later(ABORT_AFTER_S, link.abort)

    # --- asked by the pacer ---------------------------------------------------------------------

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:
        self.venue.publish(actions, ts_send)

    def heard(self, symbol: str) -> bool:
        """Say whether a client has asked for the trades of a symbol and is still in session."""
        for session in self.venue.sessions.values():  # noqa: SIM110 - a generator costs 1 us, an event
            if symbol in session.channels[TRADES].subscriptions:
                return True
        return False

    def keep_house(self, at_s: float, published_ns: int) -> None:
        self.venue.tick(at_s, published_ns)
        now_ns = self._now()
        for link in list(self._links):
            link.suffer(link.connection.wire, self.faults, now_ns)

    def flush(self) -> None:
        now_ns = self._now()
        for link in list(self._links):
            link.flush(self.faults, self.counters, now_ns, self._config.unsent_limit_bytes)

    # --- clients --------------------------------------------------------------------------------

    def _only_the_feed(self, websocket: ServerConnection, request: Request) -> Response | None:
        if self.faults.down:
            return websocket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the venue is down\n")
        if request.path.partition("?")[0] == PATH:
            return None
        return websocket.respond(HTTPStatus.NOT_FOUND, f"the feed is at {PATH}\n")

    async def _serve_client(self, websocket: ServerConnection) -> None:
        link = _Link(websocket, Wire(self.faults, self._now()))
        self._links.add(link)
        self.counters.connections += 1
        try:
            await self._converse(link)
        except ConnectionClosed:
            pass  # the session stays; the client may come back to it
        finally:
            self._links.discard(link)
            self.venue.detach(link.connection, asyncio.get_running_loop().time())

    async def _converse(self, link: "_Link") -> None:
        try:
            async with asyncio.timeout(self._config.auth_within_s):
                first = await link.websocket.recv()
        except TimeoutError:
            link.connection.out.append(error("auth_failed", "no auth in time"))
            link.connection.close = (CLOSE_AUTH, "auth_failed")
            self.flush()
            return
        await self._answer(link, first)
        async for request in link.websocket:
            if link.websocket.state is not State.OPEN:
                return  # what it had sent before we closed it
            await self._answer(link, request)

    async def _answer(self, link: "_Link", request: str | bytes) -> None:
        self._reception.receive(link.connection, request)
        self.flush()  # all: a resumed session closes the socket that had it
        replay, link.connection.replay = link.connection.replay, None
        if replay is not None:
            await self._write_replay(link, replay)

    async def _write_replay(self, link: "_Link", replay: Iterator[str]) -> None:
        # At the client's pace. Live messages go on in between.
        while chunk := list(islice(replay, REPLAY_CHUNK)):
            link.connection.out += chunk
            self.flush()
            if link.websocket.state is not State.OPEN:
                return
            await link.websocket.drain()
            await asyncio.sleep(0)


class _Link(WebSocketLink):
    # A socket and the venue's view of it.

    def __init__(self, websocket: ServerConnection, wire: Wire[str]) -> None:
        super().__init__(websocket)
        self.connection = Connection(wire)

    def flush(self, faults: Faults, counters: Counters, now_ns: int, unsent_limit_bytes: int) -> None:
        connection = self.connection
        connection.out += connection.wire.due(now_ns)
        if not connection.out and connection.close is None:
            return
        texts, connection.out = connection.out, []
        if not self.can_write or faults.stall:
            return
        keeps_up = self.write(b"".join([frame(text) for text in texts]), unsent_limit_bytes)
        if connection.close is None and not keeps_up:
            self.socket.write(frame(error("slow_consumer", f"more than {unsent_limit_bytes} bytes unsent")))
            connection.close = (CLOSE_SLOW, "slow consumer")
        if connection.close is not None:
            self._close(*connection.close)
            counters.closed[connection.close[0]] += 1
            connection.close = None

    def _close(self, code: int, reason: str) -> None:
        # Not the library's close(): it waits for the buffer to drain, which a slow client may never do.
        self.websocket.protocol.send_close(code, reason)
        self.websocket.send_data()
        asyncio.get_running_loop().call_later(ABORT_AFTER_S, self.abort)
