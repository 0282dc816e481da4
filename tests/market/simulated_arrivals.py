"""The simulated market's events as arrivals of one commodity, from every venue, and the truth of its scenarios.

Stands for connectors and log: each event is heard a millisecond after it happened.
"""

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from feeds_simulator.events import BookEvent, BustEvent, Event, TradeEvent
from feeds_simulator.faults import Faults
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from feeds_simulator.scenarios import Script, parse
from feeds_simulator.stage import Stage
from market.instruments import InstrumentMaster, to_fixed, venue_of
from market.kernel import ARRIVALS
from market.schemas import BUST, QUOTE, TRADE

S = 1_000_000_000
START_NS = int(datetime(2026, 11, 24, 14, 40, tzinfo=UTC).timestamp()) * S
VENUES = ("ice", "mcx", "cme", "bloomberg")
RATE = {"ice": 150.0, "mcx": 150.0, "cme": 150.0, "bloomberg": 60.0}
USDINR = "BBG:USDINR:SPOT"


def market(names: str, seconds: float, *, seed: int = 7) -> tuple[dict[str, pa.RecordBatch], list[dict[str, Any]]]:
    """Arrivals by commodity (USDINR in each), and the acts that were played."""
    rows: list[tuple[int, int, dict[str, Any]]] = []
    truth: list[dict[str, Any]] = []
    for number, venue in enumerate(VENUES):
        script = Script(parse(names), START_NS, VENUES)
        config = ModelConfig(
            start_ns=START_NS, seed=seed, rate=RATE[venue], profiles=PROFILES[venue], moves=script.moves()
        )
        stage = Stage(venue, MarketModel(config), script, Faults())
        for action in stage.pull(START_NS + int(seconds * S)):
            rows += [(event.ts_event, number, row) for event in action for row in rows_of(event, stage)]
        truth += stage.truth
    shards: dict[str, list[dict[str, Any]]] = {}
    rates = [row for _, _, row in rows if row["instrument"] == USDINR]
    for _, _, row in heapq.merge(sorted(rows, key=lambda one: one[:2])):
        if row["instrument"] != USDINR:
            shards.setdefault(InstrumentMaster.load().commodity_of(row["instrument"]), []).append(row)
    merged = {name: list(heapq.merge(found, rates, key=lambda row: row["ts_recv"])) for name, found in shards.items()}
    return {name: batch(found) for name, found in merged.items()}, truth


def rows_of(event: Event, stage: Stage) -> Iterator[dict[str, Any]]:
    listing = stage.listings[event.symbol]
    about = {"instrument": listing.key, "ts_event": event.ts_event, "ts_recv": event.ts_event + 1_000_000}
    if isinstance(event, TradeEvent) and not event.corrects:
        price = to_fixed(event.price * listing.tick)
        yield {**about, "kind": TRADE, "price": price, "size": event.qty * S, "trade_id": event.trade_id}
    elif isinstance(event, BustEvent):
        yield {**about, "kind": BUST, "trade_id": event.trade_id}
    elif isinstance(event, BookEvent) and event.eot:
        quote: dict[str, Any] = {}
        for side, levels in (("bid", event.bids), ("ask", event.asks)):
            quote[f"{side}_price"] = to_fixed(levels[0].price * listing.tick) if levels else None
            quote[f"{side}_size"] = levels[0].qty * S if levels else None
        yield {**about, "kind": QUOTE, **quote}


def batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows as ARRIVALS; what a row does not say is null, its venue is that of its instrument."""
    arrays = []
    for field in ARRIVALS:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array([_value(field.name, number, row) for number, row in enumerate(rows)], plain)
        if pa.types.is_dictionary(field.type):
            encoded = array.dictionary_encode()
            array = pa.DictionaryArray.from_arrays(encoded.indices.cast(field.type.index_type), encoded.dictionary)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=ARRIVALS)


def _value(name: str, number: int, row: dict[str, Any]) -> Any:
    if name in row:
        return row[name]
    if name == "venue":
        return venue_of(row["instrument"])
    given = {"flags": 0, "source": "test", "source_offset": 0, "source_row": number, "seq": number}
    return given.get(name)
