"""One product at one venue: the books of its months, and who comes to trade.

What happens is drawn a stretch at a time with numpy (when, at which month, on which side, how much, and where the
makers want the touch to be by then); the books are then changed action by action, as the stream is pulled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Final
from zlib import crc32

import numpy as np

from feeds_simulator.book import SimulatedBook
from feeds_simulator.events import (
    ASK,
    BID,
    CLOSE,
    HALT,
    LIMIT,
    OPEN,
    BookEvent,
    BustEvent,
    Event,
    Listing,
    SettleEvent,
    StatusEvent,
    TradeEvent,
)
from feeds_simulator.model.arrivals import Arrivals
from feeds_simulator.model.fair import NS_PER_DAY, NS_PER_S, FairLine, Times
from feeds_simulator.model.limits import LIMITS, Band
from feeds_simulator.model.moves import Move, MoveKind
from feeds_simulator.model.products import Profile
from feeds_simulator.processes import Draws
from market.instruments import Contract, InstrumentMaster
from market.sessions import ALWAYS_OPEN, next_window

MESSAGES_PER_ACTION: Final = 1.175  # measured over 200,000 actions: a trade is two messages
_FRONT_SHARE: Final = 0.7
_ACTIONS_PER_STRETCH: Final = 256  # drawing costs about 100 us a stretch
_STRETCH_S: Final = (0.25, 30.0)
_LOST_GAPS: Final = 8  # quotes further away than this many levels are not traded through, but replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every product of a venue's market shares."""

    start_ns: int
    seed: int
    always_open: bool
    bust_every: int
    correct_every: int
    moves: tuple[Move, ...]
    classes: int
    """Products stamp in disjoint residues: no two actions ever share a time, and merging needs no tie-break."""


