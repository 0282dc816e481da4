"""Market data of COMEX, NYMEX and CBOT over a FIX session: subscriptions, images, changes, trades, status. Pure.

Two subscriptions: trades, which the venue resends, and books, which it does not. After any hole every book is dirty,
and an image of each is asked for (263=0) while the subscriptions go on: asking those anew would leave a moment in
which a trade belongs to neither. `positions()` says how far the rows go; a session built from them goes on there.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from connectors.cme import constants as cme
from connectors.cme.books import Books
from connectors.cme.codec import (
    BOOK_TYPES,
    market_data_request,
    security_status_request,
    session_status_request,
    symbol_key,
)
from connectors.cme.config import CmeConfig
from connectors.cme.entries import Entries
from connectors.cme.ledger import Ledger
from connectors.fix.constants import BUSINESS_REJECT, REJECT, SECOND_NS
from connectors.fix.framing import Garbled
from connectors.fix.header import Fault
from connectors.fix.message import Message
from connectors.fix.sequence import Gap
from connectors.fix.session import LIVE, FixSession
from connectors.ticks import FeedOutput

Positions = Mapping[str, int | str]


class Session:
    """One session, over as many sockets as it takes.

    State: a ladder an instrument (connectors/cme/books.py), what is past a hole (connectors/fix/sequence.py).
    Delivery: trades exactly once with `resume`, while the venue keeps the session; books anew from an image.
    """

    def __init__(self, config: CmeConfig, output: FeedOutput, resume: Positions | None = None) -> None:
        self._config, self._output = config, output
        self.counters: Counter[str] = Counter()
        self._ledger = Ledger(output)
        self._books = Books(config.dialect, config.depth, output, self.counters)
        self._entries = Entries(config.dialect, self._books, self._ledger, output, self.counters)
        resumable = resume if resume and resume.get("subscription") == config.subscription else None
        self._given_up = resume if resume and resumable is None else None
        self.session_id = str(resumable["session"]) if resumable else ""
        self._fix = FixSession(config.session(), self, self.counters, resumable)
        self._images = 0
        self._asked: dict[str, int] = {}  # subscriptions under way: id -> deadline
        self._clock_sent = 0
        self._missing_to = int(resume.get("missing", 0)) if resume else 0  # of a hole that was open then
        self._owned_to = 0  # of this count: up to where a hole that will not close is in the ledger
        self._handlers: dict[bytes, Callable[[Message], Fault | None]] = {
            cme.INCREMENTAL: self._entries.incremental,
            cme.SNAPSHOT: self._image,
            cme.REQUEST_REJECT: self._request_rejected,
            cme.SECURITY_STATUS: self._entries.security_status,
            cme.SESSION_STATUS: self._entries.session_status,
            REJECT: self._rejected,
            BUSINESS_REJECT: self._rejected,
        }

    def positions(self) -> dict[str, int | str]:
        """Return where the rows stand: plain ints and strings, to be written with them."""
        if not self.session_id:
            return {}
        numbers = self._fix.positions()
        subscription = self._config.subscription
        reached = {"trades": numbers["in"], "book": numbers["in"]}
        return {"session": self.session_id, "subscription": subscription, **reached, **numbers}

    # ---- connectors.feed.Session

    @property
    def lost(self) -> str | None:
        return self._fix.lost

    @property
    def min_retry_s(self) -> float:
        return self._fix.min_retry_s

    def on_open(self, now_ns: int) -> None:
        """The socket is open: log on."""
        self._fix.on_open(now_ns)

    def on_close(self, code: int | None, now_ns: int, reason: str = "") -> None:  # noqa: ARG002
        """The socket is gone, or could not be opened; TCP has no code."""
        text = self._fix.lost or reason
        self._fix.on_close()
        self._asked.clear()
        self._books.disconnect()
        self._say_venue("STALE", text, now_ns)

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take what was read from the socket. `now_ns` becomes ts_recv of its rows."""
        self._fix.receive(data, now_ns)
        if self._books.awaited:
            self._ask_images(now_ns)

    def to_send(self) -> list[bytes]:
        return self._fix.to_send()

    def next_timer_ns(self) -> int | None:
        timers = (self._fix.next_timer_ns(), self._books.next_timer_ns(), min(self._asked.values(), default=None))
        return min((timer for timer in timers if timer is not None), default=None)

    def on_timer(self, now_ns: int) -> None:
        """Give up what took too long."""
        self._fix.on_timer(now_ns)
        self._ask_images(now_ns)
        if any(now_ns >= deadline for deadline in self._asked.values()):
            self._asked.clear()
            self._fix.logout("no answer to MarketDataRequest")

    def farewell(self) -> None:
        """Log out: the feed stops."""
        self._fix.logout("")

    # ---- connectors.fix.application.Application

    def on_logon(self, now_ns: int, *, fresh: bool, expected: int) -> None:
        """Subscribe, and distrust every book; a fresh session also gives up what the one before it still owed."""
        if fresh:
            self._give_up(expected, now_ns)
            self.session_id = f"{self._config.sender}-{self._config.target}-{now_ns}"
        self._entries.session = self.session_id
        symbol = self._config.dialect.symbol
        for name in self._config.instruments(datetime.fromtimestamp(now_ns // SECOND_NS, UTC).date()):
            self._entries.by_symbol[symbol_key(name, symbol)] = self._books.learn(name)
        self._books.distrust_all(now_ns, counts_anew=fresh)
        self._subscribe(now_ns)
        if fresh:
            self._books.expect(now_ns)
        self._say_venue("LIVE", "logged on" if fresh else "resumed", now_ns)

    # What was missed is unknown when the numbers begin anew: the row says at least one, unless a hole's says more.
    def _give_up(self, expected: int, now_ns: int) -> None:
        owned_to, self._owned_to = self._owned_to, 0
        if self._given_up is not None:
            session, first, reason = (
                str(self._given_up["session"]),
                int(self._given_up["in"]) + 1,
                "subscription_changed",
            )
        elif self.session_id and owned_to < expected:
            session, first, reason = self.session_id, expected, "session_reset"
        else:
            return
        gap = Gap(seq_from=first, seq_to=max(first, self._missing_to), ts_detected=now_ns, reason=reason)
        self._ledger.gap(session, gap, "snapshot", now_ns)
        self._given_up, self._missing_to = None, 0

    def on_message(self, message: Message) -> Fault | None:
        """Take the next message of the session."""
        handler = self._handlers.get(message.type)
        if handler is None:
            self.counters["unexpected"] += 1
            return None
        fault = handler(message)
        if message.sending_ns - self._clock_sent >= cme.CLOCK_LAG_NS + cme.CLOCK_EVERY_NS:
            self._tick(message)
        return fault

    def on_heartbeat(self, message: Message) -> None:
        """Time passes, though nothing happens."""
        self._tick(message)

    def on_refused(self, message: Message, fault: Fault) -> None:
        """A message is rejected for its form. What it said of a book is lost."""
        reason, tag = fault
        self._ledger.refused(
            self.session_id, message, "malformed_frame", f"SessionRejectReason {reason}, tag {tag}", len(message.values)
        )
        if message.type in (cme.SNAPSHOT, cme.INCREMENTAL):
            self._books.distrust_all(message.stamp_ns)

    def on_gap(self, gap: Gap, resolution: str | None, now_ns: int) -> None:
        """A hole was found, or is over: either way no book is what it was."""
        self._ledger.gap(self.session_id, gap, resolution, now_ns)
        if resolution == "snapshot":
            self._owned_to = gap.seq_to
        self._books.set_gapped(resolution is None, now_ns)
        if resolution is None or gap.reason == "sequence_reset":
            self._books.distrust_all(now_ns)

    def on_garbled(self, garbled: Garbled, now_ns: int) -> None:
        """Bytes were skipped. If they were a message, the next one shows the hole."""
        self._ledger.garbled(self.session_id, garbled, now_ns)

    def on_skew(self, offset_ns: int, now_ns: int) -> None:
        """The venue's clock and ours disagree by more than a session bears."""
        self.counters["clock_skew"] += 1
        self._say_venue("STALE", f"clock_skew {offset_ns / SECOND_NS:+.0f} s", now_ns)

    # ---- requests

    def _subscribe(self, now_ns: int) -> None:
        for name in self._books.all:
            self._request("T", name, kind="1", entry_types=(cme.TRADE,))
            self._asked[self._request("B", name, kind="1", entry_types=BOOK_TYPES)] = now_ns + cme.ANSWER_TIMEOUT_NS
            body = security_status_request(f"S/{name}", name, self._config.dialect)
            self._fix.send(cme.SECURITY_STATUS_REQUEST, body)
        self._fix.send(cme.SESSION_STATUS_REQUEST, session_status_request("H"))

    def _request(self, purpose: str, name: str, *, kind: str, entry_types: tuple[bytes, ...]) -> str:
        request_id = f"{purpose}/{name}"
        depth = 1 if entry_types == (cme.TRADE,) else self._config.depth
        body = market_data_request(
            request_id, [name], self._config.dialect, kind=kind, entry_types=entry_types, depth=depth
        )
        self._fix.send(cme.MARKET_DATA_REQUEST, body)
        return request_id

    def _ask_images(self, now_ns: int) -> None:
        if self._fix.phase == LIVE and self._fix.lost is None and not self._fix.incoming.resend:
            for name in self._books.due(now_ns):
                self._images += 1
                self._request(f"I{self._images}", name, kind="0", entry_types=BOOK_TYPES)

    def _image(self, message: Message) -> Fault | None:
        self._asked.pop(message.text(262), None)
        return self._entries.image(message)

    # A subscription that the session kept over a reconnect is refused as a duplicate, and goes on.
    def _request_rejected(self, message: Message) -> Fault | None:
        request_id = message.text(262)
        self._asked.pop(request_id, None)
        if message.get(281) == cme.DUPLICATE_REQUEST:
            return None
        self.counters["requests_rejected"] += 1
        book = self._books.all.get(request_id.partition("/")[2])
        if book is not None:
            reason = f"request_refused {message.text(281)} {message.text(58)[:80]}".strip()
            self._books.refuse(book, reason, message.stamp_ns)
        return None

    def _rejected(self, message: Message) -> Fault | None:
        self._ledger.refused(self.session_id, message, "unsupported_message", f"the venue refused: {message.text(58)}")
        return None

    # ---- rows

    def _say_venue(self, quality: str, reason: str, now_ns: int) -> None:
        mics = sorted({mic for mic, _ in self._config.products})
        if self._ledger.venue(mics, quality, reason.strip(), now_ns):
            for slot in self._books.clock_slots.values():
                self._output.ticks.state(slot, now_ns, now_ns, quality)

    # One order for all: once something sent at T came, nothing that happened well before T is still to come.
    def _tick(self, message: Message) -> None:
        clock = message.sending_ns - cme.CLOCK_LAG_NS
        if clock > self._clock_sent and not message.poss_dup and self._fix.incoming.gap is None:
            self._clock_sent = clock
            for slot in self._books.clock_slots.values():
                self._output.ticks.clock(slot, clock, message.stamp_ns)
