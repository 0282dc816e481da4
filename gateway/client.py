"""One client's outgoing queue: bounded, conflating state, never dropping an event silently. Sans-I/O.

Two modes. While the socket takes what it is given, updates are appended as ready frames. Once it does not
(`blocked`), they wait as entries: a newer state replaces a waiting one of the same slot, and what an update
stands for is told in `skipped`, computed from sequence numbers when it leaves, so that a hole cannot be silent.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gateway.protocol import text_frame, update_message
from gateway.stream import Stream, Update

QUEUE_LIMIT_BYTES: Final = 1024 * 1024
"""What may wait for a slow client (Centrifugo's limit). More events than this: close 4408."""

BURST_BYTES: Final = 256 * 1024
"""More than this between two flushes and the rest waits in the conflating mode."""

Schedule = Callable[[float, Callable[[], None]], object]
"""Call a function after that many seconds."""


class Feed:
    """One client's place in one stream. `last_seq` is the last number that left or is certain to leave."""

    __slots__ = (
        "closed",
        "conflate_ms",
        "held",
        "last_seq",
        "pending",
        "sent",
        "stream",
        "subscriptions",
        "window_open",
    )

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.last_seq = 0
        self.sent = 0  # updates that left
        self.subscriptions: dict[int | str, int] = {}  # id -> conflate_ms
        self.conflate_ms = 0
        self.pending: dict[int, int] = {}  # slot -> ticket of the droppable entry that waits
        self.held: dict[int, Update] = {}  # slot -> update kept back by conflate_ms
        self.window_open = False
        self.closed = False

    def join(self, subscription: int | str, conflate_ms: int) -> None:
        self.subscriptions[subscription] = conflate_ms
        self.conflate_ms = min(self.subscriptions.values())

    def leave(self, subscription: int | str) -> None:
        self.subscriptions.pop(subscription, None)
        self.conflate_ms = min(self.subscriptions.values(), default=0)
        self.closed = not self.subscriptions


class QueuedEntry:
    """What waits while the client is blocked: a fixed frame, or an update whose frame may need `skipped`."""

    __slots__ = ("feed", "frame", "seq", "update")

    def __init__(self, frame: bytes, feed: Feed | None, seq: int, update: Update | None) -> None:
        self.frame, self.feed, self.seq, self.update = frame, feed, seq, update


class ClientQueue:
    """What one client is still to be sent.

    State: at most `limit_bytes` of events, plus one waiting state per (stream, open bar) subscribed to.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        wake: Callable[["ClientQueue"], None],
        schedule: Schedule,
        limit_bytes: int = QUEUE_LIMIT_BYTES,
    ) -> None:
        self._now, self._wake, self._schedule = now, wake, schedule
        self._limit_bytes = limit_bytes
        self._frames: list[bytes] = []
        self._entries: OrderedDict[int, QueuedEntry] = OrderedDict()
        self._ticket = 0
        self.queued_bytes = 0
        self._event_bytes = 0  # of the entries that may not be dropped
        self.blocked = False
        self.overflowed = False
        self.awake = False  # waiting to be flushed
        self.conflated = 0
        self.closed = False

    # What the hub puts in

    def offer(self, feed: Feed, update: Update) -> None:
        """Queue an update of a stream, at once or when its conflation window ends."""
        if feed.conflate_ms and self._hold(feed, update):
            return
        self._emit(feed, update)

    def control(self, frame: bytes) -> None:
        """Queue a message that belongs to no stream."""
        self._put(frame, None, 0)

    def heartbeat(self, frame: bytes) -> None:
        """Queue a sign of life."""
        self.control(frame)

    def position(self, feed: Feed, frame: bytes, seq: int) -> None:
        """Queue a snapshot or gap of a stream: the stream goes on after `seq`."""
        self.release(feed)
        feed.pending.clear()  # what waits before it stays: behind it, nothing could explain the hole
        self._put(frame, feed, seq)

    def replay(self, feed: Feed, missed: list[Update]) -> None:
        """Queue missed updates, every one, in order."""
        feed.sent += len(missed)
        for update in missed:
            self._put(update.frame, feed, update.seq)

    def has_room(self, more_bytes: int) -> bool:
        return self.queued_bytes + more_bytes <= self._limit_bytes

    def forget(self, feed: Feed) -> None:
        """A subscription ended: what is held back for it is not sent."""
        feed.held.clear()

    # Conflation by time

    def _hold(self, feed: Feed, update: Update) -> bool:
        if not update.droppable:
            # Sequence numbers must rise, so what is held goes first, unless this replaces it.
            self.conflated += feed.held.pop(update.slot, None) is not None
            self.release(feed)
            return False
        if feed.window_open:
            self.conflated += feed.held.pop(update.slot, None) is not None
            feed.held[update.slot] = update  # re-inserted last: the order of `held` is that of seq
            return True
        self._open_window(feed)
        return False

    def _open_window(self, feed: Feed) -> None:
        feed.window_open = True
        self._schedule(feed.conflate_ms / 1000, lambda: self._window_ends(feed))

    def _window_ends(self, feed: Feed) -> None:
        feed.window_open = False
        if feed.held and not (feed.closed or self.closed):
            self._open_window(feed)
            self.release(feed)

    def release(self, feed: Feed) -> None:
        """Send what is held back."""
        for update in feed.held.values():
            self._emit(feed, update)
        feed.held.clear()

    # The two modes

    def _emit(self, feed: Feed, update: Update) -> None:
        if self.closed:
            return  # the hub offers until the close handshake is over
        if self.blocked:
            self._wait(feed, update)
            return
        frame = update.frame if update.seq == feed.last_seq + 1 else self._skipping(feed, update)
        feed.last_seq = update.seq
        feed.sent += 1
        self._append(frame)

    def _put(self, frame: bytes, feed: Feed | None, seq: int) -> None:
        if self.closed:
            return
        if self.blocked:
            self._enter(QueuedEntry(frame, feed, seq, None))
            if self.overflowed and not self.awake:
                self._wake(self)
            return
        if feed is not None:
            feed.last_seq = seq
        self._append(frame)

    def _append(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.queued_bytes += len(frame)
        self.blocked = self.queued_bytes > BURST_BYTES
        if not self.awake:
            self._wake(self)

    def _wait(self, feed: Feed, update: Update) -> None:
        self._replace(feed, update.slot)
        ticket = self._enter(QueuedEntry(update.frame, feed, update.seq, update))
        if update.droppable:
            feed.pending[update.slot] = ticket
        if self.overflowed and not self.awake:
            self._wake(self)

    def _replace(self, feed: Feed, slot: int) -> None:
        waiting = feed.pending.pop(slot, None)
        if waiting is not None:
            self.queued_bytes -= len(self._entries.pop(waiting).frame)
            self.conflated += 1

    def _enter(self, entry: QueuedEntry) -> int:
        self._ticket += 1
        self._entries[self._ticket] = entry
        self.queued_bytes += len(entry.frame)
        if entry.update is None or not entry.update.droppable:
            self._event_bytes += len(entry.frame)
            self.overflowed = self._event_bytes > self._limit_bytes
        return self._ticket

    # What the socket takes out

    def take(self, max_bytes: int) -> list[bytes]:
        """Return the next frames, about `max_bytes` of them; whole frames only."""
        if self._frames:
            frames, self._frames = self._frames, []
            self.queued_bytes -= sum(map(len, frames))
            return frames
        return self._take_entries(max_bytes)

    def _take_entries(self, max_bytes: int) -> list[bytes]:
        frames: list[bytes] = []
        while self._entries and max_bytes > 0:
            ticket, entry = self._entries.popitem(last=False)
            self.queued_bytes -= len(entry.frame)
            if entry.update is None or not entry.update.droppable:
                self._event_bytes -= len(entry.frame)
            frame = self._leaving(ticket, entry)
            frames.append(frame)
            max_bytes -= len(frame)
        return frames

    def _leaving(self, ticket: int, entry: QueuedEntry) -> bytes:
        feed, update = entry.feed, entry.update
        if feed is None:
            return entry.frame
        frame = entry.frame
        if update is not None:
            feed.sent += 1
            if feed.pending.get(update.slot) == ticket:
                del feed.pending[update.slot]
            if update.seq != feed.last_seq + 1:
                frame = self._skipping(feed, update)
        feed.last_seq = entry.seq
        return frame

    def _skipping(self, feed: Feed, update: Update) -> bytes:
        skipped = update.seq - feed.last_seq - 1
        return text_frame(update_message(feed.stream.head, update.seq, self._now(), update.data, skipped))

    @property
    def empty(self) -> bool:
        return not self._frames and not self._entries

    def abandon(self) -> None:
        """Drop everything: the client is being closed."""
        self.closed = True
        self._frames.clear()
        self._entries.clear()
        self.queued_bytes = self._event_bytes = 0
