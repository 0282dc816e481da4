"""Rows of an ICE session that are no ticks: gaps, rejected messages, the venue's quality."""

from collections.abc import Iterable, Mapping
from typing import Final

from connectors.errors import DecodeError
from connectors.ice.codec import Book, Bust, Refused, Sequenced, Status, Trade, listed, raw_text
from connectors.ice.constants import BOOK, FEED, MIC_BY_ROOT, STATUS, TRADES
from connectors.ice.sequence import Gap
from connectors.ticks import FeedOutput, Slot

_UNKNOWN_SYMBOLS_MAX = 1_000  # a hostile venue must not grow the set

_CHANNELS: Final[Mapping[type, str]] = {Trade: TRADES, Bust: TRADES, Book: BOOK, Status: STATUS}


def channel_of(message: Sequenced) -> str:
    """Return the channel that numbers a message."""
    return message.channel if isinstance(message, Refused) else _CHANNELS[type(message)]


class Ledger:
    """Write what was not straight through; `source` names session and channel, `source_offset` the sequence.

    A message that is received again after a crash gives the same natural key, so its row is written once.
    """

    def __init__(self, output: FeedOutput) -> None:
        self._output = output
        self._frames = 0
        self._unknown: set[str] = set()
        self.venue_quality = ""

    def gap(self, gap: Gap, ts_resolved: int | None = None, resolution: str | None = None) -> None:
        """Write a hole, open or resolved."""
        self._output.gaps.append(
            gap_id=f"{FEED}/{gap.session}/{gap.channel}/{gap.seq_from}",
            venue=FEED,
            channel=gap.channel,
            seq_from=gap.seq_from,
            seq_to=gap.seq_to,
            ts_detected=gap.ts_detected,
            ts_resolved=ts_resolved,
            resolution=resolution,
            recovered_rows=gap.recovered,
            reason=gap.reason,
        )

    def venue(self, mics: list[str], slots: Iterable[Slot], quality: str, reason: str, now_ns: int) -> None:
        """Write the quality of the whole session, if it changed: one row an exchange, and one among its ticks."""
        if quality != self.venue_quality:
            self.venue_quality = quality
            for slot in slots:
                self._output.ticks.state(slot, now_ns, now_ns, quality)
            for mic in mics or sorted(set(MIC_BY_ROOT.values())):
                self._output.status.append(venue=mic, ts_event=now_ns, quality=quality, reason=reason)

    def unknown(self, session: str | None, message: Sequenced, stamp_ns: int) -> None:
        """Write a message of a symbol that is no instrument: every trade, of books and states the first."""
        symbol = str(message.symbol)
        if not isinstance(message, Trade | Bust):
            if symbol in self._unknown or len(self._unknown) >= _UNKNOWN_SYMBOLS_MAX:
                return
            self._unknown.add(symbol)
        detail = f"symbol {symbol[:80]!r}"
        refusal = Refused(
            channel_of(message), symbol, message.seq, "unknown_instrument", detail, repr(message), message.replayed
        )
        self.refused(session, refusal, stamp_ns)

    def refused(self, session: str | None, message: Refused, stamp_ns: int) -> None:
        """Write a message that gives no row."""
        known = None if message.symbol is None else listed(message.symbol)
        self._output.rejected.append(
            venue=FEED if known is None else known.mic,
            instrument=None if known is None else known.instrument,
            ts_recv=stamp_ns,
            reason=message.reason,
            detail=message.detail,
            raw=message.raw,
            source=f"{FEED}/{session}/{message.channel}",
            source_offset=message.seq,
            source_row=0,
        )

    def malformed(self, session: str | None, error: DecodeError, frame: bytes, now_ns: int) -> None:
        """Write a frame that is no message."""
        self._frames += 1
        self._output.rejected.append(
            venue=FEED,
            ts_recv=now_ns,
            reason=error.reason,
            detail=error.detail,
            raw=raw_text(frame),
            source=f"{FEED}/{session}/frames",
            source_offset=now_ns,
            source_row=self._frames,
        )
