"""The oracle: bars and admission, one row at a time with Python integers, as slow and obvious as can be.

It shares nothing with the kernels but the rules of docs/design.md and the calendar: no arrays, no batches, no watermark
code.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from functools import cache
from itertools import pairwise

from market.instruments import InstrumentMaster
from market.sessions import Hours, windows_of

WIDTHS = {"1s": 1, "5s": 5, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}
SECOND = 1_000_000_000
MASTER = InstrumentMaster.load()
EPOCH = date(1970, 1, 1).toordinal()


def window(instrument: str, interval: str, ts: int) -> tuple[int, int]:
    """The window that holds a time: a multiple of the width, but for 1d the trade date, in whole hours, or the time
    between two of them."""
    width = WIDTHS[interval] * SECOND
    hours = MASTER.resolve(instrument, date.max).hours
    if interval != "1d" or not hours.intervals:
        return ts // width * width, ts // width * width + width
    edges = day_edges(hours, ts // width)
    return next((a, b) for a, b in pairwise(edges) if a <= ts < b)


@cache
def day_edges(hours: Hours, day: int) -> list[int]:
    """Where days begin and end in the weeks around a day (counted from 1970), by the rule of docs/design.md."""
    hour, sessions, begun = 3600 * SECOND, [], None
    for ordinal in range(day + EPOCH - 21, day + EPOCH + 22):
        parts = windows_of(hours, ordinal)
        if parts:
            begun = parts[0][0] if begun is None else begun
            special = hours.calendar.days.get(date.fromordinal(ordinal))
            if special is None or special.counts_for is None:
                sessions.append((begun // hour * hour, (parts[-1][1] // hour + 1) * hour))
                begun = None
    edges = []
    for (first, last), (following, _) in pairwise(sessions):
        edges += [first, min(last, following)]
    return sorted(set(edges))


@dataclass
class Row:
    """One arrival. `kind` is trade, quote, clock, bust, correction or state; recv and seq may be None.

    A state has its quality, by rank (0 is live), in `size`; without an instrument it is the whole venue's.
    """

    kind: str
    venue: str
    instrument: str | None
    ts: int
    recv: int | None
    price: int = 0
    size: int = 0
    name: int = 0  # position in the input, to tell rows apart
    seq: int | None = None
    trade_id: str | None = None  # of a bust or correction: the trade it is about

    def when(self) -> tuple:
        """What says which of two trades came first at the venue; trades that tie go by arrival."""
        return (self.ts, 0, 0) if self.seq is None else (self.ts, 1, self.seq)


@dataclass
class Venue:
    high: int | None = None
    held: Row | None = None
    known: int = 0


@dataclass
class Trade:
    """A trade and what was said about it since."""

    row: Row
    price: int
    size: int
    busted: bool = False
    corrected_by: Row | None = None


@dataclass
class OracleBar:
    trades: list[Trade] = field(default_factory=list)
    revision: int = 0
    final: bool = False
    close: int = 0  # as published last

    @property
    def counting(self) -> list[Trade]:
        return [trade for trade in self.trades if not trade.busted]

    def values(self) -> tuple[int, ...]:
        if not self.counting:
            return self.close, self.close, self.close, self.close, 0, self.close, 0
        by_time = sorted(self.counting, key=lambda trade: trade.row.when())  # stable: arrival order where it ties
        prices = [trade.price for trade in by_time]
        volume = sum(trade.size for trade in by_time)
        vwap = round(Fraction(sum(trade.price * trade.size for trade in by_time), volume))
        return prices[0], max(prices), min(prices), prices[-1], volume, vwap, len(by_time)


class Oracle:
    """Feed rows one by one; read `published` (bars in order of causes), `late`, `future`, `accepted`."""

    def __init__(self, *, delay=SECOND, allowed=60 * SECOND, skew=300 * SECOND, intervals=tuple(WIDTHS)):
        self.delay, self.allowed, self.skew = delay, allowed, skew
        self.intervals = intervals
        self.venues: dict[str, Venue] = {}
        self.bars: dict[tuple[str, str, str, int], OracleBar] = {}
        self.first_seen: list[tuple[str, str]] = []
        self.published: list[tuple] = []
        self.late: list[int] = []
        self.future: list[int] = []
        self.accepted: list[int] = []
        self.trades: list[Trade] = []
        self.waiting: list[Row] = []  # busts and corrections whose trade did not come yet
        self.unknown: list[int] = []
        self.no_effect: list[int] = []
        self.states: list[Row] = []

    def feed(self, row: Row) -> None:
        if row.kind == "state":
            # Never late, never ahead, and no event of the market. It begins when it was heard at the latest, and not
            # before the one that was said before it.
            begins = row.ts if row.recv is None else min(row.ts, row.recv)
            earlier = [old.ts for old in self.states if (old.venue, old.instrument) == (row.venue, row.instrument)]
            self.states.append(replace(row, ts=max([begins, *earlier])))
            return
        venue = self.venues.setdefault(row.venue, Venue())
        if row.recv is not None and row.ts > row.recv + self.skew:
            self.future.append(row.name)
            return
        if venue.held is not None:
            held, venue.held = venue.held, None
            if row.ts >= held.ts - self.skew:
                self._accept(venue, held)
            else:
                self.future.append(held.name)
        if row.recv is None and (venue.high is None or row.ts > venue.high + self.skew):
            venue.held = row
            return
        self._accept(venue, row)

    def end(self) -> None:
        holding = [venue for venue in self.venues.values() if venue.held is not None]
        for venue in sorted(holding, key=lambda venue: venue.held.name):
            held, venue.held = venue.held, None
            if venue.high is None or held.ts - venue.high <= 10 * 86400 * SECOND:
                self._accept(venue, held)
            else:
                self.future.append(held.name)
        self.unknown += [row.name for row in self.waiting]
        for key in self._in_order(key for key, bar in self.bars.items() if not bar.final):
            self._publish(key, self.venues[key[0]].known)

    def _accept(self, venue: Venue, row: Row) -> None:
        watermark = None if venue.high is None else venue.high - self.delay
        if row.kind != "clock" and watermark is not None and row.ts < watermark - self.allowed:
            self.late.append(row.name)
            return
        known = row.recv if row.recv is not None else row.ts
        venue.known = max(venue.known, known)
        changed = set()
        if row.kind in ("bust", "correction"):
            changed = self._amend(row, watermark, watermark, waits=True)
        elif row.kind != "clock":
            self.accepted.append(row.name)
        if row.kind == "trade":
            changed = self._trade(row, watermark)
        venue.high = row.ts if venue.high is None else max(venue.high, row.ts)
        after = venue.high - self.delay
        closing = {
            key for key, bar in self.bars.items() if key[0] == row.venue and not bar.final and self._end(key) <= after
        }
        for key in self._in_order(changed | closing):
            self._publish(key, known)
        self._settle_waiting(row, watermark, after, known)

    def _settle_waiting(self, row: Row, watermark: int | None, after: int, known: int) -> None:
        """The row may be the trade that a bust waited for, or show that it will not come any more."""
        for held in list(self.waiting):
            if held is row:
                continue
            if row.kind == "trade" and _trade_name(held) == _trade_name(row):
                self.waiting.remove(held)
                for key in self._in_order(self._amend(held, watermark, after, waits=False)):
                    self._publish(key, known)
            elif held.venue == row.venue and held.ts < after - self.allowed:
                self.waiting.remove(held)
                self.unknown.append(held.name)

    def _amend(self, row: Row, oldest_by: int | None, watermark: int | None, *, waits: bool) -> set[tuple]:
        """Bust or correct a trade; return the final bars that changed."""
        oldest = -(2**63) if oldest_by is None else oldest_by - self.allowed
        named = [t for t in self.trades if _trade_name(t.row) == _trade_name(row) and t.row.ts >= oldest]
        if not named:
            (self.waiting if waits else self.unknown).append(row if waits else row.name)
            return set()
        trade = named[-1]
        older = trade.corrected_by is not None and row.when() < trade.corrected_by.when()
        if trade.busted or (row.kind == "correction" and older):
            self.no_effect.append(row.name)
            return set()
        if row.kind == "correction":
            trade.corrected_by = row
            if (trade.price, trade.size) == (row.price, row.size):
                self.no_effect.append(row.name)
                return set()
            trade.price, trade.size = row.price, row.size
        trade.busted = row.kind == "bust"
        self.accepted.append(row.name)
        return self._revised(trade.row, watermark)

    def _trade(self, row: Row, watermark: int | None) -> set[tuple]:
        if (row.venue, row.instrument) not in self.first_seen:
            self.first_seen.append((row.venue, row.instrument))
        self.trades.append(Trade(row, row.price, row.size))
        for key in self._keys(row):
            self.bars.setdefault(key, OracleBar()).trades.append(self.trades[-1])
        return self._revised(row, watermark)

    def _revised(self, row: Row, watermark: int | None) -> set[tuple]:
        """The bars of a trade whose windows had ended, each one revision further."""
        final = {key for key in self._keys(row) if watermark is not None and self._end(key) <= watermark}
        for key in final:
            self.bars[key].final = True  # it may have been final with nothing in it
            self.bars[key].revision += 1
        return final

    def _publish(self, key: tuple, known: int) -> None:
        bar = self.bars[key]
        bar.final = True
        if bar.revision == 0 and not bar.counting:
            return  # nothing was ever said about it
        values = bar.values()
        bar.close = values[3]
        self.published.append((*key, bar.revision, *values, known, self._quality(key)))

    def _quality(self, key: tuple) -> int:
        """The worst that was said so far of the instrument, or of its venue, for any moment of the window."""
        worst = 0
        for instrument in (key[1], None):
            said = [row for row in self.states if (row.venue, row.instrument) == (key[0], instrument)]
            at_open = [row.size for row in said if row.ts <= key[3]][-1:]
            inside = [row.size for row in said if key[3] < row.ts < self._end(key)]
            worst = max([worst, *at_open, *inside])
        return worst

    def _keys(self, row: Row) -> list[tuple]:
        return [(row.venue, row.instrument, name, window(row.instrument, name, row.ts)[0]) for name in self.intervals]

    def _in_order(self, keys: Iterable[tuple]) -> list[tuple]:
        return sorted(keys, key=self._order)

    def _end(self, key: tuple) -> int:
        return window(key[1], key[2], key[3])[1]

    def _order(self, key: tuple) -> tuple:
        return self.intervals.index(key[2]), self.first_seen.index((key[0], key[1])), key[3]


def _trade_name(row: Row) -> tuple:
    return row.instrument, row.trade_id
