"""The gateway process: one port for WebSocket, REST, metrics and the dashboard. Composition and life cycle.

Order at start: listen, then read the log's tail in a thread; who subscribes before the image is complete gets it
when it is. Order at stop: no new connections, close 1001 to every client, cut who does not answer in time.
"""

import asyncio
import logging
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from connectors.log import open_reader
from gateway import protocol, sse
from gateway.auth import Grant, Identity, Standing, Verifier, bearer_token
from gateway.client import ClientQueue
from gateway.config import LOOPBACK_HOSTS, GatewayConfig
from gateway.errors import AuthError, BadKeys, HttpError
from gateway.follow import Follower
from gateway.http import Target, as_response, error_reply, host_name, parse_target, same_host
from gateway.hub import Hub
from gateway.keys import KeyRing
from gateway.live import LiveState
from gateway.metrics import Counts, GatewayCollector, Metrics
from gateway.packing import SUBPROTOCOL, packed_frame, unpack_json, unpack_request
from gateway.pump import SOCKET_HIGH_BYTES, SOCKET_LOW_BYTES, GatewayConnection, Link, Pump
from gateway.rest import Store
from gateway.routes import Routes
from gateway.session import HEARTBEAT_S, MAX_MESSAGE_BYTES, Session, welcome_frame
from gateway.sse import SSE_PATH, EventLink, EventQueue
from market.records import Patience

STREAM_PATH: Final = "/v1/stream"
OPEN_PATHS: Final = frozenset({"/v1/openapi.json"})
"""Under /v1, what says nothing about a market."""

PING_S: Final = 20.0
STALLED_S: Final = 40.0
"""A socket that takes nothing for two ping periods has nobody behind it."""

COMPRESS_ASIDE_BYTES: Final = 64 * 1024
"""From here on compressing (30 ms for 3 MB, without the GIL) would hold up the streams."""

KERNEL_BUFFER_BYTES: Final = 128 * 1024

STOP_S: Final = 1.2
"""How long clients may take to answer the close; the whole stop stays below 2 s."""

_LOG: Final = logging.getLogger("mandi.gateway")


async def serve(config: GatewayConfig, now: Callable[[], int], stop: asyncio.Event) -> None:
    """Serve until `stop` is set. `now` is the market clock, ns UTC.

    Raises: BadKeys if tokens cannot be verified, or are needed and not set up;
        OSError if the port cannot be had; UnsupportedLog if the log's URL is not understood.
    """
    gateway = Gateway(config, now)
    await gateway.start()
    try:
        await stop.wait()
    finally:
        await gateway.stop()


