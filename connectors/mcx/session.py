"""A session with a broker of MCX: subscription, images, what was lost. A state machine without clock or I/O.

Nothing is numbered and nothing is replayed, so a connection that ends is always a gap: from the last row to the moment
at which every instrument has its image again, from its first packet or from a REST quote. `positions()` says no
`session`, because none can be resumed; it carries the last number and the open gaps to the next process.

What the transport and the REST client have to do is asked for with `to_send` and `quotes_wanted`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from connectors.feed import Positions
from connectors.mcx.config import McxConfig
from connectors.mcx.constants import (
    AUTH_RETRY_CAP_S,
    AUTH_RETRY_S,
    CLOCK_EVERY_NS,
    CLOCK_MARGIN_NS,
    HTTP_FORBIDDEN,
    HTTP_UNAUTHORIZED,
    IMAGE_WAIT_NS,
    MIC,
    QUOTE_BATCH,
    SECOND_NS,
    UNASKED_WAIT_NS,
)
from connectors.mcx.images import Instruments
from connectors.mcx.instruments import Listing
from connectors.mcx.ledger import ALL, Gap, Ledger, OpenGaps
from connectors.mcx.packets import Broker, Frame, Packet
from connectors.mcx.rows import Rows
from connectors.ticks import FeedOutput

_TIMER_NS: Final = SECOND_NS // 4
_VENUE_AHEAD_NS: Final = 5 * SECOND_NS  # a stamp further ahead is wrong, and no measure of the venue's time


class Session:
    """One session, over as many sockets as it takes.

    State: an Instrument a token (connectors/mcx/images.py).
    Delivery: each packet once while connected; a row in `gaps` for each time in which nobody listened.
    """

    def __init__(self, config: McxConfig, broker: Broker, output: FeedOutput, resume: Positions | None = None) -> None:
        self._config, self._broker, self._output = config, broker, output
        self.counters: Counter[str] = Counter()
        self._ledger = Ledger(output, broker.name)
        last_seq = int((resume or {}).get("seq", 0))
        quotes = broker.has_quotes
        self._rows = Rows(output, self._ledger, self.counters, last_seq)
        self.instruments = Instruments(output, self._rows, self._ledger, self.counters, quotes=quotes)
        self._requests: list[bytes] = []
        self._open = False
        self.lost: str | None = None
        self._refused = 0  # connections in a row that were refused for the credentials
        self._gaps = OpenGaps(self._ledger, (resume or {}).get("gaps", "[]"))
        self._restarted_from = last_seq
        self._opened_ns = 0
        self._timer_ns = 0
        self._keepalive_ns = 0
        self._venue_time: tuple[int, int] | None = None  # newest stamp of the venue, and when it came
        self._clock_sent = 0

    # ---- positions

    def positions(self) -> dict[str, int | str]:
        """Return where the rows stand, for the next process."""
        positions: dict[str, int | str] = {"seq": self._rows.last_seq}
        gaps = [*self._gaps, *(known.gap for known in self.instruments.by_token.values() if known.gap is not None)]
        if gaps:
            positions["gaps"] = orjson.dumps([gap.fields() for gap in gaps]).decode()
        return positions

    # ---- what is listed

    def enlist(self, listings: Sequence[Listing], now_ns: int) -> None:
        """Take the instruments of a day: subscribe what is new, leave what is gone."""
        wanted = [listing for listing in listings if self._is_wanted(listing)]
        taken, over = wanted[: self._broker.max_tokens], wanted[self._broker.max_tokens :]
        if over:
            self.counters["over_limit"] += len(over)
            self._ledger.venue("LIVE", f"{len(over)} instruments over the limit of a connection", now_ns)
        added, gone = self.instruments.enlist(taken, now_ns)
        for listing in taken:
            if listing.commodity not in self._ledger.clocks:
                self._ledger.clocks[listing.commodity] = self._output.ticks.slot(listing.commodity, MIC)
        if self._open:
            self._requests += self._broker.unsubscribe(gone) if gone else []
            self._requests += self._broker.subscribe(added) if added else []

    def _is_wanted(self, listing: Listing) -> bool:
        return not self._config.roots or listing.instrument.split(":")[1] in self._config.roots

    def unlisted(self, reason: str, now_ns: int) -> None:
        """The instruments cannot be had: without them nothing can be subscribed."""
        self._ledger.venue("STALE", f"no instruments: {reason}"[:300], now_ns)

    # ---- events

    def on_open(self, now_ns: int) -> None:
        """The socket is open: subscribe everything, for the broker remembers nothing."""
        self._open, self.lost, self._refused = True, None, 0
        self._opened_ns = self._timer_ns = now_ns
        self._keepalive_ns = now_ns + (self._broker.keepalive_ns or 0)
        self._venue_time = None
        self._requests.clear()
        self._requests += self._broker.subscribe(list(self.instruments.by_token))
        self.instruments.await_all(now_ns)
        if self._restarted_from and not self._gaps:  # an open gap goes on until the images are here
            self._gap_since(self._restarted_from, "restart", now_ns)
            self._restarted_from = 0
        self._ledger.venue("RESYNC", "images awaited", now_ns)
        self._resolve(now_ns)

    def on_close(self, code: int | None, now_ns: int, reason: str = "") -> None:
        """The socket is gone, or could not be opened: `code` is then the status of HTTP, or None."""
        was_open, self._open = self._open, False
        if code in (HTTP_UNAUTHORIZED, HTTP_FORBIDDEN):
            self._refused += 1
        self._requests.clear()
        text = self.lost or (reason if code is None else f"connection closed, code {code} {reason}")
        if was_open:
            last_seq = self._rows.last_seq
            self.instruments.lose_all(now_ns)
            if last_seq:
                self._gap_since(last_seq, text.strip(), now_ns)
        self._ledger.venue("STALE", text.strip(), now_ns)

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one frame, text or binary. `now_ns` becomes ts_recv of its rows."""
        self.counters["frames"] += 1
        decoded: Frame = self._broker.decode(frame)
        for packet in decoded.packets:
            self.instruments.take(packet, now_ns)
        for part in decoded.broken:
            self.counters[part.reason] += 1
            self._ledger.broken(part, now_ns)
        for message in decoded.texts:
            self.counters[f"text_{message.kind}"] += 1
            self._ledger.text(message, now_ns)
        if decoded.packets:
            self.counters["packets"] += len(decoded.packets)
            self._see_time(decoded.packets, now_ns)
            if self._gaps:
                self._resolve(now_ns)
        self._tick(now_ns)

    def to_send(self) -> list[bytes]:
        """Return the requests to send now, in order."""
        requests = self._requests[:]
        self._requests.clear()
        return requests

    def next_timer_ns(self) -> int | None:
        """Return when `on_timer` has something to do; None if never."""
        return self._timer_ns if self._open else None

    def on_timer(self, now_ns: int) -> None:
        """Look after what time changes: keep-alive, expired contracts, quiet instruments, images nobody can ask for."""
        self._timer_ns = now_ns + _TIMER_NS
        if self._broker.keepalive_ns is not None and now_ns >= self._keepalive_ns:
            self._keepalive_ns = now_ns + self._broker.keepalive_ns
            self._requests.append(self._broker.keepalive)
        expired = self.instruments.expire(now_ns)
        if expired:
            self._requests += self._broker.unsubscribe(expired)
        self.instruments.check_stale(now_ns, round(self._config.stale_after_s * SECOND_NS))
        self._resolve(now_ns)

    @property
    def alive(self) -> tuple[int, int] | None:
        """What changes with every sign of life of an open connection; None while there is none."""
        return (self._opened_ns, self.counters["frames"]) if self._open and not self.lost else None

    def silent(self, for_s: float) -> None:
        """Nothing came for so long, not even a heartbeat: the connection is mute."""
        if self._open:
            self.counters["silences"] += 1
            self.lost = f"mute for {for_s:g} s"

    @property
    def min_retry_s(self) -> float:
        """Least time before the next attempt to connect: refused credentials are not tried in a hot loop."""
        return min(AUTH_RETRY_S * 2.0 ** (self._refused - 1), AUTH_RETRY_CAP_S) if self._refused else 0.0

    # ---- REST

    def quotes_wanted(self, now_ns: int) -> list[str]:
        """Return the symbols to ask a quote of now."""
        if not self._open or not self._broker.has_quotes:
            return []
        return [known.listing.symbol for known in self.instruments.wanted(now_ns - IMAGE_WAIT_NS, QUOTE_BATCH)]

    def quoted(self, asked: Iterable[str], quotes: Mapping[str, Packet], now_ns: int) -> None:
        """Take the answer. A symbol that is not in it has no data."""
        by_symbol = {known.listing.symbol: known for known in self.instruments.by_token.values()}
        for symbol in asked:
            known = by_symbol.get(symbol)
            if known is not None and self._open:
                self.instruments.image(known, quotes.get(symbol), now_ns)
        self.counters["quotes"] += len(quotes)
        self._resolve(now_ns)

    def quotes_failed(self, asked: Iterable[str], reason: str) -> None:
        """There is no answer."""
        self.counters[f"rest_{reason}"[:40]] += 1
        names = set(asked)
        for known in self.instruments.by_token.values():
            if known.listing.symbol in names:
                self.instruments.failed(known)

    # ---- gaps

    def _gap_since(self, last_seq: int, reason: str, now_ns: int) -> None:
        if any(gap.seq_from == last_seq + 1 for gap in self._gaps):
            return
        gap = Gap(
            channel=ALL,
            seq_from=last_seq + 1,
            seq_to=self._rows.next_seq(now_ns),
            ts_detected=now_ns,
            reason=reason,
        )
        self._gaps.open(gap, now_ns)

    # Until every instrument has its image, nobody knows what was missed.
    def _resolve(self, now_ns: int) -> None:
        if not self._open or not self.instruments.by_token:
            return
        waited = not self._broker.has_quotes and now_ns - self._opened_ns >= UNASKED_WAIT_NS
        if self.instruments.awaiting and not waited:
            return
        missed, self.instruments.missed_lots = self.instruments.missed_lots, 0
        self._gaps.resolve(self._rows.last_seq, now_ns, f"{missed} lots traded unseen" if missed else "")
        self._ledger.venue("LIVE", "subscribed", now_ns)

    # ---- the venue's time

    def _see_time(self, packets: Sequence[Packet], now_ns: int) -> None:
        newest = max((packet.ts_event or 0 for packet in packets), default=0)
        if newest and newest <= now_ns + _VENUE_AHEAD_NS and (self._venue_time is None or newest > self._venue_time[0]):
            self._venue_time = (newest, now_ns)

    # States come in order on one socket: what is older than the newest one by more than their grain is over.
    def _tick(self, now_ns: int) -> None:
        if self._venue_time is None or self._gaps:
            return
        newest, came_ns = self._venue_time
        clock = newest + (now_ns - came_ns) - CLOCK_MARGIN_NS
        if clock - self._clock_sent >= CLOCK_EVERY_NS:
            self._clock_sent = clock
            for slot in self._ledger.clocks.values():
                self._output.ticks.clock(slot, clock, now_ns)
