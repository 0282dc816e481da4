"""The books of a session: ladders, images, what of them is published, and how far each can be trusted. Pure.

A book is clean, or it is dirty and waits for an image. While it is dirty its changes are kept, and those the image
does not cover are applied on top of it. A book that turns dirty says so in the depth (DIRTY), and again when it is
whole (IMAGE); its quality goes to `status` and, in the order of the rows, to the ticks (STATE).

Changes are ordered by RptSeq of their instrument where the dialect has it, else by MsgSeqNum of their message.
"""

from collections import Counter
from typing import Final

from connectors.cme.constants import (
    ATTEMPTS,
    CROSSED_HOLD_NS,
    IMAGE_PAUSE_NS,
    IMAGE_TIMEOUT_NS,
    ODD_CHANGES,
    PENDING_CHANGES,
)
from connectors.cme.dialects import LEVELS, RPT_SEQ, Dialect
from connectors.cme.ladder import EMPTY, Change, EntryLadder, Ladder, LevelLadder, Top
from connectors.ticks import DepthRow, FeedOutput, Slot
from market.instruments import InstrumentMaster, venue_of
from market.schemas import DIRTY, FLAG_SNAPSHOT, IMAGE

Quality = tuple[str, str]
"""(one of QUALITIES, reason)."""

OPEN: Final[Quality] = ("LIVE", "open")


class Update:
    """The changes of one message to one book."""

    __slots__ = ("changes", "order", "seq", "stamp_ns", "ts_event")

    def __init__(self, seq: int, ts_event: int, stamp_ns: int, order: int) -> None:
        self.seq, self.ts_event, self.stamp_ns, self.order = seq, ts_event, stamp_ns, order
        self.changes: list[Change] = []


class Book:
    """One instrument: its ladder, what of it was published, its market state."""

    __slots__ = (
        "attempts", "crossed_ns", "deadline_ns", "depth_slot", "dirty", "ladder", "last_trade_id", "limits",
        "market", "mic", "name", "order", "pending", "quality", "quality_ns", "refusal", "slot", "top",
    )  # fmt: skip

    def __init__(self, name: str, slot: Slot, depth_slot: Slot, ladder: Ladder) -> None:
        self.name, self.slot, self.depth_slot, self.ladder = name, slot, depth_slot, ladder
        self.mic = venue_of(name)
        self.dirty = False
        self.top: Top = EMPTY
        self.order = 0  # changes up to here are in the ladder
        self.pending: list[Update] = []
        self.attempts = 0
        self.deadline_ns: int | None = None  # of the image that was asked for
        self.crossed_ns: int | None = None
        self.market = OPEN
        self.limits: tuple[int | None, int | None] = (None, None)  # low, high
        self.quality: Quality = ("", "")
        self.quality_ns = 0  # ts_event of its row
        self.refusal: Quality | None = None
        self.last_trade_id: bytes | None = None


