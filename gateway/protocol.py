"""The stream's messages: client text -> requests, values -> server JSON bytes and WebSocket frames. Pure.

Every server message is one JSON object in one unmasked, uncompressed text frame, so a frame built once can be
written to any number of connections (RFC 6455 section 5.2).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from gateway.errors import RequestError
from gateway.rows import json_text
from market.schemas import INTERVALS_NS

CHANNELS: Final = (
    *("trades", "quotes", "bars", "book", "status", "news"),
    *("anomalies", "arbitrage", "forecasts", "user.trades"),
)
"""What can be subscribed to."""

STATE_CHANNELS: Final = frozenset({"quotes", "bars", "book", "forecasts"})
"""Channels whose newest row replaces older ones; the others carry events, each of which counts."""

MAX_PATTERNS: Final = 256
MAX_CONFLATE_MS: Final = 60_000
MAX_ID_CHARS: Final = 64

_PATTERN: Final = re.compile(r"[A-Za-z0-9*:._-]{1,64}")
_INT_RANGE: Final = range(-(2**53), 2**53)  # what a JavaScript client can hold

RequestId: TypeAlias = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """Where a client left off: one number for one stream, or a number per instrument."""

    epoch: str
    seq: int | Mapping[str, int]
    ordinal: int | None = None  # of events: one place for all streams, in place of `seq`


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    id: RequestId
    channel: str
    interval: str  # "" unless bars
    instruments: tuple[str, ...]  # exact keys or wildcards
    conflate_ms: int
    since: Since | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    id: RequestId


@dataclass(frozen=True, slots=True)
class Auth:
    token: str


@dataclass(frozen=True, slots=True)
class Ping:
    id: RequestId | None


Request: TypeAlias = Subscribe | Unsubscribe | Auth | Ping


def parse(message: object) -> Request:
    """Return the request in a client's message, decoded.

    Raises: RequestError with code bad_request, unknown_op, unknown_channel or unknown_interval.
    """
    if not isinstance(message, dict):
        raise RequestError("bad_request", "a message is an object with an op")
    request_id = _id(message)
    try:
        return _by_op(message, request_id)
    except RequestError as error:
        raise RequestError(error.code, error.message, request_id) from None


def _by_op(message: dict[str, Any], request_id: RequestId | None) -> Request:
    match message.get("op"):
        case "subscribe":
            return parse_subscribe(message, _required(request_id))
        case "unsubscribe":
            return Unsubscribe(_required(request_id))
        case "ping":
            return Ping(request_id)
        case "auth":
            token = message.get("token")
            if not isinstance(token, str):
                raise RequestError("bad_request", "auth needs a token, as text")
            return Auth(token)
        case op:
            raise RequestError("unknown_op", f"no such op: {str(op)[:40]!r}")


def _id(message: dict[str, Any]) -> RequestId | None:
    value = message.get("id")
    if isinstance(value, str) and len(value) <= MAX_ID_CHARS:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT_RANGE:
        return value
    if value is None:
        return None
    raise RequestError("bad_request", f"id is an integer or text of at most {MAX_ID_CHARS} characters")


def _required(request_id: RequestId | None) -> RequestId:
    if request_id is None:
        raise RequestError("bad_request", "this op needs an id")
    return request_id


def parse_subscribe(message: dict[str, Any], request_id: RequestId, since: Since | None = None) -> Subscribe:
    """Return the checked subscription of a message's members; `since` is what the caller read elsewhere.

    Raises: RequestError.
    """
    channel = _channel(message.get("channel"))
    conflate_ms = message.get("conflate_ms", 0)
    if type(conflate_ms) is not int or not 0 <= conflate_ms <= MAX_CONFLATE_MS:
        raise RequestError("bad_request", f"conflate_ms is an integer in [0, {MAX_CONFLATE_MS}]")
    return Subscribe(
        id=request_id,
        channel=channel,
        interval=_interval(channel, message.get("interval")),
        instruments=_patterns(message.get("instruments", ["*"])),
        # Events are never conflated: the answer says 0, so that the client knows.
        conflate_ms=conflate_ms if channel in STATE_CHANNELS else 0,
        since=since or _since(message.get("since")),
    )


def _channel(value: object) -> str:
    if isinstance(value, str) and value in CHANNELS:
        return value
    raise RequestError("unknown_channel", f"channels are {', '.join(CHANNELS)}")


def _interval(channel: str, value: object) -> str:
    if channel != "bars":
        return ""
    if isinstance(value, str) and value in INTERVALS_NS:
        return value
    raise RequestError("unknown_interval", f"bars need an interval: one of {', '.join(INTERVALS_NS)}")


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PATTERNS:
        raise RequestError("bad_request", f"instruments is a list of 1 to {MAX_PATTERNS} keys or wildcards")
    for pattern in value:
        if not isinstance(pattern, str) or _PATTERN.fullmatch(pattern) is None:
            raise RequestError("bad_request", f"not an instrument key or wildcard: {str(pattern)[:80]!r}")
    return tuple(dict.fromkeys(value))


def _since(value: object) -> Since | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("epoch"), str):
        raise RequestError("bad_request", "since is {epoch, seq}")
    seq = value.get("seq")
    numbers = list(seq.values()) if isinstance(seq, dict) else [seq]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise RequestError("bad_request", "since.seq is an integer >= 0, or one per instrument key")
    return Since(epoch=value["epoch"], seq=seq if isinstance(seq, (int, dict)) else 0)


class Matcher:
    """Which stream names a subscription's patterns cover. `*` stands for any characters.

    A venue-wide stream (`XCEC:*`) is covered by every pattern that may name an instrument of the venue.
    """

    __slots__ = ("_exact", "_venues", "_wild")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
        self._wild = [pattern.split("*") for pattern in patterns if "*" in pattern]
        self._venues = [pattern.partition(":")[0].split("*") for pattern in patterns]

    def covers(self, instrument: str) -> bool:
        if instrument in self._exact:
            return True
        if instrument.endswith(":*"):
            return any(_fits(parts, instrument[:-2]) for parts in self._venues)
        return any(_fits(parts, instrument) for parts in self._wild)


def _fits(parts: Sequence[str], text: str) -> bool:
    """Tell whether `text` is the parts of a pattern with anything between them.

    Greedy and linear: a regular expression made from a client's wildcards could backtrack without bound.
    """
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return text == first
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def text_frame(payload: bytes) -> bytes:
    """Return the WebSocket text frame of a message: final, unmasked, no extension."""
    return _frame(b"\x81", payload)


def binary_frame(payload: bytes) -> bytes:
    """Return the WebSocket binary frame of a message."""
    return _frame(b"\x82", payload)


def _frame(start: bytes, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return start + bytes((size,)) + payload
    if size < 65_536:
        return start + b"\x7e" + size.to_bytes(2, "big") + payload
    return start + b"\x7f" + size.to_bytes(8, "big") + payload


def frame_payload(frame: bytes) -> bytes:
    """Return the message inside a frame of `text_frame`."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def stream_head(channel: str, instrument: str, interval: str) -> str:
    """Return the members that name a stream, shared by all its messages."""
    head = f'"channel":"{channel}","instrument":{json_text(instrument)}'
    return f'{head},"interval":"{interval}"' if interval else head


