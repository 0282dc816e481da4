"""The instruments of a session: whether their states follow each other, and what is done when they do not. Pure.

A packet is a whole state, so nothing has to be put together; what has to be watched is that states follow each other.
An instrument is in order, or AWAITED (its next state is taken as the image: nothing before it was seen), or it has a
`gap`: its counters ran backwards, so that one of two states is wrong, and a REST quote decides which. Packets that
come meanwhile are kept.

Trades are inferred: where the day's volume rose, that much traded, at the last price, at the time of the last trade.
One row may stand for several trades (FLAG_CONFLATED). What traded while an instrument was AWAITED gives no trade, for
nobody knows its price; it is counted in the gap.
"""

from collections import Counter
from collections.abc import Iterable

from connectors.mcx.constants import IMAGE_ATTEMPTS, PENDING_PACKETS, SECOND_NS
from connectors.mcx.instruments import Listing
from connectors.mcx.ledger import Gap, Ledger
from connectors.mcx.limits import PriceRange
from connectors.mcx.packets import Limits, Packet
from connectors.mcx.rows import Rows
from connectors.mcx.state import Instrument, date_of, day_of
from connectors.ticks import FeedOutput
from market.schemas import PRICE_SCALE
from market.sessions import is_open


class Instruments:
    """All instruments of a session.

    State: an Instrument a token; at most PENDING_PACKETS packets for one whose counters ran backwards.
    """

    def __init__(self, output: FeedOutput, rows: Rows, ledger: Ledger, counters: Counter[str], *, quotes: bool) -> None:
        self._output, self._rows, self._ledger = output, rows, ledger
        self._counters, self._quotes = counters, quotes
        self.by_token: dict[int, Instrument] = {}
        self.missed_lots = 0
        """What traded while instruments were awaited, since the last `await_all`."""

    # ---- what is listed

    def enlist(self, listings: Iterable[Listing], now_ns: int) -> tuple[list[int], list[int]]:
        """Take the instruments of a day; return tokens that are new, and those that are gone."""
        new = {listing.token: listing for listing in listings}
        gone = [token for token, known in self.by_token.items() if new.get(token) != known.listing]
        before = {token: self.by_token.pop(token) for token in gone}
        added = [token for token in new if token not in self.by_token]
        for token in added:
            instrument = self.by_token[token] = Instrument(new[token], self._output)
            instrument.wanted_ns = now_ns
            if token in before and before[token].listing.instrument == instrument.listing.instrument:
                instrument.prices.succeed(before[token].prices)
        return added, gone

    def expire(self, now_ns: int) -> list[int]:
        """Forget what expired before today; return its tokens."""
        today = date_of(now_ns)
        gone = [token for token, known in self.by_token.items() if known.listing.expiry < today]
        for token in gone:
            del self.by_token[token]
        return gone

    @property
    def awaiting(self) -> bool:
        """Whether any image is still to come."""
        return any(known.awaited for known in self.by_token.values())

    def await_all(self, now_ns: int) -> None:
        """A connection begins: the next state of each instrument is an image."""
        self.missed_lots = 0
        for known in self.by_token.values():
            known.wanted_ns, known.attempts = now_ns, 0

    def lose_all(self, now_ns: int) -> None:
        """A connection is gone: every book is to be distrusted."""
        for known in self.by_token.values():
            self._counters["pending_dropped"] += len(known.pending)
            known.pending.clear()
            known.awaited, known.number = True, None
            self._rows.distrust(known, now_ns)

    # ---- states

    def take(self, packet: Packet, now_ns: int) -> None:
        """Take a packet of the stream."""
        known = self.by_token.get(packet.token)
        if known is None:
            self._counters["unknown_instrument"] += 1
            self._ledger.unknown(packet.token, now_ns)
            return
        known.heard_ns = now_ns
        if known.quality == "STALE":
            self._assess(known, "LIVE", "ticking again", now_ns)
        if packet.number is not None and not self._is_next(known, packet, now_ns):
            return
        if known.awaited:
            self._apply(known, packet, now_ns, image=True)
        elif known.gap is not None:
            self._keep(known, packet, now_ns)
        elif reason := known.backwards(packet):
            self._run_backwards(known, packet, reason, now_ns)
        else:
            self._apply(known, packet, now_ns)

    # Whether the packet is to be taken; the broker numbers the packets of each token.
    def _is_next(self, known: Instrument, packet: Packet, now_ns: int) -> bool:
        assert packet.number is not None
        last, known.number = known.number, packet.number
        new_day = known.day is not None and day_of(packet.ts_event or now_ns) > known.day
        if last is None or packet.number == last + 1 or new_day:
            return True
        if packet.number <= last:
            known.number = last
            self._counters["repeated"] += 1
            return False
        self._counters["number_gaps"] += 1
        if not known.awaited:
            gap = self._new_gap(known, f"numbers {last + 1} to {packet.number - 1} are missing", now_ns)
            self._rows.distrust(known, now_ns)
            known.gap, known.awaited = gap, True
            self._ledger.gap(gap)
        return True

    def _run_backwards(self, known: Instrument, packet: Packet, reason: str, now_ns: int) -> None:
        self._counters["backwards"] += 1
        known.gap = self._new_gap(known, reason, now_ns)
        known.wanted_ns, known.attempts = now_ns, 0
        self._ledger.gap(known.gap)
        self._rows.distrust(known, now_ns)
        self._assess(known, "GAP", reason, now_ns)
        if self._quotes:
            self._keep(known, packet, now_ns)
        else:
            self._apply(known, packet, now_ns, image=True)  # nobody can be asked, and the newest state is the best

    def _new_gap(self, known: Instrument, reason: str, now_ns: int) -> Gap:
        seq_from = self._rows.last_seq + 1
        return Gap(
            channel=known.listing.instrument,
            seq_from=seq_from,
            seq_to=self._rows.next_seq(now_ns),
            ts_detected=now_ns,
            reason=reason,
        )

    def _keep(self, known: Instrument, packet: Packet, now_ns: int) -> None:
        if len(known.pending) >= PENDING_PACKETS:
            self._counters["pending_dropped"] += 1
            known.pending.pop(0)
        known.pending.append((packet, now_ns))
        if known.attempts >= IMAGE_ATTEMPTS:
            known.pending.clear()
            self._apply(known, packet, now_ns, image=True)

    # ---- images

    def wanted(self, before_ns: int, most: int) -> list[Instrument]:
        """Return instruments whose image has been wanted since before a time, longest first; then price ranges."""
        found = [
            known
            for known in self.by_token.values()
            if known.gap is not None or (known.awaited and known.wanted_ns <= before_ns)
        ]
        ranges = [
            known
            for known in self.by_token.values()
            if known.gap is None and not known.awaited and (known.range.wanted_ns or before_ns + 1) <= before_ns
        ]
        return [*sorted(found, key=lambda known: known.wanted_ns), *ranges][:most]

    def image(self, known: Instrument, packet: Packet | None, now_ns: int) -> None:
        """Take the REST quote of an instrument; None if the venue has no data for it."""
        if packet is None:
            if known.gap is None:
                known.awaited = False  # it has not traded: its first packet will tell all there is
                known.volume = known.volume or 0
                known.range.wanted_ns = None
            else:
                known.attempts = IMAGE_ATTEMPTS  # it cannot decide: the next packet will
        elif known.gap is not None and not known.awaited:
            self._decide(known, packet, now_ns)
        elif known.awaited:
            self._apply(known, packet, now_ns, image=True)
        elif packet.limits is not None:
            self._see_range(known, packet.limits, now_ns)
        else:
            known.range.wanted_ns = None  # it does not tell
            self._counters["quotes_unused"] += 1

    # One of two states was wrong. If the quote goes on from the older one, it was the newer: then nothing is missing.
    def _decide(self, known: Instrument, quote: Packet, now_ns: int) -> None:
        pending, known.pending = known.pending, []
        taken = 0
        if known.backwards(quote) and known.volume is not None and (quote.volume or 0) >= known.volume:
            known.ts_trade = known.ts_event = 0  # a clock was ahead: what was kept goes on from the volume
        if known.backwards(quote):
            self._apply(known, quote, now_ns, image=True)
        else:
            pending.append((quote, now_ns))
        for packet, stamp_ns in pending:
            if known.backwards(packet):
                self._counters["stale_packets"] += 1
            else:
                taken += 1
                self._apply(known, packet, stamp_ns)
        self._resolve(known, now_ns, taken)

    def failed(self, known: Instrument) -> None:
        """A REST quote did not come."""
        known.attempts += 1
        known.wanted_ns += 1  # others first

    def _resolve(self, known: Instrument, now_ns: int, recovered: int = 0) -> None:
        if known.gap is not None:
            self._ledger.gap(known.gap, now_ns, recovered=recovered)
            known.gap = None
            self._assess(known, "LIVE", "imaged", now_ns)

    def check_stale(self, now_ns: int, after_ns: int) -> None:
        """Say which instruments went quiet in their trading hours."""
        for known in self.by_token.values():
            if known.heard_ns is None or known.quality == "STALE" or now_ns - known.heard_ns <= after_ns:
                continue
            if is_open(known.listing.contract, known.heard_ns) and is_open(known.listing.contract, now_ns):
                self._assess(known, "STALE", f"silent for {after_ns // SECOND_NS} s", now_ns)

    def _assess(self, known: Instrument, quality: str, reason: str, now_ns: int) -> None:
        if known.quality != quality:
            known.quality = quality
            self._ledger.instrument(known.listing.instrument, quality, reason, now_ns, known.slot)

    def _apply(self, known: Instrument, packet: Packet, now_ns: int, *, image: bool = False) -> None:
        ts_event = packet.ts_event or now_ns
        day, seq = day_of(ts_event), self._rows.next_seq(now_ns)
        new_session = known.day is not None and day > known.day
        self._rows.close(known, packet, now_ns, new_session=new_session)
        before = 0 if new_session else known.volume
        if packet.volume is None:
            self._counters["without_volume"] += 1
        else:
            rise = 0 if before is None else packet.volume - before
            if image:
                self.missed_lots += max(0, rise) // PRICE_SCALE
            elif rise > 0:
                self._rows.trade(known, packet, rise, ts_event, now_ns, seq)
            known.volume = packet.volume
        known.ts_trade = packet.ts_trade or (known.ts_trade if known.day == day else 0)
        known.ts_event = packet.ts_event or known.ts_event  # our own clock says nothing of the venue's order
        known.range = known.range if known.day == day else PriceRange()
        known.day = day
        if packet.bids is not None and packet.asks is not None:
            self._rows.book(known, packet, packet.bids, packet.asks, ts_event, now_ns, seq)
        if image:
            known.awaited = False
            self._resolve(known, now_ns, 1)
        self._see_range(known, packet.limits, now_ns)

    # It trades on at a limit, so its quality is what it was.
    def _see_range(self, known: Instrument, told: Limits | None, now_ns: int) -> None:
        if not known.book_known:
            return
        news = known.range.see(known.bids, known.asks, known.prices.rule.tick or 0, told, now_ns)
        if news:
            self._ledger.instrument(known.listing.instrument, known.quality, news, now_ns)
