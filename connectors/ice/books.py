"""The books of a session: ladders, their images, and the depth, quotes and status rows that come of them. Pure.

A book is CLEAN, or it waits for an image: LOST (a hole, a change that did not fit) publishes the image when it
comes; BLANK (this process took over after another one) takes it silently, for its top was published before.
While a book is LOST its changes are kept, and those the image does not cover are applied on top of it.
The depth says DIRTY when a book is LOST, and every image that is taken, the silent one too, and what is replayed on top
of it: so a log in which the process before this one had written more goes back with the session, and is whole. Those
rows have no `seq`, by which ingest would leave out what was written before.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from connectors.ice.codec import Book, Listed, Snapshot, Status, listed, snapshot_request
from connectors.ice.config import IceConfig
from connectors.ice.constants import ATTEMPTS, BOOK, IMAGE_PAUSE_NS, IMAGE_TIMEOUT_NS, PENDING_ROWS
from connectors.ice.ladder import EMPTY, Ladder, Top
from connectors.ticks import DepthRow, FeedOutput, Slot
from market.schemas import DIRTY, FLAG_REPLAYED, FLAG_SNAPSHOT, IMAGE

CLEAN: Final = 0
LOST: Final = 1
BLANK: Final = 2

_QUALITY: Final = {
    "OPEN": "LIVE",
    "HALT": "HALTED",
    "LIMIT": "HALTED",  # it trades, but at the limit only: nothing to derive a price from
    "PREOPEN": "CLOSED",  # its prices are indicative
    "CLOSE": "CLOSED",
    "EXPIRED": "CLOSED",
}


class SymbolBook:
    """One symbol: its ladder, what of it was published, and how far it can be trusted."""

    __slots__ = (
        "attempts",
        "covered",
        "deadline_ns",
        "depth_slot",
        "ladder",
        "listed",
        "market",
        "market_ts",
        "min_last",
        "pending",
        "quality",
        "seq",
        "slot",
        "state",
        "symbol",
        "top",
        "unsaid",
    )

    def __init__(self, symbol: str, known: Listed, slot: Slot, depth_slot: Slot, depth: int, state: int) -> None:
        self.symbol, self.listed, self.slot, self.depth_slot = symbol, known, slot, depth_slot
        self.ladder = Ladder(depth)
        self.top: Top = EMPTY
        self.unsaid: list[DepthRow] = []  # changes of an event that is not complete
        self.state = state
        self.seq: int | None = None  # last change applied, which the next one names as prev_seq
        self.covered = 0  # changes up to here are in the image
        self.min_last = 0  # an image older than this misses changes we lost
        self.pending: list[tuple[Book, int]] = []
        self.attempts = 0
        self.deadline_ns: int | None = None  # of the image that was asked for
        self.market: str | None = None
        self.market_ts: int | None = None
        self.quality = ""

    @property
    def awaited(self) -> bool:
        """Whether an image is still expected soon."""
        return self.state == LOST and self.attempts <= ATTEMPTS


class Books:
    """All books of a session.

    State: one ladder a symbol; at most PENDING_ROWS changes for each symbol that waits for its image.
    """

    def __init__(self, config: IceConfig, output: FeedOutput, requests: list[bytes], counters: Counter[str]) -> None:
        self._depth, self._wanted = config.depth, BOOK in config.channels
        self._output, self._requests, self._counters = output, requests, counters
        self.by_symbol: dict[str, SymbolBook] = {}
        self.clock_slots: dict[tuple[str, str], Slot] = {}
        self.symbols_text = ""
        self.lost: dict[str, SymbolBook] = {}
        self.online = False
        self._touched: dict[str, tuple[SymbolBook, Book]] = {}  # changed by an event that is not complete
        self._gapped = False

    def learn(self, symbol: str, now_ns: int, state: int = LOST) -> SymbolBook | None:
        """Return the book of a symbol, new if need be; None if the symbol is no instrument of ours."""
        book = self.by_symbol.get(symbol)
        if book is not None:
            return book
        known = listed(symbol)
        if known is None:
            return None
        book = self._new(symbol, known, state if self._wanted else CLEAN)
        if book.state == LOST:
            self.lost[symbol] = book
            self._say_dirty(book, now_ns)  # a process before this one may have left a book in the log
            self._ask(book, now_ns)
        return book

    def _new(self, symbol: str, known: Listed, state: int) -> SymbolBook:
        ticks = self._output.ticks
        names = (known.commodity, known.mic, known.instrument)
        slot, depth_slot = ticks.slot(*names), self._output.depth.slot(*names)
        clock = (known.commodity, known.mic)
        if clock not in self.clock_slots:
            self.clock_slots[clock] = ticks.slot(*clock)
        book = self.by_symbol[symbol] = SymbolBook(symbol, known, slot, depth_slot, self._depth, state)
        self.symbols_text = ",".join(self.by_symbol)
        return book

    @property
    def mics(self) -> list[str]:
        """The exchanges of the known symbols."""
        return sorted({mic for _, mic in self.clock_slots})

    def apply(self, change: Book, now_ns: int) -> bool:
        """Apply a change that is next in sequence; False if its symbol is no instrument of ours."""
        book = self.by_symbol.get(change.symbol) or self.learn(change.symbol, now_ns)
        if book is not None:
            if book.state == CLEAN:
                self._change(book, change, now_ns)
            else:
                self._wait(book, change, now_ns)
        if change.eot:
            self._end_event(now_ns)
        return book is not None

    def _change(self, book: SymbolBook, change: Book, now_ns: int) -> None:
        if change.seq <= book.covered:
            return
        if change.prev_seq is not None and change.prev_seq != book.seq:
            self._counters["prev_seq_breaks"] += 1
            self._keep(book, change, now_ns)
            return
        rows = book.ladder.apply(change.changes)
        if rows is None:
            self._counters["ladder_breaks"] += 1
            self._keep(book, change, now_ns)
            return
        book.seq = change.seq
        book.unsaid += rows
        if change.eot and not self._touched:
            self._publish(book, change.seq, change.ts_event, now_ns, FLAG_REPLAYED if change.replayed else 0)
        else:
            self._touched[change.symbol] = (book, change)

    def _keep(self, book: SymbolBook, change: Book, now_ns: int) -> None:
        self.lose(book, change.seq, now_ns)
        book.pending.append((change, now_ns))

    def _wait(self, book: SymbolBook, change: Book, now_ns: int) -> None:
        if book.state == BLANK:  # its image did not come with the replay
            self.lose(book, change.seq, now_ns)
        if len(book.pending) >= PENDING_ROWS:
            self._counters["pending_dropped"] += len(book.pending)
            book.pending.clear()
            book.min_last = change.seq
        book.pending.append((change, now_ns))
        if book.deadline_ns is None:
            self._ask(book, now_ns)

    # An event may touch several symbols, and none may be published before it is complete.
    def _end_event(self, now_ns: int) -> None:
        for book, change in self._touched.values():
            if book.state == CLEAN:
                flags = FLAG_REPLAYED if change.replayed else 0
                self._publish(book, change.seq, change.ts_event, now_ns, flags)
        self._touched.clear()

    def _publish(self, book: SymbolBook, seq: int, ts_event: int, now_ns: int, flags: int) -> None:
        self._say(book, None if flags else seq, ts_event, now_ns)
        top = book.ladder.top()
        if top == book.top:
            return
        book.top = top
        if top[0] is not None and top[2] is not None and top[0] >= top[2]:
            self._counters["crossed_or_locked"] += 1
        self._output.ticks.quote(book.slot, ts_event, now_ns, seq, *top, flags)

    def _say(self, book: SymbolBook, seq: int | None, ts_event: int, now_ns: int) -> None:
        rows, book.unsaid = book.unsaid, []
        self._output.depth.changes(book.depth_slot, ts_event, now_ns, seq, rows)

    def _say_dirty(self, book: SymbolBook, now_ns: int) -> None:
        book.unsaid = []
        self._output.depth.change(book.depth_slot, now_ns, now_ns, None, DIRTY, last=True)

    def _say_image(self, book: SymbolBook, image: Snapshot, now_ns: int) -> None:
        book.unsaid = book.ladder.rows()
        empty = not book.unsaid
        self._output.depth.change(book.depth_slot, image.ts_event, now_ns, None, IMAGE, last=empty)
        self._say(book, None, image.ts_event, now_ns)

    def lose(self, book: SymbolBook, min_last: int, now_ns: int) -> None:
        """Distrust a book until an image of `min_last` or later comes."""
        if not self._wanted:
            return
        book.min_last = max(book.min_last, min_last)
        if book.state != LOST:
            book.state, book.attempts, book.deadline_ns = LOST, 0, None
            self.lost[book.symbol] = book
            self._say_dirty(book, now_ns)
            self._assess(book, now_ns)
        if book.deadline_ns is None:
            self._ask(book, now_ns)

    def lose_all(self, min_last: int, now_ns: int) -> None:
        """Distrust every book after a hole that could not be filled."""
        self._touched.clear()
        for book in self.by_symbol.values():
            book.pending.clear()
            book.covered = 0
            book.attempts = 0
            self.lose(book, min_last, now_ns)

    def restart(self, now_ns: int) -> None:
        """Distrust every book because the venue counts anew; its subscription will bring the images."""
        self.online = False
        for book in self.by_symbol.values():
            book.min_last = 0
        self.lose_all(0, now_ns)

    def expect(self, symbols: Iterable[str], now_ns: int) -> None:
        """Expect the images that follow a subscription; books that are not in it are waited for no longer."""
        names = set(symbols)
        for symbol in names - {"*"}:
            self.learn(symbol, now_ns)
        for symbol, book in list(self.lost.items()):
            if symbol in names or "*" in names:
                book.deadline_ns = now_ns + IMAGE_TIMEOUT_NS
            else:
                book.state = BLANK
                del self.lost[symbol]
        self.online = True

    def connect(self, now_ns: int) -> None:
        """Ask for every image that is missing; the session is up."""
        self.online = True
        for book in self.lost.values():
            book.attempts = 0
            self._ask(book, now_ns)

    def disconnect(self) -> None:
        """Requests died with the socket."""
        self.online = False
        for book in self.lost.values():
            book.deadline_ns = None

    def _ask(self, book: SymbolBook, now_ns: int) -> None:
        if self.online:
            book.attempts += 1
            pause = IMAGE_TIMEOUT_NS if book.attempts <= ATTEMPTS else IMAGE_PAUSE_NS
            book.deadline_ns = now_ns + pause
            self._requests.append(snapshot_request(book.symbol))

    def image(self, image: Snapshot, now_ns: int, *, restore_at: int | None) -> bool:
        """Take an image; False if its symbol is no instrument of ours.

        `restore_at` is set while a replay brings the images of that sequence number: those are taken silently,
        except where the book was LOST.
        """
        book = self.learn(image.symbol, now_ns, LOST if restore_at is None else BLANK)
        if book is None:
            return False
        if image.state is not None:
            book.market = image.state
        if book.state == CLEAN:
            self._counters["images_unused"] += 1
        elif book.state == LOST and image.last_seq < book.min_last:
            self._stale(book, now_ns)
        elif book.state == LOST or image.last_seq == restore_at:
            self._load(book, image, now_ns)
        self._assess(book, now_ns)
        return True

    def _stale(self, book: SymbolBook, now_ns: int) -> None:
        self._counters["images_stale"] += 1
        if book.attempts < ATTEMPTS:  # afterwards at the pace of the timer
            self._ask(book, now_ns)

    def _load(self, book: SymbolBook, image: Snapshot, now_ns: int) -> None:
        silent = book.state == BLANK
        book.ladder.load(image.bids, image.asks)
        book.seq, book.covered = image.seq, image.last_seq
        book.state, book.deadline_ns, book.attempts, book.min_last = CLEAN, None, 0, 0
        self.lost.pop(book.symbol, None)
        self._say_image(book, image, now_ns)
        if silent:
            book.top = book.ladder.top()
            return
        self._publish(book, image.seq, image.ts_event, now_ns, FLAG_SNAPSHOT)
        pending, book.pending = book.pending, []
        for change, stamp_ns in pending:
            if book.state == CLEAN:
                self._change(book, change, stamp_ns)
            else:
                book.pending.append((change, stamp_ns))

    def status(self, status: Status, now_ns: int) -> bool:
        """Take a market state; False if its symbol is no instrument of ours."""
        book = self.learn(status.symbol, now_ns)
        if book is None:
            return False
        book.market, book.market_ts = status.state, status.ts_event
        self._assess(book, now_ns, status.ts_event)
        return True

    def status_image(self, status: Status, now_ns: int) -> bool:
        """Take a state without a new number, if it is new; False if it is a repetition."""
        book = self.learn(status.symbol, now_ns)
        if book is None or (book.market_ts is not None and status.ts_event <= book.market_ts):
            return False
        return self.status(status, now_ns)

    def set_gapped(self, gapped: bool, now_ns: int) -> None:
        """Say whether a hole is open, which makes every symbol's quality GAP."""
        if gapped != self._gapped:
            self._gapped = gapped
            for book in self.by_symbol.values():
                self._assess(book, now_ns)

    def _assess(self, book: SymbolBook, now_ns: int, ts_event: int | None = None) -> None:
        quality, reason = self._judge(book)
        if reason == book.quality:
            return
        book.quality = reason
        since = now_ns if ts_event is None else ts_event
        self._output.ticks.state(book.slot, since, now_ns, quality)
        self._output.status.append(
            venue=book.listed.mic,
            instrument=book.listed.instrument,
            ts_event=since,
            quality=quality,
            reason=reason,
        )

    def _judge(self, book: SymbolBook) -> tuple[str, str]:
        if self._gapped:
            return "GAP", "sequence_gap"
        if book.state == LOST:
            return "RESYNC", "image_awaited"
        if book.market is None and book.state == BLANK and not book.quality:
            return "", ""  # another process left a row, and nothing is known to have changed
        market = book.market or "OPEN"
        return _QUALITY[market], market.lower()

    def awaiting(self) -> bool:
        """Whether any image is still expected soon."""
        return any(book.awaited for book in self.lost.values())

    def next_timer_ns(self) -> int | None:
        return min((book.deadline_ns for book in self.lost.values() if book.deadline_ns is not None), default=None)

    def on_timer(self, now_ns: int) -> None:
        """Ask again for the images that did not come."""
        for book in self.lost.values():
            if book.deadline_ns is not None and now_ns >= book.deadline_ns:
                self._counters["images_late"] += 1
                self._ask(book, now_ns)
