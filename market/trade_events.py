"""Events of the trading backend: versioned JSON in, checked once at the edge, Arrow rows out.

An event says what happened to one of the desk's own trades. As the backend writes it:

    {"version": 1, "event_id": "e-81", "type": "matched", "trade_id": "t-7", "user": "asha", "side": "buy",
     "instrument": "IFUS:CT:202612", "quantity": 5, "price": 68.21, "ts_event": "1795231397678000000"}

All fields are required; fields nobody knows are passed over, so that a backend may add some without a new version.
`quantity` (lots, above 0) and `price` are JSON numbers or decimal text, exact in 1e-9: they are read as decimals,
never as floats. `ts_event` is ns UTC as text or number. The instrument is one of the contract master.

In the log (`trading.events`) an event is the same object with `ts_recv`. `event_id` makes it the same event.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from market.instruments import BadInstrumentKey, BadPrice, InstrumentKey, InstrumentMaster, format_fixed, to_fixed
from market.schemas import BUY, EVENT_TYPES, PRICE_LIMIT, SELL, TRADE_EVENTS
from market.watermark import Lateness

VERSION: Final = 1

MAX_EVENT_BYTES: Final = 64 * 1024
"""An event has about 250 bytes; what is larger than this is something else."""

_SIDES: Final = {"buy": BUY, "sell": SELL}
_SIDE_NAMES: Final = {code: name for name, code in _SIDES.items()}
_TEXT_LIMIT: Final = 128
_TIME: Final = re.compile(r"\d{1,19}", re.ASCII)
_TIME_LIMIT: Final = 2**63
_SHOWN: Final = 80
_MAX_FUTURE_SKEW_NS: Final = Lateness().max_future_skew_ns


class EventRefused(ValueError):
    """Bytes that must not become an event. `reason` is one of REJECT_REASONS, `detail` the value in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeEvent:
    """A checked event. Units: `quantity` lots and `price`, both int64 1e-9; times ns UTC."""

    event_id: str
    event_type: str
    trade_id: str
    user_id: str
    instrument: str
    side: int
    quantity: int
    price: int
    ts_event: int
    ts_recv: int


def parse_event(raw: bytes, ts_recv: int, master: InstrumentMaster) -> TradeEvent:
    """Read what the backend wrote.

    Raises: EventRefused, whatever the bytes are.

    Example:
        >>> parse_event(b'{"version": 2}', 0, InstrumentMaster.load())
        Traceback (most recent call last):
        ...
        market.trade_events.EventRefused: unknown_version: version is 2; known is 1
    """
    fields = _object_of(raw)
    version = _required(fields, "version")
    if version != VERSION or not isinstance(version, Decimal):
        raise EventRefused("unknown_version", f"version is {_shown(version)}; known is {VERSION}")
    ts_event = _time(fields, "ts_event")
    if ts_event > ts_recv + _MAX_FUTURE_SKEW_NS:
        ahead_s = (ts_event - ts_recv) // 10**9
        raise EventRefused("future_stamp", f"ts_event {ts_event} is {ahead_s} s ahead of our clock")
    return TradeEvent(
        event_id=_text(fields, "event_id"),
        event_type=_one_of(fields, "type", EVENT_TYPES),
        trade_id=_text(fields, "trade_id"),
        user_id=_text(fields, "user"),
        instrument=_instrument(fields, ts_event, master),
        side=_SIDES[_one_of(fields, "side", tuple(_SIDES))],
        quantity=_quantity(fields),
        price=_fixed(fields, "price"),
        ts_event=ts_event,
        ts_recv=ts_recv,
    )


def to_log(event: TradeEvent) -> bytes:
    """Return the event as the log holds it: JSON, numbers exact, times as decimal text."""
    quoted = {
        name: json.dumps(value, ensure_ascii=False)
        for name, value in {
            "event_id": event.event_id,
            "type": event.event_type,
            "trade_id": event.trade_id,
            "user": event.user_id,
            "instrument": event.instrument,
            "side": _SIDE_NAMES[event.side],
            "ts_event": str(event.ts_event),
            "ts_recv": str(event.ts_recv),
        }.items()
    }
    numbers = {"version": str(VERSION), "quantity": format_fixed(event.quantity), "price": format_fixed(event.price)}
    return ("{" + ",".join(f'"{name}":{value}' for name, value in {**quoted, **numbers}.items()) + "}").encode()


