"""The bars kernel: trades in, OHLCV bars of every width out, final at the watermark and revised after it.

For each venue and width a window is *open* until the venue's watermark reaches its end, then *final*. An accepted
trade that comes to a final window makes a revision of it, one revision a trade, and so does each bust or correction
of a trade in it; an empty window is its own unpublished revision 0, so the first trade that comes to it late makes
revision 1. A window is remembered until no acceptable row can reach it any more.

A sum can be reversed, a high cannot: after a bust or correction the narrowest bar is folded again from the trades on
the tape, and each wider one from the bars within it. So all widths from the narrowest there is to the widest that is
asked for are folded, and those in between are published only if asked for.

A bar's `quality` is the worst state that its instrument had within the window, as known when that revision was made:
STATE rows count from their place in the order of rows (market.states). They are no trades, and revise nothing.

Outputs are ordered by the row that caused them, then width, instrument and window, and so do not depend on
where batches were cut. Forming bars (`final=False`) are samples taken at most every `sample_ns`; they are exempt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market import ohlcv, wide
from market.columns import Bools, Int64s, encoded, values
from market.days import DAY_NS
from market.finals import FinalBars, Revised, as_partials, as_revised, first_trade
from market.kernel import Outputs
from market.ohlcv import Partials
from market.schemas import BARS, INTERVALS_NS, QUALITIES, STATE
from market.states import States
from market.tape import APPLIED, NO_TRADES, Part, Tape, Trades
from market.watermark import ACCEPTED, NO_WATERMARK, Judged, Lateness, Rows, Watermarks, venue_rows
from market.windows import Windows

LONGEST_WINDOW_NS: Final = 10 * DAY_NS
"""No window of a product that trades is longer: the time between two trade dates over the longest holidays."""

_DECIMAL: Final = BARS.field("volume").type


@dataclass(frozen=True, slots=True)
class _Emitted:
    """Bars of one width on their way out, each with the row that caused it and when that was known."""

    width: int
    bars: Partials
    trigger: Int64s
    known_at: Int64s
    revision: Int64s
    final: bool = True
    ts_close: Int64s | None = None
    quality: npt.NDArray[np.int8] | None = None


@dataclass(slots=True)
class BarsKernel:
    """Fold trades into bars that close at the watermark.

    Shape: ARRIVALS -> `bars`: 0..n rows of market.schemas.BARS, ordered by cause, width, instrument, ts_open.
    Units: as in market.schemas.
    State: one Partial (120 bytes) per open (instrument, window); market.finals.FinalBars; market.tape.Tape.
    Raises: ValueError if the intervals are not known or not ordered by divisibility.
    """

    intervals: Sequence[str] = tuple(INTERVALS_NS)
    lateness: Lateness = field(default_factory=Lateness)
    sample_ns: int | None = None
    _widths: list[int] = field(init=False)
    _asked: set[int] = field(init=False)
    _marks: Watermarks = field(init=False)
    _tape: Tape = field(init=False)
    _open: list[Partials] = field(init=False)
    _finals: FinalBars = field(init=False)
    _windows: Windows = field(init=False)
    _states: States = field(default_factory=States)
    _known_at: dict[str, int] = field(default_factory=dict)
    _touched: set[int] = field(default_factory=set)
    _sampled_at: int = NO_WATERMARK
    _whole_from: dict[str, int] | None = None  # by venue: older windows are missing trades, and are not published

    def __post_init__(self) -> None:
        unknown = [name for name in self.intervals if name not in INTERVALS_NS]
        if unknown or not self.intervals:
            raise ValueError(f"intervals are {unknown or 'missing'}: choose among {', '.join(INTERVALS_NS)}")
        self.intervals = tuple(sorted(set(self.intervals), key=INTERVALS_NS.__getitem__))
        self._widths = [width for width in INTERVALS_NS.values() if width <= INTERVALS_NS[self.intervals[-1]]]
        self._marks, self._tape = Watermarks(self.lateness), Tape(self.lateness)
        self._asked = {at for at, name in enumerate(INTERVALS_NS) if name in self.intervals}
        self._windows = Windows(self._widths, lambda: [name for _, name in self._tape.numbers])
        self._finals = FinalBars(self._widths, self._windows)
        self._open = [ohlcv.EMPTY for _ in self._widths]

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        return self._advance(self._marks.judge(arrivals))

    def on_time(self, now_ns: int) -> Outputs:
        if not self._touched or self.sample_ns is None or now_ns < self._sampled_at + self.sample_ns:
            return {}
        return self._publish(self._sample(now_ns))

    def next_wake_ns(self) -> int | None:
        return None if self.sample_ns is None or not self._touched else self._sampled_at + self.sample_ns

    def on_eof(self) -> Outputs:
        settled = self._marks.finish()
        emitted = [] if settled is None else self._fold(settled)
        self._tape.finish()
        end = 2**62  # after every row
        for width, bars in enumerate(self._open):
            known = [self._known_at[venue] for venue in self._venue_of(bars.instrument)]
            last = _first_published(width, bars, np.full(len(bars), end), np.array(known, np.int64))
            emitted.append(self._completed(last))
        self._open = [ohlcv.EMPTY for _ in self._widths]
        self._finals.clear()
        self._touched.clear()
        return self._publish(emitted)

    def on_history_lost(self) -> None:
        self._whole_from = {}

    def snapshot(self) -> object:
        return {
            "intervals": self.intervals,
            "marks": self._marks.snapshot(),
            "tape": self._tape.snapshot(),
            "open": list(self._open),
            "finals": self._finals.snapshot(),
            "states": self._states.snapshot(),
            "known_at": dict(self._known_at),
            "touched": set(self._touched),
            "sampled_at": self._sampled_at,
            "whole_from": None if self._whole_from is None else dict(self._whole_from),
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        if tuple(saved["intervals"]) != tuple(self.intervals):
            raise ValueError(f"the snapshot holds bars of {saved['intervals']}, not of {self.intervals}")
        self._marks.restore(saved["marks"])
        self._tape.restore(saved["tape"])
        self._finals.restore(saved["finals"])
        self._states.restore(saved["states"])
        self._open, self._known_at = list(saved["open"]), dict(saved["known_at"])
        self._touched, self._sampled_at = set(saved["touched"]), saved["sampled_at"]
        self._whole_from = saved["whole_from"]

    def _advance(self, judged: Judged) -> Outputs:
        emitted = self._fold(judged)
        if self.sample_ns is not None and self._touched and len(judged.known_at):
            now = int(judged.known_at.max())
            if now >= self._sampled_at + self.sample_ns:
                emitted.extend(self._sample(now))
        return self._publish(emitted)

    def _fold(self, judged: Judged) -> list[_Emitted]:
        """Fold judged rows into the state; return what went final and what was revised, by rows of the batch."""
        emitted, row = list[_Emitted](), 0
        for stretch in self._take_states(judged):
            for part in self._tape.follow(stretch):
                found = map(self._completed, self._fold_part(part))
                emitted += [replace(one, trigger=one.trigger + row) for one in found]
                row += part.judged.rows.num_rows
        return emitted

    def _take_states(self, judged: Judged) -> Iterator[Judged]:
        """Take each STATE row at its place, and give the rows between them: all of them, as a rule."""
        stating = np.flatnonzero(values(judged.rows.column("kind")) == STATE).tolist()
        begin = 0
        for row in stating:
            if row > begin:
                yield judged.slice(begin, row)
            self._state(judged, row)
            begin = row + 1
        if begin < judged.rows.num_rows:
            yield judged.slice(begin, judged.rows.num_rows) if begin else judged

    def _state(self, judged: Judged, row: int) -> None:
        said = judged.rows.slice(row, 1).to_pylist()[0]
        horizon = int(judged.watermark[row]) - self.lateness.allowed_ns
        venue, instrument, ts = said["venue"], said["instrument"], min(said["ts_event"], int(judged.known_at[row]))
        self._states.say(venue, instrument, ts, said["size"], oldest_ts=horizon - LONGEST_WINDOW_NS)
        if self.sample_ns is not None:
            self._touched.update(
                number
                for (of, name), number in self._tape.numbers.items()
                if of == venue and instrument in (None, name)
            )

    def _completed(self, one: _Emitted) -> _Emitted:
        """The same bars with the ends of their windows and their quality, as now known."""
        bars = one.bars
        names = list(self._tape.numbers)
        _, closes = self._windows.around(one.width, bars.instrument, bars.ts_open)
        quality = self._states.worst(names, bars.instrument, bars.ts_open, closes)
        return replace(one, ts_close=closes, quality=quality)

    def _fold_part(self, part: Part) -> list[_Emitted]:
        judged, emitted = part.judged, list[_Emitted]()
        accepted = judged.verdict == ACCEPTED
        venues = venue_rows(judged.rows)
        for name, index in venues:
            mine = accepted[index]
            if not mine.any():
                continue
            known = judged.known_at[index] if mine.all() else judged.known_at[index][mine]
            self._known_at[name] = max(self._known_at.get(name, 0), int(known.max()))
            if self._whole_from is not None and name not in self._whole_from:
                self._whole_from[name] = int(values(judged.rows.column("ts_event"))[index][mine.argmax()])
        revising = self._fold_trades(part.trades) if len(part.trades.ts) else []
        if part.fate == APPLIED:
            emitted += self._refold(part)
        for name, index in venues:
            emitted += self._close(name, index, judged)
        emitted += [self._revise(width, late, judged.known_at) for width, late in revising]
        for name, index in venues:
            horizon = int(judged.after[index][-1]) - self.lateness.allowed_ns
            self._finals.forget(name, self._members(name), horizon)
        return emitted

    def _fold_trades(self, trades: Trades) -> list[tuple[int, Trades]]:
        """Fold trades into every window still open; return, per width, those whose window was final."""
        narrow = self._widths[0]
        timely, stragglers = trades, NO_TRADES
        if (trades.watermark > trades.ts).any():  # or else every window is open
            straggles = trades.watermark >= (trades.ts // narrow + 1) * narrow
            timely, stragglers = trades.take(~straggles), trades.take(straggles)
        bars, revising = timely.fold(narrow), []
        for at in range(len(self._widths)):
            bars = self._widen(at, bars) if at else bars
            self._open[at] = ohlcv.merge(self._open[at], bars)
            if len(stragglers.ts):
                _, closes = self._windows.around(at, stragglers.instrument, stragglers.ts)
                final = stragglers.watermark >= closes
                self._open[at] = ohlcv.merge(self._open[at], self._widen(at, stragglers.take(~final).fold(narrow)))
                if final.any():
                    revising.append((at, stragglers.take(final)))
        if self.sample_ns is not None:
            self._touched.update(np.unique(trades.instrument).tolist())
        return revising

    def _widen(self, at: int, bars: Partials) -> Partials:
        return ohlcv.widen(bars, self._windows.around(at, bars.instrument, bars.ts_open)[0])

    def _close(self, venue: str, index: Rows, judged: Judged) -> list[_Emitted]:
        """Make final every open window of a venue that its watermark has reached."""
        after = judged.after[index]
        watermark, emitted = int(after[-1]), []
        for at, bars in enumerate(self._open):
            _, closes = self._windows.around(at, bars.instrument, bars.ts_open)
            done = closes <= watermark
            if not done.any():
                continue
            done &= self._members(venue)[bars.instrument]
            if not done.any():
                continue
            closing = bars.take(done)
            self._open[at] = bars.take(~done)
            self._finals.add(at, venue, closing)
            trigger = np.searchsorted(after, closes[done])
            if not isinstance(index, slice):
                trigger = index[trigger]
            emitted.append(_first_published(at, closing, trigger, judged.known_at[trigger]))
        return emitted

    def _members(self, venue: str) -> Bools:
        return np.array([name == venue for name, _ in self._tape.numbers], np.bool_)

    def _venue_of(self, numbers: Int64s) -> list[str]:
        names = [venue for venue, _ in self._tape.numbers]
        return [names[number] for number in numbers.tolist()]

    def _revise(self, at: int, late: Trades, known_at: Int64s) -> _Emitted:
        """Apply each trade to its final bar: one revision a trade, in arrival order."""
        revisions = []
        columns = (late.instrument, late.ts, late.seq, late.price, late.size)
        for number, *trade in zip(*(column.tolist() for column in columns), strict=True):
            ts_open, _ = self._windows.of(at, number, trade[0])
            bar = self._finals.find(at, self._venue(number), number, ts_open)
            new = first_trade(number, ts_open, *trade) if bar is None else bar.with_trade(*trade)
            self._finals.revise(at, new)
            revisions.append(new)
        return _revisions(at, revisions, late.position, known_at[late.position])

    def _refold(self, part: Part) -> list[_Emitted]:
        """Fold the bars of a trade that was busted or corrected anew: the final ones make a revision each."""
        emitted, number, venue = [], part.instrument, self._venue(part.instrument)
        for at in range(len(self._widths)):
            ts_open, end = self._windows.of(at, number, part.ts)
            bar = self._folded_again(at, number, ts_open, end)
            if end > int(part.judged.watermark[0]):
                mine = (self._open[at].instrument == number) & (self._open[at].ts_open == ts_open)
                self._open[at] = ohlcv.merge(self._open[at].take(~mine), bar)
                continue
            old = self._finals.find(at, venue, number, ts_open)
            assert old is not None, "a trade on the tape is in a bar"
            new = as_revised(bar, old.revision + 1) if len(bar) else old.emptied()
            self._finals.revise(at, new)
            emitted.append(_revisions(at, [new], np.zeros(1, np.intp), part.judged.known_at))
        if self.sample_ns is not None:
            self._touched.add(number)
        return emitted

    def _folded_again(self, at: int, number: int, ts_open: int, end: int) -> Partials:
        """One bar, of the trades on the tape or of the bars of the next narrower width. Shape: 0 or 1 partial."""
        if at == 0:
            return self._tape.trades_within(number, ts_open, end)
        bars = self._open[at - 1]
        forming = bars.take((bars.instrument == number) & (bars.ts_open >= ts_open) & (bars.ts_open < end))
        final = as_partials(self._finals.within(at - 1, self._venue(number), number, ts_open, end))
        return self._widen(at, ohlcv.merge(final, forming))

    def _venue(self, number: int) -> str:
        return next(islice(self._tape.numbers, number, None))[0]

    def _sample(self, now_ns: int) -> list[_Emitted]:
        """Take the forming bars of every instrument that traded since the last sample."""
        touched = np.array(sorted(self._touched), np.int64)
        self._touched.clear()
        self._sampled_at = now_ns
        emitted = []
        for width, bars in enumerate(self._open):
            fresh = bars.take(np.isin(bars.instrument, touched))
            n = len(fresh)
            forming = _Emitted(width, fresh, np.full(n, 2**62), np.full(n, now_ns), np.zeros(n, np.int64), final=False)
            emitted.append(self._completed(forming))
        return emitted

    def _publish(self, emitted: list[_Emitted]) -> Outputs:
        """Build the output batch of the widths that were asked for, in the order of causes."""
        emitted = [part for part in map(self._whole, emitted) if len(part.bars) and part.width in self._asked]
        if not emitted:
            return {}
        bars = ohlcv.concat([part.bars for part in emitted])
        counts = [len(part.bars) for part in emitted]
        width = np.repeat([part.width for part in emitted], counts)
        final = np.repeat([part.final for part in emitted], counts)
        trigger = np.concatenate([part.trigger for part in emitted])
        order = np.lexsort((bars.ts_open, bars.instrument, width, trigger, ~final))
        names = ("ts_close", "revision", "quality", "known_at")
        others = [np.concatenate([getattr(part, name) for part in emitted])[order] for name in names]
        return {"bars": self._batch(bars.take(order), width[order], final[order], *others)}

    def _whole(self, part: _Emitted) -> _Emitted:
        """Leave out windows that began before the log does: the stores hold them as they really were."""
        if self._whole_from is None or not len(part.bars):
            return part
        starts = np.array([self._whole_from.get(venue, 0) for venue, _ in self._tape.numbers], np.int64)
        whole = part.bars.ts_open >= starts[part.bars.instrument]
        return replace(
            part,
            bars=part.bars.take(whole),
            trigger=part.trigger[whole],
            known_at=part.known_at[whole],
            revision=part.revision[whole],
            ts_close=None if part.ts_close is None else part.ts_close[whole],
            quality=None if part.quality is None else part.quality[whole],
        )

    def _batch(
        self,
        bars: Partials,
        width: Int64s,
        final: Bools,
        ts_close: Int64s,
        revision: Int64s,
        quality: npt.NDArray[np.int8],
        known_at: Int64s,
    ) -> pa.RecordBatch:
        names = list(self._tape.numbers)
        venues = sorted({venue for venue, _ in names})
        venue_code = np.array([venues.index(venue) for venue, _ in names], np.int8)
        return pa.RecordBatch.from_arrays(
            [
                encoded(venue_code[bars.instrument], venues, pa.int8()),
                encoded(bars.instrument, [name for _, name in names], pa.int32()),
                encoded(width, list(INTERVALS_NS), pa.int8()),
                pa.array(bars.ts_open),
                pa.array(ts_close),
                pa.array(revision.astype(np.int32)),
                pa.array(final),
                pa.array(bars.open),
                pa.array(bars.high),
                pa.array(bars.low),
                pa.array(bars.close),
                wide.to_decimal128(bars.volume, _DECIMAL.precision, _DECIMAL.scale),
                pa.array(ohlcv.vwap(bars)),
                pa.array(bars.trades),
                encoded(quality, QUALITIES, pa.int8()),
                pa.array(known_at),
            ],
            schema=BARS,
        )


def _first_published(width: int, bars: Partials, trigger: Int64s, known_at: Int64s) -> _Emitted:
    return _Emitted(width, bars, trigger, known_at, np.zeros(len(bars), np.int64))


def _revisions(width: int, bars: list[Revised], trigger: npt.NDArray[np.intp], known_at: Int64s) -> _Emitted:
    revision = np.array([bar.revision for bar in bars], np.int64)
    return _Emitted(width, as_partials(bars), trigger, known_at, revision)
