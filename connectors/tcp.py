"""The socket side of venues that speak over plain TCP: connect, stamp, pump, notice what the session wants, reconnect.

All protocol, liveness included, lives in the `Handler`; the delays between connections are those of the WebSocket
transport. What is read is stamped in the read itself, and not read at all while the handler is full.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from connectors.transport import Backoff, Handler, pause, reconnecting

_POLL_S: Final = 0.05  # granularity of timers; the shortest of a FIX session is a second
_FULL_POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to connect."""

    host: str
    port: int
    open_timeout_s: float
    stable_after_s: float


async def keep_connected(
    handler: Handler,
    address: Address,
    now: Callable[[], int],
    stop: asyncio.Event,
    backoff: Backoff,
    farewell: Callable[[], None],
) -> None:
    """Connect, pump, and connect again, until `stop`; `farewell` is then called, and what it wants said is sent.

    Raises: whatever the handler raises; network errors are told to the handler instead.
    """

    async def one_connection() -> None:
        await _one_connection(handler, address, now, stop, farewell)

    await reconnecting(one_connection, handler.min_retry_s, stop, backoff, address.stable_after_s)


async def _one_connection(
    handler: Handler, address: Address, now: Callable[[], int], stop: asyncio.Event, farewell: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(address.open_timeout_s):
            _, line = await loop.create_connection(lambda: _Line(handler, now), address.host, address.port)
    except (OSError, TimeoutError) as error:
        handler.on_close(None, now(), f"cannot connect to {address.host}:{address.port}: {error or 'no answer'}")
        return
    try:
        reason = await _watch(line, handler, now, stop, farewell)
    finally:
        line.close()
    await line.closed.wait()
    if line.failure is not None:
        raise line.failure
    handler.on_close(None, now(), reason)


async def _watch(
    line: "_Line", handler: Handler, now: Callable[[], int], stop: asyncio.Event, farewell: Callable[[], None]
) -> str:
    while not line.ended.is_set() and not stop.is_set():
        await _first_of(line.ended, stop, _FULL_POLL_S if line.paused else _POLL_S)
        line.pause_or_resume()
        due_ns = handler.next_timer_ns()
        if due_ns is not None and (now_ns := now()) >= due_ns:
            handler.on_timer(now_ns)
            line.send()
    if stop.is_set() and not line.ended.is_set():
        farewell()
        line.send()
        return "stopped"
    return handler.lost() or line.reason


async def _first_of(ended: asyncio.Event, stop: asyncio.Event, delay_s: float) -> None:
    # Two events and a time-out; a stop may be seen a poll late, an end never.
    if not stop.is_set():
        await pause(ended, delay_s)


class _Line(asyncio.Protocol):
    # The socket. An error of the handler ends it and is raised by whoever watches.

    def __init__(self, handler: Handler, now: Callable[[], int]) -> None:
        self._handler, self._now = handler, now
        self.ended = asyncio.Event()  # nothing more to do, but perhaps something to write
        self.closed = asyncio.Event()
        self.failure: Exception | None = None
        self.reason = "the venue closed the connection"
        self.paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._do(lambda: self._handler.on_open(self._now()))

    def data_received(self, data: bytes) -> None:
        stamp_ns = self._now()
        if not self.ended.is_set():
            self._do(lambda: self._handler.receive(data, stamp_ns))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.reason = f"connection lost: {exc}"
        self.ended.set()
        self.closed.set()

    def send(self) -> None:
        """Write what the handler has to say, and end if it wants to. To a socket that is gone nothing is said."""
        messages = self._handler.to_send()
        if messages and self._transport is not None and not self._transport.is_closing():  # uvloop raises, asyncio not
            self._transport.write(b"".join(messages))
        if self._handler.lost() is not None:
            self.ended.set()

    def pause_or_resume(self) -> None:
        """Do not read while the handler is full: the socket fills up behind us, back-pressure instead of growth."""
        full = self._handler.full()
        if self._transport is not None and full != self.paused and not self.ended.is_set():
            self.paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self) -> None:
        """Close, after what was written has gone out; at once if the peer does not take it."""
        if self._transport is None:
            self.closed.set()
            return
        if self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(1.0, self._transport.abort)
        self._transport.close()

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
            self.send()
            self.pause_or_resume()
        except Exception as error:  # must not be lost in the event loop: whoever watches raises it
            self.failure = error
            self.ended.set()
