"""Angel One's messages, encoded as its client library says. Integers are little-endian; prices in paise.

Source: angel-one/smartapi-python `SmartApi/smartWebSocketV2.py`, read 2026-11.
"""

import json
import struct
from collections.abc import Iterable
from typing import Final

from feeds_simulator.mcx.board import DEPTH, Contract
from feeds_simulator.mcx.symbols import angel_symbol

LTP: Final = 1
QUOTE: Final = 2
SNAP: Final = 3
MODES: Final = (LTP, QUOTE, SNAP)
EXCHANGE_MCX: Final = 5

INVALID_PAYLOAD: Final = "E1001"
OVER_LIMIT: Final = "E1002"
_WORDS: Final = {
    INVALID_PAYLOAD: "Invalid Request Payload.",
    OVER_LIMIT: "Invalid Request. Subscription Limit Exceeded",
}


def packet(contract: Contract, mode: int, buy_flag: int = 0) -> bytes:
    """Return the state of a contract: 51, 123 or 379 bytes."""
    state = contract.state
    head = struct.pack(
        "<BB25sqqq",
        mode,
        EXCHANGE_MCX,
        str(contract.exchange_token).encode(),
        state.number,
        state.stamped_ns // 1_000_000,
        state.last_price,
    )
    if mode == LTP:
        return head
    quote = head + struct.pack(
        "<qqqddqqqq",
        state.last_qty,
        state.average,
        state.volume,
        float(sum(qty for _, qty, _ in state.bids)),
        float(sum(qty for _, qty, _ in state.asks)),
        state.open,
        state.high,
        state.low,
        state.close,
    )
    if mode == QUOTE:
        return quote
    depth = b""
    for flag, levels in ((buy_flag, state.bids), (1 - buy_flag, state.asks)):
        for price, qty, orders in (*levels, *((0, 0, 0),) * (DEPTH - len(levels))):
            depth += struct.pack("<HqqH", flag, qty, price, orders)
    interest = struct.pack("<qqq", state.traded_ns // 1_000_000_000, state.interest, 0)
    low, high = state.limits
    return quote + interest + depth + struct.pack("<4q", high, low, state.high, state.low)


def error(code: str, correlation_id: str) -> str:
    """Return an error as text."""
    return json.dumps({"correlationID": correlation_id, "errorCode": code, "errorMessage": _WORDS[code]})


def scrip_master(contracts: Iterable[Contract]) -> bytes:
    """Return the list of scrips; tick sizes are in paise."""
    rows = [
        {
            "token": str(contract.exchange_token),
            "symbol": angel_symbol(contract.key, contract.expiry),
            "name": contract.key.split(":")[1],
            "expiry": contract.expiry.strftime("%d%b%Y").upper(),
            "strike": "-1.000000",
            "lotsize": "1",
            "instrumenttype": "FUTCOM",
            "exch_seg": "MCX",
            "tick_size": f"{contract.tick_paise:.6f}",
        }
        for contract in contracts
    ]
    return json.dumps(rows).encode()