class Books:
    """All books of a session.

    State: one ladder an instrument; at most PENDING_CHANGES messages for each that waits for its image.
    """

    def __init__(self, dialect: Dialect, depth: int, output: FeedOutput, counters: Counter[str]) -> None:
        self._levels, self._depth = dialect.book == LEVELS, depth
        self._numbered = dialect.image_order == RPT_SEQ
        self._output, self._counters = output, counters
        self.all: dict[str, Book] = {}
        self.clock_slots: dict[tuple[str, str], Slot] = {}
        self.awaited: dict[str, Book] = {}
        """Dirty books; `due` says which images to ask for."""
        self._crossed: dict[str, Book] = {}
        self._gapped = False

    def learn(self, name: str) -> Book:
        """Return the book of an instrument, new if need be."""
        book = self.all.get(name)
        if book is None:
            mic, commodity = venue_of(name), InstrumentMaster.load().commodity_of(name)
            ladder: Ladder = LevelLadder(self._depth) if self._levels else EntryLadder()
            slot, depth_slot = (
                self._output.ticks.slot(commodity, mic, name),
                self._output.depth.slot(commodity, mic, name),
            )
            book = self.all[name] = Book(name, slot, depth_slot, ladder)
            if (commodity, mic) not in self.clock_slots:
                self.clock_slots[commodity, mic] = self._output.ticks.slot(commodity, mic)
        return book

    # ---- changes and images

    def update(self, book: Book, update: Update) -> None:
        """Apply the changes of one message, all or none."""
        if book.dirty:
            self._keep(book, update)
        elif update.order <= book.order:
            self._counters["changes_covered"] += 1
        elif self._numbered and update.order != book.order + 1:
            self._counters["rpt_breaks"] += 1
            self.distrust(book, update.stamp_ns)
            self._keep(book, update)
        else:
            self._apply(book, update)

    def _apply(self, book: Book, update: Update) -> None:
        rows: list[DepthRow] = []
        for change in update.changes:
            said = book.ladder.apply(change)
            if said is None:
                self._counters["ladder_breaks"] += 1
                self.distrust(book, update.stamp_ns)
                return
            rows += said
        if book.ladder.odd >= ODD_CHANGES:
            self.distrust(book, update.stamp_ns)
            return
        book.order = update.order
        self._say(book, update, rows)
        self._publish(book, update, 0)

    def _say(self, book: Book, update: Update, rows: list[DepthRow]) -> None:
        self._output.depth.changes(book.depth_slot, update.ts_event, update.stamp_ns, update.seq, rows)

    def _keep(self, book: Book, update: Update) -> None:
        if len(book.pending) >= PENDING_CHANGES:
            self._counters["pending_dropped"] += len(book.pending)
            book.pending.clear()
        book.pending.append(update)

    def image(self, book: Book, image: Update) -> None:
        """Replace a book by an image, unless it is older than what is known."""
        first_kept = book.pending[0].order if book.pending and self._numbered else 0
        if image.order < book.order or (not book.dirty and image.order == book.order) or image.order < first_kept - 1:
            self._counters["images_stale"] += 1
            return
        rows = book.ladder.load(image.changes)
        if rows is None:
            self._counters["images_refused"] += 1
            return
        book.order, book.dirty, book.deadline_ns, book.attempts = image.order, False, None, 0
        self.awaited.pop(book.name, None)
        self._output.depth.change(book.depth_slot, image.ts_event, image.stamp_ns, image.seq, IMAGE, last=not rows)
        self._say(book, image, rows)
        self._publish(book, image, FLAG_SNAPSHOT)
        pending, book.pending = book.pending, []
        for update in pending:
            if book.dirty or update.order > image.order:
                self.update(book, update)
        self.assess(book, image.stamp_ns, image.stamp_ns)

    def distrust(self, book: Book, now_ns: int) -> None:
        """Do not trust a book before an image came. Its changes are kept from now on."""
        if not book.dirty:
            book.dirty, book.attempts, book.deadline_ns = True, 0, now_ns
            self.awaited[book.name] = book
            self._crossed.pop(book.name, None)
            book.crossed_ns = None
            self._output.depth.change(book.depth_slot, now_ns, now_ns, None, DIRTY, last=True)
            self.assess(book, now_ns, now_ns)

    def refuse(self, book: Book, reason: str, now_ns: int) -> None:
        """The venue will not send an instrument: wait for nothing."""
        book.refusal = ("STALE", reason)
        book.dirty, book.deadline_ns = False, None
        self.awaited.pop(book.name, None)
        self.assess(book, now_ns, now_ns)

    def distrust_all(self, now_ns: int, *, counts_anew: bool = False) -> None:
        """Something is missing that could be any book's; with `counts_anew` the venue's numbers are new too."""
        for book in self.all.values():
            book.pending.clear()
            if counts_anew:
                book.order = 0
            book.refusal = None
            if book.dirty:
                book.attempts, book.deadline_ns = 0, now_ns
            self.distrust(book, now_ns)

    def expect(self, now_ns: int) -> None:
        """Images are on their way, with the subscription: do not ask for them yet."""
        for book in self.awaited.values():
            book.attempts, book.deadline_ns = 1, now_ns + IMAGE_TIMEOUT_NS

    # ---- top of book

    def _publish(self, book: Book, update: Update, flags: int) -> None:
        top = book.ladder.top()
        bid, ask = top[0], top[2]
        if bid is not None and ask is not None and bid >= ask:
            self._hold_crossed(book, update.stamp_ns)
            return
        if book.crossed_ns is not None:
            book.crossed_ns = None
            self._crossed.pop(book.name, None)
        if top != book.top:
            book.top = top
            self._output.ticks.quote(book.slot, update.ts_event, update.stamp_ns, update.seq, *top, flags)
            if book.limits != (None, None):
                self.assess(book, update.stamp_ns, update.stamp_ns)

    # Legal before the open and in an auction; while it trades a moment of it is, but no quote to reckon with.
    def _hold_crossed(self, book: Book, now_ns: int) -> None:
        self._counters["crossed_or_locked"] += 1
        if book.crossed_ns is None:
            book.crossed_ns = now_ns
            self._crossed[book.name] = book

    # ---- quality

    def set_gapped(self, gapped: bool, now_ns: int) -> None:
        """Say whether a hole is open, which makes every instrument's quality GAP."""
        if gapped != self._gapped:
            self._gapped = gapped
            for book in self.all.values():
                self.assess(book, now_ns, now_ns)

    def assess(self, book: Book, ts_event: int, now_ns: int) -> None:
        """Write an instrument's quality if it changed, always later in time than the one before."""
        quality = self._judge(book)
        if quality != book.quality:
            ts_event = book.quality_ns = max(ts_event, book.quality_ns + 1)
            book.quality = quality
            self._output.ticks.state(book.slot, ts_event, now_ns, quality[0])
            self._output.status.append(
                venue=book.mic, instrument=book.name, ts_event=ts_event, quality=quality[0], reason=quality[1]
            )

    def _judge(self, book: Book) -> Quality:
        if book.refusal is not None:
            return book.refusal
        if self._gapped:
            return "GAP", "sequence_gap"
        if book.dirty:
            return "RESYNC", "image_awaited"
        if book.market == OPEN:
            (low, high), (bid, _, ask, _) = book.limits, book.top
            if high is not None and ask is None and bid is not None and bid >= high:
                return "HALTED", "limit_up"  # it trades, but at the limit only: nothing to derive a price from
            if low is not None and bid is None and ask is not None and ask <= low:
                return "HALTED", "limit_down"
        return book.market

    # ---- time

    def next_timer_ns(self) -> int | None:
        """Return when an image is overdue, or a crossed book has been crossed for too long."""
        due = [book.deadline_ns for book in self.awaited.values() if book.deadline_ns is not None]
        due += [book.crossed_ns + CROSSED_HOLD_NS for book in self._crossed.values() if book.crossed_ns is not None]
        return min(due, default=None)

    def due(self, now_ns: int) -> list[str]:
        """Return the instruments whose image is to be asked for now, and reckon with the answer."""
        self._drop_crossed(now_ns)
        names = []
        for book in self.awaited.values():
            if book.deadline_ns is not None and now_ns >= book.deadline_ns:
                self._counters["images_late"] += book.attempts > 0
                book.attempts += 1
                pause = IMAGE_TIMEOUT_NS if book.attempts <= ATTEMPTS else IMAGE_PAUSE_NS
                book.deadline_ns = now_ns + pause
                names.append(book.name)
        return names

    def disconnect(self) -> None:
        """Requests died with the socket."""
        for book in self.awaited.values():
            book.deadline_ns = None
        self._crossed.clear()

    def _drop_crossed(self, now_ns: int) -> None:
        for name, book in list(self._crossed.items()):
            if book.crossed_ns is not None and now_ns >= book.crossed_ns + CROSSED_HOLD_NS:
                del self._crossed[name]
                book.crossed_ns = None
                if book.market == OPEN:
                    self._counters["crossed_dirty"] += 1
                    self.distrust(book, now_ns)
