"""The oracle: bars and admission, one row at a time with Python integers, as slow and obvious as can be.

It shares nothing with the kernels but the rules of docs/design.md: no arrays, no batches, no watermark code.
"""

from dataclasses import dataclass, field
from fractions import Fraction

WIDTHS = {"1s": 1, "5s": 5, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}
SECOND = 1_000_000_000


@dataclass
class Row:
    """One arrival. `kind` is trade, quote or clock; recv None as in a file; seq None where the venue has none."""

    kind: str
    venue: str
    instrument: str | None
    ts: int
    recv: int | None
    price: int = 0
    size: int = 0
    name: int = 0  # position in the input, to tell rows apart
    seq: int | None = None

    def when(self) -> tuple:
        """What says which of two trades came first at the venue; trades that tie go by arrival."""
        return (self.ts, 0, 0) if self.seq is None else (self.ts, 1, self.seq)


@dataclass
class Venue:
    high: int | None = None
    held: Row | None = None
    known: int = 0


@dataclass
class OracleBar:
    rows: list[Row] = field(default_factory=list)
    revision: int = 0
    final: bool = False

    def values(self) -> tuple[int, ...]:
        by_time = sorted(self.rows, key=Row.when)  # stable: arrival order where both time and seq tie
        prices = [row.price for row in self.rows]
        volume = sum(row.size for row in self.rows)
        vwap = round(Fraction(sum(row.price * row.size for row in self.rows), volume))
        return by_time[0].price, max(prices), min(prices), by_time[-1].price, volume, vwap, len(self.rows)


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

    def feed(self, row: Row) -> None:
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
        still_open = [key for key, bar in self.bars.items() if not bar.final]
        for key in sorted(still_open, key=self._order):
            self._publish(key, self.venues[key[0]].known)

    def _accept(self, venue: Venue, row: Row) -> None:
        watermark = None if venue.high is None else venue.high - self.delay
        if row.kind != "clock" and watermark is not None and row.ts < watermark - self.allowed:
            self.late.append(row.name)
            return
        known = row.recv if row.recv is not None else row.ts
        venue.known = max(venue.known, known)
        if row.kind != "clock":
            self.accepted.append(row.name)
        if row.kind == "trade":
            self._trade(row, watermark, known)
        venue.high = row.ts if venue.high is None else max(venue.high, row.ts)
        closing = [
            key
            for key, bar in self.bars.items()
            if key[0] == row.venue and not bar.final and self._end(key) <= venue.high - self.delay
        ]
        for key in sorted(closing, key=self._order):
            self._publish(key, known)

    def _trade(self, row: Row, watermark: int | None, known: int) -> None:
        if (row.venue, row.instrument) not in self.first_seen:
            self.first_seen.append((row.venue, row.instrument))
        for interval in self.intervals:
            width = WIDTHS[interval] * SECOND
            key = (row.venue, row.instrument, interval, row.ts // width * width)
            bar = self.bars.setdefault(key, OracleBar())
            if watermark is not None and self._end(key) <= watermark:
                bar.final = True  # it may have been final with nothing in it
            bar.rows.append(row)
            if bar.final:
                bar.revision += 1
                self._publish(key, known)

    def _publish(self, key: tuple, known: int) -> None:
        bar = self.bars[key]
        bar.final = True
        self.published.append((*key, bar.revision, *bar.values(), known))

    def _end(self, key: tuple) -> int:
        return key[3] + WIDTHS[key[2]] * SECOND

    def _order(self, key: tuple) -> tuple:
        return self.intervals.index(key[2]), self.first_seen.index((key[0], key[1])), key[3]
