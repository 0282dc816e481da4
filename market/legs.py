"""What the arbitrage kernel follows of an instrument: its newest quote, and its book, in one order of arrival.

A price topic carries quotes and changes of books as records of two kinds, in the order in which ingest wrote them. The
kernel is fed both as rows of one batch in that order (LEG_ARRIVALS). The rows of books are no events of the market for
it: they move no clock and no watermark, and what they change counts from the next quote of a leg on.

The top of a quote is newer than a book, or as new: ingest writes the quotes of a flush before its changes of books. So
the first level an order meets is the quote's, and the book tells what is behind it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from market.columns import Bools, Int64s, codes, dictionary, is_few, numbers, valid, values
from market.kernel import ARRIVALS
from market.ladders import Followed, Level
from market.schemas import BOOK_LEVELS, BUY, DEPTH, FLAG_REPLAYED, PRICE_SCALE, QUOTE
from market.watermark import FUTURE, LATE, Judged

CHANGE: Final = 7
"""A `kind` beside those of TICKS: a row of DEPTH."""

_OF_DEPTH: Final = ("action", "level", "entry_id", "last")

LEG_ARRIVALS: Final = pa.schema([*ARRIVALS, *(DEPTH.field(name).with_nullable(True) for name in _OF_DEPTH)])
"""What the kernel is fed where books change among the ticks; else ARRIVALS."""

NEVER: Final = 2**62


@dataclass(slots=True)
class Leg:
    """The newest quote of one instrument."""

    bid: int | None = None
    bid_lots: int = 0
    ask: int | None = None
    ask_lots: int = 0
    came: int = -NEVER  # by the arrival clock
    ts_event: int = 0
    skewed: str = ""
    fit: bool = False  # two-sided, not crossed, not skewed

    def levels(self, side: int, book: Followed | None) -> list[Level]:
        """(price, whole lots) that an order meets on a side, best first: the quote's, then what the book has behind."""
        price, lots = (self.bid, self.bid_lots) if side == BUY else (self.ask, self.ask_lots)
        assert price is not None
        found = [(price, lots)] if lots else []
        if book is not None:
            behind = [level for level in book.best(side, BOOK_LEVELS) if (price - level[0]) * side > 0]
            found += [(at, size // PRICE_SCALE) for at, size in behind if size >= PRICE_SCALE]
        return found


_OF_QUOTES: Final = ("kind", "flags", "ts_recv", "ts_event", "bid_price", "bid_size", "ask_price", "ask_size")


def quotes_of(
    judged: Judged,
    clock: Int64s,
    is_wanted: Callable[[str], bool],
    skewed: Callable[[int], str],
) -> Iterator[tuple[int, int, str, Leg]]:
    """The quotes of instruments that are wanted: row, arrival clock, instrument, leg. `skewed` judges delays."""
    rows = judged.rows
    names = dictionary(rows.column("instrument"))
    wanted = [is_wanted(name) for name in names]
    if not any(wanted):
        return
    more = [np.arange(rows.num_rows), codes(rows.column("instrument")), judged.verdict, judged.known_at, clock]
    if not is_few(rows):
        index = np.flatnonzero(values(rows.column("kind")) == QUOTE)
        if len(index) < rows.num_rows:
            rows, more = rows.take(pa.array(index)), [each[index] for each in more]
    columns = (numbers(rows.column(name)) for name in _OF_QUOTES)
    for kind, flags, ts_recv, ts_event, bid, bid_size, ask, ask_size, row, code, verdict, known_at, at in zip(
        *columns, *(each.tolist() for each in more), strict=True
    ):
        if kind != QUOTE or not wanted[code] or flags & FLAG_REPLAYED or verdict == LATE:
            continue
        if ts_recv is None and verdict == FUTURE:
            continue
        if bid_size is None:
            bid, bid_size = None, 0
        if ask_size is None:
            ask, ask_size = None, 0
        off = skewed(known_at - ts_event)
        fit = bid is not None and ask is not None and bid < ask and not off
        leg = Leg(bid, bid_size // PRICE_SCALE, ask, ask_size // PRICE_SCALE, at, ts_event, off, fit)
        yield row, at, names[code], leg


class Change(NamedTuple):
    """A row of DEPTH. `before` is how many ticks of its batch come before it."""

    before: int
    instrument: str
    came: int
    row: tuple[Any, ...]
    """Action, side, level, entry, price, size."""
    last: bool


Changes = deque[Change]


def with_changes(ticks: pa.RecordBatch, depth: pa.RecordBatch, order: Int64s, source: str) -> pa.RecordBatch:
    """Return ticks and changes of books as one batch.

    Shape: ARRIVALS, DEPTH -> LEG_ARRIVALS; `order` has the row of `ticks`, or behind those of `depth`, of each row.
    """
    count = depth.num_rows
    given = {name: depth.column(name) for name in depth.schema.names}
    given["kind"] = pa.array(np.full(count, CHANGE, np.int8))
    given["flags"] = pa.array(np.zeros(count, np.int32))
    given["source_offset"] = given["source_row"] = pa.array(np.zeros(count, np.int64))
    given["source"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([source], pa.utf8()))
    behind = [given[each.name] if each.name in given else pa.nulls(count, each.type) for each in LEG_ARRIVALS]
    before = [*ticks.columns, *(pa.nulls(ticks.num_rows, LEG_ARRIVALS.field(name).type) for name in _OF_DEPTH)]
    parts = [pa.RecordBatch.from_arrays(columns, schema=LEG_ARRIVALS) for columns in (before, behind)]
    return pa.concat_batches(parts).take(pa.array(order))


def parted(
    arrivals: pa.RecordBatch, is_wanted: Callable[[str], bool], *, holds: bool
) -> Iterator[tuple[pa.RecordBatch, Changes]]:
    """Tell ticks and changes of books apart: once, unless ticks can be held and so come in another order.

    Shape: LEG_ARRIVALS or ARRIVALS -> ARRIVALS, and the changes of instruments that are wanted.
    `holds`: whether a tick is on hold already (market.watermark).
    """
    if arrivals.num_columns == len(ARRIVALS):
        yield arrivals, deque()
        return
    is_change = values(arrivals.column("kind")) == CHANGE
    received = valid(arrivals.column("ts_recv"))
    if holds or (received is not None and not (received | is_change).all()):
        cuts = [0, *(np.flatnonzero(np.diff(is_change)) + 1).tolist(), arrivals.num_rows]
        for start, stop in pairwise(cuts):
            yield _parted(arrivals.slice(start, stop - start), is_change[start:stop], is_wanted)
    else:
        yield _parted(arrivals, is_change, is_wanted)


def _parted(
    arrivals: pa.RecordBatch, is_change: Bools, is_wanted: Callable[[str], bool]
) -> tuple[pa.RecordBatch, Changes]:
    ticks = pa.RecordBatch.from_arrays(arrivals.columns[: len(ARRIVALS)], schema=ARRIVALS)
    if not is_change.any():
        return ticks, deque()
    names = dictionary(arrivals.column("instrument"))
    wanted = np.array([is_wanted(name) for name in names] or [False])
    index = np.flatnonzero(is_change)
    index = index[wanted[codes(arrivals.column("instrument"))[index]]]
    before = np.cumsum(~is_change)[index].tolist()
    return ticks.filter(pa.array(~is_change)), _changes(arrivals.take(pa.array(index)), names, before)


def _changes(rows: pa.RecordBatch, names: Sequence[str], before: Sequence[int]) -> Changes:
    came = pc.coalesce(rows.column("ts_recv"), rows.column("ts_event")).to_pylist()
    of = [names[code] for code in codes(rows.column("instrument")).tolist()]
    # A ladder knows no null: a level, a price or a size that is not told is 0, as in market.book.
    plain = [[number or 0 for number in numbers(rows.column(name))] for name in ("action", "side", "level")]
    paid = [[number or 0 for number in numbers(rows.column(name))] for name in ("price", "size")]
    told = zip(*plain, rows.column("entry_id").to_pylist(), *paid, strict=True)
    return deque(map(Change, before, of, came, told, rows.column("last").to_pylist()))


@dataclass(slots=True)
class LegBook(Followed):
    """A book, and when its newest change came."""

    came: int = -NEVER


@dataclass(slots=True)
class Books:
    """The books of instruments that are compared.

    State: the levels the venues sent, about 100 bytes each.
    """

    _books: dict[str, LegBook] = field(default_factory=dict)

    def take(self, change: Change) -> None:
        book = self._books.get(change.instrument)
        if book is None:
            book = self._books[change.instrument] = LegBook()
        book.came = change.came
        book.take(*change.row, last=change.last)

    def whole(self, instrument: str, since: int) -> Followed | None:
        """Return a book to take size from: nothing lost, no change half told, and one came lately."""
        book = self._books.get(instrument)
        return book if book is not None and book.trusted and book.whole and book.came >= since else None

    def forget(self, before: int) -> None:
        """Drop the books that did not change since: their contracts have expired."""
        self._books = {name: book for name, book in self._books.items() if book.came >= before}

    def snapshot(self) -> object:
        return _copies(self._books)

    def restore(self, state: object) -> None:
        self._books = _copies(state)


def _copies(books: Any) -> dict[str, LegBook]:
    return {
        name: replace(book, ladder=None if book.ladder is None else book.ladder.copy()) for name, book in books.items()
    }