class Gateway:
    """One running gateway."""

    def __init__(self, config: GatewayConfig, now: Callable[[], int]) -> None:
        self._config, self._now = config, now
        self._loop = asyncio.get_running_loop()
        self._counts = Counts()
        anonymous = Grant(user=config.anonymous_user)
        self._hub = Hub(epoch=secrets.token_hex(8), now=now, counts=self._counts, anonymous=anonymous)
        self._pump = Pump(self._loop)
        self._conflated_by_gone = 0
        self._addresses: Counter[str] = Counter()  # open connections by the peer's address
        self._users: Counter[str] = Counter()  # and by user
        self._verifier = _verifier(config)
        open_reader(config.log_url).close()  # an unusable URL ends the start, not the thread
        self._stopped = threading.Event()  # ends a wait for the log's broker
        self._follower = Follower(
            partial(
                open_reader, config.log_url, patience=Patience(stopped=self._stopped.is_set, on_wait=self._tell_away)
            ),
            self._hub,
            self._loop,
            tail_records=config.tail_records,
        )
        self._store = Store(config.timescale_dsn)
        self._routes = Routes(
            config=config,
            live=LiveState(self._hub, now),
            store=self._store,
            metrics=Metrics(self._collector()),
            follower=self._follower,
        )
        self._server: Server | None = None
        self._ticker: asyncio.Task[None] | None = None

    def _tell_away(self, reason: str, pause_s: float) -> None:
        self._counts.log_away = bool(reason)
        if reason:
            self._counts.log_retries += 1
            _LOG.warning("the log cannot be reached (%s); next attempt in %.1f s", reason, pause_s)
        else:
            _LOG.warning("the log can be reached again")

    def _collector(self) -> GatewayCollector:
        return GatewayCollector(
            self._counts,
            clients=lambda: len(self._pump.links),
            sent=self._hub.sent,
            conflated=lambda: self._conflated_by_gone + sum(queue.conflated for queue in self._pump.links),
            follower=self._follower,
        )

    async def start(self) -> None:
        self._server = await listen(
            self._converse,
            self._config.host,
            self._config.port,
            process_request=self._process_request,
            select_subprotocol=lambda _, offered: Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None,
            create_connection=GatewayConnection,
            compression=None,  # CPU per client, and a compressed secret beside chosen text leaks (CRIME)
            open_timeout=None,  # the connection's own: events outlast it
            max_size=MAX_MESSAGE_BYTES,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=STOP_S,
            write_limit=(SOCKET_HIGH_BYTES, SOCKET_LOW_BYTES),
            server_header=None,
            logger=_library_log(),
            backlog=4096,
        )
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        self._follower.start()
        self._ticker = self._loop.create_task(self._tick())
        if self._config.on_listening is not None:
            self._config.on_listening(host, port)

    async def stop(self) -> None:
        """Close everything; takes less than 2 s whatever the clients do."""
        assert self._server is not None
        assert self._ticker is not None
        self._stopped.set()
        self._follower.stop()
        self._ticker.cancel()
        for link in list(self._pump.links.values()):
            link.part("shutdown", "the gateway stops")
        self._server.close(code=1001, reason="the gateway stops")
        try:
            async with asyncio.timeout(STOP_S):
                await self._server.wait_closed()
        except TimeoutError:
            for link in list(self._pump.links.values()):
                link.cut("shutdown")
            await self._server.wait_closed()
        await self._store.close()
        await asyncio.to_thread(self._follower.join, 0.5)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            frame = protocol.text_frame(protocol.heartbeat_message(self._now()))
            for queue in list(self._pump.links):
                if queue.empty and not queue.closed:  # who has something waiting needs no sign of life
                    queue.heartbeat(frame)
            self._pump.cut_stalled(STALLED_S)
            self._pump.end_unwelcome()

    # One connection

    async def _converse(self, connection: ServerConnection) -> None:
        queue = ClientQueue(now=self._now, wake=self._pump.wake, schedule=self._loop.call_later)
        packed = connection.subprotocol == SUBPROTOCOL
        link = self._connect(Link(connection, queue, self._pump, packed_frame if packed else None))
        decode = unpack_request if packed else unpack_json
        session = Session(self._hub, queue, time.monotonic, decode, link.standing)
        session.open()
        try:
            async for text in connection:
                # Reading goes on after `end`: else the client's answer to the close would wait behind its flood.
                if not link.reason and not session.receive(text):
                    link.end(4429, "rate_limited", "too many messages")
                elif not link.reason and not self._claim(link):
                    self._counts.refusals["too_many_clients"] += 1
                    link.end(4429, "too_many_clients", "too many connections of your user")
        except ConnectionClosed as error:
            too_long = error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG
            link.reason = link.reason or ("too_long" if too_long else "lost")
        finally:
            session.close()
            self._disconnect(link)

    async def _send_events(self, connection: ServerConnection, request: Request, target: Target) -> None:
        """Answer with events until the client or the gateway ends it."""
        assert isinstance(connection, GatewayConnection)
        wanted = sse.subscriptions_of(target, next(iter(request.headers.get_all("Last-Event-ID")), None))
        queue = EventQueue(
            epoch=self._hub.epoch,
            target=target,
            now=self._now,
            wake=self._pump.wake,
            schedule=self._loop.call_later,
        )
        self._hub.join(queue, None if connection.identity is None else connection.identity.grant)
        link = EventLink(connection, queue, self._pump)
        try:
            queue.control(welcome_frame(self._hub.epoch))
            sse.follow(partial(self._hub.subscribe, queue), wanted)
            if self._hub.primed:  # else the images are still to come
                queue.mark(self._hub.ordinal, protocol.text_frame(protocol.heartbeat_message(self._now())))
            connection.deadline.reschedule(None)
            connection.transport.write(sse.response_head(self._cross_origin(request)))
            self._connect(link)
            await connection.wait_closed()
        finally:
            self._hub.leave(queue)
            if queue in self._pump.links:
                self._disconnect(link)

    def _connect(self, link: Link) -> Link:
        connection, queue = link.connection, link.queue
        assert isinstance(connection, GatewayConnection)
        # The kernel would let its buffer grow to megabytes of old prices before the client counts as slow.
        connection.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES
        )
        connection.on_resume = lambda: None if queue.awake else self._pump.wake(queue)
        if self._verifier is not None:
            link.standing = Standing(self._verifier, connection.identity)
        self._pump.links[queue] = link
        self._addresses[_address(connection)] += 1
        self._claim(link)
        return link

    def _claim(self, link: Link) -> bool:
        """Count a connection as its user's, once it is known whose it is; tell whether there is room for it."""
        identity = None if link.standing is None else link.standing.identity
        if identity is None or link.user:
            return True
        if self._users[identity.grant.user] >= self._config.max_clients_per_user:
            return False
        link.user = identity.grant.user
        self._users[link.user] += 1
        return True

    def _disconnect(self, link: Link) -> None:
        link.queue.abandon()
        del self._pump.links[link.queue]
        address = _address(link.connection)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        if link.user:
            self._users[link.user] -= 1
            if not self._users[link.user]:
                del self._users[link.user]
        self._conflated_by_gone += link.queue.conflated
        self._counts.disconnects[link.reason or "closed"] += 1

    # One request

    async def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        head = request.method == "HEAD"
        try:
            self._check_host(request)
            target = parse_target(request.path)
            identity = self._identify(connection, request, target)
            if target.path == STREAM_PATH and not head:
                self._check_origin(request)
                self._check_room(connection)
                return None
            if target.path == SSE_PATH and request.method == "GET":
                self._check_origin(request)
                self._check_room(connection)
                await self._send_events(connection, request, target)
                return connection.respond(503, "")  # to nobody: the connection is closed
            grant = self._hub.anonymous if identity is None else identity.grant
            reply = await self._routes.reply(request.method, target, grant)
        except HttpError as error:
            self._counts.refusals[error.code] += 1
            reply = error_reply(error)
        accepts_gzip = any("gzip" in value for value in request.headers.get_all("Accept-Encoding"))
        if len(reply.body) < COMPRESS_ASIDE_BYTES:
            return as_response(reply, head=head, accepts_gzip=accepts_gzip)
        return await asyncio.to_thread(as_response, reply, head=head, accepts_gzip=accepts_gzip)

    def _identify(self, connection: ServerConnection, request: Request, target: Target) -> Identity | None:
        """Return whose request it is; None if no token is asked for, or (on the stream) not yet.

        Raises: HttpError 401.
        """
        if self._verifier is None or not target.path.startswith("/v1/") or target.path in OPEN_PATHS:
            return None
        token = bearer_token(request.headers.get_all("Authorization"))
        if token is None:
            if target.path == STREAM_PATH:
                return None
            raise HttpError(401, "not_authenticated", "this needs a token: Authorization: Bearer ...")
        assert isinstance(connection, GatewayConnection)
        try:
            connection.identity = self._verifier.verify(token)
        except AuthError as error:
            raise HttpError(401, error.code, error.message) from None
        return connection.identity

    def _check_host(self, request: Request) -> None:
        """Refuse a name we are not: a page elsewhere may point its own name at this machine (DNS rebinding)."""
        if self._config.host not in LOOPBACK_HOSTS:
            return
        host = next(iter(request.headers.get_all("Host")), "")
        allowed = {urlsplit(origin).hostname for origin in self._config.allowed_origins}
        if host and host_name(host) not in LOOPBACK_HOSTS | allowed:
            raise HttpError(403, "host_not_allowed", "this gateway does not answer to that host name")

    def _check_origin(self, request: Request) -> None:
        origins = request.headers.get_all("Origin")
        host = next(iter(request.headers.get_all("Host")), "")
        if all(origin in self._config.allowed_origins or same_host(origin, host) for origin in origins):
            return
        raise HttpError(403, "origin_not_allowed", "pages of that origin may not open this stream")

    def _cross_origin(self, request: Request) -> dict[str, str]:
        # Pages of a configured origin may read events; the headers of others are for no page but ours.
        origin = next(iter(request.headers.get_all("Origin")), "")
        if origin not in self._config.allowed_origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Vary": "Origin",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }

    def _check_room(self, connection: ServerConnection) -> None:
        if self._addresses[_address(connection)] >= self._config.max_clients_per_address:
            raise HttpError(429, "too_many_clients", "too many connections of your address")
        assert isinstance(connection, GatewayConnection)
        user = "" if connection.identity is None else connection.identity.grant.user
        if user and self._users[user] >= self._config.max_clients_per_user:
            raise HttpError(429, "too_many_clients", "too many connections of your user")
        if len(self._pump.links) >= self._config.max_clients:
            raise HttpError(503, "too_many_clients", "this gateway is full; try another or come back")


def _verifier(config: GatewayConfig) -> Verifier | None:
    if config.auth is not None:
        keys = KeyRing(config.auth)
        return Verifier(keys, issuer=config.auth.issuer, audience=config.auth.audience, wall_s=config.wall_s)
    if config.host not in LOOPBACK_HOSTS:
        raise BadKeys(f"without tokens the gateway listens on loopback only, not on {config.host}")
    return None


def _address(connection: ServerConnection) -> str:
    # Kept on the connection: the socket of one that was lost no longer tells.
    assert isinstance(connection, GatewayConnection)
    if not connection.address:
        peer = connection.transport.get_extra_info("peername")
        connection.address = str(peer[0]) if peer else "unknown"
    return connection.address


def _library_log() -> logging.Logger:
    """The library's logger, never below INFO: at DEBUG it writes every header and message, tokens among them."""
    logger = logging.getLogger("mandi.gateway.websockets")
    logger.setLevel(logging.INFO)
    return logger
