"""Final bars, kept for revisions: by trades that come to them late, and by busts and corrections.

A final bar is kept until no acceptable row can change it, nor the next wider window, which is folded anew from the
bars within it when a trade is busted. The newest revision of a bar stands beside the batch of bars it went final with.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np

from market import ohlcv, wide
from market.columns import Bools, Int64s
from market.ohlcv import Partials
from market.windows import Windows

_PLAIN: Final = [f.name for f in fields(Partials) if f.name not in ("volume", "notional")]  # columns of int64
_CHUNKS: Final = 16  # more are joined: each costs about 2.5 kB in a snapshot, however few bars it has


@dataclass(frozen=True, slots=True)
class Revised:
    """A final bar with what came after it applied, as Python integers: there are few.

    With `trades` 0 all of it was busted: the prices are the close of the revision before, `volume` is 0.
    """

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

    def with_trade(self, ts: int, seq: int, price: int, size: int) -> "Revised":
        if self.trades == 0:
            return first_trade(self.instrument, self.ts_open, ts, seq, price, size, revision=self.revision + 1)
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

    def emptied(self) -> "Revised":
        """The next revision, with no trade left."""
        last = self.close
        bare = replace(self, open=last, high=last, low=last, volume=0, notional=0, trades=0)
        return replace(bare, revision=self.revision + 1)


def first_trade(
    instrument: int, ts_open: int, ts: int, seq: int, price: int, size: int, *, revision: int = 1
) -> Revised:
    """The first trade of a window that was final without one: revision 1, if it never had any."""
    prices = (price, price, price, price)
    return Revised(instrument, ts_open, ts, seq, ts, seq, *prices, size, price * size, trades=1, revision=revision)


def as_revised(bar: Partials, revision: int) -> Revised:
    one: dict[str, int] = {name: int(getattr(bar, name)[0]) for name in _PLAIN}
    volume, notional = bar.volume.to_ints()[0], bar.notional.to_ints()[0]
    return Revised(**one, volume=volume, notional=notional, revision=revision)


def as_partials(bars: list[Revised]) -> Partials:
    columns: dict[str, Any] = {name: np.array([getattr(bar, name) for bar in bars], np.int64) for name in _PLAIN}
    return Partials(
        **columns,
        volume=wide.from_ints([bar.volume for bar in bars]),
        notional=wide.from_ints([bar.notional for bar in bars]),
    )


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Bars of one width and venue that went final together, or were joined since."""

    first_open: int
    last_open: int
    until: int  # the latest end of the next wider windows of its bars
    bars: Partials


@dataclass(slots=True)
class FinalBars:
    """The final bars of all widths. `widths` (ns) each divide the next.

    State: 120 bytes a bar of each window that ended less than `allowed_ns` before the watermark, or whose next wider
        window did: for all widths some 200 bars an instrument.
    """

    widths: list[int]
    windows: Windows
    _chunks: dict[tuple[int, str], list[_Chunk]] = field(default_factory=dict)
    _revised: dict[tuple[int, int, int], Revised] = field(default_factory=dict)

    def add(self, at: int, venue: str, bars: Partials) -> None:
        """Keep bars that went final now."""
        self._chunks.setdefault((at, venue), []).append(self._chunk(at, bars))

    def find(self, at: int, venue: str, number: int, ts_open: int) -> Revised | None:
        """The newest revision of a bar; None if its window had no trade, or is not final."""
        known = self._revised.get((at, number, ts_open))
        if known is not None:
            return known
        for chunk in reversed(self._chunks.get((at, venue), [])):
            if chunk.first_open <= ts_open <= chunk.last_open:
                bars = chunk.bars
                found = np.flatnonzero((bars.instrument == number) & (bars.ts_open == ts_open))
                if len(found):
                    return as_revised(bars.take(found), revision=0)
        return None

    def revise(self, at: int, bar: Revised) -> None:
        """Put a newer revision of a bar in its place."""
        self._revised[at, bar.instrument, bar.ts_open] = bar

    def within(self, at: int, venue: str, number: int, ts_open: int, end: int) -> list[Revised]:
        """The newest revisions of an instrument's bars in [ts_open, end) that have trades, in order."""
        width = self.widths[at]
        found = (self.find(at, venue, number, begin) for begin in range(ts_open, end, width))
        return [bar for bar in found if bar is not None and bar.trades]

    def forget(self, venue: str, members: Bools, horizon: int) -> None:
        """Drop what nothing can change any more: state stays bounded however long we run."""
        for at in range(len(self.widths)):
            key, chunks = (at, venue), self._chunks.get((at, venue), [])
            while chunks and chunks[0].until <= horizon:
                chunks.pop(0)
            if len(chunks) > _CHUNKS:
                bars = ohlcv.concat([chunk.bars for chunk in chunks])
                self._chunks[key] = [self._chunk(at, bars.take(self._reach(at, bars) > horizon))]
        for at, number, ts_open in [key for key in self._revised if members[key[1]]] if self._revised else []:
            if self.windows.of(self._wider(at), number, ts_open)[1] <= horizon:
                del self._revised[at, number, ts_open]

    def _chunk(self, at: int, bars: Partials) -> _Chunk:
        return _Chunk(int(bars.ts_open.min()), int(bars.ts_open.max()), int(self._reach(at, bars).max()), bars)

    def _reach(self, at: int, bars: Partials) -> Int64s:
        """The end of the next wider window of each bar."""
        return self.windows.around(self._wider(at), bars.instrument, bars.ts_open)[1]

    def _wider(self, at: int) -> int:
        return min(at + 1, len(self.widths) - 1)

    def clear(self) -> None:
        self._chunks.clear()
        self._revised.clear()

    def snapshot(self) -> object:
        return {key: list(chunks) for key, chunks in self._chunks.items()}, dict(self._revised)

    def restore(self, state: object) -> None:
        chunks: dict[tuple[int, str], list[_Chunk]]
        revised: dict[tuple[int, int, int], Revised]
        chunks, revised = state  # type: ignore[misc]
        self._chunks = {key: list(found) for key, found in chunks.items()}
        self._revised = dict(revised)
