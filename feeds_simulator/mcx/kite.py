"""Zerodha Kite's messages, encoded as its documentation says. Integers are big-endian; prices in paise.

Source: kite.trade/docs/connect/v3 (websocket, market-quotes, exceptions), read 2026-07.
"""

import csv
import gzip
import io
import json
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from feeds_simulator.mcx.board import DEPTH, Contract, Depth

LTP: Final = "ltp"
QUOTE: Final = "quote"
FULL: Final = "full"
MODES: Final = (LTP, QUOTE, FULL)

HEARTBEAT: Final = b"\0"
PACKETS_MAX: Final = 65_535
_ORDERS_MAX: Final = 0xFFFF

_NS: Final = 1_000_000_000
_IST: Final = timedelta(hours=5, minutes=30)

_LTP: Final = struct.Struct(">Ii")
_QUOTE: Final = struct.Struct(">IiIiIIIiiii")
_FULL: Final = struct.Struct(">IiIiIIIiiii5I" + "IiHxx" * 2 * DEPTH)  # all at once: 1 us, field by field 8

_COLUMNS: Final = (
    "instrument_token", "exchange_token", "tradingsymbol", "name", "last_price", "expiry", "strike", "tick_size",
    "lot_size", "instrument_type", "segment", "exchange",
)  # fmt: skip


def packet(contract: Contract, mode: str) -> bytes:
    """Return the state of a contract as a packet: 8, 44 or 184 bytes."""
    state = contract.state
    if mode == LTP:
        return _LTP.pack(contract.token, state.last_price)
    bids, asks = _depth(state.bids), _depth(state.asks)
    quote = (
        contract.token,
        state.last_price,
        state.last_qty,
        state.average,
        state.volume,
        sum(bids[::3]),
        sum(asks[::3]),
        state.open,
        state.high,
        state.low,
        state.close,
    )
    if mode == QUOTE:
        return _QUOTE.pack(*quote)
    times = (
        state.traded_ns // _NS,
        state.interest,
        state.interest_high,
        state.interest_low,
        state.stamped_ns // _NS,
    )
    return _FULL.pack(*quote, *times, *bids, *asks)


def _depth(levels: Depth) -> list[int]:
    # Quantity, price and orders of each level; zeros where there is none.
    numbers: list[int] = []
    for price, qty, orders in levels:
        numbers += (qty, price, orders if orders < _ORDERS_MAX else _ORDERS_MAX)
    return numbers + [0] * (3 * DEPTH - len(numbers))


def message(packets: Sequence[bytes]) -> bytes:
    """Return a binary message of at most PACKETS_MAX packets."""
    parts = [struct.pack(">H", len(packets))]
    for part in packets:
        parts += (struct.pack(">H", len(part)), part)
    return b"".join(parts)


def text(kind: str, data: object) -> str:
    """Return a text message: `error`, `message` (to all customers) or `order`."""
    return json.dumps({"type": kind, "data": data})


# ---- REST


def instruments_csv(contracts: Iterable[Contract]) -> bytes:
    """Return the gzipped dump. The lot size of MCX is 1 in it, whatever the contract."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for contract in contracts:
        writer.writerow(
            (
                contract.token,
                contract.exchange_token,
                contract.symbol,
                "",
                contract.state.last_price / 100,
                contract.expiry.isoformat(),
                0,
                contract.tick_paise / 100,
                1,
                "FUT",
                "MCX-FUT",
                "MCX",
            )
        )
    return gzip.compress(out.getvalue().encode(), mtime=0)


def full_quote(contract: Contract) -> dict[str, Any]:
    """Return the state as `/quote` says it."""
    state = contract.state
    return {
        "instrument_token": contract.token,
        "timestamp": _clock(state.stamped_ns),
        "last_trade_time": _clock(state.traded_ns) if state.traded_ns else None,
        "last_price": state.last_price / 100,
        "last_quantity": state.last_qty,
        "buy_quantity": sum(qty for _, qty, _ in state.bids),
        "sell_quantity": sum(qty for _, qty, _ in state.asks),
        "volume": state.volume,
        "average_price": state.average / 100,
        "oi": state.interest,
        "oi_day_high": state.interest_high,
        "oi_day_low": state.interest_low,
        "net_change": 0,
        "lower_circuit_limit": state.limits[0] / 100,
        "upper_circuit_limit": state.limits[1] / 100,
        "ohlc": _ohlc(contract),
        "depth": {"buy": _levels(state.bids), "sell": _levels(state.asks)},
    }


def ohlc_quote(contract: Contract) -> dict[str, Any]:
    """Return the state as `/quote/ohlc` says it."""
    return ltp_quote(contract) | {"ohlc": _ohlc(contract)}


def ltp_quote(contract: Contract) -> dict[str, Any]:
    """Return the state as `/quote/ltp` says it."""
    return {"instrument_token": contract.token, "last_price": contract.state.last_price / 100}


def _ohlc(contract: Contract) -> dict[str, float]:
    state = contract.state
    return {"open": state.open / 100, "high": state.high / 100, "low": state.low / 100, "close": state.close / 100}


def _levels(levels: Depth) -> list[dict[str, float]]:
    found = [{"price": price / 100, "quantity": qty, "orders": orders} for price, qty, orders in levels]
    return found + [{"price": 0, "quantity": 0, "orders": 0}] * (DEPTH - len(found))


def _clock(ts_ns: int) -> str:
    # Indian time without a zone, in seconds.
    return (datetime.fromtimestamp(ts_ns // _NS, UTC) + _IST).strftime("%Y-%m-%d %H:%M:%S")


def success(data: object) -> bytes:
    """Return the body of an answer."""
    return json.dumps({"status": "success", "data": data}).encode()


def failure(error_type: str, words: str) -> bytes:
    """Return the body of a refusal."""
    return json.dumps({"status": "error", "message": words, "data": None, "error_type": error_type}).encode()
