"""The simulated market: five ICE products, two months each, as one ordered stream of events.

Pure and deterministic: the stream depends on the `ModelConfig` alone (seed, start, rate, ...), never on how it is
pulled. Each product is a generator with its own random stream; the market merges them by time.

Units: times ns UTC by the market clock; `rate` in messages/s (trades and full-depth book changes, all symbols).
Every market action has its own `ts_event`, larger than that of any action before; all events of one action share it.
"""

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Final
from zlib import crc32

from feeds_simulator.book import SimulatedBook
from feeds_simulator.events import (
    ASK,
    BID,
    BookEvent,
    BustEvent,
    Event,
    Listing,
    SettleEvent,
    StatusEvent,
    TradeEvent,
)
from feeds_simulator.processes import Arrivals, Draws, FairValue, MeanReverting
from market.instruments import Contract, InstrumentMaster
from market.sessions import ALWAYS_OPEN, next_window

NS_PER_S: Final = 1_000_000_000
MESSAGES_PER_ACTION: Final = 1.175  # measured over 200,000 actions: a trade is two messages
_FRONT_SHARE: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one product trades. `price` and `basis` (second month less front) in quote units."""

    mic: str
    root: str
    price: Decimal
    basis: Decimal
    annual_volatility: float
    spread_ticks: float
    mean_lots: float
    share: float
    """Of all market actions."""


# Levels of November 2026, rounded; shares and spreads are plausible, not measured.
PROFILES: Final = (
    Profile(mic="IFUS", root="CT", price=Decimal("68.20"), basis=Decimal("1.35"), annual_volatility=0.24,
            spread_ticks=2.2, mean_lots=4.0, share=0.18),
    Profile(mic="IFUS", root="SB", price=Decimal("15.05"), basis=Decimal("-0.28"), annual_volatility=0.30,
            spread_ticks=1.2, mean_lots=12.0, share=0.18),
    Profile(mic="IFUS", root="KC", price=Decimal("380.50"), basis=Decimal("-9.60"), annual_volatility=0.42,
            spread_ticks=3.0, mean_lots=2.5, share=0.16),
    Profile(mic="IFUS", root="CC", price=Decimal("6012"), basis=Decimal("-64"), annual_volatility=0.55,
            spread_ticks=3.5, mean_lots=2.2, share=0.14),
    Profile(mic="IFEU", root="B", price=Decimal("90.10"), basis=Decimal("-0.45"), annual_volatility=0.34,
            spread_ticks=1.1, mean_lots=8.0, share=0.34),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLevel:
    """Where a product stood when it was last saved, in quote units."""

    price: Decimal
    basis: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """All that a stream of events depends on."""

    start_ns: int
    seed: int = 7
    rate: float = 400.0
    profiles: tuple[Profile, ...] = PROFILES
    levels: Mapping[str, PriceLevel] = field(default_factory=dict)
    """By root: start here instead of at the profile's price."""
    always_open: bool = False
    bust_every: int = 0
    """Every n-th trade of a product is busted by the action after it; 0 = never."""
    correct_every: int = 0


class MarketModel:
    """The merged stream. `pull` takes what has happened up to a time."""

    def __init__(self, config: ModelConfig, master: InstrumentMaster | None = None) -> None:
        master = master or InstrumentMaster.load()
        self.products = tuple(_Product(config, profile, index, master) for index, profile in enumerate(config.profiles))
        self.listings = {listing.symbol: listing for product in self.products for listing in product.listings}
        self._queue = [(actions := product.run(), next(actions)) for product in self.products]
        self._heap = [(action[0].ts_event, index) for index, (_, action) in enumerate(self._queue)]
        heapq.heapify(self._heap)

    @property
    def next_ns(self) -> int:
        """When the next action happens."""
        return self._heap[0][0]

    def pull(self, until_ns: int, max_actions: int = 1_000_000) -> list[list[Event]]:
        """Return the next actions with `ts_event <= until_ns`, in order, at most `max_actions`.

        An action is the list of its events, with one `ts_event`; a book event ends it with `eot`.
        """
        taken: list[list[Event]] = []
        while self._heap[0][0] <= until_ns and len(taken) < max_actions:
            index = self._heap[0][1]
            actions, action = self._queue[index]
            taken.append(action)
            following = next(actions)
            self._queue[index] = (actions, following)
            heapq.heapreplace(self._heap, (following[0].ts_event, index))
        return taken

    def skip_to(self, ts_ns: int) -> None:
        """Let nothing happen between the next action and `ts_ns`: the venue's machine was asleep."""
        for product in self.products:
            product.skip_to_ns = ts_ns

    def levels(self) -> dict[str, PriceLevel]:
        """Return where each product stands, to be a later run's `ModelConfig.levels`."""
        return {product.profile.root: product.level() for product in self.products}


