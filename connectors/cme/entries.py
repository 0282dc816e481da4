"""Market data entries -> trades, book changes and images of the log. Pure.

A message is one atomic change: what it says of a book is applied at its end, all or none. An entry with a value that
cannot be is skipped, goes to the ledger, and has the message rejected; its book is distrusted.
"""

from collections import Counter

from connectors.cme import constants as cme
from connectors.cme.books import Book, Books, Update
from connectors.cme.codec import RawEntry, entry_time, plan_of, side_of
from connectors.cme.dialects import RPT_SEQ, Dialect
from connectors.cme.ledger import Ledger
from connectors.errors import PriceRefused, ValueRefused
from connectors.fix.constants import BAD_FORMAT, MSG_SEQ_NUM, REQUIRED_TAG_MISSING, SENDING_TIME, VALUE_INCORRECT
from connectors.fix.header import Fault
from connectors.fix.message import Message
from connectors.fix.values import parse_count, parse_decimal, parse_small, parse_time
from connectors.prices import rule_of
from connectors.ticks import FeedOutput, check_trade
from market.schemas import FLAG_REPLAYED

_HALF_DAY_NS = 12 * 3600 * cme.SECOND_NS


class Entries:
    """Apply W and X messages to the books and the output."""

    def __init__(
        self, dialect: Dialect, books: Books, ledger: Ledger, output: FeedOutput, counters: Counter[str]
    ) -> None:
        self._dialect, self._books, self._ledger = dialect, books, ledger
        self._ticks, self._counters = output.ticks, counters
        self._symbol = dialect.symbol
        self._numbered = dialect.image_order == RPT_SEQ
        self.by_symbol: dict[RawEntry, Book] = {}
        self.session = ""

    # ---- X

    def incremental(self, message: Message) -> Fault | None:
        """Apply an incremental refresh; return what is to be rejected in it."""
        plan = plan_of(message.layout, self._symbol)
        values: list[bytes | None] = [*message.values, None]
        fault: Fault | None = None
        touched: dict[Book, Update] = {}
        symbol: RawEntry = ()
        book: Book | None = None
        kind: bytes | None = None
        for row, pick in enumerate(plan.picks):
            entry = pick(values)
            if plan.own_symbol[row]:
                symbol = entry[17:]
                book = self.by_symbol.get(symbol)
            kind = entry[1] or kind
            try:
                if book is None:
                    self._unknown(message, kind, symbol, row)
                elif kind == cme.BID or kind == cme.OFFER:
                    self._collect(message, book, entry, kind, touched)
                else:
                    self._other(message, book, entry, kind, touched)
            except ValueRefused as refused:
                fault = fault or self._skip(message, book, entry, kind, refused, row)
        if message.poss_dup:
            self._counters["stale_changes"] += len(touched)  # of before the hole: the image is newer
            return fault
        for book, update in touched.items():
            self._books.update(book, update)
        return fault

    def _other(
        self, message: Message, book: Book, entry: RawEntry, kind: bytes | None, touched: dict[Book, Update]
    ) -> None:
        if kind == cme.TRADE:
            self._trade(message, book, entry)
        elif kind == cme.EMPTY_BOOK:
            touched.pop(book, None)
            if not message.poss_dup:
                self._books.image(book, self._empty(message, book, entry))
        elif kind not in cme.OTHER_ENTRY_TYPES:
            raise ValueRefused("unparseable", f"MDEntryType {kind!r}")

    def _collect(self, message: Message, book: Book, entry: RawEntry, kind: bytes, into: dict[Book, Update]) -> None:
        update = into.get(book)
        if update is None:
            order = parse_count(entry[16]) if self._numbered else message.seq
            update = into[book] = Update(message.seq, self._time(message, entry), message.stamp_ns, order)
        action, position, price, size, orders = entry[0], entry[4] or entry[5], entry[6], entry[7], entry[8]
        if action not in cme.ACTIONS:
            raise ValueRefused("unparseable", f"MDUpdateAction {action!r}")
        entry_id = entry[3] or entry[2]
        update.changes.append(
            (
                action,
                kind == cme.BID,
                parse_small(position) if position else None,
                entry_id.decode("utf-8", "replace") if entry_id else None,
                parse_decimal(price) if price else None,
                parse_decimal(size) if size else None,
                parse_small(orders) & 0x7FFFFFFF if orders else None,
            )
        )

    def _empty(self, message: Message, book: Book, entry: RawEntry) -> Update:
        order = parse_count(entry[16]) if self._numbered else message.seq
        return Update(message.seq, self._time(message, entry), message.stamp_ns, max(order, book.order))

    def _skip(
        self, message: Message, book: Book | None, entry: RawEntry, kind: bytes | None, refused: ValueRefused, row: int
    ) -> Fault | None:
        self._counters["entries_skipped"] += 1
        name = None if book is None else book.name
        self._ledger.refused(self.session, message, refused.reason, refused.detail, row, name)
        if book is not None and kind != cme.TRADE:
            self._books.distrust(book, message.stamp_ns)
        if isinstance(refused, PriceRefused):
            return None  # the message is as it must be, and the others of its entries count
        if kind is None or (kind not in (cme.BID, cme.OFFER, cme.TRADE) and kind not in cme.OTHER_ENTRY_TYPES):
            return VALUE_INCORRECT, 269
        if entry[0] not in cme.ACTIONS:
            return VALUE_INCORRECT, 279
        return (REQUIRED_TAG_MISSING if refused.reason == "missing_field" else BAD_FORMAT), 270

    def _unknown(self, message: Message, kind: bytes | None, symbol: RawEntry, row: int) -> None:
        self._counters["unknown_instrument"] += 1
        if kind == cme.TRADE or self._ledger.is_new_symbol(symbol):
            self._ledger.refused(self.session, message, "unknown_instrument", f"symbol {symbol!r}", row)

    # ---- trades

    def _trade(self, message: Message, book: Book, entry: RawEntry) -> None:
        action, conditions = entry[0] or cme.NEW, (entry[12] or b"").split()
        if action not in (cme.NEW, cme.CHANGE, cme.DELETE):
            raise ValueRefused("unparseable", f"MDUpdateAction {action!r} of a trade")
        own = entry[13] or entry[2]
        raw_id = own if action == cme.NEW and not conditions else entry[3] or own
        trade_id = None if raw_id is None else raw_id.decode("utf-8", "replace")
        ts_event = self._time(message, entry)
        flags = FLAG_REPLAYED if message.poss_dup else 0
        at = (book.slot, ts_event, message.stamp_ns, message.seq)
        if action == cme.DELETE or cme.TRADE_CANCELLED in conditions:
            if trade_id is None:
                raise ValueRefused("missing_field", "the id of the trade that is busted")
            self._ticks.bust(*at, trade_id, flags)
            return
        if entry[6] is None or entry[7] is None:
            raise ValueRefused("missing_field", "price or size of a trade")
        price, size, side = parse_decimal(entry[6]), parse_decimal(entry[7]), side_of(entry[14] or entry[15])
        if side is None:
            raise ValueRefused("unparseable", f"AggressorSide {entry[14] or entry[15]!r}")
        check_trade(price, size)
        rule_of(book.name, message.stamp_ns).check(price)
        if action == cme.CHANGE or cme.TRADE_ADJUSTED in conditions:
            if trade_id is None:
                raise ValueRefused("missing_field", "the id of the trade that is corrected")
            self._ticks.correction(*at, price, size, side, trade_id, flags)
        else:
            self._ticks.trade(*at, price, size, side, trade_id, flags)

    # ---- W

    def image(self, message: Message) -> Fault | None:
        """Take a full refresh; return what is to be rejected in it."""
        plan = plan_of(message.layout, self._symbol)
        values: list[bytes | None] = [*message.values, None]
        symbol = plan.symbol(values)[:-1]
        book = self.by_symbol.get(symbol)
        if book is None:
            self._unknown(message, None, symbol, 0)
            return None
        image: Update | None = None
        for row, pick in enumerate(plan.picks):
            entry = (cme.NEW, *pick(values)[1:])
            try:
                image = image or Update(message.seq, self._time(message, entry), message.stamp_ns, self._order(message))
                self._image_entry(message, book, entry, image)
            except ValueRefused as refused:
                fault = self._skip(message, book, entry, entry[1], refused, row)
                if fault is not None:
                    return fault
        # The image of a trades subscription is the last trade, which was told when it happened.
        if not message.poss_dup and not message.text(262).startswith("T/"):
            image = image or Update(message.seq, message.sending_ns, message.stamp_ns, self._order(message))
            image.changes = [change for change in image.changes if change[5] != 0]
            self._books.image(book, image)
        return None

    def _image_entry(self, message: Message, book: Book, entry: RawEntry, image: Update) -> None:
        kind = entry[1]
        if kind == cme.BID or kind == cme.OFFER:
            self._collect(message, book, entry, kind, {book: image})
        elif kind == cme.TRADE:
            self._last_trade(message, book, entry)
        elif kind not in cme.OTHER_ENTRY_TYPES and kind != cme.EMPTY_BOOK:
            raise ValueRefused("unparseable", f"MDEntryType {kind!r}")

    # Where every change is an image, a trade is told by the entry for it; the first image's was told before.
    def _last_trade(self, message: Message, book: Book, entry: RawEntry) -> None:
        if self._dialect.incremental:
            return
        trade_id = entry[13] or entry[2]
        if trade_id is not None and trade_id != book.last_trade_id:
            known, book.last_trade_id = book.last_trade_id, trade_id
            if known is not None:
                self._trade(message, book, entry)

    def _order(self, message: Message) -> int:
        tag = self._dialect.image_order
        raw = message.get(tag or MSG_SEQ_NUM)
        return message.seq if raw is None and not self._numbered else parse_count(raw)

    # ---- f, h

    def security_status(self, message: Message) -> Fault | None:
        """Take the trading status of an instrument."""
        symbol = plan_of(message.layout, self._symbol).symbol([*message.values, None])[:-1]
        book = self.by_symbol.get(symbol)
        if book is None:
            self._unknown(message, None, symbol, 0)
            return None
        status = message.get(326)
        try:
            low, high = message.get(333), message.get(332)
            limits = (parse_decimal(low) if low else None, parse_decimal(high) if high else None)
            ts_event = self._time(message, (None,) * 17)
        except ValueRefused as refused:
            self._ledger.refused(self.session, message, refused.reason, refused.detail, 0, book.name)
            return BAD_FORMAT, 332
        if status is not None and status not in cme.QUALITY_BY_TRADING_STATUS:
            self._ledger.refused(
                self.session, message, "unparseable", f"SecurityTradingStatus {status!r}", 0, book.name
            )
            return VALUE_INCORRECT, 326
        if limits != (None, None):
            book.limits = limits
        if status is not None:
            book.market = cme.QUALITY_BY_TRADING_STATUS[status]
        self._books.assess(book, ts_event, message.stamp_ns)
        return None

    def session_status(self, message: Message) -> Fault | None:
        """Take the status of a trading session: that of the exchange it names, or of all."""
        quality = cme.QUALITY_BY_SESSION_STATUS.get(message.get(340) or b"")
        if quality is None:
            self._ledger.refused(self.session, message, "unparseable", f"TradSesStatus {message.get(340)!r}")
            return VALUE_INCORRECT, 340
        mic = message.text(336)
        books = [book for book in self._books.all.values() if book.mic == mic] or list(self._books.all.values())
        ts_event = self._time(message, (None,) * 17)
        for book in books:
            book.market = quality
            self._books.assess(book, ts_event, message.stamp_ns)
        return None

    # When an entry happened: its own date and time, its or the message's TransactTime, else when it was sent.
    def _time(self, message: Message, entry: RawEntry) -> int:
        date, time = entry[9], entry[10]
        if time is None:
            transact = entry[11] or message.get(60)
            return message.sending_ns if transact is None else parse_time(transact)
        if date is not None:
            return entry_time(date, time)
        sent = message.values[message.layout.at[SENDING_TIME]]
        ts_event = entry_time(sent[:8], time)
        return ts_event - 2 * _HALF_DAY_NS if ts_event > message.sending_ns + _HALF_DAY_NS else ts_event
