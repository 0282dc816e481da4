"""Zerodha Kite's WebSocket frames <-> packets, prices and times in our units. Pure, sans-I/O, vectorised.

A binary frame is `u16 count`, then count times `u16 length` and a packet; its length is its type. Everything is
big-endian and, two bytes of padding included, a whole number of 32-bit words. So packets of one length that follow each
other are one strided matrix of words: `decode_runs` makes them 64-bit integers in our units with four numpy passes.
A session takes packets one by one, so `Kite.decode` makes those of them that a feed consists of directly; of the ten
levels in each nearly all were in the packet before, and are remembered.

Units: prices and sizes int64 multiples of 1e-9, times ns UTC, an absent value 0 in a matrix and None in a Packet.
Source: kite.trade/docs/connect/v3/websocket, zerodha/pykiteconnect `kiteconnect/ticker.py`, read 2026-07.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from connectors.mcx.constants import KITE, KITE_BATCH, KITE_TOKENS, SECOND_NS
from connectors.mcx.packets import Broken, Frame, Level, Packet, Text, batches
from market.schemas import PRICE_SCALE

LTP: Final = 8
INDEX_QUOTE: Final = 28
INDEX_FULL: Final = 32
QUOTE: Final = 44
FULL: Final = 184

# Words of a quote or full packet; an index packet has another order: high, low, open, close.
TOKEN: Final = 0
LAST_PRICE: Final = 1
LAST_SIZE: Final = 2
AVERAGE_PRICE: Final = 3
VOLUME: Final = 4
CLOSE: Final = 10
LAST_TRADE_TIME: Final = 11
EXCHANGE_TIME: Final = 15
BIDS: Final = 16
ASKS: Final = 31
_INDEX_CLOSE: Final = 5
_INDEX_TIME: Final = 7

SEGMENT_MCX: Final = 7
_DIVISORS: Final = {3: 10_000_000, 6: 10_000, 12: 10_000}
"""Of segments whose prices are not in paise: CDS, BCD, NCO. The docs say 10^7 for BCD, both official clients 10^4."""
_PAISE: Final = 100

# What a word is: token, price, quantity, time, number of orders with its padding, a number nobody needs.
_LAYOUT: Final = {
    LTP: "tp",
    INDEX_QUOTE: "tpppppn",
    INDEX_FULL: "tpppppns",
    QUOTE: "tpqpqqqpppp",
    FULL: "tpqpqqqpppp" + "snnns" + "qpo" * 10,
}
_UNSIGNED: Final = 0xFFFF_FFFF
_SCALES: Final = {"t": 1, "p": PRICE_SCALE // _PAISE, "q": PRICE_SCALE, "s": SECOND_NS, "o": 1, "n": 1}

_RAW_BYTES: Final = 512  # of a broken packet, kept for the ledger

_FULL_HEAD: Final = struct.Struct(">IiIiIIIiiii5I")
_LEVEL: Final = struct.Struct(">IiHxx")
_SIDE_BYTES: Final = 5 * _LEVEL.size
_FEW_PACKETS: Final = 16  # of which the lengths are compared one by one: numpy takes 3 us to begin

Matrix = npt.NDArray[np.int64]


class _Kind(NamedTuple):
    words: int
    mask: Matrix
    shift: Matrix | None
    scale: Matrix
    prices: npt.NDArray[np.bool_]


def _kind(layout: str) -> _Kind:
    # Prices are signed (crude has been negative); the official clients read them unsigned.
    return _Kind(
        len(layout),
        np.array([-1 if word == "p" else _UNSIGNED for word in layout]),
        np.array([16 if word == "o" else 0 for word in layout]) if "o" in layout else None,
        np.array([_SCALES[word] for word in layout]),
        np.array([word == "p" for word in layout]),
    )


_PRICE_SCALES: Final = np.full(256, PRICE_SCALE // _PAISE)  # by segment
for _segment, _divisor in _DIVISORS.items():
    _PRICE_SCALES[_segment] = PRICE_SCALE // _divisor
_KINDS: Final = {length: _kind(layout) for length, layout in _LAYOUT.items()}


class Run(NamedTuple):
    """Packets of one length that follow each other: a row each, a column a word."""

    length: int
    rows: Matrix


class _Span(NamedTuple):
    # Where packets of one length that follow each other begin, and how many there are.
    length: int
    at: int
    packets: int


def decode_runs(frame: bytes) -> tuple[list[Run], list[Broken]]:
    """Return the packets of a binary frame, in order, and what of it was broken.

    Shape: bytes -> matrices (packets, words), int64.
    """
    spans, broken = _spans(frame)
    return [_run(frame, span) for span in spans], broken


def _run(frame: bytes, span: _Span) -> Run:
    return Run(span.length, _matrix(frame, span.at, span.length, span.packets))


def _spans(frame: bytes) -> tuple[list[_Span], list[Broken]]:
    if len(frame) < 2:
        return [], [Broken("malformed_frame", f"{len(frame)} bytes", frame)]
    spans: list[_Span] = []
    broken: list[Broken] = []
    (count,) = struct.unpack_from(">H", frame)
    at, done = 2, 0
    while done < count:
        length = int.from_bytes(frame[at : at + 2])
        whole = min(count - done, (len(frame) - at) // (length + 2)) if at + 2 <= len(frame) else 0
        if whole == 0:
            broken.append(
                Broken("malformed_frame", f"ends in packet {done + 1} of {count}", frame[at : at + _RAW_BYTES])
            )
            return spans, broken
        alike = _alike(frame, at, length, whole)
        if length in _KINDS:
            spans.append(_Span(length, at + 2, alike))
        else:
            raw = frame[at : at + min(alike * (length + 2), _RAW_BYTES)]
            broken.append(Broken("unsupported_message", f"{alike} packet(s) of {length} bytes", raw))
        at, done = at + alike * (length + 2), done + alike
    if at < len(frame):
        broken.append(
            Broken("malformed_frame", f"{len(frame) - at} bytes after packet {count}", frame[at : at + _RAW_BYTES])
        )
    return spans, broken


# How many packets from `at` on have the same length as the first one.
def _alike(frame: bytes, at: int, length: int, most: int) -> int:
    if most <= _FEW_PACKETS:
        prefix, each = frame[at : at + 2], length + 2
        return next((n for n in range(1, most) if not frame.startswith(prefix, at + n * each)), most)
    lengths = np.ndarray((most,), ">u2", frame, at, (length + 2,))
    differs = lengths != length
    return int(np.argmax(differs)) if differs.any() else most


def _matrix(frame: bytes, at: int, length: int, packets: int) -> Matrix:
    kind = _KINDS[length]
    rows: Matrix = np.ndarray((packets, kind.words), ">i4", frame, at, (length + 2, 4)).astype(np.int64)
    rows &= kind.mask
    if kind.shift is not None:
        rows >>= kind.shift
    price_scales = _PRICE_SCALES[rows[:, TOKEN] & 0xFF]
    if np.count_nonzero(price_scales != PRICE_SCALE // _PAISE):
        rows *= np.where(kind.prices, price_scales[:, None], kind.scale)
    else:
        rows *= kind.scale
    return rows


def _full_packets(frame: bytes, span: _Span) -> Iterator[Packet]:
    # As packets_of(_run(frame, span)), for packets in full mode.
    for at in range(span.at, span.at + span.packets * (FULL + 2), FULL + 2):
        head, bids_at = _FULL_HEAD.unpack_from(frame, at), at + _FULL_HEAD.size
        asks_at = bids_at + _SIDE_BYTES
        scale = int(_PRICE_SCALES[head[TOKEN] & 0xFF])
        yield Packet(
            head[TOKEN],
            head[LAST_PRICE] * scale or None,
            head[LAST_SIZE] * PRICE_SCALE or None,
            head[VOLUME] * PRICE_SCALE,
            head[CLOSE] * scale or None,
            head[LAST_TRADE_TIME] * SECOND_NS or None,
            head[EXCHANGE_TIME] * SECOND_NS or None,
            _side(frame[bids_at:asks_at], scale),
            _side(frame[asks_at : asks_at + _SIDE_BYTES], scale),
        )


@lru_cache(maxsize=1_024)
def _side(raw: bytes, scale: int) -> tuple[Level, ...]:
    found = [
        (price * scale, size * PRICE_SCALE, orders) for size, price, orders in _LEVEL.iter_unpack(raw) if size and price
    ]
    return tuple(found)


def packets_of(run: Run) -> Iterator[Packet]:
    """Yield the packets of a run."""
    rows: list[list[int]] = run.rows.tolist()
    if run.length == FULL:
        for row in rows:
            yield Packet(
                row[TOKEN],
                row[LAST_PRICE] or None,
                row[LAST_SIZE] or None,
                row[VOLUME],
                row[CLOSE] or None,
                row[LAST_TRADE_TIME] or None,
                row[EXCHANGE_TIME] or None,
                _levels(row, BIDS),
                _levels(row, ASKS),
            )
    else:
        for row in rows:
            yield _shorter(run.length, row)


def _levels(row: list[int], at: int) -> tuple[Level, ...]:
    # A level without a price or a quantity is not there.
    return tuple(
        [
            (row[word + 1], row[word], row[word + 2])
            for word in (at, at + 3, at + 6, at + 9, at + 12)
            if row[word] and row[word + 1]
        ]
    )


def _shorter(length: int, row: list[int]) -> Packet:
    token, last = row[TOKEN], row[LAST_PRICE] or None
    if length == LTP:
        return Packet(token, last, None, None, None, None, None, None, None)
    if length == QUOTE:
        return Packet(token, last, row[LAST_SIZE] or None, row[VOLUME], row[CLOSE] or None, None, None, None, None)
    ts_event = (row[_INDEX_TIME] or None) if length == INDEX_FULL else None
    return Packet(token, last, None, None, row[_INDEX_CLOSE] or None, None, ts_event, None, None)


class Kite:
    """The dialect of Zerodha Kite (connectors/mcx/packets.py: Broker)."""

    name = KITE
    max_tokens = KITE_TOKENS
    keepalive_ns: int | None = None
    keepalive = b""
    has_quotes = True

    def subscribe(self, tokens: Sequence[int]) -> list[bytes]:
        """Encode the subscription and, since the default is not documented, the mode."""
        requests = []
        for some in batches(tokens, KITE_BATCH):
            requests.append(orjson.dumps({"a": "subscribe", "v": list(some)}))
            requests.append(orjson.dumps({"a": "mode", "v": ["full", list(some)]}))
        return requests

    def unsubscribe(self, tokens: Sequence[int]) -> list[bytes]:
        return [orjson.dumps({"a": "unsubscribe", "v": list(some)}) for some in batches(tokens, KITE_BATCH)]

    def decode(self, frame: bytes) -> Frame:
        # "{" would be a count of 31,488 packets or more; a connection has 3,000 instruments at most.
        if frame[:1] == b"{":
            return decode_text(frame)
        if len(frame) == 1:
            return Frame()
        spans, broken = _spans(frame)
        packets: list[Packet] = []
        for span in spans:
            packets += _full_packets(frame, span) if span.length == FULL else packets_of(_run(frame, span))
        return Frame(packets, broken)


def decode_text(frame: bytes) -> Frame:
    """Return the message of a text frame; both official clients drop those of type `message`."""
    try:
        fields: Any = orjson.loads(frame)
    except orjson.JSONDecodeError as bad:
        return Frame(broken=[Broken("malformed_frame", f"no JSON: {bad}", frame[:_RAW_BYTES])])
    kind = fields.get("type") if type(fields) is dict else None
    if kind not in ("error", "message", "order"):
        return Frame(texts=[Text("other", _words(fields))])
    return Frame(texts=[Text(kind, _words(fields.get("data")))])


def _words(data: object) -> str:
    return data if isinstance(data, str) else orjson.dumps(data).decode()
