"""The lines of a CSV file, made safe for a parser that reads in blocks: a bad line harms itself and no other.

A quote that is not closed on its line swallows the lines behind it, and a line longer than a block ends the parser.
Either becomes a line with a wrong number of fields, which the parser reports as such, whatever the size of its blocks.
"""

import re
from typing import Any, Final

MAX_LINE_BYTES: Final = 32_768
_READ_BYTES: Final = 262_144
_KEPT_BYTES: Final = 4_096  # of a line that is no row
_UNREADABLE: Final = "\ufffd".encode()

# RFC 4180: a field is in quotes, with quotes doubled, or has none in front. The parser takes what follows a closing
# quote as part of the field.
_FIELD: Final = rb'(?:"(?:[^"]|"")*+"[^,]*+|[^",][^,]*+|)'
_ROW: Final = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+")


class SafeLines:
    """A file of lines that are rows, or that no parser takes for one.

    Shape: as many lines as come in, in order. One that is too long or has an open quote is its first 4,096 bytes, with
        U+FFFD for each quote, and with another number of fields than `fields`.
    State: one line at most, cut at MAX_LINE_BYTES, and what was read and not asked for yet.
    """

    def __init__(self, stream: Any, *, fields: int) -> None:
        self._stream, self._fields = stream, fields
        self._ready, self._rest, self._ended = b"", b"", False

    def read(self, size: int) -> bytes:
        while len(self._ready) < size and not self._ended:
            self._ready += self._next()
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def close(self) -> None:
        self._stream.close()

    def _next(self) -> bytes:
        block: bytes = self._stream.read(_READ_BYTES)
        text, self._ended = self._rest + block, not block
        whole = len(text) if self._ended else text.rfind(b"\n") + 1
        self._rest = text[whole:][: MAX_LINE_BYTES + 1]
        lines = text[:whole].splitlines(keepends=True)
        if b'"' not in text and max(map(len, lines), default=0) <= MAX_LINE_BYTES:
            return text[:whole]
        return b"".join(map(self._safe, lines))

    def _safe(self, line: bytes) -> bytes:
        row = line.rstrip(b"\r\n")
        if len(line) <= MAX_LINE_BYTES and _ROW.fullmatch(row):
            return line
        kept = row[:_KEPT_BYTES].replace(b'"', _UNREADABLE)
        return kept + (b",\n" if kept.count(b",") + 1 == self._fields else b"\n")
