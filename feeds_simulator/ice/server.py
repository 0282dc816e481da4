"""The ICE venue on a socket: paces the model by the market clock and writes what the venue says.

One task paces: it pulls what has happened, lets the venue encode it, writes it to every socket in the same turn
of the event loop, and sleeps until the next event. One task per socket answers requests.

Delivery: an event is written within about a millisecond of its `ts_event` (the resolution of the loop's timers).
A client that leaves more than `unsent_limit_bytes` unread is closed with 4008; nobody else waits for it.
"""

import asyncio
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Final

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from feeds_simulator.files import TruthFile, load_levels, save_levels
from feeds_simulator.ice.messages import error
from feeds_simulator.ice.requests import Credential, Reception
from feeds_simulator.ice.session import REPLAY_WINDOW
from feeds_simulator.ice.venue import CLOSE_AUTH, CLOSE_RESTART, CLOSE_SLOW, Connection, Counters, Faults, Venue
from feeds_simulator.model import NS_PER_S, MarketModel, ModelConfig

PATH: Final = "/v1/feed"
PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 30.0  # with the ping's 20 s: a peer silent for 2.5 x 20 s is dead
REPLAY_CHUNK: Final = 200  # messages between two looks at the client's buffer: about 50 kB
REPLAY_BUFFER_BYTES: Final = 256 * 1024
MAX_ACTIONS_PER_TURN: Final = 2_000  # about 50 ms of work, so that requests are answered during a catch-up
MAX_LAG_NS: Final = 30 * NS_PER_S  # further behind (the machine slept), the model skips what it missed
MAX_SLEEP_S: Final = 0.05  # the clock may be shifted while we sleep
HOUSEKEEPING_S: Final = 0.25
SAVE_EVERY_S: Final = 2.0
ABORT_AFTER_S: Final = 5.0  # for a closing client that does not read


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How to run the venue. `rate` in messages/s over all symbols."""

    host: str = "127.0.0.1"
    port: int = 0
    credentials: Mapping[str, Credential] = field(default_factory=lambda: {"demo": Credential("demo-secret")})
    seed: int = 7
    rate: float = 400.0
    always_open: bool = False
    bust_every: int = 0
    correct_every: int = 0
    state_path: Path | None = None
    truth_path: Path | None = None
    auth_within_s: float = 10.0
    heartbeat_s: float = 5.0
    keep_session_s: float = 600.0
    replay_window: int = REPLAY_WINDOW
    unsent_limit_bytes: int = 4 * 1024 * 1024


class IceSimulator:
    """The venue. `run` serves until told to stop; `faults`, `counters` and `port` may be read and set meanwhile."""

    def __init__(self, config: SimulatorConfig, now: Callable[[], int], faults: Faults | None = None) -> None:
        self._config, self._now = config, now
        self.faults = faults or Faults()
        self.counters = Counters()
        self.port = 0
        levels = load_levels(config.state_path) if config.state_path else {}
        self.model = MarketModel(
            ModelConfig(
                start_ns=now(),
                seed=config.seed,
                rate=config.rate,
                levels=levels,
                always_open=config.always_open,
                bust_every=config.bust_every,
                correct_every=config.correct_every,
            )
        )
        self.venue = Venue(
            self.model.listings,
            faults=self.faults,
            counters=self.counters,
            window=config.replay_window,
            heartbeat_s=config.heartbeat_s,
            keep_s=config.keep_session_s,
        )
        self._reception = Reception(self.venue, config.credentials, now, lambda: secrets.token_hex(8))
        self._truth = TruthFile(config.truth_path, self.model.listings) if config.truth_path else None
        self._links: set[_Link] = set()
        self._speed = 1.0  # market seconds per second
        self._paced = (time.monotonic(), now())
        self._saved_s = time.monotonic()

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set, then close every socket with 1012.

        Delivery: `on_listening` is called with the bound port once clients can connect.
        """
        async with serve_websocket(
            self._serve_client,
            self._config.host,
            self._config.port,
            process_request=_only_the_feed,
            compression=None,
            ping_interval=PING_EVERY_S,
            ping_timeout=PONG_WITHIN_S,
            close_timeout=ABORT_AFTER_S,
            write_limit=REPLAY_BUFFER_BYTES,
            max_size=1 << 20,
        ) as server:
            self.port = _bound_port(server)
            if on_listening is not None:
                on_listening(self.port)
            pacing = asyncio.create_task(self._pace())
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({pacing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if pacing.done():
                    pacing.result()  # it only ends by failing
            finally:
                pacing.cancel()
                stopping.cancel()
                self._save()
                if self._truth is not None:
                    self._truth.close()
                server.close(code=CLOSE_RESTART, reason="restart")
                for link in self._links:
                    asyncio.get_running_loop().call_later(ABORT_AFTER_S, link.abort)

    # --- pacing ---------------------------------------------------------------------------------

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        housekeeping_s = loop.time()
        while True:
            now_ns, at_s = self._now(), loop.time()
            published_ns = self._publish(now_ns)
            if at_s >= housekeeping_s:
                housekeeping_s = at_s + HOUSEKEEPING_S
                self._keep_house(at_s, published_ns)
            self._flush_all()
            await asyncio.sleep(self._nap_s(loop.time()))

    def _publish(self, now_ns: int) -> int:
        # Returns the time up to which everything has been said.
        if now_ns - self.model.next_ns > MAX_LAG_NS:
            self.model.skip_to(now_ns)
        actions = self.model.pull(now_ns, MAX_ACTIONS_PER_TURN)
        if self._truth is not None:
            self._truth.write(actions)
        self.venue.publish(actions, self._now())
        return min(now_ns, self.model.next_ns - 1)

    def _nap_s(self, at_s: float) -> float:
        # The next event is known by market time; the clock's speed is learnt from how far it came since last time.
        market_ns = self._now()
        passed_s = at_s - self._paced[0]
        if passed_s > 1e-3:
            speed = (market_ns - self._paced[1]) / NS_PER_S / passed_s
            self._speed = min(max(speed, 1e-3), 1e6)
            self._paced = (at_s, market_ns)
        return min(max((self.model.next_ns - market_ns) / NS_PER_S / self._speed, 0.0), MAX_SLEEP_S)

    def _keep_house(self, at_s: float, published_ns: int) -> None:
        self.venue.tick(at_s, published_ns)
        if self._truth is not None:
            self._truth.flush()
        if at_s - self._saved_s >= SAVE_EVERY_S:
            self._saved_s = at_s
            self._save()
        limit_s = self.faults.disconnect_every_s
        for link in list(self._links):
            if limit_s and at_s - link.since_s >= limit_s:
                link.abort()

    def _save(self) -> None:
        if self._config.state_path is not None:
            save_levels(self._config.state_path, self.model.levels())

    def _flush_all(self) -> None:
        for link in list(self._links):
            link.flush(self.faults, self.counters, self._config.unsent_limit_bytes)

    # --- clients --------------------------------------------------------------------------------

    async def _serve_client(self, websocket: ServerConnection) -> None:
        link = _Link(websocket)
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
            self._flush_all()
            return
        await self._answer(link, first)
        async for request in link.websocket:
            if link.websocket.state is not State.OPEN:
                return  # what it had sent before we closed it
            await self._answer(link, request)

    async def _answer(self, link: "_Link", request: str | bytes) -> None:
        self._reception.receive(link.connection, request)
        self._flush_all()  # all: a resumed session closes the socket that had it
        replay, link.connection.replay = link.connection.replay, None
        if replay is not None:
            await self._write_replay(link, replay)

    async def _write_replay(self, link: "_Link", replay: Iterator[str]) -> None:
        # At the client's pace. Live messages go on in between.
        while chunk := list(islice(replay, REPLAY_CHUNK)):
            link.connection.out += chunk
            self._flush_all()
            if link.websocket.state is not State.OPEN:
                return
            await link.websocket.drain()
            await asyncio.sleep(0)


class _Link:
    # A socket and the venue's view of it.

    __slots__ = ("connection", "since_s", "websocket")

    def __init__(self, websocket: ServerConnection) -> None:
        self.websocket = websocket
        self.connection = Connection()
        self.since_s = asyncio.get_running_loop().time()

    def flush(self, faults: Faults, counters: Counters, unsent_limit_bytes: int) -> None:
        connection, transport = self.connection, self.websocket.transport
        if not connection.out and connection.close is None:
            return
        texts, connection.out = connection.out, []
        if self.websocket.state is not State.OPEN or faults.stall:
            return
        # One write a turn, past the library: its send() costs 25 us a message, this 1 us.
        transport.write(b"".join([frame(text) for text in texts]))
        if connection.close is None and transport.get_write_buffer_size() > unsent_limit_bytes:
            transport.write(frame(error("slow_consumer", f"more than {unsent_limit_bytes} bytes unsent")))
            connection.close = (CLOSE_SLOW, "slow consumer")
        if connection.close is not None:
            self._close(*connection.close)
            counters.closed[connection.close[0]] += 1
            connection.close = None

    def abort(self) -> None:
        self.websocket.transport.abort()

    def _close(self, code: int, reason: str) -> None:
        # Not the library's close(): it waits for the buffer to drain, which a slow client may never do.
        self.websocket.protocol.send_close(code, reason)
        self.websocket.send_data()
        asyncio.get_running_loop().call_later(ABORT_AFTER_S, self.abort)


def frame(text: str) -> bytes:
    """Return an unmasked, unfragmented text frame. Source: RFC 6455, section 5.2."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def _only_the_feed(websocket: ServerConnection, request: Request) -> Response | None:
    if request.path.partition("?")[0] == PATH:
        return None
    return websocket.respond(HTTPStatus.NOT_FOUND, f"the feed is at {PATH}\n")


def _bound_port(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


async def serve(
    config: SimulatorConfig,
    now: Callable[[], int],
    stop: asyncio.Event,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Run the venue until `stop` is set. `now` is ns by the market clock."""
    await IceSimulator(config, now).run(stop, on_listening)
