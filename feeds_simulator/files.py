"""The ground truth of every trade, on disk: a test compares it with what came out of the pipeline."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from feeds_simulator.events import BustEvent, Event, Listing, TradeEvent

TRUTH_COLUMNS: Final = ("ts_event", "symbol", "instrument", "trade_id", "kind", "px", "qty", "aggr", "cumulative")
"""`kind`: trade, bust or correct. `cumulative`: lots traded in the symbol since the start, over trades only."""


class TruthFile:
    """Appends every trade of the model to a CSV file. Rows are on disk after `flush`."""

    def __init__(self, path: Path, listings: Mapping[str, Listing]) -> None:
        self._listings = listings
        self._cumulative: Counter[str] = Counter()
        fresh = not path.exists() or path.stat().st_size == 0
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if fresh:
            self._writer.writerow(TRUTH_COLUMNS)

    def write(self, actions: Iterable[Sequence[Event]]) -> None:
        self._writer.writerows(
            self._row(event) for action in actions for event in action if isinstance(event, TradeEvent | BustEvent)
        )

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _row(self, event: TradeEvent | BustEvent) -> tuple[object, ...]:
        listing = self._listings[event.symbol]
        head = (event.ts_event, event.symbol, listing.key, event.trade_id)
        if isinstance(event, BustEvent):
            return (*head, "bust", "", "", "", self._cumulative[event.symbol])
        if not event.corrects:
            self._cumulative[event.symbol] += event.qty
        kind = "correct" if event.corrects else "trade"
        price = listing.price_text(event.price)
        return (*head, kind, price, event.qty, event.aggressor, self._cumulative[event.symbol])
