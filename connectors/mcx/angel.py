"""Angel One's SmartAPI WebSocket 2.0 <-> packets in our units. Pure, sans-I/O.

One packet a frame, little-endian, packed; the first byte is its mode, and with it its length. One stream may hold
packets of all modes. Each token's packets are numbered. Tokens are decimal strings, padded with NUL.

Units: as connectors/mcx/packets.py. On the wire prices are in paise, times of the exchange in ms, of trades in s.
Source: angel-one/smartapi-python `SmartApi/smartWebSocketV2.py`. The two sources disagree which flag of a depth entry
is the buy side (the client: 0; the docs: 1), so it is a setting.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import orjson

from connectors.mcx.constants import ANGEL, ANGEL_BATCH, ANGEL_PING_NS, ANGEL_TOKENS, SECOND_NS
from connectors.mcx.packets import Broken, Frame, Level, Packet, Text, batches, limits_of
from market.schemas import PRICE_LIMIT, PRICE_SCALE

MODE_LTP: Final = 1
MODE_QUOTE: Final = 2
MODE_SNAP: Final = 3
LENGTHS: Final = {MODE_LTP: 51, MODE_QUOTE: 123, MODE_SNAP: 379}
EXCHANGE_MCX: Final = 5

_HEAD: Final = struct.Struct("<BB25sqqq")  # mode, exchange, token, number, exchange time in ms, last price
_QUOTE: Final = struct.Struct("<qqqddqqqq")  # last size, average, volume, buy and sell totals, open, high, low, close
_SNAP: Final = struct.Struct("<qqq")  # last trade time in s, open interest and its change
_DEPTH: Final = struct.Struct("<" + "HqqH" * 10)  # flag, quantity, price, orders
_CIRCUIT: Final = struct.Struct("<qq")  # the day's highest price, and its lowest
_QUOTE_AT: Final = 51
_SNAP_AT: Final = 123
_DEPTH_AT: Final = 147
_CIRCUIT_AT: Final = 347

_PRICE: Final = PRICE_SCALE // 100
_MS_NS: Final = 1_000_000
_YEAR_2200_MS: Final = 7_258_118_400_000
_ERRORS: Final = {"E1001": "invalid request payload", "E1002": "subscription limit"}

Requests = list[bytes]


class Angel:
    """The dialect of Angel One (connectors/mcx/packets.py: Broker)."""

    name = ANGEL
    max_tokens = ANGEL_TOKENS
    keepalive_ns: int | None = ANGEL_PING_NS
    keepalive = b"ping"
    has_quotes = False

    def __init__(self, *, buy_flag: int = 0) -> None:
        self._buy_flag = buy_flag

    def subscribe(self, tokens: Sequence[int]) -> Requests:
        return [_request(1, some) for some in batches(tokens, ANGEL_BATCH)]

    def unsubscribe(self, tokens: Sequence[int]) -> Requests:
        return [_request(0, some) for some in batches(tokens, ANGEL_BATCH)]

    def decode(self, frame: bytes) -> Frame:
        if frame == b"pong":
            return Frame()
        if frame[:1] in (b"{", b"E"):
            return _text(frame)
        length = LENGTHS.get(frame[0]) if frame else None
        if length is None:
            return _broken("unsupported_message", f"mode {frame[0] if frame else 'missing'}", frame)
        if len(frame) != length:
            return _broken("malformed_frame", f"mode {frame[0]} with {len(frame)} bytes, not {length}", frame)
        return self._packet(frame)

    def _packet(self, frame: bytes) -> Frame:
        mode, exchange, padded, number, ts_ms, last = _HEAD.unpack_from(frame)
        digits = padded.partition(b"\0")[0]
        if exchange != EXCHANGE_MCX:
            return _broken("unsupported_message", f"exchange type {exchange}", frame)
        if not digits.isdigit() or len(digits) > 18:
            return _broken("malformed_frame", f"token {padded[:25]!r}", frame)
        if not 0 <= ts_ms < _YEAR_2200_MS or not -PRICE_LIMIT < last * _PRICE < PRICE_LIMIT:
            return _broken("out_of_range", f"time {ts_ms} ms, last price {last} paise", frame)
        size = volume = close = ts_trade = bids = asks = limits = None
        if mode >= MODE_QUOTE:
            size, _, volume, _, _, _, _, _, close = _QUOTE.unpack_from(frame, _QUOTE_AT)
            if not 0 <= size < PRICE_SCALE or not 0 <= volume < PRICE_SCALE:
                return _broken("out_of_range", f"size {size}, volume {volume}", frame)
            size, volume, close = size * PRICE_SCALE, volume * PRICE_SCALE, close * _PRICE
        if mode == MODE_SNAP:
            ts_trade = _SNAP.unpack_from(frame, _SNAP_AT)[0]
            if not 0 <= ts_trade < _YEAR_2200_MS // 1_000:
                return _broken("out_of_range", f"last trade time {ts_trade} s", frame)
            ts_trade *= SECOND_NS
            bids, asks = self._depth(frame)
            high, low = _CIRCUIT.unpack_from(frame, _CIRCUIT_AT)
            limits = limits_of(low * _PRICE, high * _PRICE)
        packet = Packet(
            int(digits),
            last * _PRICE or None,
            size or None,
            volume,
            close or None,
            ts_trade or None,
            ts_ms * _MS_NS or None,
            bids,
            asks,
            number,
            limits,
        )
        return Frame([packet])

    def _depth(self, frame: bytes) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        sides: tuple[list[Level], list[Level]] = ([], [])
        fields = _DEPTH.unpack_from(frame, _DEPTH_AT)
        for at in range(0, 40, 4):
            flag, quantity, price, orders = fields[at : at + 4]
            # Zero is "not there"; a number beyond what a price may be is dropped with its level by the check of rows.
            if quantity > 0 and price:
                sides[flag != self._buy_flag].append((price * _PRICE, quantity * PRICE_SCALE, orders))
        return tuple(sides[0]), tuple(sides[1])


def _request(action: int, tokens: Sequence[int]) -> bytes:
    listed = [{"exchangeType": EXCHANGE_MCX, "tokens": [str(token) for token in tokens]}]
    params: dict[str, Any] = {"mode": MODE_SNAP, "tokenList": listed}
    return orjson.dumps({"correlationID": "mandi", "action": action, "params": params})


def _broken(reason: str, detail: str, frame: bytes) -> Frame:
    return Frame(broken=[Broken(reason, detail, frame[:512])])


def _text(frame: bytes) -> Frame:
    try:
        fields: Any = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return _broken("malformed_frame", "text that is no JSON", frame)
    if type(fields) is not dict or "errorCode" not in fields:
        return Frame(texts=[Text("other", orjson.dumps(fields).decode())])
    code = str(fields["errorCode"])
    return Frame(texts=[Text("error", f"{code} {fields.get('errorMessage') or _ERRORS.get(code, '')}".strip())])
