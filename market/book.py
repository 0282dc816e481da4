"""The book kernel: depth changes in, a snapshot of every book that changed out, and what its best levels are worth.

- A book begins with an IMAGE, follows its changes, and ends with DIRTY or a change that does not fit: one row without
  levels says so at once, and nothing more is said of that book until the next image. Changes until then are ignored.
- Snapshots are taken on a grid of market time, of `every_ns`: at the first row that arrives past a line of the grid,
  each book that changed since is written as it was after its last complete change. At the first row of a UTC day every
  trusted book is, so that a day can be read by itself.
- A locked or crossed book has no mid and no microprice. Outside of trading (the venue's STATE rows) it is legal, and
  told at once. While it trades it is held back for `hold_ns`: most are over by then. A kernel cannot ask a venue for an
  image; a connector that can makes the book DIRTY.

The time of the grid is that of arrival, `ts_recv` (else `ts_event`): a wrong stamp of a venue does not move it.
`ts_event` of a snapshot is that of the book's last change, but always later than that of the snapshot before.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.columns import FEW_ROWS, Int64s, codes, dictionary, is_few, values
from market.depth import DIRTY_BOOK, NORMAL, imbalance, microprice, mid, state_of
from market.kernel import Outputs
from market.ladders import Followed, Level
from market.schemas import BOOK_LEVELS, BOOKS, BUY, CLOCK, DEPTH, DIRTY, IMAGE, QUALITIES, SELL, STATE

MARKET: Final = 5
"""An `action` beside those of DEPTH: the venue's STATE; `size` is an index into QUALITIES, no instrument: all of it."""
TIME: Final = 6
"""An `action` beside those of DEPTH: the venue's heartbeat, which moves the time on."""

BOOK_ARRIVALS: Final = pa.schema([each.with_nullable(True) if each.name == "instrument" else each for each in DEPTH])
"""What the kernel is fed: rows of DEPTH, and of the ticks those that say a state or the time."""

FORGET_NS: Final = 10 * 86_400_000_000_000
"""A book that did not change for so long is forgotten at the next change of day: its contract has expired."""
DAY_NS: Final = 86_400_000_000_000
FUTURE_NS: Final = 300_000_000_000  # as in market.watermark: a stamp further ahead of its receipt is none
EVERY_NS: Final = 250_000_000
HOLD_NS: Final = 500_000_000
_NEVER: Final = 1 << 62


