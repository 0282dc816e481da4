"""Bodies of HTTP requests and answers: framing, compression, and joining blocks of a result into one stream."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

READ_BYTES: Final = 1 << 20


class BadBody(ValueError):
    """The request's body cannot be read: bad framing or damaged compression."""


class Codec(Protocol):
    """What the four compressors have in common."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def read_raw(stream: BinaryIO, length: int | None, chunked: bool) -> Iterator[bytes]:
    """Yield the body of a request: chunked, of `length` bytes, or none."""
    if chunked:
        yield from _read_chunked(stream)
        return
    left = length or 0
    while left:
        data = stream.read(min(left, READ_BYTES))
        if not data:
            raise BadBody("the connection closed before the body was complete")
        left -= len(data)
        yield data


def _read_chunked(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        line = stream.readline(1024)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise BadBody(f"bad chunk size {line[:20]!r}") from error
        if size == 0:
            while stream.readline(65536).strip():
                pass  # trailers
            return
        left = size
        while left:
            data = stream.read(min(left, READ_BYTES))
            if not data:
                raise BadBody("the connection closed inside a chunk")
            left -= len(data)
            yield data
        stream.readline(16)


def decompressed(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Undo a Content-Encoding. Raises: BadBody; LookupError for an encoding that is not supported."""
    if encoding in ("", "identity"):
        yield from chunks
        return
    make: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(wbits=31),
        "deflate": lambda: zlib.decompressobj(),
        "lz4": lz4.frame.LZ4FrameDecompressor,
        "zstd": zstd.ZstdDecompressor,
    }
    codec = make[encoding]()
    for chunk in chunks:
        while chunk:
            try:
                data = codec.decompress(chunk)
            except (zlib.error, RuntimeError, zstd.ZstdError, EOFError) as error:
                raise BadBody(f"the body is not valid {encoding}: {error}") from error
            # Frames may follow each other; clients send one per block.
            chunk = codec.unused_data if codec.eof else b""
            codec = make[encoding]() if codec.eof else codec
            if data:
                yield data


class _Lz4:
    def __init__(self) -> None:
        self._codec = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes, /) -> bytes:
        head = b"" if self._begun else self._codec.begin()
        self._begun = True
        return bytes(head + self._codec.compress(data))

    def flush(self) -> bytes:
        return bytes(self._codec.flush()) if self._begun else b""


_COMPRESSORS: Final[dict[str, Callable[[], Codec]]] = {
    "lz4": _Lz4,
    "zstd": lambda: zstd.ZstdCompressor(level=1),
    "gzip": lambda: zlib.compressobj(level=1, wbits=31),
    "deflate": lambda: zlib.compressobj(level=1),
}


def choose_encoding(accepted: str) -> str | None:
    """The first encoding we have of an Accept-Encoding header, None for plain."""
    wanted = [each.split(";")[0].strip().lower() for each in accepted.split(",")]
    return next((each for each in wanted if each in _COMPRESSORS), None)


def compressed(chunks: Iterable[bytes], encoding: str | None) -> Iterator[bytes]:
    """Apply a Content-Encoding."""
    if encoding is None:
        yield from chunks
        return
    codec = _COMPRESSORS[encoding]()
    for chunk in chunks:
        data = codec.compress(chunk)
        if data:
            yield data
    data = codec.flush()
    if data:
        yield data


# The engine encodes each block of a streamed result as a document of its own. These formats may be joined:
# by simply going on, by dropping the header lines of later blocks, or by dropping schema and end of Arrow streams.
_PLAIN_FORMATS: Final = frozenset(
    {
        *("native", "tabseparated", "tsv", "tabseparatedraw", "tsvraw", "csv", "rowbinary", "lineasstring"),
        *("jsoneachrow", "jsoncompacteachrow", "jsonstringseachrow", "jsonlines", "ndjson"),
    }
)
_HEADER_LINES: Final = {
    "csvwithnames": 1,
    "csvwithnamesandtypes": 2,
    "tabseparatedwithnames": 1,
    "tsvwithnames": 1,
    "tabseparatedwithnamesandtypes": 2,
    "tsvwithnamesandtypes": 2,
}
_ARROW_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def can_stream(fmt: str) -> bool:
    """Whether blocks of this format can be joined. Others (JSON, Parquet, Pretty ...) are built in memory."""
    name = fmt.lower()
    return name in _PLAIN_FORMATS or name in _HEADER_LINES or name == "arrowstream"


def joined(blocks: Iterator[bytes], fmt: str) -> Iterator[bytes]:
    """Join the blocks of a streamed result into one document of format `fmt`."""
    name = fmt.lower()
    if name == "arrowstream":
        yield from _joined_arrow(blocks)
        return
    lines = _HEADER_LINES.get(name, 0)
    for number, block in enumerate(blocks):
        yield block if number == 0 else _without_lines(block, lines)


def _without_lines(block: bytes, lines: int) -> bytes:
    at = 0
    for _ in range(lines):
        at = block.index(b"\n", at) + 1
    return block[at:]


def _joined_arrow(blocks: Iterator[bytes]) -> Iterator[bytes]:
    some = False
    for block in blocks:
        # Encapsulated message: FFFFFFFF, i32 length of the metadata, metadata. A schema has no body.
        start = 8 + struct.unpack_from("<i", block, 4)[0] if some else 0
        yield block[start:].removesuffix(_ARROW_END)
        some = True
    if some:
        yield _ARROW_END
