"""One stream: what one (channel, instrument, interval) last said, its sequence, and a ring to resume from. Pure."""

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.protocol import STATE_CHANNELS, snapshot_message, stream_head, text_frame, update_message
from gateway.rows import BarVersion, Row
from market.schemas import INTERVALS_NS

if TYPE_CHECKING:
    from gateway.client import ClientQueue, Feed

RING_UPDATES: Final = 4_096
"""Updates one stream can replay: over half an hour of a stream at two a second."""

RING_BYTES: Final = 768 * 1024
"""Bytes one stream's ring may hold: a full replay fits into a client's queue of 1 MiB."""

BAR_MEMORY_NS: Final = 2 * 3600 * 10**9
"""How far back, from the newest bar, states of bars are remembered to recognise duplicates."""

MIN_BARS_KEPT: Final = 8


class StreamKey(NamedTuple):
    channel: str
    instrument: str
    interval: str
    user: str = ""  # whose it is; empty: everybody's


class Update:
    """One update, serialised once; every client and the ring share `frame`."""

    __slots__ = ("_data_size", "droppable", "frame", "ordinal", "seq", "slot")

    def __init__(self, seq: int, ordinal: int, frame: bytes, data_size: int, slot: int, droppable: bool) -> None:
        self.seq = seq
        self.ordinal = ordinal  # its place among the updates of all streams
        self.frame = frame
        self.slot = slot  # a later update of the same slot replaces a droppable one
        self.droppable = droppable
        self._data_size = data_size

    @property
    def data(self) -> bytes:
        """The row, cut out of the frame instead of kept twice."""
        return self.frame[-1 - self._data_size : -1]


class BarMemory:
    """The newest state of each recent bar of one stream.

    State: one entry per bar of the last two hours (7,200 of 1 s, about 200 bytes each), MIN_BARS_KEPT at least.
    """

    __slots__ = ("_floor", "_keep", "_newest", "_states")

    def __init__(self, interval: str) -> None:
        self._states: dict[int, BarVersion] = {}
        self._keep = max(BAR_MEMORY_NS // INTERVALS_NS[interval], MIN_BARS_KEPT)
        self._newest = 0
        self._floor = -1  # bars up to here were forgotten

    def accept(self, bar: BarVersion) -> bool:
        """Remember `bar` and return True, or False if it is a duplicate or older than what is known."""
        known = self._states.get(bar.ts_open)
        if known is not None and not _is_newer(bar, known):
            return False
        # The first state of a forgotten bar is an old output written again. A revision of one may be news, and
        # applying it twice is harmless, so it passes.
        if known is None and bar.ts_open <= self._floor and bar.revision == 0:
            return False
        self._states[bar.ts_open] = bar
        self._newest = max(self._newest, bar.ts_open)
        if len(self._states) > self._keep + self._keep // 4 + 1:
            self._prune()
        return True

    def is_newest(self, bar: BarVersion) -> bool:
        return bar.ts_open >= self._newest

    def __len__(self) -> int:
        return len(self._states)

    def _prune(self) -> None:
        for ts_open in sorted(self._states)[: -self._keep]:
            del self._states[ts_open]
            self._floor = ts_open


def _is_newer(bar: BarVersion, known: BarVersion) -> bool:
    if bar.final or known.final:
        return (bar.revision, bar.final) > (known.revision, known.final)
    # Two samples of a forming bar: a row more, or (after a bust) known later.
    return bar.trades > known.trades or bar.as_known_at > known.as_known_at


class Stream:
    """Sequence, image, ring and audience of one stream."""

    __slots__ = (
        "bars",
        "feeds",
        "head",
        "image",
        "key",
        "last_final",
        "ring",
        "ring_bytes",
        "seq",
        "topic",
        "trimmed_ordinal",
        "venues",
    )

    def __init__(self, key: StreamKey, topic: str) -> None:
        self.key = key
        self.topic = topic
        self.venues = frozenset((key.instrument.partition(":")[0],))  # whose data it carries: all must be granted
        self.head = stream_head(key.channel, key.instrument, key.interval)
        self.seq = 0
        self.image: Row | None = None
        self.last_final: Row | None = None
        self.bars = BarMemory(key.interval) if key.channel == "bars" else None
        self.ring: deque[Update] = deque()
        self.ring_bytes = 0
        self.trimmed_ordinal = 0  # of the newest update that the ring no longer holds
        self.feeds: dict[ClientQueue, Feed] = {}

    def absorb(self, row: Row) -> bool:
        """Take `row` into the image; return False if it says nothing new."""
        if self.bars is None or row.bar is None:
            if row.channel == "book" and self.image is not None and row.ts_event <= self.image.ts_event:
                return False  # written again after a crash of the flow: the times of a book's snapshots rise
            # A gap of the venue's feed is an event: the image stays the last state.
            self.image = row if row.quality or row.channel != "status" or self.image is None else self.image
            return True
        if not self.bars.accept(row.bar):
            return False
        if self.bars.is_newest(row.bar):
            self.image = row
        if row.bar.final and (self.last_final is None or row.ts_event >= self.last_final.ts_event):
            self.last_final = row
        return True

    def next_update(self, row: Row, ts_out: int, ordinal: int) -> Update:
        """Give `row` the next sequence number, build its frame and put it into the ring."""
        self.seq += 1
        frame = text_frame(update_message(self.head, self.seq, ts_out, row.data))
        # Of bars only a forming one is a state; a final one and each revision is an event.
        droppable = row.channel in STATE_CHANNELS if row.bar is None else not row.bar.final
        slot = row.bar.ts_open if row.bar is not None else 0
        update = Update(self.seq, ordinal, frame, len(row.data), slot, droppable)
        self.ring.append(update)
        self.ring_bytes += len(frame)
        return update

    def snapshot_frame(self, ts_out: int, seq: int) -> bytes | None:
        """Return the image as a frame, None while there is none."""
        image = self.image
        if image is None:
            return None
        forming = image.bar is not None and not image.bar.final
        previous = self.last_final.data if forming and self.last_final is not None else None
        return text_frame(snapshot_message(self.head, seq, ts_out, image.data, previous))

    def seq_at(self, ordinal: int) -> int:
        """Return the last number given up to a place in the order of all updates, 0 if it is no longer known."""
        for update in reversed(self.ring):
            if update.ordinal <= ordinal:
                return update.seq
        if self.trimmed_ordinal > ordinal:
            return 0
        return self.ring[0].seq - 1 if self.ring else self.seq

    def announcement_frame(self, first: Update, ts_out: int) -> bytes:
        """Return the image numbered 0 that holds the first row of a stream."""
        return text_frame(snapshot_message(self.head, 0, ts_out, first.data))

    def missed_since(self, seq: int) -> list[Update] | None:
        """Return every update after `seq`, or None if the ring no longer holds them all."""
        if seq == self.seq:
            return []
        if seq > self.seq or not self.ring or self.ring[0].seq > seq + 1:
            return None
        return list(islice(self.ring, len(self.ring) - (self.seq - seq), None))

    def trim(self, max_updates: int, max_bytes: int) -> int:
        """Drop the oldest of the ring down to the limits; return the bytes freed."""
        before = self.ring_bytes
        while self.ring and (len(self.ring) > max_updates or self.ring_bytes > max_bytes):
            gone = self.ring.popleft()
            self.ring_bytes -= len(gone.frame)
            self.trimmed_ordinal = gone.ordinal
        return before - self.ring_bytes