class _Product:
    # One product: a fair value shared by two months, each with its own book.

    def __init__(self, config: ModelConfig, profile: Profile, index: int, master: InstrumentMaster) -> None:
        on = datetime.fromtimestamp(config.start_ns // NS_PER_S, UTC).date()
        contract = master.product(profile.mic, profile.root, on)
        if contract is None or contract.tick_size is None:
            raise LookupError(f"the contract master has no tick for {profile.mic}:{profile.root} on {on}")
        self.profile, self._config, self._index = profile, config, index
        self._contract: Contract = replace(contract, hours=ALWAYS_OPEN) if config.always_open else contract
        fronts = master.fronts(profile.mic, profile.root, on, 2)
        self.listings = tuple(Listing.of(key, contract.tick_size) for key in fronts)
        self._tick = contract.tick_size
        self._draws = draws = Draws(config.seed, crc32(profile.root.encode()))
        level = config.levels.get(profile.root) or PriceLevel(price=profile.price, basis=profile.basis)
        self._arrivals = Arrivals(draws, config.rate * profile.share / MESSAGES_PER_ACTION)
        self._fair = FairValue(draws, float(level.price / self._tick), profile.annual_volatility)
        self._basis = MeanReverting(draws, float(level.basis / self._tick), pull=1e-4, noise=0.02)
        self._spread = MeanReverting(draws, profile.spread_ticks, pull=0.02, noise=0.1)
        self._books = tuple(SimulatedBook(draws, profile.mean_lots) for _ in self.listings)
        self._trade_numbers = count(1)
        self._run = f"{config.start_ns // 1_000_000:x}"  # a later run gives other trade ids
        self._amend: TradeEvent | None = None
        self.skip_to_ns = 0

    def level(self) -> PriceLevel:
        price = Decimal(round(self._fair.value)) * self._tick
        return PriceLevel(price=price, basis=Decimal(round(self._basis.value)) * self._tick)

    def run(self) -> Iterator[list[Event]]:
        # All actions from the start on, for ever.
        now_ns = self._config.start_ns
        start_ns, end_ns = next_window(self._contract, now_ns)
        if now_ns < start_ns:
            yield self._status(self._stamp(now_ns), "CLOSE")
        while True:
            now_ns = self._stamp(max(now_ns, start_ns))
            yield self._open(now_ns)
            for ts_ns in self._times(now_ns, end_ns):
                now_ns = ts_ns
                yield self._act(ts_ns)
            now_ns = self._stamp(max(end_ns, now_ns + 1))
            yield self._close(now_ns)
            start_ns, end_ns = next_window(self._contract, now_ns)
            self._fair.overnight()

    def _stamp(self, ts_ns: int) -> int:
        # Products stamp in disjoint residues: no two actions ever share a time, and merging needs no tie-break.
        classes = len(self._config.profiles)
        return ts_ns + (self._index - ts_ns) % classes

    def _times(self, now_ns: int, end_ns: int) -> Iterator[int]:
        while True:
            gap_s = self._arrivals.next_gap_s()
            now_ns = self._stamp(max(now_ns + 1 + int(gap_s * NS_PER_S), self.skip_to_ns))
            if now_ns >= end_ns:
                return
            self._fair.advance(gap_s, self._arrivals.activity)
            yield now_ns

    def _status(self, ts_ns: int, state: str) -> list[Event]:
        return [StatusEvent(ts_ns, listing.symbol, state) for listing in self.listings]

    def _open(self, ts_ns: int) -> list[Event]:
        action = self._status(ts_ns, "OPEN")
        for month, book in enumerate(self._books):
            book.rebuild(*self._quotes(month))
            action.append(self._image(ts_ns, month))
        return action

    def _close(self, ts_ns: int) -> list[Event]:
        settles: list[Event] = [
            SettleEvent(ts_ns, listing.symbol, (book.best_bid + book.best_ask) // 2, "prelim")
            for listing, book in zip(self.listings, self._books, strict=True)
        ]
        return settles + self._status(ts_ns, "CLOSE")

    def _image(self, ts_ns: int, month: int, *, eot: bool = True) -> BookEvent:
        bids, asks = self._books[month].sides
        return BookEvent(ts_ns, self.listings[month].symbol, bids, asks, eot)

    def _quotes(self, month: int) -> tuple[int, int]:
        # Where makers want the touch to be: around the fair value, wider when it is hot.
        fair = self._fair.value + (self._basis.value if month else 0.0)
        half = max(0.0, self._spread.value * math.exp(self._fair.heat / 3) - 1) / 2
        bid = math.floor(fair - half)
        return bid, max(bid + 1, math.ceil(fair + half))

    def _act(self, ts_ns: int) -> list[Event]:
        self._spread.step()
        self._basis.step()
        month = 0 if self._draws.uniform() < _FRONT_SHARE else 1
        action = self._follow_fair(ts_ns, month) or self._make_noise(ts_ns, month)
        if self._amend is not None:
            action.insert(0, self._amended(ts_ns, self._amend))
        self._choose_amendment(action)
        return action

    def _follow_fair(self, ts_ns: int, month: int) -> list[Event]:
        # A stale quote is taken or pulled; room for a better one is filled. Empty if the touch is where it should be.
        book = self._books[month]
        bid, ask = self._quotes(month)
        for side, stale, room, target in (
            (BID, book.best_bid > bid, book.best_bid < bid, bid),
            (ASK, book.best_ask < ask, book.best_ask > ask, ask),
        ):
            if stale and self._draws.uniform() < 0.4:
                return self._sweep(ts_ns, month, side, target)
            if stale:
                book.remove(side, 0)
                return [self._image(ts_ns, month)]
            if room and self._draws.uniform() < 0.5:
                book.add(side, target, self._lots())
                return [self._image(ts_ns, month)]
        return []

    def _make_noise(self, ts_ns: int, month: int) -> list[Event]:
        # Orders come and go near the touch; now and then one trades.
        book, draws = self._books[month], self._draws
        side = BID if draws.uniform() < 0.5 else ASK
        distance = min(draws.geometric(2.0) - 1, 6)
        kind = draws.uniform()
        if kind < 0.01:  # somebody in a hurry takes two levels
            return self._sweep(ts_ns, month, side, book.sides[side][2].price)
        if kind < 0.18:
            return self._take(ts_ns, month, side, self._lots(), eot=True)
        if kind < 0.60:
            touch = book.best_bid if side == BID else book.best_ask
            book.add(side, touch - distance if side == BID else touch + distance, self._lots())
        else:
            book.cancel(side, distance)
        return [self._image(ts_ns, month)]

    def _sweep(self, ts_ns: int, month: int, side: int, target: int) -> list[Event]:
        # An aggressor takes every level better than the target, up to four; a book message each, one action.
        levels = self._books[month].sides[side]
        doomed = sum(1 for level in levels[:4] if (level.price > target if side == BID else level.price < target))
        return [
            event
            for left in range(doomed - 1, -1, -1)
            for event in self._take(ts_ns, month, side, levels[doomed - 1 - left].qty, eot=left == 0)
        ]

    def _take(self, ts_ns: int, month: int, side: int, lots: int, *, eot: bool) -> list[Event]:
        book, symbol = self._books[month], self.listings[month].symbol
        price = book.sides[side][0].price
        taken = book.take(side, lots)
        number = next(self._trade_numbers)
        trade_id = f"{self._run}-{self.profile.root}{number}"
        trade = TradeEvent(ts_ns, symbol, trade_id, price, taken, "S" if side == BID else "B")
        return [trade, self._image(ts_ns, month, eot=eot)]

    def _lots(self) -> int:
        return self._draws.geometric(self.profile.mean_lots)

    def _choose_amendment(self, action: list[Event]) -> None:
        # Remember a trade of this action that the next action will bust or correct.
        self._amend = None
        for event in action:
            if isinstance(event, TradeEvent) and not event.corrects:
                number = int(event.trade_id.rpartition(self.profile.root)[2])
                if self._due(number, self._config.bust_every) or self._due(number, self._config.correct_every):
                    self._amend = event

    def _amended(self, ts_ns: int, trade: TradeEvent) -> Event:
        number = int(trade.trade_id.rpartition(self.profile.root)[2])
        if self._due(number, self._config.bust_every):
            return BustEvent(ts_ns, trade.symbol, trade.trade_id)
        price = trade.price + (1 if trade.aggressor == "B" else -1)
        return trade._replace(ts_event=ts_ns, price=price, corrects=True)

    @staticmethod
    def _due(number: int, every: int) -> bool:
        return every > 0 and number % every == 0
