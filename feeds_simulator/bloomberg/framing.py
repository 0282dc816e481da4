"""The private framing between the facade and its server: a length, then one JSON object.

Bloomberg's own wire is closed; nothing outside this package knows ours. It only has to carry SDK objects over a real
socket, so that everything a network does to a feed happens to this one too.

Shape: | body length u32 big-endian | body: UTF-8 JSON object |
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

import orjson

FRAME_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""A longer body is damage: an event of a thousand messages is about 300 kB."""

_LENGTH: Final = struct.Struct("!I")

Body = dict[str, Any]


class FramingError(ValueError):
    """Bytes that are no frame. The connection is beyond repair: where the next frame begins is unknown."""


def frame(body: Body) -> bytes:
    """Return one frame."""
    data = orjson.dumps(body)
    return _LENGTH.pack(len(data)) + data


class Unframer:
    """Cut a byte stream into bodies, wherever it was split.

    State: the bytes of one incomplete frame, at most FRAME_LIMIT_BYTES and one read.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Body]:
        """Take bytes, give the bodies they complete. Raises: FramingError."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(buffer, start)
                if size > FRAME_LIMIT_BYTES:
                    raise FramingError(f"a frame of {size} bytes")
                end = start + _LENGTH.size + size
                if len(buffer) < end:
                    break
                body = _body(bytes(buffer[start + _LENGTH.size : end]))
                start = end
                yield body
        finally:
            del buffer[:start]


def _body(data: bytes) -> Body:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FramingError(f"a frame that is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise FramingError(f"a frame that is a JSON {type(body).__name__}, not an object")
    return body
