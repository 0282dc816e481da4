"""Ticks as JSON, one object a row, for programs without Arrow. Pure."""

from collections.abc import Iterator
from typing import Any, Final

import orjson
import pyarrow as pa

from market.schemas import BUST, CORRECTION, PRICE_SCALE, QUOTE, TRADE

_NAMES: Final = {TRADE: "trade", QUOTE: "quote", BUST: "bust", CORRECTION: "correction"}
_TIMES: Final = ("ts_event", "ts_recv")
_SCALED: Final = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")


def json_of_ticks(ticks: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    """Return (instrument, JSON) of each trade, quote, bust and correction, in order.

    Shape: TICKS -> one object a row with the columns of TICKS; what is null is left out; other kinds are passed over.
    Units: times are decimal strings of ns UTC, since a JSON number need not hold them; prices and sizes exact decimals.
    """
    for row in ticks.to_pylist():
        name = _NAMES.get(row["kind"])
        if name is not None:
            yield row["instrument"], orjson.dumps({"kind": name} | dict(_members(row)))


def _members(row: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in row.items():
        if value is None or name == "kind":
            continue
        if name in _TIMES:
            yield name, str(value)
        elif name in _SCALED:
            yield name, orjson.Fragment(_decimal(value))
        else:
            yield name, value


def _decimal(value: int) -> str:
    whole, fraction = divmod(abs(value), PRICE_SCALE)
    text = f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text
