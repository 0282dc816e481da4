"""Messages of an ICE session -> rows, in the order in which the session applies them. Pure; knows no sequence."""

from collections import Counter
from collections.abc import Iterable

from connectors.errors import DecodeError, PriceRefused
from connectors.ice.books import Books
from connectors.ice.codec import Book, Bust, Refused, Sequenced, Status, Trade
from connectors.ice.constants import BOOK, TRADES
from connectors.ice.ledger import Ledger
from connectors.prices import rule_of
from connectors.ticks import FeedOutput
from market.schemas import FLAG_REPLAYED


class Rows:
    """Write what messages say. `session` is what the rows of the ledger name."""

    def __init__(
        self, channels: Iterable[str], books: Books, ledger: Ledger, output: FeedOutput, counters: Counter[str]
    ) -> None:
        self._books, self._ledger, self._ticks, self._counters = books, ledger, output.ticks, counters
        self._clocks: dict[str, int] = {name: 0 for name in channels if name in (TRADES, BOOK)}
        self._clock_sent = 0
        self.session: str | None = None

    def apply(self, message: Sequenced, stamp_ns: int) -> None:
        """Write a message that is next in its channel."""
        if isinstance(message, Book):  # most of them, hence first
            if not self._books.apply(message, stamp_ns):
                self._unlisted(message, stamp_ns)
        elif isinstance(message, Trade | Bust):
            self._trade(message, stamp_ns)
        elif isinstance(message, Status):
            if not self._books.status(message, stamp_ns):
                self._unlisted(message, stamp_ns)
        else:
            self._refused(message, stamp_ns)

    def _trade(self, trade: Trade | Bust, stamp_ns: int) -> None:
        book = self._books.by_symbol.get(trade.symbol) or self._books.learn(trade.symbol, stamp_ns)
        if book is None:
            self._unlisted(trade, stamp_ns)
            return
        ticks, flags = self._ticks, FLAG_REPLAYED if trade.replayed else 0
        if isinstance(trade, Bust):
            ticks.bust(book.slot, trade.ts_event, stamp_ns, trade.seq, trade.trade_id, flags)
            return
        _, seq, ts_event, price, size, side, trade_id, _, corrects = trade
        try:
            rule_of(book.listed.instrument, stamp_ns).check(price)
        except PriceRefused as refused:
            told = (trade.symbol, seq, refused.reason, refused.detail, repr(trade), trade.replayed)
            self._ledger.refused(self.session, Refused(TRADES, *told), stamp_ns)
            return
        if corrects:
            ticks.correction(book.slot, ts_event, stamp_ns, seq, price, size, side, str(trade_id), flags)
        else:
            ticks.trade(book.slot, ts_event, stamp_ns, seq, price, size, side, trade_id, flags)

    def _refused(self, message: Refused, stamp_ns: int) -> None:
        self._ledger.refused(self.session, message, stamp_ns)
        book = None if message.symbol is None else self._books.learn(message.symbol, stamp_ns)
        if message.channel == BOOK and book is not None:
            self._books.lose(book, message.seq, stamp_ns)

    def _unlisted(self, message: Sequenced, stamp_ns: int) -> None:
        self._counters["unknown_instrument"] += 1
        self._ledger.unknown(self.session, message, stamp_ns)

    def malformed(self, error: DecodeError, frame: bytes, now_ns: int) -> None:
        """Write a frame that is no message."""
        self._counters["malformed"] += 1
        self._ledger.malformed(self.session, error, frame, now_ns)

    def promise(self, channel: str, ts: int, now_ns: int) -> None:
        """Take a channel's word that nothing up to `ts` is still to come on it.

        A clock row needs that of both channels: what one has not heard may still come on it.
        """
        if channel not in self._clocks:
            return
        self._clocks[channel] = max(self._clocks[channel], ts)
        clock = min(self._clocks.values())
        if clock > self._clock_sent:
            self._clock_sent = clock
            for slot in self._books.clock_slots.values():
                self._ticks.clock(slot, clock, now_ns)