def update_message(head: str, seq: int, ts_out: int, data: bytes, skipped: int = 0) -> bytes:
    more = f',"skipped":{skipped}' if skipped else ""
    return f'{{"op":"update",{head},"seq":{seq},"ts_out":"{ts_out}"{more},"data":'.encode() + data + b"}"


def snapshot_message(head: str, seq: int, ts_out: int, data: bytes, previous: bytes | None = None) -> bytes:
    """Return the image of a stream. `previous` is the last final bar while `data` is a forming one."""
    more = b"" if previous is None else b',"previous":' + previous
    return f'{{"op":"snapshot",{head},"seq":{seq},"ts_out":"{ts_out}","data":'.encode() + data + more + b"}"


def gap_message(head: str, first: int, last: int, reason: str) -> bytes:
    return f'{{"op":"gap",{head},"from":{first},"to":{last},"reason":{json_text(reason)}}}'.encode()


def status_message(instrument: str, venue: str, ts_event: int, quality: str, reason: str) -> bytes:
    return (
        f'{{"op":"status","instrument":{json_text(instrument)},"venue":{json_text(venue)},'
        f'"ts_event":"{ts_event}","quality":{json_text(quality)},"reason":{json_text(reason)}}}'
    ).encode()


def heartbeat_message(ts_out: int) -> bytes:
    return f'{{"op":"heartbeat","ts_out":"{ts_out}"}}'.encode()


def message(op: str, **members: object) -> bytes:
    """Return any other server message: welcome, subscribed, unsubscribed, pong, error."""
    return orjson.dumps({"op": op, **members})


def error_message(error: RequestError) -> bytes:
    return message("error", id=error.id, code=error.code, message=error.message)
