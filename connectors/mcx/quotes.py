"""Kite's REST answers -> packets. Pure.

Units: as connectors/mcx/packets.py. In JSON prices are floats, exact to the tick, and times are texts of India's clock.
Source: kite.trade/docs/connect/v3/market-quotes, read 2026-07.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from connectors.errors import RestRefused, ValueRefused
from connectors.mcx.constants import IST_OFFSET_NS, SECOND_NS
from connectors.mcx.packets import Level, Limits, Packet, limits_of
from connectors.ticks import parse_lots

_EXCHANGE: Final = "MCX:"


def read_quotes(body: bytes) -> dict[str, Packet]:
    """Return the packets of a `/quote` answer by symbol. A quote that cannot be read is left out.

    Raises: RestRefused if it is none.
    """
    fields = _json(body)
    data = fields.get("data")
    if fields.get("status") != "success" or type(data) is not dict:
        raise RestRefused(200, "DataException", body[:200].decode("utf-8", "replace"))
    quotes = {}
    for name, quote in data.items():
        packet = _packet(quote) if type(quote) is dict else None
        if packet is not None:
            quotes[name.removeprefix(_EXCHANGE)] = packet
    return quotes


def read_refusal(status: int, body: bytes) -> RestRefused:
    """Return the error that an answer with this status says."""
    try:
        fields = _json(body)
    except RestRefused:
        fields = {}
    reason, detail = fields.get("error_type"), fields.get("message")
    return RestRefused(status, str(reason or "HTTP"), str(detail or body[:200].decode("utf-8", "replace")))


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as bad:
        raise RestRefused(200, "DataException", f"no JSON: {bad}") from bad
    if type(fields) is not dict:
        raise RestRefused(200, "DataException", "not a JSON object")
    return fields


def _packet(quote: Mapping[str, Any]) -> Packet | None:
    try:
        depth = quote["depth"]
        return Packet(
            int(quote["instrument_token"]),
            parse_lots(quote["last_price"]) or None,
            parse_lots(quote["last_quantity"]) or None,
            parse_lots(quote["volume"]),
            parse_lots(quote["ohlc"]["close"]) or None,
            _time(quote.get("last_trade_time")),
            _time(quote.get("timestamp")),
            _levels(depth["buy"]),
            _levels(depth["sell"]),
            limits=_limits(quote),
        )
    except (KeyError, TypeError, ValueError, ValueRefused):
        return None


def _levels(levels: list[Mapping[str, Any]]) -> tuple[Level, ...]:
    found = [(parse_lots(level["price"]), parse_lots(level["quantity"]), int(level["orders"])) for level in levels]
    return tuple(level for level in found if level[0] and level[1])


def _limits(quote: Mapping[str, Any]) -> Limits | None:
    try:
        return limits_of(parse_lots(quote.get("lower_circuit_limit")), parse_lots(quote.get("upper_circuit_limit")))
    except ValueRefused:
        return None


def _time(text: object) -> int | None:
    if type(text) is not str or not text:
        return None
    local = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(local.timestamp()) * SECOND_NS - IST_OFFSET_NS
