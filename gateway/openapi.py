"""The OpenAPI 3.1 document of the REST interface, built from the same constants the handlers use."""

from typing import Any, Final

from gateway.rest import DEFAULT_LIMIT, MAX_LIMIT
from market.depth import BOOK_STATES
from market.schemas import BOOKS, INTERVALS_NS, QUALITIES

_NS: Final = {"type": "string", "pattern": "^-?[0-9]+$", "description": "ns since 1970-01-01 UTC"}
_NUMBER: Final = {"type": "number"}
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}
_NAMES: Final = {"type": "array", "items": {"type": "string"}}
_FLAG: Final = {"type": "boolean"}
_QUALITY: Final = {"type": "string", "enum": list(QUALITIES)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [schema, {"type": "null"}]}


def _row(**columns: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": columns, "required": list(columns)}


_TICK: Final = {
    "instrument": _TEXT,
    "ts_event": _NS,
    "seq": _or_null(_COUNT),
    "venue": _TEXT,
    "ts_recv": _or_null(_NS),
    "flags": _COUNT,
}
_MADE: Final = {
    "venue": _TEXT,
    "instrument": _TEXT,
    "model": _TEXT,
    "ts_made": _NS,
    "horizon_s": {"type": "integer", "description": "trading time"},
    "ts_target": _NS,
}
_BALANCE: Final = ("rows_in", "rows_out", "late", "rejected", "held", "conflated")
_PRICES: Final = ("open", "high", "low", "close", "volume", "vwap")

_SCHEMAS: Final = {
    "trades": _row(
        **_TICK,
        trade_id=_or_null(_TEXT),
        price=_NUMBER,
        size=_NUMBER,
        side={"enum": ["buy", "sell", None], "description": "the aggressor's side"},
    ),
    "quotes": _row(
        **_TICK,
        **{name: _or_null(_NUMBER) for name in ("bid_price", "bid_size", "ask_price", "ask_size")},
    ),
    "books": _row(
        venue=_TEXT,
        instrument=_TEXT,
        ts_event=_NS,
        ts_recv=_or_null(_NS),
        seq=_or_null(_COUNT),
        state={"type": "string", "enum": list(BOOK_STATES)},
        quality=_QUALITY,
        **{name: _or_null(_NUMBER) for name in BOOKS.names[BOOKS.names.index("mid_price") :]},
    ),
    "bars": _row(
        instrument=_TEXT,
        interval={"type": "string", "enum": list(INTERVALS_NS)},
        ts_open=_NS,
        ts_close=_NS,
        revision=_COUNT,
        final=_FLAG,
        venue=_TEXT,
        **dict.fromkeys(_PRICES, _NUMBER),
        trades=_COUNT,
        quality=_QUALITY,
        as_known_at=_NS,
    ),
    "status": _row(kind=_TEXT, venue=_TEXT, instrument=_or_null(_TEXT), ts_event=_NS, quality=_QUALITY, reason=_TEXT),
    "news": _row(
        news_id=_TEXT,
        venue=_TEXT,
        ts_event=_NS,
        ts_recv=_or_null(_NS),
        headline=_TEXT,
        body=_TEXT,
        topics=_NAMES,
        instruments=_NAMES,
        urgency=_COUNT,
    ),
    "arbitrage": _row(
        opportunity_id=_TEXT,
        ts_event=_NS,
        commodity=_TEXT,
        direction=_TEXT,
        buy_instrument=_TEXT,
        sell_instrument=_TEXT,
        state=_TEXT,
        reason=_TEXT,
        currency=_TEXT,
        unit=_TEXT,
        buy_price=_or_null(_NUMBER),
        sell_price=_or_null(_NUMBER),
        fx_price=_or_null(_NUMBER),
        gross=_or_null(_NUMBER),
        cost_freight=_or_null(_NUMBER),
        cost_duty=_or_null(_NUMBER),
        cost_bank=_or_null(_NUMBER),
        cost_inland=_or_null(_NUMBER),
        cost_fees=_or_null(_NUMBER),
        cost_taxes=_or_null(_NUMBER),
        cost_financing=_or_null(_NUMBER),
        cost_margin=_or_null(_NUMBER),
        cost_fx_hedge=_or_null(_NUMBER),
        cost_slippage=_or_null(_NUMBER),
        net=_or_null(_NUMBER),
        basis=_or_null(_NUMBER),
        level=_or_null(_NUMBER),
        size=_or_null(_NUMBER),
        foreign_size=_or_null(_NUMBER),
        net_inr=_or_null(_NUMBER),
        net_usd=_or_null(_NUMBER),
        buy_age_ms=_or_null(_COUNT),
        sell_age_ms=_or_null(_COUNT),
        fx_age_ms=_or_null(_COUNT),
        skew_ms=_or_null(_COUNT),
        assumed=_NAMES,
    ),
    "anomalies": _row(
        anomaly_id=_TEXT,
        venue=_TEXT,
        instrument=_TEXT,
        ts_event=_NS,
        ts_end=_or_null(_NS),
        kind=_TEXT,
        severity=_TEXT,
        score=_NUMBER,
        value=_or_null(_NUMBER),
        expected=_or_null(_NUMBER),
        witness=_TEXT,
        detail={"type": "object"},
        as_known_at=_NS,
    ),
    "forecasts": _row(
        **_MADE,
        level=_NUMBER,
        price=_NUMBER,
        **dict.fromkeys(("mean", "lo", "hi", "crash_probability"), _or_null(_NUMBER)),
        reason={"type": "string", "description": "why naive is served, or nothing; empty otherwise"},
        skill=_or_null(_NUMBER),
        coverage=_or_null(_NUMBER),
        scored=_COUNT,
        as_known_at=_NS,
    ),
    "forecast_scores": _row(
        **_MADE,
        **dict.fromkeys(("mean", "actual", "abs_error", "naive_abs_error"), _NUMBER),
        covered=_or_null(_FLAG),
        covered_80=_or_null(_FLAG),
        crash=_FLAG,
        crash_probability=_or_null(_NUMBER),
        crash_base=_or_null(_NUMBER),
        served=_FLAG,
        as_known_at=_NS,
    ),
    "forecast_scoreboard": _row(
        **{name: kind for name, kind in _MADE.items() if name != "ts_target"},
        scored=_COUNT,
        abs_error=_NUMBER,
        **dict.fromkeys(("skill", "coverage", "coverage_80", "crash_skill"), _or_null(_NUMBER)),
        served={"type": "number", "description": "the share of its forecasts that were served"},
    ),
    "instruments": _row(
        instrument=_TEXT,
        venue=_TEXT,
        root=_TEXT,
        commodity=_TEXT,
        name=_TEXT,
        currency=_or_null(_TEXT),
        quote_unit=_or_null(_TEXT),
        tick_size=_or_null(_NUMBER),
        contract_size=_or_null(_NUMBER),
        size_unit=_or_null(_TEXT),
        time_zone=_or_null(_TEXT),
        last_trade=_or_null({"$ref": "#/components/schemas/trades"}),
        last_quote=_or_null({"$ref": "#/components/schemas/quotes"}),
        last_status=_or_null({"$ref": "#/components/schemas/status"}),
    ),
    "health": _row(
        balance={"type": "array", "items": _row(consumer=_TEXT, **dict.fromkeys(_BALANCE, _COUNT))},
        venues={
            "type": "array",
            "items": _row(venue=_TEXT, rows=_COUNT, gaps=_COUNT, lag_s=_or_null(_NUMBER), skew_s=_NUMBER),
        },
        processes={"type": "array", "items": _row(process=_TEXT, up=_FLAG, restarts=_COUNT)},
        gateway=_row(clients=_COUNT, sent=_COUNT, conflated=_COUNT),
    ),
    "error": _row(error=_row(code=_TEXT, message=_TEXT)),
}

_SUMMARIES: Final = {
    "instruments": "Instruments seen live, with their contract and newest rows. From memory.",
    "bars": "Final bars, newest revision of each unless revisions=all, oldest first.",
    "trades": "Trades, oldest first.",
    "quotes": "Top-of-book quotes, oldest first.",
    "books": "Snapshots of an order book, ten levels a side, oldest first.",
    "anomalies": "Anomalies as they are known now, oldest first; * or no instrument: of all.",
    "forecasts": "Forecasts as they were served, a row a horizon and level, oldest first; * or no instrument: of all.",
    "forecast_scores": "What became of the forecasts of each model, oldest first; * or no instrument: of all.",
    "forecast_scoreboard": "How good each model was on the last day, a row an instrument, model and horizon.",
    "news": "Headlines, oldest first; of one instrument, those that name it.",
    "arbitrage": "Arbitrage opportunities, one row a change, oldest first; of an instrument, or of a commodity.",
    "health": "What the processes of the pipeline say: rows by venue, and the balance of rows. Empty if none is known.",
    "status": "Newest status of every instrument and venue, from memory; with from or to, history.",
}


def _parameter(name: str, text: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "required": required, "schema": schema}


def _range() -> list[dict[str, Any]]:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    text = "ns since 1970 or ISO 8601"
    return [
        _parameter("from", f"first time, inclusive: {text}", _TEXT),
        _parameter("to", f"last time, exclusive: {text}", _TEXT),
        _parameter("limit", "how many rows at most; the newest of the range are taken", limit),
    ]


_FROM_MEMORY: Final = ("instruments", "health")
_OF_ALL: Final = ("status", "news", "anomalies", "arbitrage", "forecasts", "forecast_scores", "forecast_scoreboard")


def _parameters(name: str) -> list[dict[str, Any]]:
    if name in _FROM_MEMORY:
        return []
    instrument = _parameter("instrument", "key, such as XCEC:GC:202612", _TEXT, required=name not in _OF_ALL)
    if name != "bars":
        return [instrument, *_range()]
    interval = _parameter("interval", "width", {"enum": list(INTERVALS_NS)}, required=True)
    revisions = _parameter("revisions", "all revisions or the newest", {"enum": ["newest", "all"]})
    return [instrument, interval, *_range(), revisions]


def _path(name: str) -> dict[str, Any]:
    def answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": text, "content": {"application/json": {"schema": schema}}}

    error = {"$ref": "#/components/schemas/error"}
    row = {"$ref": f"#/components/schemas/{name}"}
    rows = row if name == "health" else {"type": "array", "items": row}
    responses = {"200": answer("rows", rows), "400": answer("a parameter is wrong", error)}
    if name not in _FROM_MEMORY:
        responses["503"] = answer("the history store does not answer; streams go on", error)
    return {
        "get": {
            "operationId": name,
            "summary": _SUMMARIES[name],
            "parameters": _parameters(name),
            "responses": responses,
        }
    }


def _events() -> dict[str, Any]:
    text = {"description": "events", "content": {"text/event-stream": {"schema": _TEXT}}}
    error = {"$ref": "#/components/schemas/error"}
    refused = {"description": "a parameter is wrong", "content": {"application/json": {"schema": error}}}
    return {
        "get": {
            "operationId": "sse",
            "summary": "Server-sent events: the messages of /v1/stream, images first, until you close.",
            "parameters": [
                _parameter("channels", "channels, with commas", _TEXT, required=True),
                _parameter("interval", "widths of bars, with commas", _TEXT),
                _parameter("instruments", "keys or wildcards, with commas; all if absent", _TEXT),
                {"name": "Last-Event-ID", "in": "header", "description": "resume after this event", "schema": _TEXT},
            ],
            "responses": {"200": text, "400": refused},
        }
    }


def document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mandi gateway",
            "version": "1",
            "description": "History and reference data. Live data: WebSocket at /v1/stream, events at /v1/sse.",
        },
        "paths": {f"/v1/{name}": _path(name) for name in _SUMMARIES} | {"/v1/sse": _events()},
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
        # Either: without keys the gateway asks for no token.
        "security": [{"token": []}, {}],
    }
