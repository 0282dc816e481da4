"""What the users of the simulated backend do: orders around the market's prices, and what becomes of them.

An order is created, amended now and then, matched or cancelled, and settled if it was matched. Pure and deterministic:
the stream depends on the DeskConfig alone, never on how it is pulled. Prices are those of the simulated market: a
buyer pays about half a spread more than the fair value, a seller gets that much less.

Units: times ns UTC by the market clock; `rate` in events/s; prices and quantities exact decimals.
"""

import heapq
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import numpy as np

from feeds_simulator.model.fair import NS_PER_S, FairLine
from feeds_simulator.model.paths import stream
from feeds_simulator.model.products import ICE, Profile
from market.instruments import Contract, InstrumentMaster
from market.sessions import is_open

USERS: Final = ("asha", "ben", "chen", "dewi", "elif", "farid", "gita", "hiro")
EVENTS_PER_ORDER: Final = 3.05
"""Created; amended, by every fourth; matched or cancelled; settled, by the four of five that were matched."""

_AMENDED: Final = 0.25
_MATCHED: Final = 0.8
_DELAY_S: Final = {"amended": 2.0, "matched": 4.0, "cancelled": 6.0, "settled": 15.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskConfig:
    """All that the stream depends on."""

    start_ns: int
    seed: int = 7
    rate: float = 2.0
    profiles: tuple[Profile, ...] = ICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that happens to one order; its state after it. `number` counts the changes of the order from 1."""

    event_id: str
    event_type: str
    order_id: str
    number: int
    user: str
    instrument: str
    side: str
    quantity: Decimal
    price: Decimal
    ts_event: int


class _Book:
    # What can be traded of one product: the front month, at the venue's fair value.
    def __init__(self, profile: Profile, config: DeskConfig, master: InstrumentMaster) -> None:
        on = datetime.fromtimestamp(config.start_ns // NS_PER_S, UTC).date()
        contract = master.product(profile.mic, profile.root, on)
        if contract is None or contract.tick_size is None:
            raise LookupError(f"the contract master has no tick for {profile.mic}:{profile.root} on {on}")
        self.contract: Contract = contract
        self.instrument = master.fronts(profile.mic, profile.root, on, 1)[0]
        self._tick = contract.tick_size
        self._line = FairLine(profile, [self.instrument], float(contract.tick_size), config.seed)

    def is_open(self, ts_ns: int) -> bool:
        return is_open(self.contract, ts_ns)

    def price(self, ts_ns: int, side: str, away_ticks: int) -> Decimal:
        seen = self._line.at(np.array([ts_ns], np.int64))
        fair, half = float(seen.months[0][0]), float(seen.half_spread[0])
        return round(fair + half + away_ticks if side == "buy" else fair - half - away_ticks) * self._tick


class Desk:
    """The merged stream of all orders. `pull` takes what has happened up to a time."""

    def __init__(self, config: DeskConfig, master: InstrumentMaster | None = None) -> None:
        self._rng = stream(config.seed, "trading backend", config.start_ns)
        self._books = [_Book(profile, config, master or InstrumentMaster.load()) for profile in config.profiles]
        self._by_instrument = {book.instrument: book for book in self._books}
        self._mean_gap_s = EVENTS_PER_ORDER / config.rate
        self._run = f"{config.start_ns // 1_000_000:x}"  # a later run gives other ids
        self._orders = self._events = 0
        self._arrival_ns = config.start_ns
        self._pending: list[tuple[int, int, Change]] = []  # heap: time, tie-break, what happens then
        self._arrive()

    @property
    def next_ns(self) -> int:
        """When the next change happens, at the latest."""
        return min(self._arrival_ns, self._pending[0][0]) if self._pending else self._arrival_ns

    def pull(self, until_ns: int, most: int = 1_000) -> list[Change]:
        """Return the next changes with `ts_event <= until_ns`, in order, at most `most`."""
        taken: list[Change] = []
        while self.next_ns <= until_ns and len(taken) < most:
            if not self._pending or self._arrival_ns <= self._pending[0][0]:
                self._create(self._arrival_ns)
                self._arrive()
                continue
            change = heapq.heappop(self._pending)[2]
            taken.append(change)
            self._follow(change)
        return taken

    def skip_to(self, ts_ns: int) -> None:
        """Nobody orders before `ts_ns`: the machine slept, or the clock was moved. What is pending happens late."""
        self._arrival_ns = max(self._arrival_ns, ts_ns)
        self._pending = [
            (max(at, ts_ns), n, replace(change, ts_event=max(at, ts_ns))) for at, n, change in self._pending
        ]
        heapq.heapify(self._pending)

    def _arrive(self) -> None:
        self._arrival_ns += 1 + int(self._rng.exponential(self._mean_gap_s) * NS_PER_S)

    def _create(self, ts_ns: int) -> None:
        books = [book for book in self._books if book.is_open(ts_ns)]
        if not books:
            return
        rng, self._orders = self._rng, self._orders + 1
        book, side = books[rng.integers(len(books))], str(rng.choice(["buy", "sell"]))
        first = Change(
            event_id="",
            event_type="created",
            order_id=f"{self._run}-{self._orders}",
            number=1,
            user=str(rng.choice(USERS)),
            instrument=book.instrument,
            side=side,
            quantity=Decimal(int(rng.geometric(0.25))),
            price=book.price(ts_ns, side, int(rng.integers(-2, 2))),
            ts_event=ts_ns,
        )
        self._push(first)

    def _follow(self, change: Change) -> None:
        rng, done = self._rng, change.event_type
        if done in ("cancelled", "settled"):
            return
        if done == "matched":
            event_type = "settled"
        elif done == "created" and rng.random() < _AMENDED:
            event_type = "amended"
        else:
            event_type = "matched" if rng.random() < _MATCHED else "cancelled"
        ts_ns = change.ts_event + 1 + int(rng.exponential(_DELAY_S[event_type]) * NS_PER_S)
        following = replace(change, event_type=event_type, number=change.number + 1, ts_event=ts_ns)
        if event_type in ("amended", "matched"):
            price = self._by_instrument[change.instrument].price(ts_ns, change.side, 0)
            following = replace(following, price=price)
        if event_type == "amended":
            following = replace(following, quantity=change.quantity + int(rng.integers(1, 4)))
        self._push(following)

    def _push(self, change: Change) -> None:
        self._events += 1
        known = replace(change, event_id=f"{self._run}-e{self._events}")
        heapq.heappush(self._pending, (change.ts_event, self._events, known))
