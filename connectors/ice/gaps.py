"""The holes of an ICE session, from when they are found until the ledger says how they ended. Pure.

A hole that is given up is over at once, but one of the book only when there are images of all books.
"""

from collections.abc import Mapping

import orjson

from connectors.ice.books import Books
from connectors.ice.constants import BOOK, TRADES
from connectors.ice.ledger import Ledger
from connectors.ice.sequence import Channel, Gap


class Gaps:
    """Writes holes into the ledger. `session` is what they are named for.

    State: `gap` of each channel; what was given up of the book, until images come.
    """

    def __init__(self, channels: Mapping[str, Channel], books: Books, ledger: Ledger) -> None:
        self._channels, self._books, self._ledger = channels, books, ledger
        self.session: str | None = None
        self.imaging: list[Gap] = []
        """Those of the book that wait for images."""

    def to_text(self) -> str:
        """Return those that are not over, for `restore`; '' if there is none."""
        gaps = [gap.fields(imaging=True) for gap in self.imaging]
        gaps += [c.gap.fields(imaging=False) for c in self._channels.values() if c.gap is not None]
        return orjson.dumps(gaps).decode() if gaps else ""

    def restore(self, text: str) -> None:
        """Take back what `to_text` gave."""
        for fields in orjson.loads(text or "[]"):
            gap, imaging = Gap.of(fields)
            if imaging:
                self.imaging.append(gap)
            elif gap.channel in self._channels:
                self._channels[gap.channel].gap = gap

    def open(self, channel: Channel, now_ns: int, reason: str) -> None:
        """A hole was found right after the last message of `channel`."""
        channel.gap = self._new(channel, channel.missing_end(), now_ns, reason)
        self._ledger.gap(channel.gap)
        self.assess(now_ns)

    def widen(self, channel: Channel) -> None:
        """What is held back will be forgotten, and is missing then."""
        gap = channel.widened()
        if gap is not None:
            self._ledger.gap(gap)

    def fill(self, channel: Channel, now_ns: int) -> None:
        """The next message of `channel` was applied: it may be the last of the hole."""
        gap = channel.gap
        if gap is None:
            return
        gap.recovered += channel.last <= gap.seq_to
        if channel.last >= gap.seq_to:
            self._close(channel, "replay", now_ns)
            self.assess(now_ns)

    def forget(self, channel: Channel, now_ns: int) -> None:
        """The whole state of `channel` came: nothing before it is missing any more."""
        if channel.gap is not None:
            self._close(channel, "snapshot", now_ns)

    def _close(self, channel: Channel, resolution: str, now_ns: int) -> None:
        gap, channel.gap = channel.gap, None
        assert gap is not None
        self._ledger.gap(gap, now_ns, resolution)

    def give_up(self, channel: Channel, end: int, reason: str, now_ns: int) -> None:
        """What is missing of `channel` up to `end` will not come. What lies behind is applied, or a hole of its own."""
        if channel.gap is not None or end > channel.last:
            self._lose(channel, max(channel.last, end), reason, now_ns)

    def reset(self, channel: Channel, reason: str, now_ns: int) -> None:
        """The venue counts anew, so that what was missed is unknown: the row says at least one."""
        known_to = channel.last + 1 if channel.gap is None else channel.gap.seq_to
        self._lose(channel, max(known_to, channel.highest), reason, now_ns)

    def _lose(self, channel: Channel, end: int, reason: str, now_ns: int) -> None:
        gap = channel.gap or self._new(channel, end, now_ns, reason)
        gap.seq_to, gap.reason, channel.gap = end, reason, None
        if channel.name == BOOK:
            self.imaging.append(gap)
            self._ledger.gap(gap)
        else:
            self._ledger.gap(gap, now_ns, "snapshot")

    def imaged(self, now_ns: int) -> None:
        """There are images of all books."""
        for gap in self.imaging:
            self._ledger.gap(gap, now_ns, "snapshot")
        self.imaging.clear()

    def assess(self, now_ns: int) -> None:
        """Have the books say whether a hole is open."""
        gapped = any(c.gap is not None for c in self._channels.values() if c.name in (TRADES, BOOK))
        self._books.set_gapped(gapped, now_ns)

    def _new(self, channel: Channel, end: int, now_ns: int, reason: str) -> Gap:
        return Gap(
            session=str(self.session),
            channel=channel.name,
            seq_from=channel.last + 1,
            seq_to=end,
            ts_detected=now_ns,
            reason=reason,
        )
