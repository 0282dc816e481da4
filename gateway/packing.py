"""The stream's messages as MessagePack, for subprotocol `mandi.v1.msgpack`: made from the JSON ones, as exact. Pure.

Members and their order are those of JSON, with two differences:

* a time (`ts_...`, `as_known_at`) is an integer of ns, where JSON has text;
* a price, size or other number with decimals is extension 1: a big-endian signed integer of 1e-9, in 8 bytes, or in
  16 where that does not hold it. Columns of DECIMALS always are, also when the number is whole.

What has more than nine decimals, such as a score, is a float64, as is what the gateway says about itself (`limits`).
Source: https://github.com/msgpack/msgpack/blob/master/spec.md, 2026-11.
"""

import json
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Final

import msgpack
import orjson
import pyarrow as pa

from gateway.errors import RequestError
from gateway.protocol import binary_frame, frame_payload
from market.schemas import BOOKS

SUBPROTOCOL: Final = "mandi.v1.msgpack"
DECIMAL_EXTENSION: Final = 1

DECIMALS: Final = frozenset(
    {"price", "size", "quantity", "bid_price", "bid_size", "ask_price", "ask_size"}
    | {"open", "high", "low", "close", "volume", "vwap"}
    | {"arrival_price", "slippage", "markout_1m", "markout_5m", "markout_30m"}
    | {field.name for field in BOOKS if pa.types.is_int64(field.type)} - {"ts_event", "ts_recv", "seq"}
)
"""Columns whose type must not depend on whether a value happens to be whole."""

_PLACES: Final = 9
_EXACT: Final = Context(prec=60)  # the widest number, a 128-bit volume, has 38 digits
_INT64: Final = 2**63
_INT128: Final = 2**127


@lru_cache(maxsize=4_096)
def packed_frame(frame: bytes) -> bytes:
    """Return the binary frame of a text frame; cached, since every client of a stream is sent the same."""
    return binary_frame(pack(frame_payload(frame)))


def pack(message: bytes) -> bytes:
    """Return a JSON message as MessagePack.

    Example:
        >>> pack(b'{"op":"update","data":{"price":68.19}}')[-10:].hex()
        'd7010000000fe070d380'
    """
    # Not orjson: it reads numbers into floats. A tuple tells the text of a number from a string.
    found = json.loads(message, parse_float=lambda text: (text,))
    packed: bytes = msgpack.packb({name: _packable(name, value, inside=False) for name, value in found.items()})
    return packed


def _packable(name: str, value: Any, *, inside: bool) -> Any:
    if isinstance(value, dict):
        rows = inside or name in ("data", "previous")
        return {key: _packable(key, each, inside=rows) for key, each in value.items()}
    if isinstance(value, list):
        return [_packable(name, each, inside=inside) for each in value]
    if isinstance(value, str):
        return int(value) if name.startswith("ts_") or name == "as_known_at" else value
    if isinstance(value, tuple):
        return _fraction(value[0]) if inside else float(value[0])
    if name in DECIMALS and inside and isinstance(value, int) and not isinstance(value, bool):
        return _extension(value * 10**_PLACES)
    return value


def _fraction(text: str) -> msgpack.ExtType | float:
    whole, _, decimals = text.partition(".")
    if len(decimals) > _PLACES or not decimals.isdigit():  # an exponent is no digit
        return float(text)
    return _extension(int(whole + decimals.ljust(_PLACES, "0")))


def _extension(units: int) -> msgpack.ExtType | float:
    if not -_INT128 <= units < _INT128:
        return float(units) / 10**_PLACES
    size_bytes = 8 if -_INT64 <= units < _INT64 else 16
    return msgpack.ExtType(DECIMAL_EXTENSION, units.to_bytes(size_bytes, "big", signed=True))


def decimal_of(code: int, data: bytes) -> Decimal | msgpack.ExtType:
    """Return the number of an extension: what a client gives to `unpackb` as `ext_hook`."""
    if code != DECIMAL_EXTENSION:
        return msgpack.ExtType(code, data)
    return _EXACT.scaleb(Decimal(int.from_bytes(data, "big", signed=True)), -_PLACES)


def unpack_request(data: str | bytes) -> Any:
    """Return what a client's binary message holds.

    Raises: RequestError with code bad_request (text) or bad_msgpack.
    """
    if isinstance(data, str):
        raise RequestError("bad_request", "this subprotocol takes binary messages")
    try:
        return msgpack.unpackb(data)
    except (ValueError, TypeError, RecursionError) as error:  # what msgpack raises are ValueErrors
        raise RequestError("bad_msgpack", f"not MessagePack: {type(error).__name__}") from None


def unpack_json(text: str | bytes) -> Any:
    """Return what a client's text message holds.

    Raises: RequestError with code bad_request (binary) or bad_json.
    """
    if isinstance(text, bytes):
        raise RequestError("bad_request", "this subprotocol takes text messages")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError("bad_json", f"not JSON: {error}") from None
