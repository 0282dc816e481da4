"""The log's record: what one append is, as bytes and as a value. Pure; files and brokers live elsewhere.

A topic-partition is a sequence of records with offsets 0, 1, 2 ... A record holds one Arrow batch (or JSON
bytes), the name of its schema, the shard key, and a small `meta` mapping for positions.

On disk and on the wire of the embedded log a record is a frame (all integers little-endian):

    u32 body_bytes | u32 crc32 of body | body
    body: u64 offset | i64 ts_append ns | u8 codec | u8 kind_bytes | u16 key_bytes | u32 meta_bytes
          | u32 payload_bytes, uncompressed | kind | key | meta (JSON) | payload

A frame whose length runs past the data is incomplete (wait for more, or torn after a crash); one whose
checksum differs is corrupt.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import orjson
import pyarrow as pa

from market.columns import concat_batches
from market.packed import PackedRows, unpack

JSON_KIND: Final = "json"
"""Kind of a record whose payload is JSON bytes: business events."""

_FRAME: Final = struct.Struct("<II")
_HEAD: Final = struct.Struct("<QqBBHII")
_OFFSET: Final = struct.Struct("<Q")  # what the head begins with
_PLAIN: Final = 0
_ZSTD: Final = 1
_LZ4: Final = 2
_PACKED: Final = 3  # no compression: it is on its way to a subscriber
# Measured on a 1-row ticks batch of 2,320 bytes: lz4 1,039 bytes in about 2 us, zstd 621 bytes in 17 us; packed it is
# about 150 bytes. A record that small is on its way to a subscriber; a large one is on its way to the disk.
_COMPRESS_FROM_BYTES: Final = 512
_ZSTD_FROM_BYTES: Final = 32_768
_CODECS: Final = {_ZSTD: pa.Codec("zstd", compression_level=1), _LZ4: pa.Codec("lz4_raw")}

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""A longer length field is corruption, not data."""


class CorruptRecord(ValueError):
    """A complete frame that fails its checksum or cannot be a record. `position` is its byte position."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"corrupt log record at byte {position}: {reason}")
        self.position = position
        self.reason = reason


class TopicPartition(NamedTuple):
    topic: str
    partition: int = 0

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


Payload: TypeAlias = pa.RecordBatch | PackedRows | bytes
"""Rows, as Arrow or packed, or the bytes of a JSON event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One append."""

    offset: int
    ts_append: int
    kind: str
    key: str = ""
    payload: Payload
    meta: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def value(self) -> bytes:
        """The JSON of an event; empty if this record holds rows."""
        return self.payload if isinstance(self.payload, bytes) else b""

    @property
    def batch(self) -> pa.RecordBatch | None:
        """The rows; None if this record holds an event. Raises: BadPackedRows."""
        if isinstance(self.payload, PackedRows):
            return unpack([self.payload])
        return None if isinstance(self.payload, bytes) else self.payload

    @property
    def num_rows(self) -> int:
        """Rows in it, without decoding them."""
        if isinstance(self.payload, PackedRows):
            return len(self.payload)
        return 0 if isinstance(self.payload, bytes) else int(self.payload.num_rows)


def joined(records: Sequence[Record]) -> pa.RecordBatch:
    """The rows of several records of one kind as one batch, in order. Raises: BadPackedRows."""
    batches = []
    for is_packed, run in groupby(records, lambda record: isinstance(record.payload, PackedRows)):
        payloads: list[Any] = [record.payload for record in run]
        batches += [unpack(payloads)] if is_packed else payloads
    return concat_batches(batches)


def encode_payload(batch: pa.RecordBatch) -> bytes:
    """Arrow IPC stream with its schema, so that a record can be read without any other."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def decode_payload(payload: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(payload).read_next_batch()


def _encoded(payload: Payload) -> tuple[int, bytes]:
    # The codec to use, and the bytes before it.
    if isinstance(payload, PackedRows):
        return _PACKED, payload.data
    data = payload if isinstance(payload, bytes) else encode_payload(payload)
    return _PLAIN if len(data) < _COMPRESS_FROM_BYTES else _LZ4 if len(data) < _ZSTD_FROM_BYTES else _ZSTD, data


def encode_frame(record: Record) -> bytes:
    """Return the frame of a record."""
    codec, payload = _encoded(record.payload)
    stored = payload if codec not in _CODECS else _CODECS[codec].compress(payload, asbytes=True)
    kind, key = record.kind.encode(), record.key.encode()
    meta = orjson.dumps(record.meta) if record.meta else b""
    head = _HEAD.pack(record.offset, record.ts_append, codec, len(kind), len(key), len(meta), len(payload))
    body = b"".join((head, kind, key, meta, stored))
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


class Frame(NamedTuple):
    """A checked frame: its byte range in the data, the record's offset, and the undecoded body."""

    start: int
    end: int
    offset: int
    body: memoryview


