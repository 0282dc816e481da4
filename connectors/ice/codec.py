"""ICE text frames <-> messages (docs/ice-profile.md). Pure, sans-I/O.

`decode` gives a message for any bytes or raises DecodeError. A market message that is well framed but has a value
that must not become a row comes back as `Refused`, with its sequence number: the channel goes on, the row goes to
the ledger. Messages are named tuples: a frozen dataclass of ten fields costs 2 us to make, a tuple 0.4.

Units: prices and sizes int64 multiples of 1e-9; times ns UTC.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from connectors.errors import DecodeError, ValueRefused
from connectors.ice.constants import BOOK, CHANNELS, MIC_BY_ROOT, SETTLE, STATUS, TRADES
from connectors.ticks import RAW_CHARACTERS, check_trade, parse_lots, parse_price
from market.instruments import MONTH_CODES, InstrumentMaster
from market.schemas import BUY, SELL, UNKNOWN_SIDE

STATES: Final = ("PREOPEN", "OPEN", "HALT", "LIMIT", "CLOSE", "EXPIRED")

Change = tuple[bool, str, int, int]
"""(is a bid, action N/C/D, price, size) of one level."""


class AuthOk(NamedTuple):
    session: str
    resumed: bool
    channels: dict[str, tuple[int, int]]  # (seq, replay_from)


class VenueError(NamedTuple):
    code: str
    text: str
    id: int | None


class Subscribed(NamedTuple):
    id: int
    channel: str
    symbols: tuple[str, ...]
    seq: int


class Snapshot(NamedTuple):
    symbol: str
    seq: int
    last_seq: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    state: str | None
    ts_event: int


class Book(NamedTuple):
    symbol: str
    seq: int
    prev_seq: int | None
    ts_event: int
    changes: list[Change]
    eot: bool
    replayed: bool


class Trade(NamedTuple):
    symbol: str
    seq: int
    ts_event: int
    price: int
    size: int
    side: int
    trade_id: str | None
    replayed: bool
    corrects: bool = False  # not a trade, but the new terms of the one with this id


class Bust(NamedTuple):
    """The trade with this id never was."""

    symbol: str
    seq: int
    ts_event: int
    trade_id: str
    replayed: bool


class Status(NamedTuple):
    symbol: str
    seq: int
    ts_event: int
    state: str
    replayed: bool


class Refused(NamedTuple):
    """A sequenced message that gives no row: a bad value, or a kind we do not handle yet."""

    channel: str
    symbol: str | None
    seq: int
    reason: str
    detail: str
    raw: str
    replayed: bool


class ReplayDone(NamedTuple):
    id: int
    channel: str


class Heartbeat(NamedTuple):
    channel: str
    seq: int
    ts: int


class ResyncRequired(NamedTuple):
    channel: str
    expected: int
    current: int
    reason: str


class Ignored(NamedTuple):
    """A message that asks for nothing: `unsubscribed`."""

    op: str


Sequenced = Book | Trade | Bust | Status | Refused
Message = AuthOk | VenueError | Subscribed | Snapshot | Sequenced | ReplayDone | Heartbeat | ResyncRequired | Ignored

_SIDES: Final = {"B": BUY, "S": SELL, "N": UNKNOWN_SIDE}
_INT64_END: Final = (1 << 63) - 1  # the number after the highest one fits, too
_PRICES: dict[str, int] = {}  # a day has some thousand price strings; a look-up costs 40 ns, a parse 2 us
_PRICES_MAX: Final = 100_000

Fields = dict[str, Any]


def decode(frame: bytes) -> Message:
    """Return the message of a text frame. Raises: DecodeError for anything that is none."""
    try:
        fields = orjson.loads(frame)
    except orjson.JSONDecodeError as bad:
        raise DecodeError("malformed_frame", f"no JSON: {bad}") from bad
    if type(fields) is not dict:
        raise DecodeError("malformed_frame", "not a JSON object")
    op = fields.get("op")
    if type(op) is not str:
        raise DecodeError("malformed_frame", "no op")
    decoder = _DECODERS.get(op)
    try:
        if decoder is None:
            raise ValueRefused("unsupported_message", f"op {op[:80]!r}")
        return decoder(fields)
    except KeyError as missing:
        refusal = ValueRefused("missing_field", f"{op} without {missing}")
    except ValueRefused as refused:
        refusal = refused
    return _refuse(fields, refusal, frame)


def raw_text(frame: bytes) -> str:
    """Return a frame as text for the ledger, cut."""
    return frame[: 4 * RAW_CHARACTERS].decode("utf-8", "replace")[:RAW_CHARACTERS]


# A refused message keeps its place in the sequence if it has one; without, the hole it leaves is found and replayed.
def _refuse(fields: Fields, refusal: ValueRefused, frame: bytes) -> Refused:
    channel, seq = _CHANNEL_BY_OP.get(fields["op"]), fields.get("seq")
    if fields["op"] not in _DECODERS:
        named = fields.get("channel")
        channel = named if type(named) is str and named in CHANNELS else None
    if channel is None or type(seq) is not int or not 0 < seq < _INT64_END:
        reason = "malformed_frame" if fields["op"] in _DECODERS else refusal.reason
        raise DecodeError(reason, refusal.detail)
    symbol = fields.get("symbol")
    return Refused(
        channel,
        symbol if type(symbol) is str else None,
        seq,
        refusal.reason,
        refusal.detail,
        raw_text(frame),
        fields.get("replayed") is True,
    )


def _int(fields: Fields, name: str) -> int:
    value = fields[name]
    if type(value) is int and 0 <= value < _INT64_END:
        return value
    reason = "out_of_range" if type(value) in (int, float) else "unparseable"
    raise ValueRefused(reason, f"{name} {str(value)[:80]!r}")


def _text(fields: Fields, name: str) -> str:
    value = fields[name]
    if type(value) is str:
        return value
    raise ValueRefused("unparseable", f"{name} {str(value)[:80]!r}")


def _flag(fields: Fields, name: str) -> bool:
    value = fields[name]
    if type(value) is bool:
        return value
    raise ValueRefused("unparseable", f"{name} {str(value)[:80]!r}")


def _choice(fields: Fields, name: str, choices: Sequence[str]) -> str:
    value = fields[name]
    if type(value) is str and value in choices:
        return value
    raise ValueRefused("unparseable", f"{name} {str(value)[:80]!r}")


def _price(text: object) -> int:
    if type(text) is str:
        known = _PRICES.get(text)
        if known is not None:
            return known
    price = parse_price(text)
    if len(_PRICES) >= _PRICES_MAX:
        _PRICES.clear()
    _PRICES[str(text)] = price
    return price


def _seq(fields: Fields) -> int:
    seq = _int(fields, "seq")
    if seq:
        return seq
    raise ValueRefused("out_of_range", "seq 0")


def _trade(fields: Fields) -> Trade:
    price, size = _price(fields["px"]), parse_lots(fields["qty"])
    check_trade(price, size)
    aggressor, trade_id = fields.get("aggr", "N"), _trade_id(fields)
    if type(aggressor) is not str or aggressor not in _SIDES:
        raise ValueRefused("unparseable", f"aggr {str(aggressor)[:80]!r}")
    return Trade(
        _text(fields, "symbol"),
        _seq(fields),
        _int(fields, "ts_event"),
        price,
        size,
        _SIDES[aggressor],
        trade_id,
        fields.get("replayed") is True,
    )


def _trade_id(fields: Fields) -> str | None:
    trade_id = fields["trade_id"]
    return trade_id if trade_id is None or type(trade_id) is str else str(_int(fields, "trade_id"))


def _named_trade(fields: Fields) -> str:
    trade_id = _trade_id(fields)
    if trade_id is None:
        raise ValueRefused("missing_field", f"{fields['op']} names no trade")
    return trade_id


def _correction(fields: Fields) -> Trade:
    return _trade(fields)._replace(trade_id=_named_trade(fields), corrects=True)


def _bust(fields: Fields) -> Bust:
    replayed = fields.get("replayed") is True
    return Bust(_text(fields, "symbol"), _seq(fields), _int(fields, "ts_event"), _named_trade(fields), replayed)


def _unsupported(fields: Fields) -> Message:
    raise ValueRefused("unsupported_message", f"{fields['op']} is not handled yet")


def _book(fields: Fields) -> Book:
    return Book(
        _text(fields, "symbol"),
        _seq(fields),
        None if fields.get("prev_seq") is None else _int(fields, "prev_seq"),
        _int(fields, "ts_event"),
        _changes(fields["changes"]),
        _flag(fields, "eot"),
        fields.get("replayed") is True,
    )


def _changes(items: object) -> list[Change]:
    if type(items) is not list:
        raise ValueRefused("unparseable", "changes is not a list")
    changes = []
    for item in items:
        if type(item) is not list or len(item) < 4:
            raise ValueRefused("unparseable", f"change {str(item)[:80]}")
        side, action, price = item[0], item[1], _price(item[2])
        if (side != "B" and side != "S") or (action != "N" and action != "C" and action != "D"):
            raise ValueRefused("unparseable", f"change {str(item)[:80]}")
        changes.append((side == "B", action, price, 0 if action == "D" else _size(item[3])))
    return changes


def _size(number: object) -> int:
    size = parse_lots(number)
    if size > 0:
        return size
    raise ValueRefused("size_not_positive", f"level of size {number}")


def _levels(fields: Fields, name: str) -> list[tuple[int, int]]:
    items = fields[name]
    if type(items) is not list or not all(type(item) is list and len(item) >= 2 for item in items):
        raise ValueRefused("unparseable", f"{name} is not a list of levels")
    return [(_price(item[0]), _size(item[1])) for item in items]


def _snapshot(fields: Fields) -> Snapshot:
    state = fields.get("state")
    return Snapshot(
        _text(fields, "symbol"),
        _int(fields, "seq"),
        _int(fields, "last_seq"),
        _levels(fields, "bids"),
        _levels(fields, "asks"),
        None if state is None else _choice(fields, "state", STATES),
        _int(fields, "ts_event"),
    )


def _status(fields: Fields) -> Status:
    return Status(
        _text(fields, "symbol"),
        _int(fields, "seq") if "seq" in fields else 0,  # an image may have none
        _int(fields, "ts_event"),
        _choice(fields, "state", STATES),
        fields.get("replayed") is True,
    )


def _auth_ok(fields: Fields) -> AuthOk:
    channels = fields["channels"]
    if type(channels) is not dict or not all(type(value) is dict for value in channels.values()):
        raise ValueRefused("unparseable", "channels is not an object of objects")
    positions = {name: (_int(value, "seq"), _int(value, "replay_from")) for name, value in channels.items()}
    return AuthOk(_text(fields, "session"), _flag(fields, "resumed"), positions)


def _error(fields: Fields) -> VenueError:
    request = fields.get("id")
    return VenueError(_text(fields, "code"), str(fields.get("msg", "")), request if type(request) is int else None)


def _subscribed(fields: Fields) -> Subscribed:
    symbols = fields["symbols"]
    if type(symbols) is not list or not all(type(symbol) is str for symbol in symbols):
        raise ValueRefused("unparseable", "symbols is not a list of strings")
    return Subscribed(_int(fields, "id"), _choice(fields, "channel", CHANNELS), tuple(symbols), _int(fields, "seq"))


def _replay_done(fields: Fields) -> ReplayDone:
    return ReplayDone(_int(fields, "id"), _choice(fields, "channel", CHANNELS))


def _heartbeat(fields: Fields) -> Heartbeat:
    return Heartbeat(_choice(fields, "channel", CHANNELS), _int(fields, "seq"), _int(fields, "ts"))


def _resync_required(fields: Fields) -> ResyncRequired:
    channel, reason = _choice(fields, "channel", CHANNELS), str(fields.get("reason", ""))
    return ResyncRequired(channel, _int(fields, "expected"), _int(fields, "current"), reason)


def _ignored(fields: Fields) -> Ignored:
    return Ignored(fields["op"])


_DECODERS: Final[dict[str, Callable[[Fields], Message]]] = {
    "trade": _trade,
    "book": _book,
    "heartbeat": _heartbeat,
    "status": _status,
    "snapshot": _snapshot,
    "replay_done": _replay_done,
    "resync_required": _resync_required,
    "subscribed": _subscribed,
    "unsubscribed": _ignored,
    "auth_ok": _auth_ok,
    "error": _error,
    "trade_bust": _bust,
    "trade_correct": _correction,
    "settle": _unsupported,
}

_CHANNEL_BY_OP: Final = {
    "trade": TRADES,
    "trade_bust": TRADES,
    "trade_correct": TRADES,
    "book": BOOK,
    "status": STATUS,
    "settle": SETTLE,
}


def auth_request(key: str, secret: str, ts_ns: int, session: str | None) -> bytes:
    """Encode `auth`; the signature is the HMAC-SHA256 of the decimal `ts`, in lower-case hex."""
    signature = hmac.new(secret.encode(), str(ts_ns).encode(), hashlib.sha256).hexdigest()
    request: Fields = {"op": "auth", "key": key, "ts": ts_ns, "sig": signature}
    return orjson.dumps(request if session is None else request | {"session": session})


def subscribe_request(request_id: int, channel: str, symbols: Sequence[str], depth: int) -> bytes:
    """Encode `subscribe`."""
    request: Fields = {"op": "subscribe", "id": request_id, "channel": channel, "symbols": list(symbols)}
    return orjson.dumps(request | {"depth": depth} if channel == BOOK else request)


def snapshot_request(symbol: str) -> bytes:
    """Encode `snapshot`."""
    return orjson.dumps({"op": "snapshot", "symbol": symbol})


def replay_request(request_id: int, channel: str, first: int, last: int, *, image: bool) -> bytes:
    """Encode `replay` of [first, last]; with `image`, the books as they were before `first` come before it."""
    request: Fields = {"op": "replay", "id": request_id, "channel": channel, "from": first, "to": last}
    return orjson.dumps(request | {"image": True} if image else request)


class Listed(NamedTuple):
    """What a venue symbol is to us."""

    mic: str
    instrument: str
    commodity: str


_SYMBOL: Final = re.compile(rf"([A-Z]{{1,4}}) ([{MONTH_CODES}])([0-9]{{2}})")


@lru_cache(maxsize=4_096)
def listed(symbol: str) -> Listed | None:
    """Return the instrument of a venue symbol, or None if there is none.

    Example:
        >>> listed("CT Z26").instrument
        'IFUS:CT:202612'
    """
    match = _SYMBOL.fullmatch(symbol)
    if match is None or match[1] not in MIC_BY_ROOT:
        return None
    mic = MIC_BY_ROOT[match[1]]
    instrument = f"{mic}:{match[1]}:20{match[3]}{MONTH_CODES.index(match[2]) + 1:02d}"
    return Listed(mic, instrument, InstrumentMaster.load().commodity_of(instrument))


def symbol_of(instrument: str) -> str | None:
    """Return the venue symbol of an instrument key, or None if the venue does not list it.

    Example:
        >>> symbol_of("IFUS:CT:202612")
        'CT Z26'
    """
    match = re.fullmatch(r"([A-Z]{4}):([A-Z]{1,4}):20([0-9]{2})(0[1-9]|1[0-2])", instrument)
    if match is None or MIC_BY_ROOT.get(match[2]) != match[1]:
        return None
    return f"{match[2]} {MONTH_CODES[int(match[4]) - 1]}{match[3]}"
