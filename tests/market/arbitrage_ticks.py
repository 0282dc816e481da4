"""Builds the kernel's input: quotes and states of MCX crude, NYMEX crude and USDINR."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa

from market.arbitrage import FX
from market.kernel import ARRIVALS
from market.schemas import PRICE_SCALE, QUALITIES, QUOTE, STATE

SECOND = 1_000_000_000
FRIDAY = 1_795_176_000 * SECOND  # 2026-11-20 12:00 UTC: MCX, NYMEX and FX are open
MCX, CL = "XIMC:CRUDEOIL:202612", "XNYM:CL:202701"
FAIR = Fraction("88.50") * Fraction("95.80")


@dataclass(frozen=True)
class Tick:
    """A quote, or with `state` a STATE row. Prices are mids; the spread is a hundredth of a percent of the price."""

    name: str
    price: Fraction
    at: int
    lots: int = 40
    state: str = ""
    ahead: int = 0
    sides: str = "both"


def batch(ticks: list[Tick]) -> pa.RecordBatch:
    rows = []
    for number, tick in enumerate(ticks):
        row: dict[str, Any] = dict.fromkeys(ARRIVALS.names)
        row |= {"kind": QUOTE, "venue": tick.name.partition(":")[0], "instrument": tick.name, "flags": 0, "seq": number}
        row |= {"ts_event": tick.at + tick.ahead, "ts_recv": tick.at + 1_000_000, "source": "t", "source_offset": 0}
        row["source_row"] = number
        if tick.state:
            row |= {"kind": STATE, "size": QUALITIES.index(tick.state)}
        else:
            half = round(tick.price * PRICE_SCALE / 20_000)
            mid, size = round(tick.price * PRICE_SCALE), tick.lots * PRICE_SCALE
            if tick.sides != "ask":
                row |= {"bid_price": mid - half, "bid_size": size}
            if tick.sides != "bid":
                row |= {"ask_price": mid + half, "ask_size": size}
        rows.append(row)
    return pa.RecordBatch.from_pylist(rows, schema=ARRIVALS)


def fair(first: int, seconds: int, local: Fraction = FAIR) -> list[Tick]:
    """Quotes of all three each second, MCX last."""
    found = []
    for second in range(first, first + seconds):
        at = FRIDAY + second * SECOND
        found += [Tick(FX, Fraction("95.80"), at), Tick(CL, Fraction("88.50"), at + 1), Tick(MCX, local, at + 2)]
    return found
