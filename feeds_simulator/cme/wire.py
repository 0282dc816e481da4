"""FIX messages as bytes, both ways, as the venue reads and writes them. Pure.

Source: FIX 4.4 volume 1, "Message format": 8, 9 and 35 first, 10 last; BodyLength counts from 35 up to the SOH before
10; CheckSum is the sum of all bytes before 10, modulo 256.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zlib import adler32

SOH: Final = "\x01"
MAX_MESSAGE_BYTES: Final = 65_536

Message = list[tuple[int, str]]
"""(tag, value) in the order received, without 8, 9 and 10 in front and at the end."""


def seal(begin_string: str, content: str) -> bytes:
    """Return the message of fields from `35=` on, each with its SOH."""
    body = content.encode()
    message = f"8={begin_string}\x019={len(body)}\x01".encode() + body
    return message + b"10=%03d\x01" % _checksum(message)


def _checksum(message: bytes) -> int:
    # Adler-32's low half is 1 + the sum of the bytes modulo 65,521, which 256 bytes do not reach; `sum` costs 2 us.
    total = 0
    for at in range(0, len(message), 256):
        total += adler32(message[at : at + 256]) - 1
    return total & 0xFF


@lru_cache(maxsize=64)  # all entries of an action have one time, all messages of a turn another
def utc(ns: int, digits: int) -> str:
    """Return a UTCTimestamp with so many digits of a second's fraction."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return f"{_second(seconds)}.{fraction:09d}"[: 18 + digits] if digits else _second(seconds)


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d-%H:%M:%S")


def value(message: Message, tag: int) -> str | None:
    """Return the first value of a tag."""
    return next((text for number, text in message if number == tag), None)


def values(message: Message, tag: int) -> list[str]:
    """Return all values of a tag, as of the entries of a group."""
    return [text for number, text in message if number == tag]


class Reader:
    """Cut a client's stream into messages; what is none is skipped up to the next `8=FIX`."""

    def __init__(self) -> None:
        self._rest = b""
        self.skipped = 0

    def feed(self, data: bytes) -> list[tuple[str, Message]]:
        """Take what was read; return (BeginString, message) of each that is complete."""
        self._rest += data
        messages = []
        while (found := self._next()) is not None:
            begin_string, message = found
            if message:
                messages.append((begin_string, message))
        return messages

    # The next message; an empty one where bytes were skipped; None where more are needed.
    def _next(self) -> tuple[str, Message] | None:
        start = self._rest.find(b"8=FIX")
        if start < 0:
            return None
        self._rest = self._rest[start:]
        parts = self._rest[:64].split(b"\x01", 2)
        if len(parts) < 3:
            return None if len(self._rest) < 64 else self._skip()
        if not (parts[1].startswith(b"9=") and parts[1][2:].isdigit() and int(parts[1][2:]) <= MAX_MESSAGE_BYTES):
            return self._skip()
        first = len(parts[0]) + len(parts[1]) + 2
        end = first + int(parts[1][2:])
        if len(self._rest) < end + 7:
            return None
        if self._rest[end : end + 7] != b"10=%03d\x01" % (sum(self._rest[:end]) & 0xFF):
            return self._skip()
        body, self._rest = self._rest[first:end], self._rest[end + 7 :]
        return parts[0][2:].decode("ascii", "replace"), _fields(body)

    def _skip(self) -> tuple[str, Message]:
        self.skipped += 1
        self._rest = self._rest[1:]
        return "", []


# RawData (96) is as long as RawDataLength (95) says; nothing else a client sends may hold a SOH.
def _fields(body: bytes) -> Message:
    message: Message = []
    at = 0
    while at < len(body):
        tag, equals, _ = body[at:].partition(b"=")
        start = at + len(tag) + 1
        length = message[-1][1] if tag == b"96" and message and message[-1][0] == 95 else ""
        end = start + int(length) if length.isdigit() else body.find(b"\x01", start)
        if not equals or not tag.isdigit() or end < 0:
            return []
        message.append((int(tag), body[start:end].decode("utf-8", "replace")))
        at = end + 1
    return message
