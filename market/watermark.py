"""Judge every row against the running watermark of its venue: accepted, late, or stamped in the future.

The watermark of a venue (within one shard) is the highest accepted `ts_event` minus `delay`. A row is judged
against the watermark *before* it, so the verdict depends on the order of rows alone, never on batches or clocks.

- late: `ts_event < watermark - allowed_lateness`.
- future: `ts_event > ts_recv + max_future_skew`; it does not move the watermark.
- STATE rows are not judged: what is said about a feed is no event of the market. They are accepted, move no
  watermark and confirm no leap.
- A row without `ts_recv` (a file) that leaps more than `max_future_skew` ahead is *held* until the venue's next
  row: one that is not far behind it confirms the leap (a session break), one that is shows the stamp was wrong.
  At the end of the input a held row counts unless it leapt further than any market is closed.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.columns import Bools, Int64s, codes, concat_batches, dictionary, is_few, valid, values
from market.schemas import CLOCK, STATE

ACCEPTED: Final = 0
LATE: Final = 1
FUTURE: Final = 2
HELD: Final = 3

NO_WATERMARK: Final = -(2**62)
LONGEST_CLOSURE_NS: Final = 10 * 86_400 * 10**9  # no venue we know was closed longer (holidays, 2001-09-11)
_FIRST_CHUNK_ROWS: Final = 64

Rows = npt.NDArray[np.intp] | slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How long to wait for out-of-order rows, and how far ahead a stamp may be."""

    delay_ns: int = 1_000_000_000
    allowed_ns: int = 60_000_000_000
    max_future_skew_ns: int = 300_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A batch in effective arrival order (a held row stands right before the row that released it).

    `watermark` and `after` are the venue's watermark before and after each row; `known_at` is `ts_recv`, or
    `ts_event` where there is none.
    """

    rows: pa.RecordBatch
    verdict: npt.NDArray[np.int8]
    watermark: Int64s
    after: Int64s
    known_at: Int64s

    def slice(self, start: int, stop: int) -> "Judged":
        return Judged(
            rows=self.rows.slice(start, stop - start),
            verdict=self.verdict[start:stop],
            watermark=self.watermark[start:stop],
            after=self.after[start:stop],
            known_at=self.known_at[start:stop],
        )


@dataclass(slots=True)
class _Venue:
    """Running state of one venue: highest accepted ts_event, and the row (its ts) on hold."""

    high: int | None = None
    held: int | None = None


@dataclass(slots=True)
class Watermarks:
    """The watermarks of all venues of one shard.

    State: two integers a venue and at most one held row a venue.
    """

    lateness: Lateness = field(default_factory=Lateness)
    _venues: dict[str, _Venue] = field(default_factory=dict)
    _held_rows: pa.RecordBatch | None = None

    def judge(self, arrivals: pa.RecordBatch) -> Judged:
        """Judge a batch; rows that stay on hold are kept back for the next call.

        Shape: ARRIVALS -> the same rows less those kept back, plus those released, with a verdict each.
        """
        if self._held_rows is not None:
            # Judging a held row again from the state before it gives the same answer: held, then released.
            arrivals = concat_batches([self._held_rows, arrivals])
            self._held_rows = None
            for venue in self._venues.values():
                venue.held = None
        return self._judge(arrivals, last=False)

    def finish(self) -> Judged | None:
        """Settle the rows on hold at the end of the input; None if there are none."""
        if self._held_rows is None:
            return None
        rows, self._held_rows = self._held_rows, None
        for venue in self._venues.values():
            venue.held = None
        return self._judge(rows, last=True)

    def holds(self) -> bool:
        """Whether any row is on hold."""
        return self._held_rows is not None

    def held_rows(self) -> int:
        """How many trades, quotes, busts and corrections are on hold."""
        return 0 if self._held_rows is None else counted_rows(self._held_rows)

    def watermark(self, venue: str) -> int:
        state = self._venues.get(venue)
        return NO_WATERMARK if state is None or state.high is None else state.high - self.lateness.delay_ns

    def snapshot(self) -> object:
        return {name: v.high for name, v in self._venues.items()}, self._held_rows

    def restore(self, state: object) -> None:
        highs: dict[str, int | None]
        highs, self._held_rows = state  # type: ignore[misc]
        self._venues = {name: _Venue(high) for name, high in highs.items()}

    def _judge(self, rows: pa.RecordBatch, *, last: bool) -> Judged:
        if is_few(rows) and rows.column("ts_recv").null_count == 0:
            return self._judge_few(rows)  # with ts_recv none is ever on hold
        ts, ts_recv, has_recv = _times(rows)
        verdict = np.zeros(rows.num_rows, np.int8)
        before = np.empty(rows.num_rows, np.int64)
        after = np.empty(rows.num_rows, np.int64)
        kind = values(rows.column("kind"))
        clock, stating = kind == CLOCK, kind == STATE
        states = bool(stating.any())
        release: dict[int, int] = {}
        for name, index in venue_rows(rows):
            mark, said = self.watermark(name), None
            if states:
                mine = np.arange(rows.num_rows)[index]
                said, index = mine[stating[mine]], mine[~stating[mine]]
            state = self._venues.setdefault(name, _Venue())
            received = None if has_recv is None else has_recv[index]
            judge = _VenueJudge(self.lateness, state, ts[index], ts_recv[index], received, clock[index])
            judge.run(last=last)
            if isinstance(index, slice):  # all rows
                verdict, before, after = judge.verdict, judge.before, judge.after
            else:
                verdict[index], before[index], after[index] = judge.verdict, judge.before, judge.after
            if judge.released:
                at = np.arange(rows.num_rows)[index]
                release.update((int(at[row]), int(at[by])) for row, by in judge.released.items())
            if said is not None:
                rows_before = np.setdiff1d(mine, said)
                before[said] = after[said] = judge.marks_at(np.searchsorted(rows_before, said), mark)
        known_at = ts_recv if has_recv is None else np.where(has_recv, ts_recv, ts)
        judged = Judged(rows=rows, verdict=verdict, watermark=before, after=after, known_at=known_at)
        return self._reorder(judged, release) if release or bool((verdict == HELD).any()) else judged

    def _judge_few(self, rows: pa.RecordBatch) -> Judged:
        """The same, row by row, for rows that all have `ts_recv`."""
        delay, allowed, skew = self.lateness.delay_ns, self.lateness.allowed_ns, self.lateness.max_future_skew_ns
        known_at = values(rows.column("ts_recv"))
        venue = rows.column("venue")
        states = [self._venues.setdefault(name, _Venue()) for name in dictionary(venue)]
        columns = (values(rows.column("kind")), codes(venue), values(rows.column("ts_event")), known_at)
        verdict, before, after = [], [], []
        for kind, code, ts, ts_recv in zip(*(column.tolist() for column in columns), strict=True):
            state = states[code]
            mark = NO_WATERMARK if state.high is None else state.high - delay
            before.append(mark)
            found = ACCEPTED
            if kind != STATE:
                if ts > ts_recv + skew:
                    found = FUTURE
                elif kind != CLOCK and ts < mark - allowed:
                    found = LATE
                elif state.high is None or ts > state.high:
                    state.high, mark = ts, ts - delay
            verdict.append(found)
            after.append(mark)
        return Judged(
            rows=rows,
            verdict=np.array(verdict, np.int8),
            watermark=np.array(before, np.int64),
            after=np.array(after, np.int64),
            known_at=known_at,
        )

    def _reorder(self, judged: Judged, release: dict[int, int]) -> Judged:
        """Keep held rows back, and move each released row to just before the row that released it."""
        held = judged.verdict == HELD
        if held.any():
            self._held_rows = judged.rows.filter(pa.array(held))
        position = np.arange(len(held), dtype=np.float64)
        for row, by in release.items():
            position[row] = by - 0.5
        order = np.argsort(position, kind="stable")
        order = order[~held[order]]
        return Judged(
            rows=judged.rows.take(pa.array(order)),
            verdict=judged.verdict[order],
            watermark=judged.watermark[order],
            after=judged.after[order],
            known_at=judged.known_at[order],
        )


@dataclass(slots=True)
class _VenueJudge:
    """One venue's rows of one batch: vectorised runs, and row by row where a leap has to be settled."""

    lateness: Lateness
    state: _Venue
    ts: Int64s
    ts_recv: Int64s
    has_recv: Bools | None  # None: all of them
    clock: Bools
    verdict: npt.NDArray[np.int8] = field(init=False)
    before: Int64s = field(init=False)
    after: Int64s = field(init=False)
    released: dict[int, int] = field(default_factory=dict)
    _held_at: int = -1

    def __post_init__(self) -> None:
        self.verdict = np.zeros(len(self.ts), np.int8)
        self.before = np.empty(len(self.ts), np.int64)
        self.after = np.empty(len(self.ts), np.int64)

    def run(self, *, last: bool) -> None:
        row, chunk = 0, _FIRST_CHUNK_ROWS
        future = self.ts > self.ts_recv + self.lateness.max_future_skew_ns
        if self.has_recv is not None:
            future &= self.has_recv
        self.verdict[future] = FUTURE
        while row < len(self.ts):
            if self.state.held is None and (self.state.high is not None or self.has_recv is None):
                # A leap ends a run, and the next run starts small: a sparse file leaps at every row.
                stop = len(self.ts) if self.has_recv is None else min(len(self.ts), row + chunk)
                leapt_at = self._run_until_leap(row, stop, future)
                row, chunk = (stop, chunk * 2) if leapt_at is None else (leapt_at, _FIRST_CHUNK_ROWS)
                if leapt_at is None:
                    continue
            self._step(row, bool(future[row]))
            row += 1
        if last and self.state.held is not None:
            self._settle_at_end()

    def marks_at(self, positions: npt.NDArray[np.intp], mark: int) -> Int64s:
        """The watermark between rows, before each position; `mark` is that before all of them.

        A row that was held stands right before the one that released it, so behind whatever is between them.
        """
        steady = np.setdiff1d(np.flatnonzero(self.verdict != HELD), np.array(list(self.released), np.intp))
        marks = np.concatenate((np.array([mark]), self.after[steady]))
        found: Int64s = marks[np.searchsorted(steady, positions)]
        return found

    def _run_until_leap(self, start: int, stop: int, future: Bools) -> int | None:
        """Judge rows [start, stop) at once; return the first unconfirmed leap, where judging stopped."""
        highs = self._running_high(start, stop, future)
        found = None
        if self.has_recv is not None:
            leaps = self.ts[start:stop] > highs[:-1] + self.lateness.max_future_skew_ns
            leaps &= ~self.has_recv[start:stop]
            found = int(leaps.argmax()) if leaps.any() else None
        end = stop if found is None else start + found
        run, n = slice(start, end), end - start
        marks, high = highs[: n + 1], int(highs[n])
        unknown = marks.searchsorted(NO_WATERMARK, side="right")  # highs only rise
        marks -= self.lateness.delay_ns
        marks[:unknown] = NO_WATERMARK
        if n == len(self.ts):
            self.before, self.after = marks[:-1], marks[1:]  # as a rule: no copy
        else:
            self.before[run], self.after[run] = marks[:-1], marks[1:]
        if n and int(self.ts[run].min()) < int(marks[-1]) - self.lateness.allowed_ns:  # or else none is late
            too_late = self.ts[run] < self.before[run] - self.lateness.allowed_ns
            self.verdict[run][too_late & ~future[run] & ~self.clock[run]] = LATE
        if high != NO_WATERMARK:
            self.state.high = high
        return None if found is None else end

    def _running_high(self, start: int, stop: int, future: Bools) -> Int64s:
        """The highest accepted time before each row of [start, stop), and after the last of them."""
        highs = np.empty(stop - start + 1, np.int64)
        highs[0] = NO_WATERMARK if self.state.high is None else self.state.high
        highs[1:] = self.ts[start:stop]
        highs[1:][future[start:stop]] = NO_WATERMARK
        return np.maximum.accumulate(highs, out=highs)

    def _step(self, row: int, future: bool) -> None:
        """Judge one row when there is a row on hold, or it leaps, or it is the first of all."""
        ts, skew = int(self.ts[row]), self.lateness.max_future_skew_ns
        if not future and self.state.held is not None:
            self._release(row, confirmed=ts >= self.state.held - skew)
        high = self.state.high
        if not future and not self._received(row) and (high is None or ts > high + skew):
            self.state.held, self._held_at = ts, row
            self.verdict[row] = HELD
            return
        self._accept(row, ts, future)

    def _received(self, row: int) -> bool:
        return self.has_recv is None or bool(self.has_recv[row])

    def _release(self, by: int, *, confirmed: bool) -> None:
        row, ts = self._held_at, self.state.held
        assert ts is not None
        self.released[row] = by
        self.state.held = None
        self.verdict[row] = ACCEPTED
        self._accept(row, ts, not confirmed)

    def _accept(self, row: int, ts: int, future: bool) -> None:
        high, delay = self.state.high, self.lateness.delay_ns
        self.before[row] = NO_WATERMARK if high is None else high - delay
        if future:
            self.verdict[row] = FUTURE
        elif not self.clock[row] and ts < self.before[row] - self.lateness.allowed_ns:
            self.verdict[row] = LATE
        else:
            self.state.high = ts if high is None else max(high, ts)
        self.after[row] = NO_WATERMARK if self.state.high is None else self.state.high - delay

    def _settle_at_end(self) -> None:
        assert self.state.held is not None
        high = self.state.high
        plausible = high is None or self.state.held - high <= LONGEST_CLOSURE_NS
        self._release(self._held_at, confirmed=plausible)
        del self.released[self._held_at]


def _times(rows: pa.RecordBatch) -> tuple[Int64s, Int64s, Bools | None]:
    ts_recv = rows.column("ts_recv")
    return values(rows.column("ts_event")), values(ts_recv), valid(ts_recv)


def counted_rows(rows: pa.RecordBatch) -> int:
    """How many rows are to come out again: all but those of clock and state."""
    kind = values(rows.column("kind"))
    return int(((kind != CLOCK) & (kind != STATE)).sum())


def venue_rows(rows: pa.RecordBatch) -> list[tuple[str, Rows]]:
    """(venue, its row positions), by name; one venue's rows are a slice, which costs no copy."""
    column = rows.column("venue")
    names = dictionary(column)
    if len(names) == 1 and rows.num_rows:
        return [(names[0], slice(None))]
    code = codes(column)
    found = [(names[venue], np.flatnonzero(code == venue)) for venue in np.unique(code).tolist()]
    return sorted(found, key=lambda venue: venue[0])
