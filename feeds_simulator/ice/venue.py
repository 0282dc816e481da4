"""The venue without I/O: who is connected, what they asked for, and what they are sent.

The server feeds it text and model events, and writes out what it leaves in each `Connection`. Everything that
is sent to a client is appended to `Connection.out` in order; a replay is left as an iterator, because it can be
larger than any buffer and must be written at the client's pace.

Units: `ts_send`, `published_ns` ns UTC by the market clock; `at_s` seconds of a monotonic clock.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from feeds_simulator.events import BookEvent, Event, Listing, Side, StatusEvent
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.ice.messages import BOOK, STATUS, Body, Encoder, encode, sequenced
from feeds_simulator.ice.session import REPLAY_WINDOW, Channel, Entry, Session

CLOSE_AUTH: Final = 4001
CLOSE_ENTITLEMENT: Final = 4003
CLOSE_SLOW: Final = 4008
CLOSE_DUPLICATE: Final = 4009
CLOSE_RESTART: Final = 1012


@dataclass(slots=True)
class Counters:
    """What has been sent (by channel) and has happened (by symbol), since the start."""

    sent: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    trades: int = 0
    connections: int = 0
    closed: Counter[int] = field(default_factory=Counter)


class Connection:
    """One socket, as the venue sees it. The server writes `out`, then `replay`, then obeys `close`."""

    __slots__ = ("close", "out", "replay", "session", "wire")

    def __init__(self, wire: Wire[str]) -> None:
        self.wire = wire
        self.out: list[str] = []
        self.replay: Iterator[str] | None = None
        self.close: tuple[int, str] | None = None
        self.session: Session | None = None


@dataclass(slots=True)
class _View:
    # A book at one depth, as it was last published.
    bids: Side
    asks: Side
    action_open: bool = False


@dataclass(slots=True)
class _Shown:
    # One symbol's public state. `status` is None until the model first speaks.
    bids: Side = ()
    asks: Side = ()
    ts_event: int = 0
    status: StatusEvent | None = None
    views: dict[int, _View] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return self.status.state if self.status else "CLOSE"


class Venue:
    """Sessions, books as published, and the fan-out."""

    def __init__(
        self,
        listings: Mapping[str, Listing],
        *,
        faults: Faults | None = None,
        counters: Counters | None = None,
        window: int = REPLAY_WINDOW,
        heartbeat_s: float = 5.0,
        keep_s: float = 600.0,
    ) -> None:
        self.symbols = tuple(listings)
        self.listings = dict(listings)
        self.encoder = Encoder(self.listings)
        self.faults = faults or Faults()
        self.counters = counters or Counters()
        self.sessions: dict[str, Session] = {}
        self._connected: dict[str, Connection] = {}
        self._shown = {symbol: _Shown() for symbol in self.symbols}
        self._window, self._heartbeat_s, self._keep_s = window, heartbeat_s, keep_s

    # --- from the model -------------------------------------------------------------------------

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:
        """Send what happened to every session that asked for it, connected or not."""
        for action in actions:
            for event in action:
                self.counters.events[event.symbol] += 1
                if isinstance(event, BookEvent):
                    self._publish_book(event, ts_send)
                    continue
                if isinstance(event, StatusEvent):
                    self._shown[event.symbol].status = event
                channel, body = self.encoder.other(event)
                for session in self.sessions.values():
                    if event.symbol in session.channels[channel].subscriptions:
                        self._deliver(session, channel, body, ts_send)

    def _publish_book(self, event: BookEvent, ts_send: int) -> None:
        shown = self._shown[event.symbol]
        shown.bids, shown.asks, shown.ts_event = event.bids, event.asks, event.ts_event
        bodies = {depth: self._change(event, depth, view) for depth, view in shown.views.items()}
        for session in self.sessions.values():
            depth = session.channels[BOOK].subscriptions.get(event.symbol)
            body = bodies[depth] if depth else None
            if body is not None:
                self._deliver(session, BOOK, body, ts_send)

    def _change(self, event: BookEvent, depth: int, view: _View) -> Body | None:
        # The message at one depth; None if nothing in sight has changed.
        bids, asks = event.bids[:depth], event.asks[:depth]
        changes: list[str] = []
        if bids != view.bids:
            changes += self.encoder.changes(event.symbol, "B", view.bids, bids)
            view.bids = bids
        if asks != view.asks:
            changes += self.encoder.changes(event.symbol, "S", view.asks, asks)
            view.asks = asks
        # An action that began in sight must also end there, even if its last step is out of sight.
        if not changes and not (event.eot and view.action_open):
            return None
        view.action_open = not event.eot
        return self.encoder.book(event, changes, view.bids, view.asks)

    def _deliver(self, session: Session, name: str, body: Body, ts_send: int) -> None:
        entry = session.channels[name].push(body)
        connection = self._connected.get(session.session_id)
        if connection is None:
            return
        self.counters.sent[name] += 1
        text = sequenced(body, entry.seq, entry.prev_seq, ts_send)
        connection.out += connection.wire.send(text)

    # --- sessions -------------------------------------------------------------------------------

    def attach(self, connection: Connection, session: Session) -> None:
        """Make a connection the one of a session; an earlier one is closed as a duplicate."""
        earlier = self._connected.get(session.session_id)
        if earlier is not None:
            earlier.session = None
            earlier.close = (CLOSE_DUPLICATE, "duplicate session")
        self.sessions[session.session_id] = session
        self._connected[session.session_id] = connection
        connection.session = session
        session.left_at_s = None
        for channel in session.channels.values():
            channel.quiet_seq = -1

    def new_session(self, session_id: str, key: str, entitled: frozenset[str]) -> Session:
        return Session(session_id=session_id, key=key, entitled=entitled, window=self._window)

    def detach(self, connection: Connection, at_s: float) -> None:
        """The socket is gone; its session stays for the time kept."""
        if connection.session is not None:
            connection.session.left_at_s = at_s
            del self._connected[connection.session.session_id]
            connection.session = None

    def tick(self, at_s: float, published_ns: int) -> None:
        """Send heartbeats on quiet channels and forget sessions nobody came back to."""
        for session in list(self.sessions.values()):
            connection = self._connected.get(session.session_id)
            if connection is not None:
                for name, channel in session.channels.items():
                    self._heartbeat(connection, name, channel, at_s, published_ns)
            elif session.left_at_s is not None and at_s - session.left_at_s >= self._keep_s:
                del self.sessions[session.session_id]

    def _heartbeat(self, connection: Connection, name: str, channel: Channel, at_s: float, published_ns: int) -> None:
        if channel.seq != channel.quiet_seq:
            channel.quiet_seq, channel.quiet_since_s = channel.seq, at_s
        elif channel.subscriptions and at_s - channel.quiet_since_s >= self._heartbeat_s:
            channel.quiet_since_s = at_s
            connection.out.append(encode({"op": "heartbeat", "channel": name, "seq": channel.seq, "ts": published_ns}))

    def break_sequence(self, name: str, skipped: int, reason: str) -> None:
        """Lose numbers of a channel in every session for good, and tell the clients to resynchronise."""
        for session in self.sessions.values():
            expected, current = session.channels[name].break_sequence(skipped)
            connection = self._connected.get(session.session_id)
            if connection is not None:
                message = {"op": "resync_required", "channel": name, "expected": expected, "current": current}
                connection.out.append(encode({**message, "reason": reason}))

    # --- answers --------------------------------------------------------------------------------

    def subscribe(
        self, connection: Connection, session: Session, name: str, symbols: Sequence[str], depth: int, ts_send: int
    ) -> None:
        """Start sending a channel of symbols: images of books and states first."""
        channel = session.channels[name]
        for symbol in symbols:
            channel.subscriptions[symbol] = depth
            if name == BOOK:
                body = self._image(symbol, depth)
                channel.mark_image(body)
                connection.out.append(self._snapshot_text(channel, symbol, body, ts_send))
            elif name == STATUS and (status := self._shown[symbol].status) is not None:
                self._deliver(session, STATUS, self.encoder.other(status)[1], ts_send)

    def snapshot(self, session: Session, symbol: str, ts_send: int, default_depth: int) -> str:
        """Return the image of a book as it is now."""
        channel = session.channels[BOOK]
        body = self._image(symbol, channel.subscriptions.get(symbol, default_depth))
        return self._snapshot_text(channel, symbol, body, ts_send)

    def _snapshot_text(self, channel: Channel, symbol: str, body: Body, ts_send: int) -> str:
        state = self._shown[symbol].state
        seq = channel.last_change(symbol)
        return self.encoder.snapshot(body, seq=seq, last_seq=channel.seq, state=state, ts_send=ts_send)

    def _image(self, symbol: str, depth: int) -> Body:
        shown = self._shown[symbol]
        view = shown.views.setdefault(depth, _View(shown.bids[:depth], shown.asks[:depth]))
        return Body(BOOK, symbol, shown.ts_event, "", view.bids, view.asks)

    def replay(
        self, session: Session, name: str, entries: list[Entry], now: Callable[[], int], *, image: bool
    ) -> Iterator[str]:
        """Yield the texts of a replay, images first if asked for. What to send is decided now, not while yielding."""
        channel = session.channels[name]
        before = entries[0].seq - 1
        images = channel.images_at(sorted(channel.subscriptions), before) if image and name == BOOK else []
        states = {entry.body.symbol: self._shown[entry.body.symbol].state for entry in images}

        def texts() -> Iterator[str]:
            for seen in images:
                # The state is today's: a replay of the status channel tells how it came to be.
                seq = min(self._seen_seq(seen), before)
                state = states[seen.body.symbol]
                yield self.encoder.snapshot(seen.body, seq=seq, last_seq=before, state=state, ts_send=now())
            for entry in entries:
                yield sequenced(entry.body, entry.seq, entry.prev_seq, now(), replayed=True)

        return texts()

    @staticmethod
    def _seen_seq(entry: Entry) -> int:
        # The symbol's last change: a message's own number; a mark is no message and carries it as prev_seq.
        return entry.seq if entry.body.fields else entry.prev_seq
