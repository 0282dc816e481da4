"""The tape: accepted trades for as long as a bust or a correction may still name them, and what those do to them.

A bust or correction names a trade by (instrument, trade_id). It applies if that trade was accepted, is not older than
the allowed lateness (against the watermark before the row, as every lateness), and was not busted before:

- A bust is for good. A correction gives new terms; of several the one with the highest (`ts_event`, `seq`) holds, in
  whatever order they come. What changes nothing, the second bust say, has no effect.
- One that comes before its trade is *held* until the trade comes, and then applies right behind it; the trade counts
  for a moment. When a trade as old as it would be late, it is given up: the trade is unknown.

Bars and admission follow the same tape, so that both know the same trades and agree about every row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market import ohlcv
from market.columns import Bools, Int64s, codes, dictionary, valid, values
from market.ohlcv import Partials
from market.schemas import BUST, CORRECTION, INTERVALS_NS, TRADE, UNKNOWN_SIDE
from market.watermark import ACCEPTED, Judged, Lateness, Rows, venue_rows

UNIT_NS: Final = min(INTERVALS_NS.values())
"""Trades are kept, and dropped, by whole windows of the narrowest bars, so that those can be folded again."""

_SMALL_ROWS: Final = 8_192
_SMALL_STRETCHES: Final = 32
_PACK: Final = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))

_COLUMNS: Final = ("instrument", "ts", "seq", "price", "size", "side")  # of a stretch, apart from the ids

# What became of a bust or correction.
APPLIED: Final = 1
AWAITING: Final = 2  # held until its trade comes: it will come again, with another fate
UNKNOWN_TRADE: Final = 3
NO_EFFECT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """Accepted trades: their positions among the rows they came in, and the columns that bars need."""

    position: npt.NDArray[np.intp]
    instrument: Int64s  # numbered by the tape
    ts: Int64s
    seq: Int64s
    price: Int64s
    size: Int64s
    watermark: Int64s

    def take(self, mask: Bools) -> "Trades":
        return Trades(
            position=self.position[mask],
            instrument=self.instrument[mask],
            ts=self.ts[mask],
            seq=self.seq[mask],
            price=self.price[mask],
            size=self.size[mask],
            watermark=self.watermark[mask],
        )

    def fold(self, width_ns: int) -> Partials:
        return ohlcv.fold_rows(self.instrument, self.ts, self.seq, self.price, self.size, width_ns)


_NONE: Final = np.empty(0, np.int64)
NO_TRADES: Final = Trades(
    position=np.empty(0, np.intp), instrument=_NONE, ts=_NONE, seq=_NONE, price=_NONE, size=_NONE, watermark=_NONE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of judged rows and its accepted trades; or one bust or correction, with its `fate`.

    `instrument` and `ts` say which trade an APPLIED one changed.
    """

    judged: Judged
    trades: Trades = NO_TRADES
    fate: int | None = None
    instrument: int = -1
    ts: int = 0


class _Key(NamedTuple):
    """One trade: its instrument's number, its id, and, should the id come twice, when it was."""

    instrument: int
    trade_id: str
    ts: int
    seq: int


@dataclass(slots=True, eq=False)
class _Held:
    """A bust or correction whose trade did not come yet."""

    venue: str
    instrument: str
    trade_id: str
    ts: int
    row: pa.RecordBatch


@dataclass(slots=True)
class _Stretch:
    """Consecutive trades of one venue. A busted one has size 0, which no trade has.

    The columns may be views of the batch they came in; `amend` copies before it writes.
    """

    instrument: Int64s
    ts: Int64s
    seq: Int64s
    price: Int64s
    size: Int64s
    side: Int64s
    ids: pa.StringArray
    first_ts: int
    last_ts: int
    packed: bytes | None = None

    def find(self, instrument: int, trade_id: str, oldest_ts: int) -> int | None:
        """The newest row with that id which is not older than `oldest_ts`."""
        if self.last_ts < oldest_ts:
            return None
        same = pc.fill_null(pc.equal(self.ids, trade_id), False).to_numpy(zero_copy_only=False)
        found = np.flatnonzero(same & (self.instrument == instrument) & (self.ts >= oldest_ts))
        return int(found[-1]) if len(found) else None

    def amend(self, row: int, price: int, size: int, side: int) -> None:
        for name, value in (("price", price), ("size", size), ("side", side)):
            column = getattr(self, name).copy()
            column[row] = value
            setattr(self, name, column)
        self.packed = None

    def pack(self) -> bytes:
        """The rows as bytes, compressed once: a snapshot is taken twice a second, and few stretches are new."""
        if self.packed is None:
            columns = [pa.array(getattr(self, name)) for name in _COLUMNS]
            batch = pa.RecordBatch.from_arrays([*columns, self.ids], [*_COLUMNS, "id"])
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema, options=_PACK) as writer:
                writer.write_batch(batch)
            self.packed = sink.getvalue().to_pybytes()
        return self.packed


