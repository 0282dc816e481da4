"""Bytes of both brokers' protocols for tests, written from the published layouts with nothing of the connector."""

import struct
from collections.abc import Sequence
from typing import Any

TOKEN = 64_263 << 8 | 7
Entry = tuple[int, int, int]
"""Quantity, price in paise, orders."""
BIDS: tuple[Entry, ...] = tuple((10 + n, 14_900_000 - 100 * n, 1 + n) for n in range(5))
ASKS: tuple[Entry, ...] = tuple((20 + n, 14_900_100 + 100 * n, 2 + n) for n in range(5))


def ltp(token: int = TOKEN, last: int = 14_900_000) -> bytes:
    return struct.pack(">Ii", token, last)


def quote(
    token: int = TOKEN, last: int = 14_900_000, size: int = 2, volume: int = 100, close: int = 14_800_000
) -> bytes:
    return struct.pack(
        ">IiIiIIIiiii", token, last, size, 14_890_000, volume, 900, 800, 14_850_000, 14_950_000, 14_840_000, close
    )


def full(
    token: int = TOKEN,
    last: int = 14_900_000,
    size: int = 2,
    volume: int = 100,
    close: int = 14_800_000,
    traded: int = 1_795_424_399,
    stamped: int = 1_795_424_400,
    bids: Sequence[Entry] = BIDS,
    asks: Sequence[Entry] = ASKS,
) -> bytes:
    packet = quote(token, last, size, volume, close) + struct.pack(">IIIII", traded, 15_000, 15_500, 14_500, stamped)
    for side in (bids, asks):
        for quantity, price, orders in [*side, *[(0, 0, 0)] * 5][:5]:
            packet += struct.pack(">IiHH", quantity, price, orders, 0)
    return packet


def index(token: int = 265 << 8 | 9, *, stamped: int | None = None) -> bytes:
    packet = struct.pack(">Iiiiiii", token, 5_000, 5_400, 4_600, 4_700, 4_900, 100)
    return packet if stamped is None else packet + struct.pack(">I", stamped)


def frame(*packets: bytes, count: int | None = None) -> bytes:
    body = b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)
    return struct.pack(">H", len(packets) if count is None else count) + body


def angel(
    mode: int = 3,
    token: str = "234230",
    number: int = 1,
    stamped_ms: int = 1_795_424_400_000,
    last: int = 14_900_000,
    size: int = 2,
    volume: int = 100,
    close: int = 14_800_000,
    traded: int = 1_795_424_399,
    bids: Sequence[Entry] = BIDS,
    asks: Sequence[Entry] = ASKS,
    buy_flag: int = 0,
    exchange: int = 5,
) -> bytes:
    packet = struct.pack("<BB25sqqq", mode, exchange, token.encode(), number, stamped_ms, last)
    if mode >= 2:
        packet += struct.pack(
            "<qqqddqqqq", size, 14_890_000, volume, 900.0, 800.0, 14_850_000, 14_950_000, 14_840_000, close
        )
    if mode == 3:
        packet += struct.pack("<qqq", traded, 15_000, 0)
        for flag, side in ((buy_flag, bids), (1 - buy_flag, asks)):
            for quantity, price, orders in [*side, *[(0, 0, 0)] * 5][:5]:
                packet += struct.pack("<HqqH", flag, quantity, price, orders)
        packet += struct.pack("<qqqq", 16_000_000, 14_000_000, 17_000_000, 9_000_000)
    return packet


def kite_csv(*rows: dict[str, Any]) -> str:
    """The instruments dump; a row needs token, symbol and expiry."""
    names = "instrument_token exchange_token tradingsymbol name last_price expiry strike tick_size lot_size"
    lines = [",".join([*names.split(), "instrument_type", "segment", "exchange"])]
    for row in rows:
        kind, exchange = row.get("kind", "FUT"), row.get("exchange", "MCX")
        token, symbol, expiry = row["token"], row["symbol"], row["expiry"]
        lines.append(f"{token},{int(token) >> 8},{symbol},,0,{expiry},0,1,1,{kind},{exchange},{exchange}")
    return "\n".join(lines) + "\n"