class Product:
    """`run` yields every action from the start on, for ever."""

    def __init__(
        self,
        terms: Terms,
        profile: Profile,
        index: int,
        rate: float,
        master: InstrumentMaster,
        symbol_of: Callable[[str], str],
    ) -> None:
        on = datetime.fromtimestamp(terms.start_ns // NS_PER_S, UTC).date()
        contract = master.product(profile.mic, profile.root, on)
        if contract is None or contract.tick_size is None:
            raise LookupError(f"the contract master has no tick for {profile.mic}:{profile.root} on {on}")
        self.profile, self._terms, self._index = profile, terms, index
        self._contract: Contract = replace(contract, hours=ALWAYS_OPEN) if terms.always_open else contract
        keys = master.fronts(profile.mic, profile.root, on, 2)
        self.listings = tuple(Listing(symbol_of(key), key, contract.tick_size) for key in keys)
        name = crc32(f"{profile.mic}:{profile.root}".encode())
        self._rng = np.random.default_rng(np.random.SeedSequence(terms.seed, spawn_key=(name, terms.start_ns)))
        draws = Draws(terms.seed, name)
        self._books = tuple(SimulatedBook(draws, profile.mean_lots, profile.gap_ticks) for _ in keys)
        self._rate = rate / MESSAGES_PER_ACTION
        self._arrivals = Arrivals(self._rng, self._rate)
        self._tick = float(contract.tick_size)
        self.line = FairLine(profile, keys, self._tick, terms.seed, terms.moves)
        self._limit = LIMITS.get(f"{profile.mic}:{profile.root}")
        self._bands: list[Band] = []
        self._states = [CLOSE for _ in keys]
        self._trade_numbers = count(1)
        self._run = f"{terms.start_ns // 1_000_000:x}"  # a later run gives other trade ids
        self._amend: TradeEvent | None = None
        self.skip_to_ns = 0

    def run(self) -> Iterator[list[Event]]:
        now_ns = self._terms.start_ns
        start_ns, end_ns = next_window(self._contract, now_ns)
        if now_ns < start_ns:
            yield self._status(self._stamp(now_ns), CLOSE)
        while True:
            now_ns = self._stamp(max(now_ns, start_ns))
            yield self._open(now_ns)
            for action in self._trade(now_ns, end_ns):
                now_ns = action[0].ts_event
                yield action
            now_ns = self._stamp(max(end_ns, now_ns + 1))
            yield self._close(now_ns)
            start_ns, end_ns = next_window(self._contract, now_ns)

    # --- when and what --------------------------------------------------------------------------

    def _stamp(self, ts_ns: int) -> int:
        classes = self._terms.classes
        return ts_ns + (self._index - ts_ns) % classes

    def _trade(self, now_ns: int, end_ns: int) -> Iterator[list[Event]]:
        # The actions of a session after `now_ns`.
        from_ns = now_ns
        while from_ns < end_ns:
            if self.skip_to_ns > from_ns:
                from_ns = min(self.skip_to_ns, end_ns)
            activity = self._activity(from_ns)
            length_s = min(max(_ACTIONS_PER_STRETCH / (self._rate * activity), _STRETCH_S[0]), _STRETCH_S[1])
            next_day_ns = (from_ns // NS_PER_DAY + 1) * NS_PER_DAY
            change_ns = self.line.moves.next_change_ns(from_ns)
            to_ns = min(from_ns + int(length_s * NS_PER_S), end_ns, next_day_ns, change_ns)
            since_s = self._arrivals.take((to_ns - from_ns) / NS_PER_S * activity) / activity
            if since_s.size:
                for row in self._draw(from_ns + (since_s * NS_PER_S).astype(np.int64), now_ns):
                    now_ns = row[0]
                    if now_ns >= self.skip_to_ns and now_ns < end_ns:
                        action = self._act(*row)
                        if action:
                            yield action
            from_ns = to_ns

    def _activity(self, ts_ns: int) -> float:
        usual = 1.0 if self._terms.always_open else self.line.activity(ts_ns)
        return usual * (self.line.moves.value(MoveKind.ACTIVITY, ts_ns) or 1.0)

    def _draw(self, times_ns: Times, after_ns: int) -> Iterator[tuple[int, int, int, int, int, float, float, int, int]]:
        # What will happen: the arguments of `_act`, action by action.
        n, rng, classes = times_ns.size, self._rng, self._terms.classes
        steps = np.arange(n, dtype=np.int64) * classes
        times_ns = np.maximum(times_ns, after_ns + classes)
        times_ns = times_ns + (self._index - times_ns) % classes
        times_ns = np.maximum.accumulate(times_ns - steps) + steps  # strictly rising, in its residue
        uniform = rng.random((4, n))
        front = self.line.moves.value(MoveKind.ROLL, int(times_ns[0])) or _FRONT_SHARE
        months = (uniform[0] >= front) & (len(self._books) > 1)
        bids, asks = self._touches(times_ns, months)
        return zip(
            times_ns.tolist(),
            months.astype(int).tolist(),
            bids.tolist(),
            asks.tolist(),
            (uniform[1] >= 0.5).astype(int).tolist(),  # side
            uniform[2].tolist(),  # chance
            uniform[3].tolist(),  # kind
            np.minimum(rng.geometric(0.5, n) - 1, 6).tolist(),  # distance
            rng.geometric(1 / self.profile.mean_lots, n).tolist(),  # lots
            strict=True,
        )

    def _touches(self, times_ns: Times, months: "np.typing.NDArray[np.bool_]") -> tuple[Times, Times]:
        # Where makers want the touch to be: around the fair value, wider when it is hot.
        seen = self.line.at(times_ns)
        fair = np.where(months, seen.months[-1], seen.months[0])
        bids = np.floor(fair - seen.half_spread).astype(np.int64)
        asks = np.maximum(bids + 1, np.ceil(fair + seen.half_spread).astype(np.int64))
        return bids, asks

    # --- actions --------------------------------------------------------------------------------

    def _status(self, ts_ns: int, state: str) -> list[Event]:
        return [StatusEvent(ts_ns, listing.symbol, state) for listing in self.listings]

    def _open(self, ts_ns: int) -> list[Event]:
        times = np.array([ts_ns])
        for month, book in enumerate(self._books):
            bids, asks = self._touches(times, np.array([month > 0]))
            book.rebuild(int(bids[0]), int(asks[0]))
        if self._limit is not None:
            limit, tick = self._limit, self._tick
            self._bands = [Band(limit, (book.best_bid + book.best_ask) // 2, tick) for book in self._books]
        months = range(len(self._books))
        return [self._turn(ts_ns, month, OPEN) for month in months] + [self._image(ts_ns, month) for month in months]

    def _close(self, ts_ns: int) -> list[Event]:
        settles: list[Event] = [
            SettleEvent(ts_ns, listing.symbol, book.middle, "prelim")
            for listing, book in zip(self.listings, self._books, strict=True)
        ]
        return settles + self._status(ts_ns, CLOSE)

    def _image(self, ts_ns: int, month: int, eot: bool = True) -> BookEvent:
        bids, asks = self._books[month].sides
        return BookEvent(ts_ns, self.listings[month].symbol, bids, asks, eot)

    def _act(
        self,
        ts_ns: int,
        month: int,
        bid: int,
        ask: int,
        side: int,
        chance: float,
        kind: float,
        distance: int,
        lots: int,
    ) -> list[Event]:
        band = self._bands[month] if self._bands else None
        high = 0 if band is None else band.high
        action = None if band is None else self._limited(band, ts_ns, month, bid, ask, kind, lots)
        if action is None:
            action = self._follow(ts_ns, month, bid, ask, chance, lots)
        if action is None:
            action = self._make_noise(ts_ns, month, side, kind, distance, lots)
        if band is not None and band.high != high and not any(isinstance(event, StatusEvent) for event in action):
            action.insert(
                0, self._turn(ts_ns, month, self._states[month])
            )  # the state is as it was, the limits are not
        if self._amend is not None:
            action.insert(0, self._amended(ts_ns, self._amend))
            self._amend = None
        if self._terms.bust_every or self._terms.correct_every:
            self._choose_amendment(action)
        return action

    def _limited(
        self, band: Band, ts_ns: int, month: int, bid: int, ask: int, kind: float, lots: int
    ) -> list[Event] | None:
        # What happens at a price limit; None where trading goes on as usual.
        book, state = self._books[month], self._states[month]
        if state == HALT and ts_ns < band.halted_until_ns:
            return []
        band.pass_time(ts_ns)
        held = False
        while not held and not band.low < bid < ask < band.high:
            held = band.hit(ts_ns)
        if not held:
            if state == OPEN:
                return None
            book.rebuild(bid, ask)
            return [self._turn(ts_ns, month, OPEN), self._image(ts_ns, month)]
        if ts_ns < band.halted_until_ns:
            return [self._turn(ts_ns, month, HALT)]
        side, price = (BID, band.high) if ask >= band.high else (ASK, band.low)
        if state != LIMIT or book.sides[side][0].price != price:
            book.lock(side, price)
            return [self._turn(ts_ns, month, LIMIT), self._image(ts_ns, month)]
        if kind < 0.2:  # somebody gets out while it lasts
            return self._take(ts_ns, month, side, min(lots, book.sides[side][0].qty - 1) or 1, True)
        book.add(side, price, lots)
        return [self._image(ts_ns, month)]

    def _turn(self, ts_ns: int, month: int, state: str) -> Event:
        self._states[month] = state
        limits = (self._bands[month].low, self._bands[month].high) if self._bands else None
        return StatusEvent(ts_ns, self.listings[month].symbol, state, limits)

    def _follow(self, ts_ns: int, month: int, bid: int, ask: int, chance: float, lots: int) -> list[Event] | None:
        # A stale quote is taken or pulled; room for a better one is filled. None if the touch is where it should be.
        book = self._books[month]
        bids, asks = book.sides
        best_bid, best_ask = bids[0].price, asks[0].price
        if best_bid == bid and best_ask == ask:
            return None
        lost = _LOST_GAPS * self.profile.gap_ticks
        if abs(best_bid - bid) > lost or abs(best_ask - ask) > lost:
            book.rebuild(bid, ask)
        elif best_bid > bid:
            if chance < 0.4:
                return self._sweep(ts_ns, month, BID, bid)
            book.remove(BID, 0)
        elif best_ask < ask:
            if chance < 0.4:
                return self._sweep(ts_ns, month, ASK, ask)
            book.remove(ASK, 0)
        elif best_bid < bid and chance < 0.5:
            book.add(BID, bid, lots)
        elif best_ask > ask and chance >= 0.5:
            book.add(ASK, ask, lots)
        else:
            return None
        return [self._image(ts_ns, month)]

    def _make_noise(self, ts_ns: int, month: int, side: int, kind: float, distance: int, lots: int) -> list[Event]:
        # Orders come and go near the touch; now and then one trades.
        book = self._books[month]
        if kind < 0.01:  # somebody in a hurry takes two levels
            return self._sweep(ts_ns, month, side, book.sides[side][2].price)
        if kind < 0.18:
            return self._take(ts_ns, month, side, lots, True)
        if kind < 0.60:
            away = distance * self.profile.gap_ticks
            touch = book.sides[side][0].price
            book.add(side, touch - away if side == BID else touch + away, lots)
        else:
            book.cancel(side, distance)
        return [self._image(ts_ns, month)]

    def _sweep(self, ts_ns: int, month: int, side: int, target: int) -> list[Event]:
        # An aggressor takes every level better than the target, up to four; a book message each, one action.
        levels = self._books[month].sides[side][:4]
        better = [level for level in levels if (level.price > target if side == BID else level.price < target)]
        last = len(better) - 1
        action: list[Event] = []
        for at, level in enumerate(better):
            action += self._take(ts_ns, month, side, level.qty, at == last)
        return action

    def _take(self, ts_ns: int, month: int, side: int, lots: int, eot: bool) -> list[Event]:
        book, symbol = self._books[month], self.listings[month].symbol
        price = book.sides[side][0].price
        taken = book.take(side, lots)
        trade_id = f"{self._run}-{self.profile.root}{next(self._trade_numbers)}"
        trade = TradeEvent(ts_ns, symbol, trade_id, price, taken, "S" if side == BID else "B")
        return [trade, self._image(ts_ns, month, eot)]

    def _choose_amendment(self, action: list[Event]) -> None:
        # Remember a trade of this action that the next action will bust or correct.
        for event in action:
            if isinstance(event, TradeEvent) and not event.corrects:
                number = int(event.trade_id.rpartition(self.profile.root)[2])
                if _due(number, self._terms.bust_every) or _due(number, self._terms.correct_every):
                    self._amend = event

    def _amended(self, ts_ns: int, trade: TradeEvent) -> Event:
        number = int(trade.trade_id.rpartition(self.profile.root)[2])
        if _due(number, self._terms.bust_every):
            return BustEvent(ts_ns, trade.symbol, trade.trade_id)
        price = trade.price + (1 if trade.aggressor == "B" else -1)
        return trade._replace(ts_event=ts_ns, price=price, corrects=True)


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0
