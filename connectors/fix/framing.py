"""A byte stream -> FIX messages, by BodyLength and then CheckSum. Pure.

What is no message is skipped up to the next `8=FIX` and reported; its sequence number is not consumed, so the next
good message exposes the hole. The same bytes give the same messages and reports wherever the stream was cut.
"""

import re
from typing import Final, NamedTuple
from zlib import adler32

from connectors.fix.constants import MAX_BODY_BYTES, SOH
from connectors.ticks import RAW_CHARACTERS

_HEAD: Final = re.compile(rb"8=(FIX[^\x01]{1,9})\x019=(\d{1,6})\x01(?=35=)")
_HEAD_BYTES: Final = 32  # with as many, a head that does not match never will
_START: Final = b"8=FIX"
_TRAILER_BYTES: Final = 7  # 10=nnn and its SOH
_TRAILERS: Final = tuple(b"\x0110=%03d\x01" % total for total in range(256))


Frame = tuple[bytes, bytes]
"""BeginString, and the fields from `35=` to the SOH before `10=`."""


class Garbled(NamedTuple):
    """Bytes that were skipped, from the first wrong one up to the next `8=FIX`; `raw` is cut."""

    detail: str
    raw: bytes
    skipped: int


def checksum(data: bytes) -> int:
    """Return the sum of all bytes modulo 256.

    Adler-32's low half is 1 + the sum modulo 65,521, at the speed of C: exact while a piece cannot sum to that.

    Example:
        >>> checksum(b"8=FIX.4.4")
        32
    """
    piece = 512 if data.isascii() else 256
    if len(data) <= piece:
        return (adler32(data) & 0xFFFF) - 1 & 0xFF
    total = 0
    for at in range(0, len(data), piece):
        total += (adler32(data[at : at + piece]) & 0xFFFF) - 1
    return total & 0xFF


class Framer:
    """Cut one connection's stream into messages.

    Shape: bytes -> frames in order; what was skipped is appended to `garbled`, which the owner empties.
    State: one incomplete message, at most MAX_BODY_BYTES and its head.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._junk = b""
        self._junk_bytes = 0
        self._why = ""
        self.garbled: list[Garbled] = []

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read; return the messages that are complete now."""
        data = self._rest + data if self._rest else data
        frames: list[Frame] = []
        at, end = 0, len(data)
        while at < end:
            head = _HEAD.match(data, at)
            following = self._skip(data, at) if head is None else self._take(data, head, frames)
            if following < 0:
                break
            at = following
        self._rest = data[at:]
        return frames

    # Where to go on, or -1 if the message is not complete.
    def _take(self, data: bytes, head: re.Match[bytes], frames: list[Frame]) -> int:
        start, body_start = head.span()
        length = int(head[2])
        stop = body_start + length
        following = stop + _TRAILER_BYTES
        if length > MAX_BODY_BYTES:
            return self._refuse(data, start, f"BodyLength {length}")
        if following > len(data):
            return -1
        expected = _TRAILERS[checksum(data[start:stop])]
        if data[stop - 1 : following] != expected:
            return self._refuse(data, start, _what_is_wrong(data[stop - 1 : following], expected))
        if self._junk_bytes:
            self._report()
        frames.append((head[1], data[body_start:stop]))
        return following

    def _refuse(self, data: bytes, start: int, why: str) -> int:
        if self._junk_bytes:
            self._report()
        self._why = why
        return self._drop(data, start, start + 1)

    def _skip(self, data: bytes, at: int) -> int:
        if data.startswith(_START, at):
            if len(data) - at < _HEAD_BYTES:
                return -1
            return self._refuse(data, at, "BeginString, BodyLength and MsgType are not first, in this order")
        start = data.find(_START, at)
        if start < 0:  # the last bytes may be the beginning of a start
            keep = next((n for n in range(len(_START) - 1, 0, -1) if data.endswith(_START[:n])), 0)
            start = max(at, len(data) - keep)
            if start == at:
                return -1
        return self._drop(data, at, start)

    def _drop(self, data: bytes, at: int, until: int) -> int:
        if len(self._junk) < RAW_CHARACTERS:
            self._junk += data[at : min(until, at + RAW_CHARACTERS)]
        self._junk_bytes += until - at
        return until

    # A run of skipped bytes ends where a message begins, or a head that is wrong itself.
    def _report(self) -> None:
        why = self._why or "bytes before a message"
        self.garbled.append(Garbled(why, self._junk[:RAW_CHARACTERS], self._junk_bytes))
        self._junk, self._junk_bytes, self._why = b"", 0, ""


def _what_is_wrong(trailer: bytes, expected: bytes) -> str:
    if trailer.startswith(b"\x0110=") and trailer.endswith(SOH) and trailer[4:7].isdigit():
        return f"CheckSum {trailer[4:7].decode()}, computed {expected[4:7].decode()}"
    return "no CheckSum where BodyLength says"
