"""The broker on a socket: WebSocket and REST on one port.

Kite: `/?api_key=...&access_token=...` is the WebSocket. Angel: `/smart-stream`, credentials in headers. GET is REST.
One task paces (feeds_simulator/pacing.py); what happens is written to every socket in the same turn of the loop.

Delivery: as `pacing`. A client that leaves more than `unsent_limit_bytes` unread is cut; nobody else waits for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.frames import frame
from feeds_simulator.link import WebSocketLink
from feeds_simulator.mcx import kite
from feeds_simulator.mcx.board import Board
from feeds_simulator.mcx.rest import Answer, Rest
from feeds_simulator.mcx.venue import AngelDialect, Client, Counters, Dialect, KiteDialect, Venue
from feeds_simulator.pacing import Market, Pacer
from market.sessions import local_date

KITE: Final = "kite"
ANGEL: Final = "angel"
ANGEL_PATH: Final = "/smart-stream"

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 30.0
ABORT_AFTER_S: Final = 5.0
CLOSE_RESTART: Final = 1012


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How to run the broker."""

    host: str = "127.0.0.1"
    port: int = 0
    broker: str = KITE
    api_key: str = "demo"
    access_token: str = field(default="demo-token", repr=False)
    client_code: str = ""
    feed_token: str = field(default="", repr=False)
    buy_flag: int = 0
    heartbeat_s: float = 2.0
    max_tokens: int = 3_000
    max_connections: int = 3
    rest_interval_s: float = 1.0
    unsent_limit_bytes: int = 4 * 1024 * 1024


