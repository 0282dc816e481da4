"""Builds input in which arbitrage and anomalies have something to say, of the rows of an imagined market.

Half a second from row to row, near parity and near what is usual, with steps away from both.
"""

import pickle
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from arbitrage_ticks import CL, FAIR, FRIDAY, MCX, Tick, fair
from arbitrage_ticks import batch as tick_batch
from reference import SECOND, Row
from simulated_arrivals import START_NS
from simulated_arrivals import batch as arrivals_batch
from strategies import PLACES

from market.anomalies import AnomalyKernel
from market.arbitrage import FX, ArbitrageKernel
from market.detectors.generic import GenericDetector
from market.legs import LEG_ARRIVALS, with_changes
from market.opportunities import Caution
from market.schemas import DEPTH, PRICE_SCALE, QUALITIES, QUOTE, TRADE

_LEGS = ((FX, Fraction("95.80")), (CL, Fraction("88.50")), (MCX, FAIR))
_GC, _GOLD = ("XCEC:GC:202612", 4_000.0), ("XIMC:GOLD:202612", 148_000.0)
_WARM_S, _FAIR_S = 200, 10


def _place(row: Row) -> int:
    return PLACES.index((row.venue, row.instrument)) if row.instrument else row.name % len(PLACES)


def near_parity(rows: list[Row]) -> pa.RecordBatch:
    """Quotes of USDINR, NYMEX crude and MCX crude, after what `arbitrage_kernel` has seen."""
    return _legs([_tick(row) for row in rows])


def _legs(ticks: list[Tick]) -> pa.RecordBatch:
    nothing = pa.RecordBatch.from_pylist([], schema=DEPTH)
    found = with_changes(tick_batch(ticks), nothing, np.arange(len(ticks)), "test")
    assert found.schema.equals(LEG_ARRIVALS)
    return found


def _tick(row: Row) -> Tick:
    name, price = _LEGS[_place(row)]
    bps = (0, 0, 0, 0, 10, 40, -40, 500)[row.price % 8] if name == MCX else 0
    state = QUALITIES[row.size % len(QUALITIES)] if row.kind == "state" else ""
    sides = "bid" if row.kind == "bust" else "both"
    return Tick(name, price * (10_000 + bps) / 10_000, _at(FRIDAY + _FAIR_S * SECOND, row), 40, state, 0, sides)


def _at(start: int, row: Row) -> int:
    return start + row.name * SECOND // 2


def odd_gold(rows: list[Row]) -> pa.RecordBatch:
    """Quotes and trades of gold at two venues, after what `anomaly_kernel` has seen: usual, far off, or crossed."""
    return arrivals_batch([_gold(row) for row in rows])


def _gold(row: Row) -> dict[str, Any]:
    (name, usual), at = (_GC, _GOLD)[_place(row) % 2], _at(START_NS + _WARM_S * SECOND, row)
    price = usual * (1.0, 1.0, 1.0001, 0.9999, 1.02, 10.0, 0.97, 1.0)[row.price % 8]
    about = {"instrument": name, "ts_event": at, "ts_recv": at}
    if row.kind == "trade" and row.name % 2:
        lots = (1, 1, 500)[row.size % 3]
        return {
            **about,
            "kind": TRADE,
            "price": round(price) * PRICE_SCALE,
            "size": lots * PRICE_SCALE,
            "trade_id": f"T{row.name}",
        }
    return _quote(about, price, usual * (-5e-5 if row.kind == "correction" else 5e-5))


def _quote(about: dict[str, Any], price: float, spread: float) -> dict[str, Any]:
    bid, ask = (round((price + side * spread / 2) * PRICE_SCALE) for side in (-1, 1))
    sides = {"bid_price": bid, "bid_size": PRICE_SCALE, "ask_price": ask, "ask_size": PRICE_SCALE}
    return {**about, "kind": QUOTE, **sides}


def anomaly_kernel() -> AnomalyKernel:
    """A kernel that knows what is usual."""
    kernel = AnomalyKernel(generic=GenericDetector)
    kernel.restore(pickle.loads(_usual()))
    return kernel


@cache
def _usual() -> bytes:
    rows = []
    for second in range(_WARM_S):
        at = START_NS + second * SECOND
        for name, price in (_GC, _GOLD):
            about = {"instrument": name, "ts_event": at, "ts_recv": at}
            rows.append(_quote(about, price * (1.0 + (second % 3 - 1) * 5e-5), price * 5e-5))
    kernel = AnomalyKernel(generic=GenericDetector)
    kernel.on_batch(arrivals_batch(rows))
    return pickle.dumps(kernel.snapshot())


def arbitrage_kernel() -> ArbitrageKernel:
    """A kernel that knows the usual level of MCX crude."""
    kernel = ArbitrageKernel(caution=Caution(learn_s=3))
    kernel.restore(pickle.loads(_fair()))
    return kernel


@cache
def _fair() -> bytes:
    kernel = ArbitrageKernel(caution=Caution(learn_s=3))
    kernel.on_batch(_legs(fair(0, _FAIR_S)))
    return pickle.dumps(kernel.snapshot())
