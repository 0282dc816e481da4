"""A WebSocket client on a wire that a test writes byte by byte: no socket, no task."""

import asyncio
import struct
from itertools import count
from typing import Any

from websockets.client import ClientProtocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from connectors.websocket import MESSAGE_BYTES_MAX, StampedConnection

PING, PONG, CLOSE = 0x9, 0xA, 0x8
TEXT, BINARY, MORE = 0x1, 0x2, 0x0


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    head, size = (0x80 if fin else 0) | opcode, len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


class Wire(asyncio.Transport):
    """Stands in for a socket: keeps what is written, and whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_reading = True

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Client:
    """A connection on a `Wire`; each reading of its clock is one more than the one before."""

    def __init__(self) -> None:
        ticks = count(1)
        kind = type("Stamped", (StampedConnection,), {"now": staticmethod(lambda: next(ticks))})
        protocol = ClientProtocol(parse_uri("ws://venue/"), max_size=MESSAGE_BYTES_MAX)
        self.connection: StampedConnection = kind(protocol, ping_interval=None)
        self.wire = Wire()
        self.connection.connection_made(self.wire)
        request = protocol.connect()
        protocol.send_request(request)
        protocol.data_to_send()
        self.answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(request.headers['Sec-WebSocket-Key'])}\r\n\r\n"
        ).encode()

    def read(self, data: bytes, cuts: list[int] | None = None) -> None:
        at = 0
        for cut in [*(cuts or []), len(data)]:
            if cut > at:
                self.connection.data_received(data[at:cut])
                at = cut

    async def reads(self) -> list[tuple[list[bytes], int]]:
        found = []
        while self.connection._reads:
            found.append(await self.connection.take())
        return found

    async def messages(self) -> list[bytes]:
        return [message for messages, _ in await self.reads() for message in messages]
