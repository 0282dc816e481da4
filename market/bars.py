"""The bars kernel: trades in, OHLCV bars of every width out, final at the watermark and revised after it.

For each venue and width a window is *open* until the venue's watermark reaches its end, then *final*. An accepted
trade that comes to a final window makes a revision of it, one revision a trade; an empty window is its own unpublished
revision 0, so the first trade that comes to it late makes revision 1. A window is remembered until no
acceptable trade can reach it any more.

Outputs are ordered by the row that caused them, then width, instrument and window, and so do not depend on
where batches were cut. Forming bars (`final=False`) are samples taken at most every `sample_ns`; they are exempt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market import ohlcv, wide
from market.columns import Bools, Int64s, codes, dictionary, encoded, values
from market.kernel import Outputs
from market.ohlcv import Partials
from market.schemas import BARS, INTERVALS_NS, TRADE
from market.watermark import ACCEPTED, NO_WATERMARK, Judged, Lateness, Rows, Watermarks, venue_rows

_DECIMAL: Final = BARS.field("volume").type
_PLAIN: Final = [f.name for f in fields(Partials) if f.name not in ("volume", "notional")]  # columns of int64


@dataclass(frozen=True, slots=True)
class _Closed:
    """Bars of one width and venue that went final together, kept for revisions."""

    first_open: int
    last_open: int
    bars: Partials


@dataclass(frozen=True, slots=True)
class _Revised:
    """A final bar with the late trades applied so far, as Python integers: there are few."""

    instrument: int
    ts_open: int
    ts_first: int
    seq_first: int
    ts_last: int
    seq_last: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    notional: int
    trades: int
    revision: int

    def with_trade(self, ts: int, seq: int, price: int, size: int) -> "_Revised":
        opens, closes = (ts, seq) < (self.ts_first, self.seq_first), (ts, seq) >= (self.ts_last, self.seq_last)
        return replace(
            self,
            ts_first=ts if opens else self.ts_first,
            seq_first=seq if opens else self.seq_first,
            ts_last=ts if closes else self.ts_last,
            seq_last=seq if closes else self.seq_last,
            open=price if opens else self.open,
            high=max(self.high, price),
            low=min(self.low, price),
            close=price if closes else self.close,
            volume=self.volume + size,
            notional=self.notional + price * size,
            trades=self.trades + 1,
            revision=self.revision + 1,
        )


@dataclass(frozen=True, slots=True)
class _Emitted:
    """Bars of one width on their way out, each with the row that caused it and when that was known."""

    width: int
    bars: Partials
    trigger: Int64s
    known_at: Int64s
    revision: Int64s
    final: bool = True


@dataclass(slots=True)
class _Trades:
    """The accepted trades of a batch: positions in it, and the columns that bars need."""

    position: npt.NDArray[np.intp]
    instrument: Int64s
    ts: Int64s
    seq: Int64s
    price: Int64s
    size: Int64s
    watermark: Int64s

    def take(self, mask: Bools) -> "_Trades":
        return _Trades(
            self.position[mask],
            self.instrument[mask],
            self.ts[mask],
            self.seq[mask],
            self.price[mask],
            self.size[mask],
            self.watermark[mask],
        )

    def fold(self, width_ns: int) -> Partials:
        return ohlcv.fold_rows(self.instrument, self.ts, self.seq, self.price, self.size, width_ns)


@dataclass(slots=True)
class BarsKernel:
    """Fold trades into bars that close at the watermark.

    Shape: ARRIVALS -> `bars`: 0..n rows of market.schemas.BARS, ordered by cause, width, instrument, ts_open.
    Units: as in market.schemas.
    State: one Partial (120 bytes) per open (instrument, window), and per final window that ended less than
        `allowed_ns` before the watermark; at most instruments x sum(1 + (delay + allowed) / width).
    Raises: ValueError if the intervals are not known or not ordered by divisibility.
    """

    intervals: Sequence[str] = tuple(INTERVALS_NS)
    lateness: Lateness = field(default_factory=Lateness)
    sample_ns: int | None = None
    _widths: list[int] = field(init=False)
    _marks: Watermarks = field(init=False)
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _open: list[Partials] = field(init=False)
    _closed: dict[tuple[int, str], list[_Closed]] = field(default_factory=dict)
    _revised: dict[tuple[int, int, int], _Revised] = field(default_factory=dict)
    _known_at: dict[str, int] = field(default_factory=dict)
    _touched: set[int] = field(default_factory=set)
    _sampled_at: int = NO_WATERMARK
    _whole_from: dict[str, int] | None = None  # by venue: older windows are missing trades, and are not published

    def __post_init__(self) -> None:
        unknown = [name for name in self.intervals if name not in INTERVALS_NS]
        if unknown or not self.intervals:
            raise ValueError(f"intervals are {unknown or 'missing'}: choose among {', '.join(INTERVALS_NS)}")
        self.intervals = tuple(sorted(set(self.intervals), key=INTERVALS_NS.__getitem__))
        self._widths = [INTERVALS_NS[name] for name in self.intervals]
        self._marks = Watermarks(self.lateness)
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
        end = 2**62  # after every row
        for width, bars in enumerate(self._open):
            known = [self._known_at[venue] for venue in self._venue_of(bars.instrument)]
            emitted.append(_first_published(width, bars, np.full(len(bars), end), np.array(known, np.int64)))
        self._open = [ohlcv.EMPTY for _ in self._widths]
        self._closed.clear()
        self._revised.clear()
        self._touched.clear()
        return self._publish(emitted)

    def on_history_lost(self) -> None:
        self._whole_from = {}

    def snapshot(self) -> object:
        return {
            "intervals": self.intervals,
            "marks": self._marks.snapshot(),
            "numbers": dict(self._numbers),
            "open": list(self._open),
            "closed": {key: list(chunks) for key, chunks in self._closed.items()},
            "revised": dict(self._revised),
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
        self._numbers, self._open = dict(saved["numbers"]), list(saved["open"])
        self._closed = {key: list(chunks) for key, chunks in saved["closed"].items()}
        self._revised, self._known_at = dict(saved["revised"]), dict(saved["known_at"])
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
        """Fold a judged batch into the state; return what went final and what was revised."""
        if judged.rows.num_rows == 0:
            return []
        accepted = judged.verdict == ACCEPTED
        venues = venue_rows(judged.rows)
        for name, index in venues:
            known = judged.known_at[index][accepted[index]]
            if len(known):
                self._known_at[name] = max(self._known_at.get(name, 0), int(known.max()))
            if self._whole_from is not None and name not in self._whole_from and len(known):
                first = int(accepted[index].argmax())
                self._whole_from[name] = int(values(judged.rows.column("ts_event"))[index][first])
        trades = self._accepted_trades(judged, accepted)
        revising = self._fold_trades(trades) if len(trades.ts) else []
        emitted = []
        for name, index in venues:
            emitted += self._close(name, index, judged)
        emitted += [self._revise(width, late, judged.known_at) for width, late in revising]
        for name, index in venues:
            self._forget(name, int(judged.after[index][-1]))
        return emitted

    def _accepted_trades(self, judged: Judged, accepted: Bools) -> _Trades:
        rows = judged.rows
        position = np.flatnonzero(accepted & (values(rows.column("kind")) == TRADE))
        pick: Rows = slice(None) if len(position) == rows.num_rows else position
        return _Trades(
            position,
            self._number(rows, pick),
            values(rows.column("ts_event"))[pick],
            ohlcv.sequence(rows.column("seq"))[pick],
            values(rows.column("price"))[pick],
            values(rows.column("size"))[pick],
            judged.watermark[pick],
        )

    def _number(self, rows: pa.RecordBatch, pick: Rows) -> Int64s:
        """The kernel's number of each picked trade's instrument, in order of first arrival."""
        venue, instrument = rows.column("venue"), rows.column("instrument")
        names = list(product(dictionary(venue), dictionary(instrument)))
        pair = codes(instrument)[pick].astype(np.int64)
        if len(venue.dictionary) > 1:
            pair += codes(venue)[pick].astype(np.int64) * len(instrument.dictionary)
        known = np.array([self._numbers.get(name, -1) for name in names], np.int64)
        numbers = known[pair]
        new = numbers < 0
        if new.any():
            distinct, first = np.unique(pair[new], return_index=True)
            for at in distinct[np.argsort(first)].tolist():
                known[at] = self._numbers.setdefault(names[at], len(self._numbers))
            numbers = known[pair]
        return numbers

    def _fold_trades(self, trades: _Trades) -> list[tuple[int, _Trades]]:
        """Fold trades into every window still open; return, per width, those whose window was final."""
        narrow = self._widths[0]
        straggles = trades.watermark >= (trades.ts // narrow + 1) * narrow
        bars = trades.take(~straggles).fold(narrow) if straggles.any() else trades.fold(narrow)
        stragglers = trades.take(straggles)
        revising = []
        for at, width in enumerate(self._widths):
            bars = ohlcv.widen(bars, width) if at else bars
            self._open[at] = ohlcv.merge(self._open[at], bars)
            if len(stragglers.ts):
                final = stragglers.watermark >= (stragglers.ts // width + 1) * width
                self._open[at] = ohlcv.merge(self._open[at], stragglers.take(~final).fold(width))
                if final.any():
                    revising.append((at, stragglers.take(final)))
        if self.sample_ns is not None:
            self._touched.update(np.unique(trades.instrument).tolist())
        return revising

    def _close(self, venue: str, index: Rows, judged: Judged) -> list[_Emitted]:
        """Make final every open window of a venue that its watermark has reached."""
        after = judged.after[index]
        watermark, emitted = int(after[-1]), []
        for at, width in enumerate(self._widths):
            bars = self._open[at]
            done = bars.ts_open + width <= watermark
            if not done.any():
                continue
            done &= self._members(venue)[bars.instrument]
            if not done.any():
                continue
            closing = bars.take(done)
            self._open[at] = bars.take(~done)
            opens = closing.ts_open
            self._closed.setdefault((at, venue), []).append(_Closed(int(opens.min()), int(opens.max()), closing))
            trigger = np.searchsorted(after, opens + width)
            if not isinstance(index, slice):
                trigger = index[trigger]
            emitted.append(_first_published(at, closing, trigger, judged.known_at[trigger]))
        return emitted

    def _members(self, venue: str) -> Bools:
        return np.array([name == venue for name, _ in self._numbers], np.bool_)

    def _venue_of(self, numbers: Int64s) -> list[str]:
        names = [venue for venue, _ in self._numbers]
        return [names[number] for number in numbers.tolist()]

    def _revise(self, width: int, late: _Trades, known_at: Int64s) -> _Emitted:
        """Apply each trade to its final bar: one revision a trade, in arrival order."""
        revisions = []
        columns = (late.instrument, late.ts, late.seq, late.price, late.size)
        for number, *trade in zip(*(column.tolist() for column in columns), strict=True):
            ts = trade[0]
            ts_open = ts // self._widths[width] * self._widths[width]
            key = (width, number, ts_open)
            bar = self._revised.get(key) or self._find(width, number, ts_open)
            new = _first_trade(number, ts_open, *trade) if bar is None else bar.with_trade(*trade)
            self._revised[key] = new
            revisions.append(new)
        revision = np.array([bar.revision for bar in revisions], np.int64)
        position = late.position
        return _Emitted(width, _as_partials(revisions), position, known_at[position], revision)

    def _find(self, width: int, number: int, ts_open: int) -> _Revised | None:
        for chunk in reversed(self._closed.get((width, self._venue_of(np.array([number]))[0]), [])):
            if chunk.first_open <= ts_open <= chunk.last_open:
                bars = chunk.bars
                found = np.flatnonzero((bars.instrument == number) & (bars.ts_open == ts_open))
                if len(found):
                    return _as_revised(bars.take(found))
        return None

    def _forget(self, venue: str, watermark: int) -> None:
        """Drop final bars that no acceptable trade can reach: state stays bounded however long we run."""
        horizon = watermark - self.lateness.allowed_ns
        for at, width in enumerate(self._widths):
            chunks = self._closed.get((at, venue))
            while chunks and chunks[0].last_open + width <= horizon:
                chunks.pop(0)
        if self._revised:
            members = self._members(venue)
            for key in [k for k in self._revised if members[k[1]]]:
                if key[2] + self._widths[key[0]] <= horizon:
                    del self._revised[key]

    def _sample(self, now_ns: int) -> list[_Emitted]:
        """Take the forming bars of every instrument that traded since the last sample."""
        touched = np.array(sorted(self._touched), np.int64)
        self._touched.clear()
        self._sampled_at = now_ns
        emitted = []
        for width, bars in enumerate(self._open):
            fresh = bars.take(np.isin(bars.instrument, touched))
            n = len(fresh)
            emitted.append(
                _Emitted(width, fresh, np.full(n, 2**62), np.full(n, now_ns), np.zeros(n, np.int64), final=False)
            )
        return emitted

    def _publish(self, emitted: list[_Emitted]) -> Outputs:
        """Build the output batch, in the order of causes."""
        emitted = [part for part in map(self._whole, emitted) if len(part.bars)]
        if not emitted:
            return {}
        bars = ohlcv.concat([part.bars for part in emitted])
        width = np.repeat([part.width for part in emitted], [len(part.bars) for part in emitted])
        final = np.repeat([part.final for part in emitted], [len(part.bars) for part in emitted])
        trigger = np.concatenate([part.trigger for part in emitted])
        order = np.lexsort((bars.ts_open, bars.instrument, width, trigger, ~final))
        known_at = np.concatenate([part.known_at for part in emitted])[order]
        revision = np.concatenate([part.revision for part in emitted])[order]
        return {"bars": self._batch(bars.take(order), width[order], revision, final[order], known_at)}

    def _whole(self, part: _Emitted) -> _Emitted:
        """Leave out windows that began before the log does: the stores hold them as they really were."""
        if self._whole_from is None or not len(part.bars):
            return part
        starts = np.array([self._whole_from.get(venue, 0) for venue, _ in self._numbers], np.int64)
        whole = part.bars.ts_open >= starts[part.bars.instrument]
        return replace(
            part,
            bars=part.bars.take(whole),
            trigger=part.trigger[whole],
            known_at=part.known_at[whole],
            revision=part.revision[whole],
        )

    def _batch(
        self,
        bars: Partials,
        width: Int64s,
        revision: Int64s,
        final: Bools,
        known_at: Int64s,
    ) -> pa.RecordBatch:
        names = list(self._numbers)
        venues = sorted({venue for venue, _ in names})
        venue_code = np.array([venues.index(venue) for venue, _ in names], np.int8)
        return pa.RecordBatch.from_arrays(
            [
                encoded(venue_code[bars.instrument], venues, pa.int8()),
                encoded(bars.instrument, [name for _, name in names], pa.int32()),
                encoded(width, list(self.intervals), pa.int8()),
                pa.array(bars.ts_open),
                pa.array(bars.ts_open + np.array(self._widths)[width]),
                pa.array(revision.astype(np.int32)),
                pa.array(final),
                pa.array(bars.open),
                pa.array(bars.high),
                pa.array(bars.low),
                pa.array(bars.close),
                wide.to_decimal128(bars.volume, _DECIMAL.precision, _DECIMAL.scale),
                pa.array(ohlcv.vwap(bars)),
                pa.array(bars.trades),
                encoded(np.zeros(len(bars), np.int8), ["LIVE"], pa.int8()),
                pa.array(known_at),
            ],
            schema=BARS,
        )


def _first_published(width: int, bars: Partials, trigger: Int64s, known_at: Int64s) -> _Emitted:
    return _Emitted(width, bars, trigger, known_at, np.zeros(len(bars), np.int64))


def _first_trade(instrument: int, ts_open: int, ts: int, seq: int, price: int, size: int) -> _Revised:
    """Revision 1 of a window that was final with no trade in it."""
    return _Revised(
        instrument,
        ts_open,
        *(ts, seq, ts, seq),
        *(price, price, price, price),
        volume=size,
        notional=price * size,
        trades=1,
        revision=1,
    )


def _as_revised(bar: Partials) -> _Revised:
    one: Mapping[str, int] = {name: int(getattr(bar, name)[0]) for name in _PLAIN}
    return _Revised(**one, volume=bar.volume.to_ints()[0], notional=bar.notional.to_ints()[0], revision=0)


def _as_partials(bars: list[_Revised]) -> Partials:
    return Partials(
        **{name: np.array([getattr(bar, name) for bar in bars], np.int64) for name in _PLAIN},
        volume=wide.from_ints([bar.volume for bar in bars]),
        notional=wide.from_ints([bar.notional for bar in bars]),
    )
