"""What the venue keeps of one client between its sockets: subscriptions, sequence numbers, a replay window.

Sans-I/O. A session counts on while nobody is connected; whoever resumes it replays what it missed.

State: a replay window of `window` messages a channel. Bodies are shared between sessions; a book message costs
about 450 bytes, so a full window of 200,000 is about 90 MB.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from feeds_simulator.ice.messages import BOOK, CHANNELS, Body

REPLAY_WINDOW: Final = 200_000
"""Messages a channel that can be replayed, and the most that one replay may ask for."""


class Entry(NamedTuple):
    """A sequenced message as it was numbered for one session."""

    seq: int
    prev_seq: int
    body: Body


class Channel:
    """One numbered stream of a session."""

    __slots__ = ("_images", "_last_change", "_window", "quiet_seq", "quiet_since_s", "ring", "seq", "subscriptions")

    def __init__(self, window: int) -> None:
        self._window = window
        self.seq = 0
        self.ring: deque[Entry] = deque()
        self.subscriptions: dict[str, int] = {}  # symbol -> depth
        self.quiet_seq = -1  # nothing was sent since this number ...
        self.quiet_since_s = 0.0  # ... and this time
        self._last_change: dict[str, int] = {}
        self._images: dict[str, list[Entry]] = {}  # states that no message in the ring tells, oldest first

    @property
    def replay_from(self) -> int:
        """The oldest sequence number that can still be replayed; `seq + 1` if none can."""
        return self.seq - len(self.ring) + 1

    def last_change(self, symbol: str) -> int:
        return self._last_change.get(symbol, 0)

    def push(self, body: Body) -> Entry:
        """Number a message and keep it for replay."""
        self.seq += 1
        entry = Entry(self.seq, self._last_change.get(body.symbol, 0), body)
        self._last_change[body.symbol] = self.seq
        self.ring.append(entry)
        if len(self.ring) > self._window:
            self._forget(self.ring.popleft())
        return entry

    def mark_image(self, body: Body) -> None:
        """Remember a book as it is at this sequence, because a subscription starts here."""
        entry = Entry(self.seq, self.last_change(body.symbol), body)
        self._images.setdefault(body.symbol, []).append(entry)

    def images_at(self, symbols: Iterable[str], seq: int) -> list[Entry]:
        """Return the books of symbols as this session knew them at a sequence number.

        For a time before a symbol was subscribed it is the image that the subscription began with.
        """
        found: dict[str, Entry] = {}
        for symbol in symbols:
            images = self._images.get(symbol, [])
            marked = next((entry for entry in reversed(images) if entry.seq <= seq), None)
            if marked or images:
                found[symbol] = marked or images[0]
        for entry in self._newest_in_ring(set(found), seq):
            # A mark of the same number was taken after the message, and one of a later number starts anew.
            if found[entry.body.symbol].seq < entry.seq:
                found[entry.body.symbol] = entry
        return list(found.values())

    def _newest_in_ring(self, symbols: set[str], seq: int) -> list[Entry]:
        # The last message of each symbol up to a sequence number.
        newest: list[Entry] = []
        for entry in reversed(self.ring):
            if not symbols:
                break
            if entry.seq <= seq and entry.body.symbol in symbols:
                symbols.discard(entry.body.symbol)
                newest.append(entry)
        return newest

    def entries(self, first: int, last: int) -> list[Entry] | None:
        """Return the messages of a range, both inclusive, or None if they are not all kept."""
        if first < self.replay_from or last > self.seq or last < first:
            return None
        start = first - self.replay_from
        ring = self.ring
        # A deque is slow in its middle: walk in from the nearer end.
        if start > len(ring) // 2:
            back = len(ring) - (last - self.replay_from) - 1
            tail = [entry for _, entry in zip(range(len(ring) - start), reversed(ring), strict=False)]
            return tail[back:][::-1]
        return [entry for _, entry in zip(range(last - self.replay_from + 1), ring, strict=False)][start:]

    def break_sequence(self, skipped: int) -> tuple[int, int]:
        """Lose `skipped` numbers for good; return the expected and the current sequence number."""
        expected = self.seq + 1
        self.seq += skipped
        for entry in self.ring:
            self._forget(entry)
        self.ring.clear()
        return expected, self.seq

    def _forget(self, entry: Entry) -> None:
        # The evicted message becomes the image of its symbol, and replaces those before it.
        if entry.body.op == BOOK and entry.body.symbol in self._images:
            later = [image for image in self._images[entry.body.symbol] if image.seq >= entry.seq]
            # A mark at the same number was taken after the message.
            self._images[entry.body.symbol] = later if later and later[0].seq == entry.seq else [entry, *later]


@dataclass(slots=True, kw_only=True)
class Session:
    """A client's standing with the venue."""

    session_id: str
    key: str
    entitled: frozenset[str]
    window: int = REPLAY_WINDOW
    left_at_s: float | None = None
    """When its socket went; None while connected."""
    channels: dict[str, Channel] = field(init=False)

    def __post_init__(self) -> None:
        self.channels = {name: Channel(self.window) for name in CHANNELS}
