"""The trades, quotes and changes of depth that come of an instrument's states. Pure.

A value that must not become a row goes to the rejected ledger, once as long as it stays the same: a state is sent again
with every change of something else.
"""

from collections import Counter

from connectors.errors import ValueRefused
from connectors.mcx.ledger import Ledger
from connectors.mcx.packets import Level, Packet
from connectors.mcx.state import Instrument, Levels, Top
from connectors.ticks import DepthRow, FeedOutput, check_trade
from market.schemas import (
    BUY,
    DELETE,
    DIRTY,
    FLAG_CONFLATED,
    FLAG_SNAPSHOT,
    IMAGE,
    PRICE_LIMIT,
    PRICE_SCALE,
    SELL,
    SET,
    UNKNOWN_SIDE,
)


class Rows:
    """Write the rows of instruments; `last_seq` numbers packets over all of them."""

    def __init__(self, output: FeedOutput, ledger: Ledger, counters: Counter[str], last_seq: int) -> None:
        self._output, self._ledger, self._counters = output, ledger, counters
        self.last_seq = last_seq

    def next_seq(self, now_ns: int) -> int:
        """Number a packet: rising over restarts, with nothing to be kept for it."""
        self.last_seq = max(self.last_seq + 1, now_ns)
        return self.last_seq

    def distrust(self, known: Instrument, now_ns: int) -> None:
        """Say that a book is not to be trusted until its next image."""
        if known.book_known:
            known.book_known = False
            seq = self.next_seq(now_ns)
            self._output.depth.change(known.depth_slot, known.ts_event or now_ns, now_ns, seq, DIRTY, last=True)

    def trade(self, known: Instrument, packet: Packet, size: int, ts_event: int, now_ns: int, seq: int) -> None:
        price = packet.last_price
        try:
            if price is None:
                raise ValueRefused("missing_field", f"{size // PRICE_SCALE} lots traded without a price")
            check_trade(price, size)
            known.prices.check(price)
        except ValueRefused as refused:
            known.refusal = ""  # each trade that is refused is a row
            self._refuse(known, refused, packet, now_ns)
            return
        known.prices.took(price)
        flags = 0 if size == packet.last_size else FLAG_CONFLATED
        ts_trade = packet.ts_trade or ts_event
        self._output.ticks.trade(known.slot, ts_trade, now_ns, seq, price, size, UNKNOWN_SIDE, None, flags)

    def close(self, known: Instrument, packet: Packet, now_ns: int, *, new_session: bool) -> None:
        """Take the previous session's close. One that changes within a session is told."""
        if packet.close is None:
            return
        news = known.prices.see_close(packet.close, new_session=new_session)
        if news:
            self._counters["closes_changed"] += 1
            self._ledger.instrument(known.listing.instrument, known.quality, news, now_ns)

    def _refuse(self, known: Instrument, refused: ValueRefused, packet: Packet, now_ns: int) -> None:
        self._counters["refused"] += 1
        if refused.detail != known.refusal:  # a state is sent again with every change of something else
            known.refusal = refused.detail
            self._ledger.rejected(known.listing.instrument, refused.reason, refused.detail, packet, now_ns)

    def book(
        self,
        known: Instrument,
        packet: Packet,
        bids: Levels,
        asks: Levels,
        ts_event: int,
        now_ns: int,
        seq: int,
    ) -> None:
        if known.book_known and bids == known.bids and asks == known.asks:
            return
        try:
            for price, size, _ in self._unchecked(known, bids, asks):
                if not -PRICE_LIMIT < price < PRICE_LIMIT or not 0 < size < PRICE_LIMIT:
                    raise ValueRefused("out_of_range", f"level of price {price}e-9, size {size}e-9")
                known.prices.check(price)
        except ValueRefused as refused:
            self._refuse(known, refused, packet, now_ns)
            return
        flags = 0 if known.book_known else FLAG_SNAPSHOT
        self._depth(known, bids, asks, ts_event, now_ns, seq)
        known.bids, known.asks, known.book_known, known.book_reference = bids, asks, True, known.prices.reference
        top: Top = (*(bids[0][:2] if bids else (None, None)), *(asks[0][:2] if asks else (None, None)))
        if top != known.top:
            known.top = top
            if bids and asks and bids[0][0] >= asks[0][0]:
                self._counters["crossed_or_locked"] += 1
            self._output.ticks.quote(known.slot, ts_event, now_ns, seq, *top, flags)

    # What was in the last book has passed, by the same reference.
    @staticmethod
    def _unchecked(known: Instrument, bids: Levels, asks: Levels) -> list[Level]:
        if not known.book_known or known.prices.reference != known.book_reference:
            return [*bids, *asks]
        sides = ((bids, known.bids), (asks, known.asks))
        return [level for new, old in sides if new is not old for level in new if level not in old]

    # The changes since the last image; all of it after an instrument was distrusted.
    def _depth(self, known: Instrument, bids: Levels, asks: Levels, ts_event: int, now_ns: int, seq: int) -> None:
        rows: list[DepthRow] = []
        old_bids, old_asks = known.bids, known.asks
        if not known.book_known:
            rows.append((IMAGE, None, None, None, None, None, None))
            old_bids = old_asks = ()
        for side, old, new in ((BUY, old_bids, bids), (SELL, old_asks, asks)):
            if old is new:
                continue
            prices = {level[0] for level in new}
            rows += [(DELETE, side, None, None, level[0], None, None) for level in old if level[0] not in prices]
            rows += [(SET, side, None, None, *level) for level in new if level not in old]
        self._output.depth.changes(known.depth_slot, ts_event, now_ns, seq, rows)
