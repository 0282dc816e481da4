"""A session with ICE: log-on, subscription, sequence, gap repair. A state machine without clock or I/O.

Events go in (`on_open`, `receive`, `on_timer`, `on_close`), requests (`to_send`) and rows (the FeedOutput) come out.
`positions()` says how far the rows go; whoever takes rows must take positions at the same moment. A session built
from positions goes on exactly there: every row once, or a row in `gaps` that says what is missing and why.
Source: docs/ice-profile.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from connectors.errors import DecodeError
from connectors.ice import codec
from connectors.ice.books import BLANK, LOST, Books
from connectors.ice.codec import Bust, Refused, Sequenced, Trade, decode
from connectors.ice.config import IceConfig
from connectors.ice.constants import (
    ATTEMPTS,
    AUTH_RETRY_S,
    AUTH_TIMEOUT_NS,
    BOOK,
    CLOSE_AUTH,
    CLOSE_DUPLICATE,
    CLOSE_ENTITLEMENT,
    HEARTBEATS_BEHIND,
    JUMP_ROWS,
    REPLAY_TIMEOUT_NS,
    STATUS,
    SUBSCRIBE_TIMEOUT_NS,
    TRADES,
)
from connectors.ice.gaps import Gaps
from connectors.ice.ledger import Ledger, channel_of
from connectors.ice.rows import Rows
from connectors.ice.sequence import Channel, Request
from connectors.ticks import FeedOutput

CLOSED: Final = "closed"
AUTHENTICATING: Final = "authenticating"
LIVE: Final = "live"

Positions = Mapping[str, int | str]


class Session:
    """One session, over as many sockets as it takes.

    State: a ladder a symbol; the hold-back of each channel (connectors/ice/sequence.py).
    Delivery: exactly once with `resume`, while the venue keeps the session and its replay window.
    """

    def __init__(self, config: IceConfig, output: FeedOutput, resume: Positions | None = None) -> None:
        self._config, self._output = config, output
        self._requests: list[bytes] = []
        self.counters: Counter[str] = Counter()
        self.books = Books(config, output, self._requests, self.counters)
        self._ledger = Ledger(output)
        self._rows = Rows(config.channels, self.books, self._ledger, output, self.counters)
        self._channels = {name: Channel(name) for name in config.channels}
        self._gaps = Gaps(self._channels, self.books, self._ledger)
        self.session_id: str | None = None
        self._resumable = True
        self._restored = bool(resume)
        self._book_published = 0  # `last` of the book channel at the end of the last complete event
        self.phase = CLOSED
        self.lost: str | None = None
        self._authenticated = self._penalty = False
        self._auth_deadline_ns: int | None = None
        self._asked: dict[int, tuple[str, int]] = {}  # subscriptions under way: (channel, deadline)
        self._last_id = 0
        self._behind = 0
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            Trade: self._sequenced,
            Bust: self._sequenced,
            codec.Book: self._sequenced,
            codec.Status: self._sequenced,
            Refused: self._sequenced,
            codec.Heartbeat: self._heartbeat,
            codec.Snapshot: self._snapshot,
            codec.ReplayDone: self._replay_done,
            codec.ResyncRequired: self._resync_required,
            codec.Subscribed: self._subscribed,
            codec.AuthOk: self._auth_ok,
            codec.VenueError: self._error,
            codec.Ignored: lambda _message, _now_ns: None,
        }
        if resume:
            self._restore(resume)

    # ---- positions

    def positions(self) -> dict[str, int | str]:
        """Return where the rows stand: plain ints and strings, to be written with them."""
        if self.session_id is None:
            return {}
        positions: dict[str, int | str] = {
            "session": self.session_id,
            "subscription": self._config.subscription,
            "symbols": self.books.symbols_text,
        }
        for name, channel in self._channels.items():
            positions[name] = self._book_published if name == BOOK else channel.last
        if self.books.lost:
            positions["lost"] = ",".join(self.books.lost)
        gaps = self._gaps.to_text()
        if gaps:
            positions["gaps"] = gaps
        return positions

    def _restore(self, resume: Positions) -> None:
        self._name(str(resume["session"]))
        self._resumable = resume.get("subscription") == self._config.subscription
        for name, channel in self._channels.items():
            channel.last = channel.highest = int(resume.get(name, 0))
        if BOOK in self._channels:
            self._book_published = self._channels[BOOK].last
            self._channels[BOOK].needs_image = True
        lost = set(str(resume.get("lost", "")).split(","))
        for symbol in filter(None, str(resume.get("symbols", "")).split(",")):
            self.books.learn(symbol, 0, LOST if symbol in lost else BLANK)
        self._gaps.restore(str(resume.get("gaps", "")))

    def _name(self, session: str) -> None:
        self.session_id = self._rows.session = self._gaps.session = session

    # ---- events

    def on_open(self, now_ns: int) -> None:
        """The socket is open: log on."""
        self.phase, self.lost = AUTHENTICATING, None
        self._authenticated = self._penalty = False
        self._auth_deadline_ns = now_ns + AUTH_TIMEOUT_NS
        self._requests.clear()
        session = self.session_id if self._resumable else None
        self._requests.append(codec.auth_request(self._config.key, self._config.secret, now_ns, session))

    def on_close(self, code: int | None, now_ns: int, reason: str = "") -> None:
        """The socket is gone, or could not be opened (`code` None)."""
        self.phase = CLOSED
        refused = code == CLOSE_AUTH and not self._authenticated
        self._penalty = self._penalty or refused or code in (CLOSE_DUPLICATE, CLOSE_ENTITLEMENT)
        self._auth_deadline_ns = None
        self._asked.clear()
        self._requests.clear()
        self.books.disconnect()
        for channel in self._channels.values():
            self._gaps.widen(channel)
            channel.disconnect()
        text = self.lost or (f"connection closed, code {code} {reason}" if code is not None else reason)
        self._ledger.venue(self.books.mics, self.books.clock_slots.values(), "STALE", text.strip(), now_ns)

    def receive(self, frame: bytes, now_ns: int) -> None:
        """Take one text frame. `now_ns` becomes ts_recv of its rows."""
        try:
            message = decode(frame)
        except DecodeError as error:
            self._rows.malformed(error, frame, now_ns)
            return
        if self.phase == LIVE or type(message) in (codec.AuthOk, codec.VenueError):
            self._handlers[type(message)](message, now_ns)
        else:
            self.counters["unexpected"] += 1

    def to_send(self) -> list[bytes]:
        """Return the requests to send now, in order."""
        if not self._requests:
            return []
        requests = self._requests[:]
        self._requests.clear()
        return requests

    def next_timer_ns(self) -> int | None:
        """Return when `on_timer` has something to do; None if never."""
        deadlines = [deadline for _, deadline in self._asked.values()]
        deadlines += [c.request.deadline_ns for c in self._channels.values() if c.request is not None]
        timers = (self._auth_deadline_ns, self.books.next_timer_ns(), min(deadlines, default=None))
        return min((timer for timer in timers if timer is not None), default=None)

    def on_timer(self, now_ns: int) -> None:
        """Give up what took too long."""
        if self._auth_deadline_ns is not None and now_ns >= self._auth_deadline_ns:
            self._lose("no answer to auth")
        if any(now_ns >= deadline for _, deadline in self._asked.values()):
            self._lose("no answer to subscribe")
        for channel in self._channels.values():
            if channel.request is not None and now_ns >= channel.request.deadline_ns:
                self._give_up(channel, channel.missing_end(), "replay_timeout", now_ns)
        self.books.on_timer(now_ns)
        self._resolve_imaged(now_ns)

    @property
    def min_retry_s(self) -> float:
        """Least time before the next attempt to connect."""
        return AUTH_RETRY_S if self._penalty else 0.0

    def _lose(self, reason: str, *, penalty: bool = False) -> None:
        self.lost = reason
        self._penalty = self._penalty or penalty
        self._auth_deadline_ns = None
        self._asked.clear()

    # ---- log-on and subscription

    def _auth_ok(self, message: codec.AuthOk, now_ns: int) -> None:
        if self.phase != AUTHENTICATING:
            self.counters["unexpected"] += 1
            return
        self._authenticated, self._auth_deadline_ns = True, None
        self.phase, self._behind = LIVE, 0
        if message.resumed and message.session == self.session_id:
            self._resumed(message, now_ns)
        else:
            self._started(message, now_ns)
        self._resumable = True

    def _resumed(self, message: codec.AuthOk, now_ns: int) -> None:
        self.books.connect(now_ns)
        for name, (seq, replay_from) in message.channels.items():
            channel = self._channels.get(name)
            if channel is not None:
                channel.known = True
                self._catch_up(channel, seq, replay_from, now_ns)
        if self._restored and STATUS in self._channels:
            self._subscribe(STATUS, now_ns)  # the states of before are not in memory
        self._restored = False
        self._ledger.venue(self.books.mics, self.books.clock_slots.values(), "LIVE", "resumed", now_ns)

    def _catch_up(self, channel: Channel, seq: int, replay_from: int, now_ns: int) -> None:
        if seq < channel.last:
            self._gaps.reset(channel, "session_reset", now_ns)
            channel.restart(seq)
            channel.known = True
            if channel.name == BOOK:
                self._book_published = seq
                self.books.lose_all(0, now_ns)
            return
        channel.highest = max(channel.highest, seq)
        if channel.last < channel.highest and replay_from > channel.last + 1:
            # Images are of now, so a replay of the rest of the book would add nothing to them.
            end = seq if channel.name == BOOK else min(seq, replay_from - 1)
            self._give_up(channel, end, "replay_refused", now_ns)
        self._advance(channel, now_ns, "reconnect")

    def _started(self, message: codec.AuthOk, now_ns: int) -> None:
        reason = "session_reset" if self._resumable else "subscription_changed"
        for channel in self._channels.values():
            if self.session_id is not None:
                self._gaps.reset(channel, reason, now_ns)
            channel.restart(0)
        self._name(message.session)
        self._book_published = 0
        self.books.set_gapped(False, now_ns)
        self.books.restart(now_ns)
        for name in self._channels:
            self._subscribe(name, now_ns)

    def _subscribe(self, channel: str, now_ns: int) -> None:
        self._last_id += 1
        self._asked[self._last_id] = (channel, now_ns + SUBSCRIBE_TIMEOUT_NS)
        config = self._config
        self._requests.append(codec.subscribe_request(self._last_id, channel, config.symbols, config.depth))

    def _subscribed(self, message: codec.Subscribed, now_ns: int) -> None:
        channel = self._channels.get(message.channel)
        if channel is None or self._asked.pop(message.id, None) is None:
            self.counters["unexpected"] += 1
            return
        # Nothing before a first subscription was meant for us; on `status` every one brings the whole state.
        if channel.name == STATUS or not channel.known:
            channel.skip_to(message.seq)
            self._gaps.forget(channel, now_ns)
        channel.known = True
        channel.highest = max(channel.highest, message.seq)
        if channel.name == BOOK:
            self._book_published = max(self._book_published, channel.last)
            self.books.expect(message.symbols, now_ns)
            self._resolve_imaged(now_ns)
        self._advance(channel, now_ns, "subscribed_ahead")
        self._announce(now_ns)

    def _announce(self, now_ns: int) -> None:
        if all(channel.known for channel in self._channels.values()):
            self._ledger.venue(self.books.mics, self.books.clock_slots.values(), "LIVE", "subscribed", now_ns)

    def _error(self, message: codec.VenueError, now_ns: int) -> None:
        self.counters[f"error_{message.code}"[:40]] += 1
        if message.code.startswith("auth_"):
            self._lose(f"{message.code}: {message.text}", penalty=not self._authenticated)
        elif message.id in self._asked:
            channel, _ = self._asked.pop(message.id)
            if channel in (TRADES, BOOK):
                self._lose(f"subscribe {channel}: {message.code}: {message.text}", penalty=True)
            elif channel in self._channels:
                del self._channels[channel]  # a desk may be entitled to prices without it
                self._announce(now_ns)
        elif message.code == "replay_refused":
            for channel_ in self._channels.values():
                if channel_.request is not None and message.id in (None, channel_.request.id):
                    self._give_up(channel_, channel_.missing_end(), "replay_refused", now_ns)

    # ---- sequence

    def _sequenced(self, message: Sequenced, now_ns: int) -> None:
        channel = self._channels.get(channel_of(message))
        if channel is None:
            self.counters["unexpected"] += 1
        elif message.seq == channel.last + 1 and not channel.needs_image:
            if message.seq > channel.highest:
                channel.highest = message.seq
            if channel.held:
                channel.held.pop(message.seq, None)  # it came live before it was replayed with its image
            self._apply(channel, message, now_ns, now_ns)
            if channel.last < channel.highest:
                self._advance(channel, now_ns)
        else:
            self._out_of_order(channel, message, now_ns)

    def _out_of_order(self, channel: Channel, message: Sequenced, now_ns: int) -> None:
        if message.replayed and channel.needs_image and channel.request is not None:
            channel.needs_image = False  # images come before the first replayed message
            self._sequenced(message, now_ns)
            return
        if message.seq <= channel.last:
            self._repeated(message, now_ns)
            return
        if message.seq > channel.highest + JUMP_ROWS:
            error = DecodeError("out_of_range", f"seq {message.seq} after {channel.last}")
            self._rows.malformed(error, repr(message).encode(), now_ns)
            return
        if not channel.hold(message, now_ns):
            self.counters["held_dropped"] += 1
        self._advance(channel, now_ns)

    # The states that follow a subscription are images and need not have a new number.
    def _repeated(self, message: Sequenced, now_ns: int) -> None:
        if not (isinstance(message, codec.Status) and self.books.status_image(message, now_ns)):
            self.counters["duplicates"] += 1

    # Apply what is next, then see to the hole that remains.
    def _advance(self, channel: Channel, now_ns: int, reason: str = "sequence_jump") -> None:
        while (entry := channel.next_held()) is not None:
            self._apply(channel, entry[0], entry[1], now_ns)
        if channel.last < channel.highest:
            if channel.gap is None and channel.last + 1 not in channel.held:
                self._gaps.open(channel, now_ns, reason)
            if channel.request is None:
                self._ask_replay(channel, now_ns)

    def _ask_replay(self, channel: Channel, now_ns: int) -> None:
        self._last_id += 1
        first, last = channel.ask(self._last_id, now_ns + REPLAY_TIMEOUT_NS)
        image = channel.needs_image
        self._requests.append(codec.replay_request(self._last_id, channel.name, first, last, image=image))

    def _apply(self, channel: Channel, message: Sequenced, stamp_ns: int, now_ns: int) -> None:
        channel.last = message.seq
        self._rows.apply(message, stamp_ns)
        if isinstance(message, codec.Book) and message.eot:
            self._book_published = message.seq
        if channel.gap is not None or channel.request is not None:
            self._progress(channel, now_ns)

    def _progress(self, channel: Channel, now_ns: int) -> None:
        request = channel.request
        if request is not None:
            self._postpone_replays(now_ns)
            if channel.last >= request.last:
                channel.request = None
        self._gaps.fill(channel, now_ns)

    # The venue answers one request after the other: while one answer flows, those behind it are not overdue.
    def _postpone_replays(self, now_ns: int) -> None:
        for channel in self._channels.values():
            if channel.request is not None:
                channel.request.deadline_ns = now_ns + REPLAY_TIMEOUT_NS

    def _replay_done(self, message: codec.ReplayDone, now_ns: int) -> None:
        channel = self._channels.get(message.channel)
        request = None if channel is None else channel.request
        if channel is None or request is None or request.id != message.id:
            return  # filled or given up meanwhile
        self._postpone_replays(now_ns)
        channel.needs_image, channel.request = False, None
        self._advance(channel, now_ns)
        self._count_attempt(channel, request, now_ns)

    def _count_attempt(self, channel: Channel, done: Request, now_ns: int) -> None:
        again = channel.request
        if again is not None and channel.last < done.last:
            again.attempt = done.attempt + 1 if channel.last < done.first else 1
            if again.attempt > ATTEMPTS:
                self._give_up(channel, channel.missing_end(), "replay_incomplete", now_ns)

    def _give_up(self, channel: Channel, end: int, reason: str, now_ns: int) -> None:
        self._gaps.give_up(channel, end, reason, now_ns)
        channel.skip_to(end)
        if channel.name == BOOK:
            self._book_published = channel.last
            self.books.lose_all(channel.last, now_ns)
            self._resolve_imaged(now_ns)
        elif channel.name == STATUS:
            self._subscribe(STATUS, now_ns)  # brings the state of every symbol
        self._gaps.assess(now_ns)
        self._advance(channel, now_ns)

    def _resync_required(self, message: codec.ResyncRequired, now_ns: int) -> None:
        self.counters["resync_required"] += 1
        channel = self._channels.get(message.channel)
        if channel is None:
            return
        if message.current < channel.last:
            self._gaps.reset(channel, "resync_required", now_ns)
            channel.restart(message.current)
            channel.known = True
        self._give_up(channel, message.current, "resync_required", now_ns)

    def _heartbeat(self, message: codec.Heartbeat, now_ns: int) -> None:
        channel = self._channels.get(message.channel)
        if channel is None:
            return
        if message.seq > channel.highest:
            channel.highest = message.seq
            self._advance(channel, now_ns, "heartbeat_ahead")
        elif message.seq < channel.last:
            self._behind += 1
            if self._behind >= HEARTBEATS_BEHIND:
                self._lose(f"{channel.name} counts anew: heartbeat {message.seq} after {channel.last}")
            return
        self._behind = 0
        if message.seq == channel.last == channel.highest:
            self._rows.promise(channel.name, message.ts, now_ns)

    # ---- images

    def _snapshot(self, message: codec.Snapshot, now_ns: int) -> None:
        book = self._channels.get(BOOK)
        if book is None:
            self.counters["unexpected"] += 1
            return
        restoring = book.needs_image and book.request is not None
        if restoring:
            self._postpone_replays(now_ns)
        if not self.books.image(message, now_ns, restore_at=book.last if restoring else None):
            self.counters["unknown_instrument"] += 1
        self._resolve_imaged(now_ns)

    def _resolve_imaged(self, now_ns: int) -> None:
        subscribing = any(channel == BOOK for channel, _ in self._asked.values())
        if self._gaps.imaging and self.phase == LIVE and not subscribing and not self.books.awaiting():
            self._gaps.imaged(now_ns)
