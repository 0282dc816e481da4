"""The quality kernel: is each instrument to be trusted now, and if not, why not.

The worst of what speaks against an instrument is its quality (QUALITIES, worst last):

- CLOSED   its calendar says that it does not trade, and nothing has come since it began to again
- any      what the venue said of it, or of itself as a whole (STATE rows)
- DELAYED  the venue's clock is off, or its feed is a delayed one (market.skew); or its prices move long after, or
           before, those of other venues (market.leadlag)
- GAP      bid at or above ask for longer than `crossed_ns`: some message is missing
- STALE    silent for longer than its own pace allows, within a session, while others of the shard go on

The time is the arrival clock: the newest `ts_recv` (else `ts_event`) of all rows of the shard, clock rows included. So
an old file is never stale for being old. How long a silence may be is learnt: a multiple of the mean time between
seconds in which something came, long for a slow instrument and short for a busy one. A second is its resolution.

What falls due (a silence, a close, the end of a window) is said before the row whose arrival shows that it is past,
with the time at which it was due. `on_time` says it for a shard in which nothing arrives at all.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from market.columns import Bools, Int64s, codes, dictionary, is_few, valid, values
from market.kernel import Outputs
from market.leadlag import LagLimits, LeadLag, steps_of
from market.schemas import FLAG_REPLAYED, FLAG_SNAPSHOT, QUALITIES, QUOTE, STATE, STATUS, TRADE
from market.skew import SkewLimits
from market.watch import CLOSED, LIVE, NEVER, NS_PER_S, Patience, Says, Venue, Watched
from market.watermark import ACCEPTED, FUTURE, LATE, Judged, Lateness, Watermarks, venue_rows


class _Event(NamedTuple):
    """Something a row means; `rank` orders several of one row."""

    row: int
    rank: int
    payload: tuple[Any, ...]


_WINDOW, _ACTIVE, _MOVED, _CROSSED, _STATED = range(5)
_WINDOW_NS: Final = SkewLimits().window_ns
_LAGS_EVERY: Final = 6  # windows between two looks at who moves after whom


@dataclass(slots=True)
class QualityKernel:
    """Say the quality of every instrument whenever it changes, and of a venue whose clock is off.

    Shape: ARRIVALS -> `status`: 0..n rows of market.schemas.STATUS in order of time; one when an instrument is first
        seen. `instrument` is null in rows about a venue's clock.
    State: about 200 bytes an instrument that had a row within ten days, and a few integers a venue.
    """

    lateness: Lateness = field(default_factory=Lateness)
    patience: Patience = field(default_factory=Patience)
    lags: LagLimits = field(default_factory=LagLimits)
    _marks: Watermarks = field(init=False)
    _leadlag: LeadLag = field(init=False)
    _now: int = -NEVER
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _watched: dict[int, Watched] = field(default_factory=dict)  # by number, rising
    _venues: dict[str, Venue] = field(default_factory=dict)
    _window_due: int = NEVER  # when the open windows of all venues end
    _bound: int = -NEVER  # nothing is due before
    _rows: list[tuple[str, str | None, int, Says]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._marks = Watermarks(self.lateness)
        self._leadlag = LeadLag(self.lags)

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        return self.watch(self.judge(arrivals))

    def judge(self, arrivals: pa.RecordBatch) -> Judged:
        """Return what `watch` is to be given: `on_batch` in two steps, for a kernel that has this one inside."""
        return self._marks.judge(arrivals)

    def holds(self) -> bool:
        """Whether rows are on hold, so that the next judged are in another order than they come in."""
        return self._marks.holds()

    def settle(self) -> Judged | None:
        """As `judge`, for the rows that are still on hold at the end of the input."""
        return self._marks.finish()

    def on_time(self, now_ns: int) -> Outputs:
        self._now = max(self._now, now_ns - self.patience.arrival_ns)
        self._fire(self._now)
        return self._flush()

    def next_wake_ns(self) -> int | None:
        due = min((watched.due() for watched in self._watched.values()), default=NEVER)
        return None if due >= NEVER else due + self.patience.arrival_ns

    def on_eof(self) -> Outputs:
        settled = self.settle()
        return {} if settled is None else self.watch(settled)

    def on_history_lost(self) -> None:
        pass  # what is true now does not depend on rows that are gone

    def snapshot(self) -> object:
        return {
            "marks": self._marks.snapshot(),
            "now": self._now,
            "numbers": dict(self._numbers),
            "watched": {number: copy(watched) for number, watched in self._watched.items()},
            "venues": {name: venue.detached() for name, venue in self._venues.items()},
            "window_due": self._window_due,
            "leadlag": self._leadlag.snapshot(),
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self._marks.restore(saved["marks"])
        self._now, self._window_due, self._bound = saved["now"], saved["window_due"], -NEVER
        self._numbers = dict(saved["numbers"])
        self._watched = {number: copy(watched) for number, watched in saved["watched"].items()}
        self._venues = {name: venue.detached() for name, venue in saved["venues"].items()}
        self._leadlag.restore(saved["leadlag"])

    def skew_ns(self, venue: str) -> int | None:
        """By how much a venue is behind receipt, or other venues (negative: ahead); None while its clock is right.

        For a kernel that compares venues: what comes from a skewed one is not to be compared.
        """
        return self._venues[venue].offset_ns if venue in self._venues else None

    def skews(self) -> dict[str, int | None]:
        """`skew_ns` of every venue seen."""
        return {name: venue.offset_ns for name, venue in self._venues.items()}

    def counts(self) -> dict[tuple[str, str], int]:
        """How many instruments of each venue are in each quality."""
        found = {(venue, quality): 0 for venue in self._venues for quality in QUALITIES}
        for watched in self._watched.values():
            if watched.said is not None:
                found[watched.venue, QUALITIES[watched.said.quality]] += 1
        return found

    def watch(self, judged: Judged) -> Outputs:
        """Fold a judged batch."""
        if judged.rows.num_rows:
            clock, timed = self.clock(judged)
            few = is_few(judged.rows)
            events = _events_few(judged, clock, self.lags.step_ns) if few else self._events(judged, clock, timed)
            for event in events if few else sorted(events, key=itemgetter(0, 1)):
                now = int(clock[event.row])
                if now >= self._bound:
                    self._fire(now)
                self._apply(event, now)
            self._now = int(clock[-1])
            self._fire(self._now)
        return self._flush()

    def clock(self, judged: Judged) -> tuple[Int64s, Bools]:
        """The arrival clock at each row, and which rows tell it: a stamp from the future is no time of arrival."""
        received = valid(judged.rows.column("ts_recv"))
        timed = judged.verdict != FUTURE
        timed |= True if received is None else received
        known = np.where(timed, judged.known_at, -NEVER)
        known[0] = max(int(known[0]), self._now)
        return np.maximum.accumulate(known), timed

    def _events(self, judged: Judged, clock: Int64s, timed: Bools) -> Iterable[_Event]:
        rows, kind = judged.rows, values(judged.rows.column("kind"))
        flags = values(rows.column("flags"))
        # What stamps a price is the venue's clock; a heartbeat or a state may have been stamped by the connector.
        is_price = (kind == TRADE) | (kind == QUOTE)
        yield from _delays(judged, clock, _WINDOW_NS, is_price & (flags & (FLAG_REPLAYED | FLAG_SNAPSHOT) == 0))
        came = timed & (judged.verdict != LATE) & is_price & (flags & FLAG_REPLAYED == 0)
        yield from _activity(rows, np.flatnonzero(came), kind, clock)
        crossed = {(w.venue, w.name) for w in self._watched.values() if w.crossed_since is not None}
        quotes = np.flatnonzero((judged.verdict == ACCEPTED) & (kind == QUOTE))
        yield from _crossings(rows, quotes, crossed)
        for row, *moved in steps_of(rows, quotes, self.lags.step_ns):
            yield _Event(row, _MOVED, tuple(moved))
        for row in np.flatnonzero(timed & (kind == STATE)).tolist():
            stated = rows.slice(row, 1).to_pylist()[0]
            yield _Event(row, _STATED, (stated["venue"], stated["instrument"], int(stated["size"])))

    def _apply(self, event: _Event, now: int) -> None:
        if event.rank == _WINDOW:
            name, due, least_ns, most_ns, rows = event.payload
            self._venue(name).skew.add(least_ns=least_ns, most_ns=most_ns, rows=rows)
            self._await_window(due)
            return
        if event.rank == _MOVED:
            self._leadlag.moved(*event.payload)
            self._await_window((now // _WINDOW_NS + 1) * _WINDOW_NS)
            return
        if event.rank == _STATED:
            self._stated(*event.payload, now=now)
            return
        key, flag = event.payload
        watched = self._find(key, now)
        if event.rank == _CROSSED:
            if not flag and watched.crossed_since is None:
                return
            watched.quoted(now, crossed=flag)
        elif not watched.came(now, trade=flag):
            return
        self._say(watched, now)

    def _stated(self, venue: str, instrument: str | None, state: int, *, now: int) -> None:
        if instrument is None:
            self._venue(venue).stated = state
            for watched in self._of(venue):
                self._say(watched, now)
            return
        watched = self._find((venue, instrument), now)
        watched.stated(state, now)
        # Said again even if it has not changed: the connector has told its part of it, and this is the whole.
        self._say(watched, now, again=watched.judge(self._venue(venue)).quality != state)

    def _fire(self, until: int) -> None:
        """Say all that fell due up to a time, in order of time."""
        while self._bound <= until:
            due = self._bound = self._next_due()
            if due > until:
                return
            if due == self._window_due:
                self._end_windows(due)
                continue
            number, watched = next((n, watched) for n, watched in self._watched.items() if watched.due() == due)
            if due == watched.forgotten_at():
                del self._watched[number]
                self._rows.append((watched.venue, watched.name, due, Says(CLOSED, "expired: nothing for ten days")))
                continue
            watched.fall_due(due)
            self._say(watched, due)

    def _next_due(self) -> int:
        return min([self._window_due, *(watched.due() for watched in self._watched.values())])

    def _await_window(self, due: int) -> None:
        self._window_due = min(self._window_due, due)
        self._bound = min(self._bound, due)

    def _end_windows(self, due: int) -> None:
        self._window_due = NEVER
        behind = self._leadlag.judge() if due // _WINDOW_NS % _LAGS_EVERY == 0 else None
        for name, venue in sorted(self._venues.items()):
            before = venue.skewed()
            venue.skew.close()
            if behind is not None:
                venue.behind = behind.get(name)
            after = venue.skewed()
            if after != before:
                self._rows.append((name, None, due, after or Says(LIVE, f"{_word(before)}: settled")))
                for watched in self._of(name):
                    self._say(watched, due)

    def _say(self, watched: Watched, at: int, *, again: bool = False) -> None:
        says = watched.judge(self._venue(watched.venue))
        if says != watched.said or again:
            watched.said = says
            self._rows.append((watched.venue, watched.name, at, says))
        self._bound = min(self._bound, watched.due())

    def _find(self, key: tuple[str, str], now: int) -> Watched:
        number = self._numbers.setdefault(key, len(self._numbers))
        if number not in self._watched:
            self._watched[number] = Watched.first_seen(self.patience, *key, now)
            self._watched = dict(sorted(self._watched.items()))
        return self._watched[number]

    def _venue(self, name: str) -> Venue:
        return self._venues.setdefault(name, Venue())

    def _of(self, venue: str) -> list[Watched]:
        return [watched for watched in self._watched.values() if watched.venue == venue]

    def _flush(self) -> Outputs:
        rows, self._rows = self._rows, []
        if not rows:
            return {}
        columns = [
            [venue for venue, _, _, _ in rows],
            [name for _, name, _, _ in rows],
            [at for _, _, at, _ in rows],
            [QUALITIES[says.quality] for _, _, _, says in rows],
            [says.reason for _, _, _, says in rows],
        ]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, STATUS, strict=True)]
        return {"status": pa.RecordBatch.from_arrays(arrays, schema=STATUS)}


def _word(says: Says | None) -> str:
    return says.reason.partition(":")[0] if says is not None else ""


def _events_few(judged: Judged, clock: Int64s, step_ns: int) -> Iterable[_Event]:
    """What few rows mean, one by one and in their order; of many, `QualityKernel._events` picks those that count."""
    rows = judged.rows
    venues, names = dictionary(rows.column("venue")), dictionary(rows.column("instrument"))
    numbers = ("kind", "ts_event", "ts_recv", "flags", "bid_price", "ask_price", "size")
    columns = [rows.column(name).to_pylist() for name in numbers]
    told: set[tuple[int, int, bool]] = set()
    of = rows.column("instrument").indices.to_pylist()
    for row, (kind, ts_event, ts_recv, flags, bid, ask, size, verdict, at, code, where) in enumerate(
        zip(*columns, judged.verdict.tolist(), clock.tolist(), of, codes(rows.column("venue")).tolist(), strict=True)
    ):
        venue = venues[where]
        timed = verdict != FUTURE or ts_recv is not None
        if kind in (TRADE, QUOTE):
            if ts_recv is not None and not flags & (FLAG_REPLAYED | FLAG_SNAPSHOT):
                delay = ts_recv - ts_event
                yield _Event(row, _WINDOW, (venue, (at // _WINDOW_NS + 1) * _WINDOW_NS, delay, delay, 1))
            told_now = (code, at // NS_PER_S, kind == TRADE)
            if timed and verdict != LATE and not flags & FLAG_REPLAYED and told_now not in told:
                told.add(told_now)
                yield _Event(row, _ACTIVE, ((venue, names[code]), kind == TRADE))
            if kind == QUOTE and verdict == ACCEPTED:
                both = bid is not None and ask is not None
                if both:
                    yield _Event(row, _MOVED, (venue, names[code], ts_event // step_ns, bid + ask))
                yield _Event(row, _CROSSED, ((venue, names[code]), both and bid >= ask))
        elif kind == STATE and timed:
            yield _Event(row, _STATED, (venue, None if code is None else names[code], size))


def _delays(judged: Judged, clock: Int64s, width_ns: int, plain: Bools) -> Iterable[_Event]:
    """The least and the greatest delay of each venue in each window of the arrival clock."""
    rows, received = judged.rows, valid(judged.rows.column("ts_recv"))
    plain = plain if received is None else plain & received
    delay = values(rows.column("ts_recv")) - values(rows.column("ts_event"))
    for venue, index in venue_rows(rows):
        picked = np.arange(rows.num_rows)[index]
        picked = picked[plain[picked]]
        if not len(picked):
            continue
        window = clock[picked] // width_ns
        first = np.flatnonzero(np.diff(window, prepend=window[0] - 1))
        ends = (window[first] + 1) * width_ns
        least, most = np.minimum.reduceat(delay[picked], first), np.maximum.reduceat(delay[picked], first)
        counts = np.diff(first, append=len(picked))
        columns = (picked[first], ends, least, most, counts)
        for row, due, low, high, n in zip(*(column.tolist() for column in columns), strict=True):
            yield _Event(row, _WINDOW, (venue, due, low, high, n))


def _activity(rows: pa.RecordBatch, picked: Int64s, kind: Int64s, clock: Int64s) -> Iterable[_Event]:
    """The first trade and the first quote of each instrument in each second."""
    if not len(picked):
        return
    pair, names = _pairs(rows, picked)
    second, trade = clock[picked] // NS_PER_S, kind[picked] == TRADE
    _, first = np.unique(((second - second[0]) * len(names) + pair) * 2 + trade, return_index=True)
    for row, which, is_trade in zip(picked[first].tolist(), pair[first].tolist(), trade[first].tolist(), strict=True):
        yield _Event(row, _ACTIVE, (names[which], is_trade))


def _crossings(rows: pa.RecordBatch, picked: Int64s, known: set[tuple[str, str]]) -> Iterable[_Event]:
    """Each quote of an instrument whose book is crossed (`known`), or gets so: rare, so one by one."""
    if not len(picked):
        return
    bid, ask = rows.column("bid_price"), rows.column("ask_price")
    crossed = values(bid)[picked] >= values(ask)[picked]
    for side in (valid(bid), valid(ask)):
        crossed = crossed if side is None else crossed & side[picked]
    if not crossed.any() and not known:
        return
    pair, names = _pairs(rows, picked)
    of_interest = set(pair[crossed].tolist()) | {at for at, name in enumerate(names) if name in known}
    for at in np.flatnonzero(np.isin(pair, list(of_interest))).tolist():
        yield _Event(int(picked[at]), _CROSSED, (names[pair[at]], bool(crossed[at])))


def _pairs(rows: pa.RecordBatch, picked: Int64s) -> tuple[Int64s, list[tuple[str, str]]]:
    """Of which (venue, instrument) each picked row is, and the names of all pairs."""
    venue, instrument = rows.column("venue"), rows.column("instrument")
    venues, instruments = dictionary(venue), dictionary(instrument)
    pair = codes(venue)[picked].astype(np.int64) * len(instruments) + codes(instrument)[picked]
    return pair, [(one, other) for one in venues for other in instruments]