@dataclass(slots=True, eq=False)
class Book(Followed):
    """One instrument's book, and what is known of its last change."""

    venue: str
    instrument: str
    ts_event: int = 0
    ts_recv: int | None = None
    arrived: int = 0
    seq: int | None = None
    published: int = -_NEVER  # ts_event of the last snapshot
    crossed_ns: int | None = None  # when it was first seen so, while trading
    said_dirty: bool = True

    def levels(self) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first."""
        return self.best(BUY, BOOK_LEVELS), self.best(SELL, BOOK_LEVELS)

    def copy(self) -> "Book":
        return replace(self, ladder=None if self.ladder is None else self.ladder.copy())


@dataclass(slots=True)
class BookKernel:
    """Keep the books of a shard.

    Shape: BOOK_ARRIVALS -> `books`: 0..n rows of market.schemas.BOOKS, those of a book in order of ts_event.
    State: the levels the venues sent, about 100 bytes each, of every book that changed within FORGET_NS.
    """

    every_ns: int = EVERY_NS
    hold_ns: int = HOLD_NS
    counters: Counter[str] = field(default_factory=Counter)
    """Changes by what became of them: applied, ignored (no image yet), broken (they do not fit)."""
    _books: dict[str, Book] = field(default_factory=dict)
    _pending: dict[str, Book] = field(default_factory=dict)
    _qualities: dict[tuple[str, str | None], int] = field(default_factory=dict)
    _due: int = -_NEVER
    _day: int | None = None
    _rows: list[tuple[Any, ...]] = field(default_factory=list)

    def on_batch(self, arrivals: pa.RecordBatch) -> Outputs:
        if arrivals.num_rows:
            self._follow(_read(arrivals, self._books))
        return self._flush()

    def on_time(self, now_ns: int) -> Outputs:  # noqa: ARG002 - the protocol's signature
        return {}  # rows move the time, heartbeats too: a replay gives the same snapshots

    def next_wake_ns(self) -> int | None:
        return None

    def on_eof(self) -> Outputs:
        for book in list(self._pending.values()):
            self._publish(book, book.arrived + self.hold_ns)
        return self._flush()

    def on_history_lost(self) -> None:
        pass  # no book is trusted before its image

    def snapshot(self) -> object:
        return {
            "books": [book.copy() for book in self._books.values()],
            "pending": list(self._pending),
            "qualities": dict(self._qualities),
            "due": self._due,
            "day": self._day,
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self._books = {book.instrument: book.copy() for book in saved["books"]}
        self._pending = {name: self._books[name] for name in saved["pending"]}
        self._qualities = dict(saved["qualities"])
        self._due, self._day = saved["due"], saved["day"]

    def book(self, instrument: str) -> Book | None:
        """Return a book that is to be trusted now, for a kernel that needs more than snapshots."""
        book = self._books.get(instrument)
        return book if book is not None and book.trusted else None

    def quality(self, book: Book) -> str:
        """Return the worse of what the venue said of the instrument and of itself."""
        said = self._qualities
        return QUALITIES[max(said.get((book.venue, book.instrument), 0), said.get((book.venue, None), 0))]

    # One pass over plain lists, since each change meets the book that the one before it left. What a change means for
    # its book beyond its ladder is settled later, once for many.
    def _follow(self, batch: "_Batch") -> None:
        books, appliers, touched = batch.books, batch.appliers, batch.touched
        row, due, applied = -1, self._due, 0
        for code, action, side, level, entry_id, price, size, arrived, last in batch.hot:
            row += 1
            if arrived >= due:
                due = self._close(batch, arrived)
            apply = appliers[code]
            if apply is None or not IMAGE < action < DIRTY:
                self._turn(batch, row, action, code, (action, side, level, entry_id, price, size), arrived)
            elif not apply(action, side, level, entry_id, price, size):
                self._break(batch, row, code)
                continue
            else:
                applied += 1
            if action < DIRTY:
                books[code].whole = last
                if last:
                    touched[code] = row
        self.counters["applied"] += applied
        self._settle(batch)

    # What is rare: an image, its first level, the end of a book, a change of one that is not trusted; states and time.
    def _turn(self, batch: "_Batch", row: int, action: int, code: int, change: tuple[Any, ...], arrived: int) -> None:
        if action == TIME:
            return
        self._settle(batch)
        if action == MARKET:
            self._state(*batch.names(row), change[-1], arrived)
            return
        book = batch.books[code]
        if action == IMAGE:
            self._books[book.instrument] = book
            book.begin()
            book.crossed_ns = batch.appliers[code] = None
        elif action == DIRTY:
            self._distrust(batch, row, code)
        elif not book.trusted:
            self.counters["ignored"] += 1
            book.arrived = arrived
        else:
            fits = book.change(*change)
            batch.appliers[code] = None if book.ladder is None else book.ladder.apply
            self.counters["applied"] += 1
            if not fits:
                self._break(batch, row, code)

    def _break(self, batch: "_Batch", row: int, code: int) -> None:
        self.counters["broken"] += 1
        self._settle(batch)
        self._distrust(batch, row, code)

    def _distrust(self, batch: "_Batch", row: int, code: int) -> None:
        book = batch.books[code]
        batch.appliers[code] = book.crossed_ns = None
        book.end()
        batch.tell(book, row)
        self._pending.pop(book.instrument, None)
        if not book.said_dirty:
            book.said_dirty = True
            self._write(book, DIRTY_BOOK, [], [])

    def _settle(self, batch: "_Batch") -> None:
        for code, row in batch.touched.items():
            book = batch.books[code]
            if book.trusted:
                batch.tell(book, row)
                self._pending[book.instrument] = book
        batch.touched.clear()

    def _state(self, venue: str, instrument: str | None, quality: int, arrived: int) -> None:
        if self._qualities.get((venue, instrument), 0) == quality:
            return
        self._qualities[venue, instrument] = quality
        for book in self._books.values():
            of_it = book.instrument == instrument if instrument is not None else book.venue == venue
            if of_it and book.trusted:
                book.arrived = arrived
                self._pending[book.instrument] = book

    # ---- snapshots

    def _close(self, batch: "_Batch", now: int) -> int:
        """The time has passed a line of the grid: write what changed, and return the next line."""
        self._settle(batch)
        for book in list(self._pending.values()):
            if book.whole:
                self._publish(book, now)
        day = now // DAY_NS
        if self._day is not None and day > self._day:
            self._begin_day(batch, day * DAY_NS, now)
        self._day = day
        self._due = min((now // self.every_ns + 1) * self.every_ns, (day + 1) * DAY_NS)
        return self._due

    def _begin_day(self, batch: "_Batch", midnight: int, now: int) -> None:
        for book in list(self._books.values()):
            if not book.arrived:  # its first change comes later in this batch
                continue
            if now - book.arrived > FORGET_NS:
                del self._books[book.instrument]
                self._pending.pop(book.instrument, None)
                self._qualities.pop((book.venue, book.instrument), None)
                if book in batch.books:  # it may come back within the batch, as a new one
                    code = batch.books.index(book)
                    batch.books[code], batch.appliers[code] = Book(book.venue, book.instrument), None
            elif book.trusted and book.whole and book.instrument not in self._pending:
                book.ts_event = max(book.ts_event, midnight)
                self._publish(book, now)

    def _publish(self, book: Book, now: int) -> None:
        bids, asks = book.levels()
        state = state_of(bids, asks)
        if state == NORMAL:
            book.crossed_ns = None
        elif self.quality(book) == "LIVE":
            book.crossed_ns = now if book.crossed_ns is None else book.crossed_ns
            if now < book.crossed_ns + self.hold_ns:
                self._pending[book.instrument] = book
                return
        self._pending.pop(book.instrument, None)
        book.said_dirty = False
        self._write(book, state, bids, asks)

    def _write(self, book: Book, state: str, bids: list[Level], asks: list[Level]) -> None:
        book.published = max(book.ts_event, book.published + 1)
        sound = state == NORMAL
        self._rows.append(
            (
                book.venue,
                book.instrument,
                book.published,
                book.ts_recv,
                book.seq,
                state,
                self.quality(book),
                mid(bids, asks) if sound else None,
                microprice(bids, asks) if sound else None,
                imbalance(bids, asks),
                *_flat(bids),
                *_flat(asks),
            )
        )

    def _flush(self) -> Outputs:
        rows, self._rows = self._rows, []
        if not rows:
            return {}
        arrays = [_array(column, each.type) for column, each in zip(zip(*rows, strict=True), BOOKS, strict=True)]
        return {"books": pa.RecordBatch.from_arrays(arrays, schema=BOOKS)}


_Apply = Callable[[int, int, int, str | None, int, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """A batch as plain lists. `hot` is read for every row, the others once for many."""

    hot: Iterator[tuple[Any, ...]]
    ts_event: list[int]
    ts_recv: list[int | None]
    arrived: list[int]
    seq: list[int | None]
    names: Callable[[int], tuple[str, str | None]]
    books: list[Book]  # by the instrument's code, as is what follows
    appliers: list[_Apply | None]
    touched: dict[int, int] = field(default_factory=dict)  # last row of a complete change that is not settled yet

    def tell(self, book: Book, row: int) -> None:
        """Let a book know when it changed last."""
        ts_event, arrived = self.ts_event[row], self.arrived[row]
        book.ts_event = ts_event if ts_event <= arrived + FUTURE_NS else arrived
        book.arrived, book.ts_recv, book.seq = arrived, self.ts_recv[row], self.seq[row]


def _read(arrivals: pa.RecordBatch, known: dict[str, Book]) -> _Batch:
    column = arrivals.column
    ts_event, received = values(column("ts_event")), column("ts_recv")
    if is_few(arrivals):
        told = zip(received.to_pylist(), ts_event.tolist(), strict=True)
        arrived = [event if stamp is None else stamp for stamp, event in told]
    else:
        stamps: Int64s = np.where(np.asarray(received.is_valid()), values(received.fill_null(0)), ts_event)
        arrived = stamps.tolist()
    entries = column("entry_id")
    no_entry = entries.null_count == len(entries)
    venue, instrument = column("venue"), column("instrument")
    books = _books_of(arrivals, known)

    def names(row: int) -> tuple[str, str | None]:
        return venue[row].as_py(), instrument[row].as_py()

    hot = zip(
        _plain(instrument.indices),
        _plain(column("action")),
        _plain(column("side")),
        _plain(column("level")),
        [None] * len(entries) if no_entry else entries.to_pylist(),
        _plain(column("price")),
        _plain(column("size")),
        arrived,
        column("last").to_numpy(zero_copy_only=False).tolist(),
        strict=True,
    )
    return _Batch(
        hot=hot,
        ts_event=ts_event.tolist(),
        ts_recv=_nullable(received),
        arrived=arrived,
        seq=_nullable(column("seq")),
        names=names,
        books=books,
        appliers=[None if book.ladder is None else book.ladder.apply for book in books],
    )


def _books_of(arrivals: pa.RecordBatch, known: dict[str, Book]) -> list[Book]:
    """The books by dictionary code, new ones among them; a code that no change has gets one that nobody keeps."""
    instrument, venue = arrivals.column("instrument"), arrivals.column("venue")
    names, venues, venue_codes = dictionary(instrument), dictionary(venue), codes(venue)
    found = [Book("", "") for _ in names] or [Book("", "")]  # rows without an instrument have the code 0
    if is_few(arrivals):
        actions = values(arrivals.column("action")).tolist()
        told = list(zip(actions, codes(instrument).tolist(), venue_codes.tolist(), strict=True))
        for code, at in sorted({code: at for action, code, at in reversed(told) if action < MARKET}.items()):
            name = names[code]
            found[code] = known.get(name) or known.setdefault(name, Book(venues[at], name))
        return found
    depth = np.flatnonzero(values(arrivals.column("action")) < MARKET)
    used, first = np.unique(codes(instrument)[depth], return_index=True)
    for code, at in zip(used.tolist(), depth[first].tolist(), strict=True):
        name = names[code]
        if name not in known:
            known[name] = Book(venues[venue_codes[at]], name)
        found[code] = known[name]
    return found


def _plain(column: pa.Array) -> list[int]:
    """Integers as a list, 0 for null."""
    if len(column) <= FEW_ROWS:
        return [number or 0 for number in column.to_pylist()]
    found: list[int] = values(column.fill_null(0) if column.null_count else column).tolist()
    return found


def _nullable(column: pa.Array) -> list[int | None]:
    found: list[int | None] = column.to_pylist() if column.null_count else values(column).tolist()
    return found


def _flat(levels: list[Level]) -> list[int | None]:
    """Price and size of ten levels, null where there are fewer."""
    found: list[int | None] = [number for level in levels for number in level]
    return found + [None] * (2 * BOOK_LEVELS - len(found))


def _array(column: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind):
        return pa.array(column, kind)
    encoded = pa.array(column, kind.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(kind.index_type), encoded.dictionary)


def from_ticks(ticks: pa.RecordBatch) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
    """Return the rows of a TICKS batch that say a state or the time, as BOOK_ARRIVALS, and which they were."""
    kind = np.asarray(ticks.column("kind"))
    which = (kind == CLOCK) | (kind == STATE)
    rows = ticks.filter(pa.array(which))
    of_state = np.asarray(rows.column("kind")) == STATE
    given = {name: rows.column(name) for name in ("venue", "instrument", "ts_event", "ts_recv", "seq", "size")}
    given["action"] = pa.array(np.where(of_state, MARKET, TIME).astype(np.int8))
    given["last"] = pa.array(np.ones(rows.num_rows, bool))
    columns = [given[each.name] if each.name in given else pa.nulls(rows.num_rows, each.type) for each in BOOK_ARRIVALS]
    return pa.RecordBatch.from_arrays(columns, schema=BOOK_ARRIVALS), which
