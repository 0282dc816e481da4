"""The arbitrage kernel: opportunities between an Indian contract and its foreign one, landed, open, update and close.

It is fed a shard's ticks with the exchange rate's and the changes of books among them (kinds `fx` and `depth` of the
log, docs/arbitrage.md), in the one order in which ingest wrote them. What speaks against an instrument is found by a
quality kernel inside. So there is no opportunity, and a row with the reason instead, while a leg or the rate is old,
silent, gapped, halted, delayed, skewed, crossed, one-sided or out of session, while a cost is missing, while the usual
level of the basis is not known yet, and while the basis is so far from it that a price or a duty must have changed.

The time is the arrival clock of market.quality. What falls due (a quote becomes too old) is said before the row whose
arrival shows that it is past. What the quality kernel finds at a time holds for rows that arrive after it.

An opportunity opens when net is positive both against parity and against the level of the basis: a premium that is
always there (another month, a warehouse) is not one. It stays open while whole lots leave anything. While it is open
the level learns nothing.

Size is taken from the books of both legs (market.legs), of a leg without a whole book from the top of its quote.
"""

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from market.columns import Int64s
from market.instruments import InstrumentKey, InstrumentMaster
from market.kernel import Outputs
from market.legs import NEVER, Books, Changes, Leg, parted, quotes_of
from market.opportunities import (
    Caution,
    Depth,
    Found,
    Opened,
    Pair,
    Row,
    begin_ns,
    best,
    beyond,
    blocked,
    date_of,
    india_day,
    is_fit,
    least,
    of_interest,
    offer,
    prices,
    row_of,
    shocked,
)
from market.parity import DIRECTIONS, bound_of, foreign_key, terms_of
from market.quality import QualityKernel
from market.reference import MissingReference, Reference
from market.schemas import ARBITRAGE, QUALITIES
from market.watermark import Judged, Lateness

FX: Final = "BBG:USDINR:SPOT"

_Status = tuple[int, str, str, str]
"""When, instrument, quality, reason."""
_FORGET_NS: Final = 10 * 86_400 * 10**9
"""A book that did not change for so long is forgotten at the next change of day, as in market.book."""