class McxSimulator:
    """The broker. `run` serves until told to stop; `faults`, `counters` and `port` may be read and set meanwhile."""

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
        self.board = Board(market.listings, local_date("Asia/Kolkata", now()))
        dialect: Dialect
        if config.broker == KITE:
            dialect = KiteDialect(self.board, self.counters, config.max_tokens)
        else:
            dialect = AngelDialect(self.board, self.counters, config.max_tokens, config.buy_flag)
        self.venue = Venue(self.board, dialect, self.faults, config.heartbeat_s)
        self._rest = Rest(self.board, config.api_key, config.access_token, config.rest_interval_s, self.counters)
        self._pacer = Pacer(market, self, now, faults=self.faults)
        self._links: set[_Link] = set()
        self._closing = False

    async def run(self, stop: asyncio.Event, on_listening: Callable[[int], None] | None = None) -> None:
        """Serve until `stop` is set, then close every socket with 1012.

        Delivery: `on_listening` is called with the bound port once clients can connect.
        """
        async with serve_websocket(
            self._serve_client,
            self._config.host,
            self._config.port,
            process_request=self._answer_http,
            compression=None,
            ping_interval=PING_EVERY_S,
            ping_timeout=PONG_WITHIN_S,
            close_timeout=ABORT_AFTER_S,
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
                    link.abort_soon()

    def heard(self, symbol: str) -> bool:
        """Say whether any client is told of a contract."""
        token = self.venue.dialect.token(self.board.by_market[symbol])
        for client in self.venue.clients:  # noqa: SIM110 - a generator costs 1 us, an event
            if token in client.modes:
                return True
        return False

    def told(self) -> dict[str, dict[str, int]]:
        """Return what the packets said, by instrument: the count to compare a client's rows with."""
        counters = self.counters
        named = {
            "packets": counters.packets,
            "trades": counters.trades,
            "lots": counters.lots,
            "quotes": counters.quotes,
        }
        return {key: {name: found[key] for name, found in named.items()} for key in sorted(counters.packets)}

    # --- asked by the pacer ---------------------------------------------------------------------

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:  # noqa: ARG002
        self.venue.publish(actions)

    def keep_house(self, at_s: float, published_ns: int) -> None:  # noqa: ARG002
        now_ns = self._now()
        for link in list(self._links):
            link.suffer(link.client.wire, self.faults, now_ns)
        if self.faults.closing and not self._closing:
            self._closing = True
            self.venue.repeat()

    def flush(self) -> None:
        now_ns, at_s = self._now(), asyncio.get_running_loop().time()
        for link in list(self._links):
            link.tell(self.venue.compose(link.client, now_ns, at_s), self.faults, self._config.unsent_limit_bytes)

    # --- clients --------------------------------------------------------------------------------

    def _answer_http(self, websocket: ServerConnection, request: Request) -> Response | None:
        if self.faults.down:
            return self._refuse(websocket, HTTPStatus.SERVICE_UNAVAILABLE, "the venue is down")
        at_s = asyncio.get_running_loop().time()
        headers = {name: request.headers.get(name, "") for name in ("Authorization",)}
        answer = self._rest.get(request.path, headers, at_s)
        if answer is not None:
            if answer.status != HTTPStatus.OK:
                self.counters.refused[int(answer.status)] += 1
            return _response(answer)
        if "Upgrade" not in request.headers:
            return self._refuse(websocket, HTTPStatus.NOT_FOUND, "there is nothing here")
        if not (self._is_kite(request) if self._config.broker == KITE else self._is_angel(request)):
            body = kite.failure("TokenException", "Incorrect `api_key` or `access_token`.")
            self.counters.refused[int(HTTPStatus.FORBIDDEN)] += 1
            return _response(Answer(HTTPStatus.FORBIDDEN, body))
        if len(self._links) >= self._config.max_connections:
            return self._refuse(websocket, HTTPStatus.TOO_MANY_REQUESTS, "too many connections of this key")
        return None

    def _refuse(self, websocket: ServerConnection, status: HTTPStatus, words: str) -> Response:
        self.counters.refused[int(status)] += 1
        return websocket.respond(status, f"{words}\n")

    def _is_kite(self, request: Request) -> bool:
        query = parse_qs(urlsplit(request.path).query)
        given = (query.get("api_key"), query.get("access_token"))
        return given == ([self._config.api_key], [self._config.access_token])

    def _is_angel(self, request: Request) -> bool:
        config = self._config
        given = [request.headers.get(name) for name in ("Authorization", "x-api-key", "x-client-code", "x-feed-token")]
        wanted = [f"Bearer {config.access_token}", config.api_key, config.client_code, config.feed_token]
        return urlsplit(request.path).path == ANGEL_PATH and given == wanted

    async def _serve_client(self, websocket: ServerConnection) -> None:
        link = _Link(websocket, Client(Wire(self.faults, self._now()), asyncio.get_running_loop().time()))
        self._links.add(link)
        self.venue.clients.add(link.client)
        self.counters.connections += 1
        try:
            async for request in websocket:
                if websocket.state is not State.OPEN:
                    return  # what it had sent before we closed it
                self.venue.dialect.receive(link.client, request)
                self.flush()
        except ConnectionClosed:
            pass
        finally:
            self._links.discard(link)
            self.venue.clients.discard(link.client)


class _Link(WebSocketLink):
    # A socket and the venue's view of it.

    def __init__(self, websocket: ServerConnection, client: Client) -> None:
        super().__init__(websocket)
        self.client = client

    def tell(self, messages: Sequence[str | bytes], faults: Faults, unsent_limit_bytes: int) -> None:
        if not messages or not self.can_write or faults.stall:
            return
        if not self.write(b"".join([frame(message) for message in messages]), unsent_limit_bytes):
            self.abort()

    def abort_soon(self) -> None:
        # After the time for a goodbye, which a half-open socket cannot say.
        asyncio.get_running_loop().call_later(0 if self.half_open else ABORT_AFTER_S, self.abort)


def _response(answer: Answer) -> Response:
    headers = Headers(
        [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
    )
    if answer.gzipped:
        headers["Content-Encoding"] = "gzip"
    return Response(answer.status.value, answer.status.phrase, headers, answer.body)
