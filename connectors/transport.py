"""The socket side that every WebSocket venue shares: connect, stamp, pump, notice death, reconnect.

All protocol lives in a `Handler`, a state machine without I/O. This file owns the clock readings, the socket and the
waiting. Liveness and reconnect delays are real time (the loop's clock); what a handler is told is the market clock.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from connectors.websocket import MESSAGE_BYTES_MAX, StampedConnection

FIRST_DELAY_S: Final = 0.1
CAP_DELAY_S: Final = 10.0

_POLL_S: Final = 0.05  # granularity of timers; the shortest time-out of a venue is 2 s
_FULL_POLL_S: Final = 0.002
_CLOSE_TIMEOUT_S: Final = 2.0


class Handler(Protocol):
    """A venue session as its transport sees it. `now_ns` is the market clock."""

    def on_open(self, now_ns: int) -> None: ...

    def receive(self, frame: bytes, now_ns: int) -> None: ...

    def on_timer(self, now_ns: int) -> None: ...

    def on_close(self, code: int | None, now_ns: int, reason: str) -> None: ...

    def to_send(self) -> list[bytes]:
        """Requests to send now."""

    def next_timer_ns(self) -> int | None:
        """When `on_timer` is due."""

    def lost(self) -> str | None:
        """Why the connection shall be closed, if it shall."""

    def min_retry_s(self) -> float:
        """Least delay before the next connection."""

    def full(self) -> bool:
        """Whether nothing more can be taken for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where to connect and when to call a peer dead. Address and headers may hold credentials: never shown."""

    url: str = field(repr=False)
    open_timeout_s: float
    ping_interval_s: float
    dead_after_s: float
    stable_after_s: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Backoff:
    """Delays between connections: doubling, capped, with full jitter, never below `first_s`.

    Full jitter spreads clients that a venue dropped at the same moment. Source: AWS Architecture Blog,
    "Exponential Backoff And Jitter", 2015.
    """

    def __init__(
        self,
        *,
        first_s: float = FIRST_DELAY_S,
        cap_s: float = CAP_DELAY_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first_s, self._cap_s, self._uniform = first_s, cap_s, uniform
        self._failures = 0

    def next_delay_s(self, least_s: float = 0.0) -> float:
        """Return the next delay, and make the one after it longer."""
        ceiling_s = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(least_s, self._uniform(self._first_s, ceiling_s))

    def reset(self) -> None:
        """A connection proved stable: begin with short delays again."""
        self._failures = 0


async def keep_connected(
    handler: Handler, link: Link | Callable[[], Link], now: Callable[[], int], stop: asyncio.Event, backoff: Backoff
) -> None:
    """Connect, pump, and connect again, until `stop`. A callable `link` is asked before each connection.

    A connection refused by HTTP is told to the handler with the status as its code (below 1000, unlike close codes).

    Raises: whatever the handler raises; network errors are told to the handler instead.
    """

    def target() -> Link:
        return link() if callable(link) else link

    await reconnecting(
        lambda: _one_connection(handler, target(), now, stop),
        handler.min_retry_s,
        stop,
        backoff,
        target().stable_after_s,
    )


async def reconnecting(
    one_connection: Callable[[], Awaitable[None]],
    min_retry_s: Callable[[], float],
    stop: asyncio.Event,
    backoff: Backoff,
    stable_after_s: float,
) -> None:
    """Run one connection after the other, with pauses, until `stop`; for any kind of socket."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        started_s = loop.time()
        await one_connection()
        if loop.time() - started_s >= stable_after_s:
            backoff.reset()
        await pause(stop, backoff.next_delay_s(min_retry_s()))


async def pause(stop: asyncio.Event, delay_s: float) -> None:
    """Wait, but not past `stop`."""
    try:
        async with asyncio.timeout(delay_s):
            await stop.wait()
    except TimeoutError:
        pass


async def _one_connection(handler: Handler, link: Link, now: Callable[[], int], stop: asyncio.Event) -> None:
    connection_type = type("StampedConnection", (StampedConnection,), {"now": staticmethod(now)})
    try:
        connection = await connect(
            link.url,
            create_connection=connection_type,
            additional_headers=link.headers,
            compression=None,
            proxy=None,
            open_timeout=link.open_timeout_s,
            ping_interval=link.ping_interval_s,
            ping_timeout=None,  # any sign of life counts, not only a pong: see _watch
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=MESSAGE_BYTES_MAX,
        )
    except (OSError, TimeoutError, InvalidHandshake) as error:
        status = error.response.status_code if isinstance(error, InvalidStatus) else None
        handler.on_close(status, now(), f"cannot connect: {error}")
        return
    assert isinstance(connection, StampedConnection)
    reason = await _serve(connection, handler, link, now, stop)
    handler.on_close(connection.close_code, now(), reason or connection.close_reason or "")


# Read and watch side by side; whichever ends first ends the connection. Returns our own reason, if it was ours.
async def _serve(
    connection: StampedConnection, handler: Handler, link: Link, now: Callable[[], int], stop: asyncio.Event
) -> str:
    tasks: list[asyncio.Future[str]] = []
    try:
        handler.on_open(now())
        tasks.append(asyncio.ensure_future(_read(connection, handler)))
        tasks.append(asyncio.ensure_future(_watch(connection, handler, link, now, stop)))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await connection.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionClosed):
            raise outcome
    return next((outcome for outcome in outcomes if isinstance(outcome, str)), "")


async def _read(connection: StampedConnection, handler: Handler) -> str:
    await _send(connection, handler)
    while (reason := handler.lost()) is None:
        messages, stamp_ns = await connection.take()
        for message in messages:
            handler.receive(message, stamp_ns)
            if handler.lost() is not None:
                break  # the connection is given up, with what it brought since
            while handler.full():  # the socket fills up behind us: back-pressure instead of growth
                await asyncio.sleep(_FULL_POLL_S)
                connection.heard_s = connection.loop.time()
        await _send(connection, handler)
    return reason


async def _send(connection: StampedConnection, handler: Handler) -> None:
    for request in handler.to_send():
        await connection.send(request, text=True)


async def _watch(
    connection: StampedConnection, handler: Handler, link: Link, now: Callable[[], int], stop: asyncio.Event
) -> str:
    while not stop.is_set():
        await pause(stop, _POLL_S)
        due_ns = handler.next_timer_ns()
        if due_ns is not None and (now_ns := now()) >= due_ns:
            handler.on_timer(now_ns)
            await _send(connection, handler)
        if (reason := handler.lost()) is not None:
            return reason
        if connection.loop.time() - connection.heard_s > link.dead_after_s:
            connection.transport.abort()
            return f"silent for {link.dead_after_s:g} s"
    return "stopped"