def from_log(values: Sequence[bytes]) -> pa.RecordBatch:
    """Return records of `trading.events` as rows.

    Shape: JSON of `to_log`, n values -> TRADE_EVENTS, n rows in order, without the market joined to them.
    """
    return event_batch([_row(json.loads(value, parse_float=str, parse_int=str)) for value in values])


def event_batch(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows as a batch of TRADE_EVENTS; a column that is left out is null."""
    plain = pa.schema(
        [field.with_type(pa.utf8()) if pa.types.is_dictionary(field.type) else field for field in TRADE_EVENTS]
    )
    batch = pa.RecordBatch.from_pylist(list(rows), schema=plain)
    columns = [
        column if column.type == field.type else column.dictionary_encode().cast(field.type)
        for column, field in zip(batch.columns, TRADE_EVENTS, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TRADE_EVENTS)


def event_of(value: bytes) -> TradeEvent:
    """Return a record of `trading.events` as an event."""
    return TradeEvent(**_row(json.loads(value, parse_float=str, parse_int=str)))


def _row(fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "event_id": fields["event_id"],
        "event_type": fields["type"],
        "trade_id": fields["trade_id"],
        "user_id": fields["user"],
        "instrument": fields["instrument"],
        "side": _SIDES[fields["side"]],
        "quantity": to_fixed(fields["quantity"]),
        "price": to_fixed(fields["price"]),
        "ts_event": int(fields["ts_event"]),
        "ts_recv": int(fields["ts_recv"]),
    }


def _object_of(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_EVENT_BYTES:
        raise EventRefused("malformed_frame", f"{len(raw)} bytes; an event has at most {MAX_EVENT_BYTES}")
    try:
        # NaN and Infinity are no JSON, but some encoders write them: the number's own check names the field.
        found = json.loads(
            raw.decode(), parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal, object_pairs_hook=_pairs
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, EventRefused):
            raise
        raise EventRefused("malformed_frame", f"not JSON: {str(error)[:_SHOWN]}") from error
    if not isinstance(found, dict):
        raise EventRefused("malformed_frame", f"not a JSON object: {_shown(found)}")
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise EventRefused("malformed_frame", "a field comes twice")  # which of the two would be a guess
    return found


def _required(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None or value == "":
        raise EventRefused("missing_field", f"{name} is {'empty' if name in fields else 'not there'}")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = _required(fields, name)
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT or not value.isprintable() or value != value.strip():
        raise EventRefused("unparseable", f"{name} is {_shown(value)}: 1 to {_TEXT_LIMIT} printable characters")
    return value


def _one_of(fields: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    value = _required(fields, name)
    if not isinstance(value, str) or value not in known:
        raise EventRefused("unparseable", f"{name} is {_shown(value)}: one of {', '.join(known)}")
    return value


def _instrument(fields: Mapping[str, Any], ts_event: int, master: InstrumentMaster) -> str:
    value = _text(fields, "instrument")
    try:
        key = InstrumentKey.parse(value)
    except BadInstrumentKey as error:
        raise EventRefused("unknown_instrument", str(error)) from error
    if master.contract(key, datetime.fromtimestamp(ts_event // 10**9, UTC).date()) is None:
        raise EventRefused("unknown_instrument", f"{value} is not in the contract master")
    return value


def _quantity(fields: Mapping[str, Any]) -> int:
    quantity = _fixed(fields, "quantity")
    if quantity <= 0:
        raise EventRefused("size_not_positive", f"quantity is {format_fixed(quantity)}")
    return quantity


def _fixed(fields: Mapping[str, Any], name: str) -> int:
    value = _required(fields, name)
    if not isinstance(value, str | Decimal) or len(str(value)) > _TEXT_LIMIT:
        raise EventRefused("unparseable", f"{name} is {_shown(value)}: no number")
    try:
        fixed = to_fixed(value)
    except BadPrice as error:
        reason = {"not finite": "price_not_finite", "out of range": "out_of_range"}.get(error.reason, "unparseable")
        raise EventRefused(reason, f"{name}: {error}") from error
    assert abs(fixed) < PRICE_LIMIT
    return fixed


def _time(fields: Mapping[str, Any], name: str) -> int:
    value = _required(fields, name)
    digits = format(value, "f") if isinstance(value, Decimal) and abs(value.adjusted()) < _TEXT_LIMIT else value
    if not isinstance(digits, str) or not _TIME.fullmatch(digits):
        raise EventRefused("unparseable", f"{name} is {_shown(value)}: no time in ns")
    found = int(digits)
    if found >= _TIME_LIMIT:
        raise EventRefused("out_of_range", f"{name} is {found}: after the year 2262")
    return found


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
