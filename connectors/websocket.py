"""A WebSocket client that cuts whole messages out of what it reads by itself; the library does all the rest.

A venue's feed is nearly all messages of one unfragmented frame. For such a frame the library runs a generator, makes
several objects and takes a task's turn, 12 us in all; cut out of the read that brought it, it costs less than 1. The
handshake, control frames, fragments and whatever is wrong go to the library, a frame at a time and in their order.

Source: RFC 6455, section 5.2 (frames of a server are not masked).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State

MESSAGE_BYTES_MAX: Final = 1 << 20

_WHOLE: Final = (0x81, 0x82)  # a text or a binary message in one frame, no extension
_READS_MAX: Final = 16  # that wait to be taken, of 256 KiB at most; the socket fills up behind them

Read = tuple[list[bytes], int]
"""The messages that one read of the socket completed, and the time at which it came."""


class StampedConnection(ClientConnection):
    """A connection that stamps messages as their last byte is read, not when somebody gets to them.

    State: reads that nobody took yet, one incomplete frame, one fragmented message.
    """

    now: Callable[[], int]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.heard_s = self.loop.time()
        self._answer = b""  # of the handshake, as far as it has come
        self._rest = b""
        self._fragments: bytearray | None = None
        self._reads: deque[Read] = deque()
        self._came = asyncio.Event()
        self._is_paused = False

    async def take(self) -> Read:
        """Return the messages of the next read. Raises: ConnectionClosed once there is none to come."""
        while not self._reads:
            if self.protocol.state is State.CLOSED:
                raise self.protocol.close_exc
            self._came.clear()
            await self._came.wait()
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        return self._reads.popleft()

    # ---- asked by the event loop

    def data_received(self, data: bytes) -> None:
        if self.response is None:
            data = self._shake_hands(data)
        if self.protocol.state is State.OPEN:
            self._cut(self._rest + data if self._rest else data)
        else:
            self._give(self._rest + data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._came.set()

    # ---- asked by the library

    def process_event(self, event: Any) -> None:
        self.heard_s = self.loop.time()
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        message = self._fragments = (self._fragments or bytearray()) + event.data
        if event.fin:
            self._fragments = None
            self._deliver([bytes(message)], self.now())

    # ---- frames

    # The library reads no further than the venue's answer goes, and so begins with us at a frame.
    def _shake_hands(self, data: bytes) -> bytes:
        before = len(self._answer)
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        cut = len(data) if end < 0 else max(0, end + 4 - before)
        super().data_received(data[:cut])
        return data[cut:]

    def _give(self, data: bytes) -> None:
        self._rest = b""
        if data:
            super().data_received(data)

    def _cut(self, data: bytes) -> None:
        stamp_ns, messages, at, end = self.now(), list[bytes](), 0, len(data)
        while end - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                start = at + 4
                size = int.from_bytes(data[at + 2 : start])
            elif size > 126:
                start = at + 10
                size = int.from_bytes(data[at + 2 : start]) if size == 127 else MESSAGE_BYTES_MAX + 1  # masked
            stop = start + size
            is_whole = data[at] in _WHOLE and self._fragments is None
            if size > MESSAGE_BYTES_MAX and start <= end:
                stop = end  # the library will refuse it
            elif stop > end:
                break
            elif is_whole:
                messages.append(data[start:stop])
                at = stop
                continue
            messages = self._deliver(messages, stamp_ns)
            self._give(data[at:stop])
            at = stop
            if self.protocol.state is not State.OPEN:
                self._give(data[at:])
                return
        self._rest = data[at:]
        self._deliver(messages, stamp_ns)

    def _deliver(self, messages: list[bytes], stamp_ns: int) -> list[bytes]:
        if messages:
            self.heard_s = self.loop.time()
            self._reads.append((messages, stamp_ns))
            self._came.set()
            if len(self._reads) > _READS_MAX and not self._is_paused:
                self._is_paused = True
                self.transport.pause_reading()
        return []