@dataclass(slots=True)
class ArbitrageKernel:
    """Find what is left of gaps after landing and all costs.

    Shape: ARRIVALS or LEG_ARRIVALS (of a commodity, and of USDINR) -> `arbitrage`: 0..n rows of
        market.schemas.ARBITRAGE in order of time; `silent` when the reason changes, `watch` and `update` at most once a
        second and pair.
    State: about 500 bytes a pair and 100 an instrument that had a row within ten days, its book, and that of
        QualityKernel.
    """

    lateness: Lateness = field(default_factory=Lateness)
    caution: Caution = field(default_factory=Caution)
    reference: Reference = field(default_factory=Reference.load)
    _master: InstrumentMaster = field(default_factory=InstrumentMaster.load)
    _quality: QualityKernel = field(init=False)
    _now: int = -NEVER
    _legs: dict[str, Leg] = field(default_factory=dict)
    _pairs: dict[str, Pair] = field(default_factory=dict)  # by local instrument
    _of: dict[str, list[tuple[Pair, int]]] = field(default_factory=dict)  # by any instrument, which leg it is
    _books: Books = field(default_factory=Books)
    _said: dict[str, tuple[str, str]] = field(default_factory=dict)  # quality and reason by instrument, if not LIVE
    _waiting: list[_Status] = field(default_factory=list)  # of the time of the newest row: for rows after it
    _due: int = -NEVER  # nothing falls due before
    _rows: list[Row] = field(default_factory=list)

    _products: frozenset[tuple[str, str]] = field(init=False)
    _wanted: dict[str, bool] = field(default_factory=dict)  # a memory of answers, no state

    def __post_init__(self) -> None:
        self._quality = QualityKernel(self.lateness)
        routes = self.reference.routes
        versions = [route.value for name in routes.names for route in routes.versions(name)]
        self._products = frozenset(product for route in versions for product in (route.local, route.foreign))

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        for ticks, changes in parted(arrivals, self._is_wanted, holds=self._quality.holds()):
            self._fold(self._quality.judge(ticks), changes)
        return self._flush()

    def on_time(self, now_ns: int) -> Outputs:
        self._wait_for(self._quality.on_time(now_ns))
        self._advance(max(self._now, now_ns - self.caution.arrival_ns))
        return self._flush()

    def on_eof(self) -> Outputs:
        settled = self._quality.settle()
        if settled is not None:
            self._fold(settled, Changes())
        for pair in self._pairs.values():
            self._close_all(pair, self._now, "end: of the input")
        return self._flush()

    def next_wake_ns(self) -> int | None:
        due = min((pair.due(self.caution) for pair in self._pairs.values()), default=NEVER)
        own = None if due >= NEVER else due + 1 + self.caution.arrival_ns
        other = self._quality.next_wake_ns()
        return other if own is None else own if other is None else min(own, other)

    def on_history_lost(self) -> None:
        self._quality.on_history_lost()  # what is true now does not depend on rows that are gone

    def open_count(self) -> dict[str, int]:
        """How many opportunities are open, by commodity."""
        found: dict[str, int] = {}
        for pair in self._pairs.values():
            found[pair.commodity] = found.get(pair.commodity, 0) + len(pair.opened)
        return found

    def snapshot(self) -> object:
        return {
            "quality": self._quality.snapshot(),
            "now": self._now,
            "legs": {key: copy(leg) for key, leg in self._legs.items()},
            "books": self._books.snapshot(),
            "pairs": [_detached(pair) for pair in self._pairs.values()],
            "said": dict(self._said),
            "waiting": list(self._waiting),
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self._quality.restore(saved["quality"])
        self._now, self._due = saved["now"], -NEVER
        self._legs = {key: copy(leg) for key, leg in saved["legs"].items()}
        self._said, self._waiting = dict(saved["said"]), list(saved["waiting"])
        self._books.restore(saved["books"])
        self._pairs, self._of = {}, {}
        for pair in saved["pairs"]:
            self._enter(_detached(pair))
            self._gather(self._pairs[pair.local], pair.day)

    def _fold(self, judged: Judged, changes: Changes) -> None:
        if not judged.rows.num_rows:
            self._follow(changes, None)
            return
        clock, _ = self._quality.clock(judged)
        self._wait_for(self._quality.watch(judged))
        for row, at, key, leg in quotes_of(judged, clock, self._is_wanted, self._skewed):
            if changes and changes[0].before <= row:
                self._follow(changes, clock, row)
            self._advance(at)
            self._take(key, leg, at)
        self._follow(changes, clock)
        self._advance(int(clock[-1]))

    def _follow(self, changes: Changes, clock: Int64s | None, row: int = NEVER) -> None:
        """Take the changes of books that come before a row of the ticks."""
        while changes and changes[0].before <= row:
            change = changes.popleft()
            if clock is not None and change.before:  # what is judged by time alone must not see what comes later
                self._advance(int(clock[change.before - 1]))
            self._books.take(change)

    def _skewed(self, delay_ns: int) -> str:
        if delay_ns < -self.caution.ahead_ns:
            return f"more than {self.caution.ahead_ns / 1e9:g} s ahead of its receipt"
        return f"more than {self.caution.behind_ns / 1e9:g} s behind" if delay_ns > self.caution.behind_ns else ""

    def _is_wanted(self, name: str) -> bool:
        found = self._wanted.get(name)
        if found is None:
            key = InstrumentKey.parse(name)
            found = self._wanted[name] = name == FX or (key.mic, key.root) in self._products
        return found

    def _wait_for(self, outputs: Outputs) -> None:
        """Take what the quality kernel says; `_advance` applies it when it is past."""
        if "status" in outputs:
            status = outputs["status"]
            columns = [status.column(name).to_pylist() for name in ("ts_event", "instrument", "quality", "reason")]
            self._waiting += [row for row in zip(*columns, strict=True) if row[1] is not None]

    def _advance(self, now: int) -> None:
        """Apply what happened and what fell due before `now`, in order of time."""
        if not self._waiting and self._due >= now:
            if now > self._now:
                self._now = now
            return
        while self._waiting and self._waiting[0][0] < now:
            at, key, quality, reason = self._waiting.pop(0)
            self._fire(at)
            self._now = max(self._now, at)
            self._told(key, quality, reason, at)
        self._fire(now)
        self._now = max(self._now, now)

    def _fire(self, before: int) -> None:
        while self._due < before:
            pairs = [(pair.due(self.caution), pair) for pair in self._pairs.values()]
            due, pair = min(pairs, key=lambda each: each[0], default=(NEVER, None))
            self._due = due
            if pair is None or due >= before:
                return
            self._look(pair, due + 1)  # at `due` it is not too old yet

    def _told(self, key: str, quality: str, reason: str, at: int) -> None:
        if reason.startswith("expired") and key in self._legs:
            self._forget(key)
            return
        if quality == QUALITIES[0]:
            self._said.pop(key, None)
        elif key in self._of or self._is_wanted(key):
            self._said[key] = (quality, reason)
        for pair, _ in self._of.get(key, []):
            self._look(pair, at)

    def _forget(self, key: str) -> None:
        del self._legs[key]
        self._said.pop(key, None)
        gone = self._pairs.pop(key, None)
        self._of = {}
        for pair in self._pairs.values():
            self._index(pair)
        if gone is not None:
            self._close_all(gone, self._now, "expired")

    def _take(self, key: str, leg: Leg, now: int) -> None:
        if key not in self._legs:
            self._meet(key, now)
        self._legs[key] = leg
        for pair, which in self._of.get(key, _NONE):
            pair.legs[which] = leg
            self._look(pair, now)

    def _meet(self, key: str, now: int) -> None:
        """Enter the pair of a local instrument that is seen for the first time."""
        parsed, on = InstrumentKey.parse(key), date_of(india_day(now))
        for name in self.reference.routes.names:
            route = self.reference.routes.find(name, on)
            if route is not None and route.value.local == (parsed.mic, parsed.root):
                other = foreign_key(route.value, self._master, parsed, on)
                if other is not None:
                    self._enter(Pair(commodity=route.value.commodity, route=name, local=key, foreign=other))

    def _enter(self, pair: Pair) -> None:
        self._pairs[pair.local] = pair
        self._index(pair)

    def _index(self, pair: Pair) -> None:
        for which, key in enumerate((pair.local, pair.foreign, FX)):
            self._of.setdefault(key, []).append((pair, which))
            pair.legs[which] = self._legs.get(key, _NO_LEG)

    def _gather(self, pair: Pair, day: int) -> None:
        """Terms of the day; a cost that is not in force leaves the pair without any."""
        pair.day, pair.today, pair.tomorrow, pair.missing = day, begin_ns(day), begin_ns(day + 1), ""
        pair.terms, pair.bounds, pair.opening, pair.limit_ns = None, None, None, -NEVER
        try:
            route = self.reference.routes.get(pair.route, date_of(day))
            pair.terms = terms_of(self.reference, self._master, route, date_of(day))
            pair.bounds = (bound_of(pair.terms, DIRECTIONS[0]), bound_of(pair.terms, DIRECTIONS[1]))
            pair.limit_ns = pair.terms.route.max_age_ns
        except MissingReference as error:
            pair.missing = error.what

    def _look(self, pair: Pair, now: int) -> None:
        """Judge a pair after something about it has changed."""
        if not pair.today <= now < pair.tomorrow:
            self._gather(pair, india_day(now))
            self._books.forget(now - _FORGET_NS)
        if is_fit(pair, now, self.caution) and not self._said:
            reason = shocked(pair, now, self.caution)
        else:
            reason = blocked(pair, now, self.caution) or self._distrusted(pair) or shocked(pair, now, self.caution)
        directions: Sequence[str] = ()
        if not reason:
            directions = of_interest(pair, self.caution)
            reason = beyond(pair, directions, self.caution) if directions else ""
        if reason:
            self._silence(pair, now, reason)
        elif directions or pair.reason != "" or now >= pair.watched + self.caution.every_ns:
            self._trade(pair, directions, now)
        self._due = min(self._due, pair.due(self.caution))

    def _distrusted(self, pair: Pair) -> str:
        for key in (pair.local, pair.foreign, FX):
            if key in self._said:
                quality, reason = self._said[key]
                return f"{quality.lower()}: {key}: {reason}"
        return ""

    def _silence(self, pair: Pair, now: int, reason: str) -> None:
        self._close_all(pair, now, reason)
        if reason != pair.reason:
            pair.reason = reason
            self._say(pair, None, now, name=_watch_id(pair), state="silent", reason=reason)

    def _depth(self, pair: Pair, now: int) -> Depth:
        since = now - pair.limit_ns
        return self._books.whole(pair.local, since), self._books.whole(pair.foreign, since)

    def _trade(self, pair: Pair, directions: Sequence[str], now: int) -> None:
        was_silent, pair.reason = pair.reason != "", ""
        depth = self._depth(pair, now)
        for direction in directions:
            found = offer(pair, direction, depth, self.caution)
            if direction in pair.opened:
                self._update(pair, direction, found, now)
            else:
                self._maybe_open(pair, found, now)
        if not pair.opened and (was_silent or now >= pair.watched + self.caution.every_ns):
            pair.watched = now
            found = best(pair, depth, self.caution)
            thin = found.ladder.net > 0 and found.to_level > 0 and not found.executable
            reason = "thin: too few lots at these prices" if thin else ""
            self._say(pair, found, now, name=_watch_id(pair), state="watch", reason=reason)

    def _maybe_open(self, pair: Pair, found: Found, now: int) -> None:
        direction = found.ladder.direction
        opens = least(prices(direction, pair.legs)[0], self.caution)
        if found.executable and min(found.ladder.net, found.to_level) >= opens:
            name = f"{pair.local}/{pair.foreign}/{direction}/{now}"
            pair.opened[direction] = Opened(id=name, said=now)
            self._say(pair, found, now, name=name, state="open", reason="")

    def _update(self, pair: Pair, direction: str, found: Found, now: int) -> None:
        opened = pair.opened[direction]
        opened.thin = None if found.executable else now if opened.thin is None else opened.thin
        is_thin = opened.thin is not None and now >= opened.thin + self.caution.thin_ns
        if is_thin or found.ladder.net <= 0 or found.to_level <= 0:
            del pair.opened[direction]
            reason = "thin: too few lots are left" if is_thin else "gone: nothing is left after costs"
            self._say(pair, found, now, name=opened.id, state="close", reason=reason)
        elif now >= opened.said + self.caution.every_ns:
            opened.said = now
            self._say(pair, found, now, name=opened.id, state="update", reason="")

    def _close_all(self, pair: Pair, now: int, reason: str) -> None:
        for opened in pair.opened.values():
            self._say(pair, None, now, name=opened.id, state="close", reason=reason)
        pair.opened = {}

    def _say(self, pair: Pair, found: Found | None, now: int, *, name: str, state: str, reason: str) -> None:
        # No two rows of a pair have the same time: it is part of the key.
        pair.last_ts = max(now, pair.last_ts + 1)
        row = row_of(pair, found, now, name=name, state=state, reason=reason)
        self._rows.append(row | {"ts_event": pair.last_ts})

    def _flush(self) -> Outputs:
        rows, self._rows = self._rows, []
        return {"arbitrage": pa.RecordBatch.from_pylist(rows, schema=ARBITRAGE)} if rows else {}


_NO_LEG: Final = Leg()
_NONE: Final = ()


def _watch_id(pair: Pair) -> str:
    return f"{pair.local}/{pair.foreign}"


def _detached(pair: Pair) -> Pair:
    """A copy that shares nothing that changes, without terms."""
    found = copy(pair)
    found.terms, found.bounds, found.opening, found.legs = None, None, None, [_NO_LEG] * 3
    found.opened, found.level = deepcopy(pair.opened), copy(pair.level)
    return found