def _unpack(packed: bytes) -> _Stretch:
    batch = pa.ipc.open_stream(packed).read_next_batch()
    one = _stretch([values(column) for column in batch.columns[:-1]], batch.column("id"))
    one.packed = packed
    return one


def _joined(run: Sequence[_Stretch], first_ts: int) -> _Stretch:
    if len(run) == 1:
        return run[0]
    young = [part.ts >= first_ts for part in run]
    columns = [
        np.concatenate([getattr(part, name)[mask] for part, mask in zip(run, young, strict=True)]) for name in _COLUMNS
    ]
    ids = pa.concat_arrays([part.ids.filter(pa.array(mask)) for part, mask in zip(run, young, strict=True)])
    return _stretch(columns, ids)


def _stretch(columns: Sequence[Int64s], ids: pa.StringArray) -> _Stretch:
    instrument, ts, seq, price, size, side = columns
    return _Stretch(instrument, ts, seq, price, size, side, ids, int(ts.min()), int(ts.max()))


@dataclass(slots=True)
class Tape:
    """The trades of one shard that may still be busted or corrected.

    State: about 45 bytes and its id for each trade not older than the allowed lateness and UNIT_NS (a quarter of that
        in a snapshot): at 20,000 trades a second and 60 s some 80 MB. One row for each bust or correction that is
        held; one entry for each trade that was corrected.
    """

    lateness: Lateness = field(default_factory=Lateness)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of each (venue, instrument), in the order of their first accepted trades."""
    _stretches: dict[str, list[_Stretch]] = field(default_factory=dict)
    _held: list[_Held] = field(default_factory=list)
    _newest: dict[_Key, tuple[int, int]] = field(default_factory=dict)  # (ts, seq) of the correction in force

    def snapshot(self) -> object:
        return {
            "numbers": dict(self.numbers),
            "stretches": {venue: [one.pack() for one in found] for venue, found in self._stretches.items()},
            "held": [replace(one) for one in self._held],
            "newest": dict(self._newest),
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self.numbers, self._held, self._newest = dict(saved["numbers"]), list(saved["held"]), dict(saved["newest"])
        self._stretches = {venue: [_unpack(one) for one in found] for venue, found in saved["stretches"].items()}

    def follow(self, judged: Judged) -> Iterator[Part]:
        """Remember the trades of judged rows, and decide about busts and corrections, in order.

        Shape: n rows -> parts that make up the same rows; one AWAITING comes once more, in a part of its own, behind
            the row that decided its fate. A part is to be used before the next one is taken.
        """
        amending = np.flatnonzero((judged.verdict == ACCEPTED) & _is_amendment(judged.rows))
        row, n = 0, judged.rows.num_rows
        while row < n:
            stop = self._next_stop(judged, amending, row)
            if stop > row:
                yield self._remember(judged if (row, stop) == (0, n) else judged.slice(row, stop))
            if stop < n:
                yield from self._decide_at(judged.slice(stop, stop + 1), amends=stop in amending)
            row = stop + 1

    def finish(self) -> list[pa.RecordBatch]:
        """No row will come any more: forget all, and return each row that was held, in the order in which they came."""
        held, self._held = self._held, []
        self._stretches.clear()
        return [one.row for one in held]

    def held_rows(self) -> int:
        """How many busts and corrections wait for their trade."""
        return len(self._held)

    def trades_within(self, instrument: int, first_ts: int, end_ts: int) -> Partials:
        """Fold the trades of one narrowest window, as they now stand. Shape: 0 or 1 partial."""
        venue = next(venue for (venue, _), number in self.numbers.items() if number == instrument)
        found = [(_NONE,) * 4]
        for one in self._stretches.get(venue, []):
            if one.first_ts < end_ts and one.last_ts >= first_ts:
                mask = (one.instrument == instrument) & (one.ts >= first_ts) & (one.ts < end_ts) & (one.size > 0)
                found.append((one.ts[mask], one.seq[mask], one.price[mask], one.size[mask]))
        ts, seq, price, size = (np.concatenate(pieces) for pieces in zip(*found, strict=True))
        return ohlcv.fold_rows(np.full(len(ts), instrument), ts, seq, price, size, end_ts - first_ts)

    # The first row from `row` on that does more than add to the tape.
    def _next_stop(self, judged: Judged, amending: npt.NDArray[np.intp], row: int) -> int:
        n = judged.rows.num_rows
        at = int(np.searchsorted(amending, row))
        stop = int(amending[at]) if at < len(amending) else n
        if self._held:
            stop = min(stop, self._awaited(judged, row, stop), self._given_up(judged, row, stop))
        return stop

    def _awaited(self, judged: Judged, row: int, stop: int) -> int:
        rows = judged.rows.slice(row, stop - row)
        wanted = pa.array(sorted({one.trade_id for one in self._held}), pa.utf8())
        named = pc.is_in(rows.column("trade_id"), wanted).to_numpy(zero_copy_only=False)
        named = named & (judged.verdict[row:stop] == ACCEPTED) & (values(rows.column("kind")) == TRADE)
        return row + int(named.argmax()) if named.any() else stop

    def _given_up(self, judged: Judged, row: int, stop: int) -> int:
        for venue, index in venue_rows(judged.rows):
            oldest = min((one.ts for one in self._held if one.venue == venue), default=None)
            if oldest is not None:
                at = np.arange(judged.rows.num_rows)[index]
                past = at[(judged.after[index] - self.lateness.allowed_ns > oldest) & (at >= row)]
                stop = min(stop, int(past[0])) if len(past) else stop
        return stop

    def _decide_at(self, judged: Judged, *, amends: bool) -> Iterator[Part]:
        """Take one row: a correction, a trade that was awaited, or one that moves the watermark past something held."""
        names = ("venue", "instrument", "trade_id")
        venue, instrument, trade_id = (judged.rows.column(name)[0].as_py() for name in names)
        if amends:
            yield self._decide(judged, venue, instrument, trade_id, int(judged.watermark[0]), keeps=True)
        else:
            yield self._remember(judged)
        after = int(judged.after[0])
        for one in list(self._held):
            if not amends and (one.instrument, one.trade_id) == (instrument, trade_id):
                self._held.remove(one)
                behind = _behind(judged, one.row)
                yield self._decide(behind, venue, instrument, trade_id, int(judged.watermark[0]), keeps=False)
            elif one.venue == venue and one.ts < after - self.lateness.allowed_ns:
                self._held.remove(one)
                yield Part(judged=_behind(judged, one.row), fate=UNKNOWN_TRADE)

    def _decide(
        self, judged: Judged, venue: str, instrument: str, trade_id: str | None, watermark: int, *, keeps: bool
    ) -> Part:
        """Apply one bust or correction to its trade, if it is there; hold it otherwise."""
        number = self.numbers.get((venue, instrument), -1)
        oldest = watermark - self.lateness.allowed_ns
        row = judged.rows.to_pylist()[0]
        if trade_id is None:
            return Part(judged=judged, fate=UNKNOWN_TRADE)
        for one in reversed(self._stretches.get(venue, [])):
            at = one.find(number, trade_id, oldest)
            if at is not None:
                key = _Key(number, trade_id, int(one.ts[at]), int(one.seq[at]))
                changed = self._change(one, at, key, row)
                return Part(judged=judged, fate=APPLIED if changed else NO_EFFECT, instrument=number, ts=key.ts)
        if not keeps:
            return Part(judged=judged, fate=UNKNOWN_TRADE)
        self._held.append(_Held(venue, instrument, trade_id, row["ts_event"], _own(judged.rows)))
        return Part(judged=judged, fate=AWAITING)

    def _change(self, one: _Stretch, at: int, key: _Key, row: dict[str, Any]) -> bool:
        if one.size[at] == 0:
            return False
        if row["kind"] == BUST:
            one.amend(at, int(one.price[at]), 0, int(one.side[at]))
            return True
        when = (row["ts_event"], ohlcv.NO_SEQ if row["seq"] is None else row["seq"])
        if when < self._newest.get(key, when):
            return False
        self._newest[key] = when
        terms = row["price"], row["size"], UNKNOWN_SIDE if row["side"] is None else row["side"]
        if terms == (one.price[at], one.size[at], one.side[at]):
            return False
        one.amend(at, *terms)
        return True

    def _remember(self, judged: Judged) -> Part:
        """Add accepted trades to the tape, and drop those that nothing can name any more."""
        rows = judged.rows
        position = np.flatnonzero((judged.verdict == ACCEPTED) & (values(rows.column("kind")) == TRADE))
        pick: Rows = slice(None) if len(position) == rows.num_rows else position
        trades = Trades(
            position=position,
            instrument=self._number(rows, pick),
            ts=values(rows.column("ts_event"))[pick],
            seq=ohlcv.sequence(rows.column("seq"))[pick],
            price=values(rows.column("price"))[pick],
            size=values(rows.column("size"))[pick],
            watermark=judged.watermark[pick],
        )
        for venue, index in venue_rows(rows):
            mine = None if isinstance(index, slice) else np.isin(position, index, kind="sort")
            self._append(venue, rows, trades, mine)
            self._forget(venue, (int(judged.after[index][-1]) - self.lateness.allowed_ns) // UNIT_NS * UNIT_NS)
        return Part(judged=judged, trades=trades)

    def _append(self, venue: str, rows: pa.RecordBatch, trades: Trades, mine: Bools | None) -> None:
        kept = trades if mine is None else trades.take(mine)
        n = len(kept.ts)
        if n == 0:
            return
        side, ids = rows.column("side"), rows.column("trade_id")
        sides, known = values(side), valid(side)
        sides = sides if known is None else np.where(known, sides, UNKNOWN_SIDE)
        if n < rows.num_rows:
            sides, ids = sides[kept.position], ids.take(pa.array(kept.position))
        columns = [kept.instrument, kept.ts, kept.seq, kept.price, kept.size, sides]
        self._stretches.setdefault(venue, []).append(_stretch(columns, ids))

    # Drop what ended before `first_ts`, the start of the oldest window that can still be folded again.
    def _forget(self, venue: str, first_ts: int) -> None:
        found = self._stretches.get(venue, [])
        if found and found[0].last_ts < first_ts:
            found[:] = [one for one in found if one.last_ts >= first_ts]
        if len(found) >= _SMALL_STRETCHES and sum(len(one.ts) < _SMALL_ROWS for one in found) >= _SMALL_STRETCHES:
            found[:] = _compacted(found, first_ts)
        if self._newest:
            names = {number for (of, _), number in self.numbers.items() if of == venue}
            old = [key for key in self._newest if key.ts < first_ts and key.instrument in names]
            for key in old:
                del self._newest[key]

    def _number(self, rows: pa.RecordBatch, pick: Rows) -> Int64s:
        """The number of each picked trade's instrument; new ones in order of first arrival."""
        venue, instrument = rows.column("venue"), rows.column("instrument")
        names = list(product(dictionary(venue), dictionary(instrument)))
        pair = codes(instrument)[pick].astype(np.int64)
        if len(venue.dictionary) > 1:
            pair += codes(venue)[pick].astype(np.int64) * len(instrument.dictionary)
        known = np.array([self.numbers.get(name, -1) for name in names], np.int64)
        numbers: Int64s = known[pair]
        if (known < 0).any() and (new := numbers < 0).any():
            distinct, first = np.unique(pair[new], return_index=True)
            for at in distinct[np.argsort(first)].tolist():
                known[at] = self.numbers.setdefault(names[at], len(self.numbers))
            numbers = known[pair]
        return numbers


def _is_amendment(rows: pa.RecordBatch) -> Bools:
    kind = values(rows.column("kind"))
    amends: Bools = (kind == BUST) | (kind == CORRECTION)
    return amends


def _compacted(found: list[_Stretch], first_ts: int) -> list[_Stretch]:
    """Join neighbours that are small, without what is too old: a quiet feed brings a few trades at a time."""
    joined: list[_Stretch] = []
    run: list[_Stretch] = []
    for one in found:
        if run and sum(len(part.ts) for part in run) + len(one.ts) > _SMALL_ROWS:
            joined.append(_joined(run, first_ts))
            run = []
        run.append(one)
    return [*joined, _joined(run, first_ts)]


def _behind(judged: Judged, row: pa.RecordBatch) -> Judged:
    """A row that was held, in its place behind the row that decided its fate, and known no earlier than it."""
    return replace(judged, rows=row, watermark=judged.after, verdict=np.full(1, ACCEPTED, np.int8))


def _own(rows: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows.to_pylist(), schema=rows.schema)
