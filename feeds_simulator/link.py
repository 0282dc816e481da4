"""A client's socket as every venue has it: what goes wrong with it by time, and what it may leave unread.

Delivery: what is written to a link that is half open is lost, as the fault wants it.
"""

import asyncio
from typing import Final, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from feeds_simulator.faults import Faults

HALF_OPEN_KEPT_S: Final = 180.0  # a half-open socket is let go when any client has long given it up


class Socket(Protocol):
    """What a link needs of an asyncio transport."""

    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def abort(self) -> None: ...


class Lifetime(Protocol):
    """What says that a connection is to be cut: the wire of a connection."""

    def must_close(self, now_ns: int) -> bool: ...


class Link:
    """A plain socket."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.half_open = False

    @property
    def can_write(self) -> bool:
        """Whether what is written reaches anybody; uvloop raises where a socket was cut a moment ago."""
        return not self.half_open and not self.socket.is_closing()

    def write(self, data: bytes, unsent_limit_bytes: int) -> bool:
        """Write; return whether the client keeps up, that is, leaves no more than so many bytes unread."""
        self.socket.write(data)
        return self.socket.get_write_buffer_size() <= unsent_limit_bytes

    def suffer(self, wire: Lifetime, faults: Faults, now_ns: int) -> None:
        """Let happen to the socket what goes wrong by time."""
        if wire.must_close(now_ns):
            self.abort()
        elif faults.half_open and not self.half_open:
            self.half_open = True
            self.fall_silent()
            asyncio.get_running_loop().call_later(HALF_OPEN_KEPT_S, self.abort)

    def fall_silent(self) -> None:
        """Read no more and answer no more, not even a ping."""
        self.socket.pause_reading()

    def abort(self) -> None:
        """Cut the connection, without a goodbye."""
        self.socket.abort()


class WebSocketLink(Link):
    """A WebSocket. Writes go past the library: its send() costs 25 us a message, this 1 us."""

    def __init__(self, websocket: ServerConnection) -> None:
        super().__init__(websocket.transport)
        self.websocket = websocket

    @property
    def can_write(self) -> bool:
        return super().can_write and self.websocket.state is State.OPEN

    def fall_silent(self) -> None:
        super().fall_silent()
        if self.websocket.keepalive_task is not None:
            self.websocket.keepalive_task.cancel()
