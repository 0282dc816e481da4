"""A market for tests of a venue: seeded random books and trades of a few instruments, made on demand and counted.

It stands for the market model where a test needs its own list of events, in its own time.
"""

import random
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from feeds_simulator.events import BookEvent, BustEvent, Event, Level, Listing, StatusEvent, TradeEvent
from market.instruments import InstrumentMaster

PRODUCTS = (("XCEC", "GC"), ("XNYM", "CL"), ("XCBT", "ZW"))
KEYS = tuple(InstrumentMaster.load().fronts(mic, root, datetime.now(UTC).date(), 1)[0] for mic, root in PRODUCTS)
TICKS = {"GC": "0.10", "CL": "0.01", "ZW": "0.25"}


class ScriptedMarket:
    """Events come out of `pull` once they were put in by `happen` or `random_actions`."""

    def __init__(self, keys: Sequence[str] = KEYS, seed: int = 1) -> None:
        self.listings = {key: Listing(key, key, Decimal(TICKS[key.split(":")[1]])) for key in keys}
        self._random = random.Random(seed)
        self._mid = dict.fromkeys(keys, 40_000)
        self._queue: deque[list[Event]] = deque()
        self.trades: Counter[str] = Counter()
        self.trade_ids: dict[str, list[str]] = {key: [] for key in keys}
        self.busted: list[str] = []

    # ---- feeds_simulator.pacing.Market

    @property
    def next_ns(self) -> int:
        return self._queue[0][0].ts_event if self._queue else 1 << 62

    def pull(self, until_ns: int, max_actions: int = 1_000) -> list[list[Event]]:
        taken = []
        while self._queue and self.next_ns <= until_ns and len(taken) < max_actions:
            taken.append(self._queue.popleft())
        return taken

    def skip_to(self, ts_ns: int) -> None:
        pass

    def levels(self) -> dict[str, object]:
        return {}

    # ---- what a test lets happen

    def happen(self, *events: Event) -> None:
        for event in events:
            if isinstance(event, TradeEvent) and not event.corrects:
                self.trades[event.symbol] += 1
                self.trade_ids[event.symbol].append(event.trade_id)
            elif isinstance(event, BustEvent):
                self.busted.append(event.trade_id)
        self._queue.append(list(events))

    def open(self, ts_event: int) -> None:
        for key in self.listings:
            self.happen(StatusEvent(ts_event, key, "OPEN"), self.book(key, ts_event))

    def book(self, key: str, ts_event: int, levels: int = 10) -> BookEvent:
        mid = self._mid[key]
        bids = tuple(Level(mid - n, self._random.randint(1, 9), 1) for n in range(1, levels + 1))
        asks = tuple(Level(mid + n, self._random.randint(1, 9), 1) for n in range(1, levels + 1))
        return BookEvent(ts_event, key, bids, asks, True)

    def random_actions(self, count: int, start_ns: int, step_ns: int = 1_000) -> None:
        for number in range(count):
            key = self._random.choice(list(self.listings))
            ts_event = start_ns + number * step_ns
            self._mid[key] += self._random.randint(-1, 1)
            events: list[Event] = [self.book(key, ts_event)]
            if self._random.random() < 0.5:
                self._mid[key] += 0
                trade_id = f"{key[5:7]}{len(self.trade_ids[key])}-{start_ns % 10**9}"
                events.insert(0, TradeEvent(ts_event, key, trade_id, self._mid[key], 1 + number % 5, "BS"[number % 2]))
            self.happen(*events)