def scan_frames(data: bytes | memoryview, position: int = 0) -> Iterator[Frame]:
    """Yield the complete frames of `data` from `position` on; stop before an incomplete one.

    Raises: CorruptRecord at the first complete frame with a wrong checksum or an impossible length.
    """
    view = memoryview(data)
    size = len(view)
    while position + _FRAME.size <= size:
        body_bytes, checksum = _FRAME.unpack_from(view, position)
        if not _HEAD.size <= body_bytes <= MAX_BODY_BYTES:
            raise CorruptRecord(position, f"impossible length {body_bytes}")
        end = position + _FRAME.size + body_bytes
        if end > size:
            return
        body = view[position + _FRAME.size : end]
        if zlib.crc32(body) != checksum:
            raise CorruptRecord(position, "checksum differs")
        (offset,) = _OFFSET.unpack_from(body)
        yield Frame(position, end, offset, body)
        position = end


def decode_frame(frame: Frame) -> Record:
    """Return the record of a checked frame."""
    body = bytes(frame.body)  # slices of bytes cost half of those of a view
    offset, ts_append, codec, kind_bytes, key_bytes, meta_bytes, payload_bytes = _HEAD.unpack_from(body)
    key_at = _HEAD.size + kind_bytes
    meta_at = key_at + key_bytes
    stored_at = meta_at + meta_bytes
    kind, key = body[_HEAD.size : key_at].decode(), body[key_at:meta_at].decode()
    meta = orjson.loads(body[meta_at:stored_at]) if meta_bytes else {}
    stored = body[stored_at:]
    if codec not in (_PLAIN, _PACKED) and codec not in _CODECS:
        raise CorruptRecord(frame.start, f"unknown compression {codec}: was it written by a later version?")
    data = _CODECS[codec].decompress(stored, payload_bytes, asbytes=True) if codec in _CODECS else stored
    payload: Payload = data
    if codec == _PACKED:
        payload = PackedRows(kind, data)
        payload.check()
    elif kind != JSON_KIND:
        payload = decode_payload(data)
    return Record(offset=offset, ts_append=ts_append, kind=kind, key=key, payload=payload, meta=meta)


class LogReader(Protocol):
    """Reads any topic-partition at any offset; several readers may follow one writer."""

    def partitions(self, pattern: str) -> list[TopicPartition]:
        """Topic-partitions whose topic matches the glob `pattern`, sorted."""

    def begin_offset(self, tp: TopicPartition) -> int:
        """Oldest offset still kept."""

    def end_offset(self, tp: TopicPartition) -> int:
        """Offset the next append will get."""

    def behind(self, tp: TopicPartition, offset: int) -> int:
        """How many records wait from `offset` on: cheap, for metrics. One that is just being written may count."""

    def read(self, tp: TopicPartition, offset: int, max_bytes: int = 4 << 20) -> list[Record]:
        """Records from `offset` on, at least one if there is one; empty at the end. Never blocks.

        Raises: OffsetOutOfRange if `offset` was dropped by retention or lies past the end.
        """

    def wait(self, timeout_s: float) -> bool:
        """Block until anything was appended to the log since the last wait; False at the time-out."""

    def close(self) -> None: ...


class LogWriter(Protocol):
    """Appends to the topic-partitions it holds the lock of."""

    def append(
        self,
        tp: TopicPartition,
        kind: str,
        payload: Payload,
        *,
        key: str = "",
        meta: Mapping[str, int | str] | None = None,
    ) -> int:
        """Append one record and return its offset. Readers see it after `flush`.

        Delivery: survives the process after `flush`, the machine after `sync` or the next group commit.
        """

    def flush(self) -> None:
        """Make all appended records visible to readers."""

    def sync(self) -> None:
        """Return when all appended records are on disk."""

    def durable_until(self) -> float:
        """The `time.monotonic()` before which every flush is on disk, without waiting for later ones."""

    def last_record(self, tp: TopicPartition) -> Record | None:
        """The newest record, whose `meta` says where this writer stopped."""

    def close(self) -> None: ...


class LogUnavailable(ConnectionError):
    """The log's server cannot be reached, and `Patience.stopped` said to wait no longer. Carries `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the log cannot be reached: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What readers and writers of a log on a server do while it is away: try again, until `stopped`.

    `on_wait` is told the reason and the pause before each further attempt, and the empty string when it is over.
    """

    stopped: Callable[[], bool] = lambda: False
    on_wait: Callable[[str, float], None] = lambda _reason, _pause_s: None


PATIENT: Final = Patience()


class OffsetOutOfRange(LookupError):
    """The asked offset is not in the log. Carries `tp`, `offset`, `begin`, `end`."""

    def __init__(self, tp: TopicPartition, offset: int, begin: int, end: int) -> None:
        super().__init__(
            f"offset {offset} of {tp} is not in the log, which holds [{begin}, {end}): "
            "retention dropped it or the log was replaced: docs/runbook.md says how to go on"
        )
        self.tp, self.offset, self.begin, self.end = tp, offset, begin, end


class LogReplaced(OffsetOutOfRange):
    """The topic that was read is gone: deleted, or made anew under its name. Whoever read it has to begin again."""

    def __str__(self) -> str:
        return (
            f"{self.tp.topic} was deleted or made anew: offset {self.offset} is of a topic that is gone, and {self.tp} "
            f"now holds [{self.begin}, {self.end})"
        )
