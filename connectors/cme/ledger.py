"""Rows of a CME session that are no ticks: gaps, refused messages, the venue's quality."""

from connectors.cme.constants import FEED
from connectors.fix.framing import Garbled
from connectors.fix.message import Message
from connectors.fix.sequence import Gap
from connectors.ticks import RAW_CHARACTERS, FeedOutput

_UNKNOWN_SYMBOLS_MAX = 1_000  # a hostile venue must not grow the set


class Ledger:
    """Write what was not straight through; `source` names the session, `source_offset` is MsgSeqNum.

    A message that is received again after a crash gives the same natural key, so its row is written once.
    """

    def __init__(self, output: FeedOutput) -> None:
        self._output = output
        self._garbled = 0
        self._unknown: set[tuple[bytes | None, ...]] = set()
        self._quality = ""

    def gap(self, session: str, gap: Gap, resolution: str | None, now_ns: int) -> None:
        """Write a hole, open or resolved."""
        self._output.gaps.append(
            gap_id=f"{FEED}/{session}/fix/{gap.seq_from}",
            venue=FEED,
            channel="fix",
            seq_from=gap.seq_from,
            seq_to=gap.seq_to,
            ts_detected=gap.ts_detected,
            ts_resolved=None if resolution is None else now_ns,
            resolution=resolution,
            recovered_rows=gap.recovered,
            reason=gap.reason,
        )

    def venue(self, mics: list[str], quality: str, reason: str, now_ns: int) -> bool:
        """Write the quality of the whole session, one row an exchange; False if it is not new."""
        if quality == self._quality:
            return False
        self._quality = quality
        for mic in mics:
            self._output.status.append(venue=mic, ts_event=now_ns, quality=quality, reason=reason)
        return True

    def is_new_symbol(self, symbol: tuple[bytes | None, ...]) -> bool:
        """Whether a symbol that is no instrument of ours comes for the first time."""
        if symbol in self._unknown or len(self._unknown) >= _UNKNOWN_SYMBOLS_MAX:
            return False
        self._unknown.add(symbol)
        return True

    def refused(
        self, session: str, message: Message, reason: str, detail: str, row: int = 0, instrument: str | None = None
    ) -> None:
        """Write a message, or its entry `row`, that gives no row."""
        self._output.rejected.append(
            venue=FEED if instrument is None else instrument.partition(":")[0],
            instrument=instrument,
            ts_recv=message.stamp_ns,
            reason=reason,
            detail=detail[:RAW_CHARACTERS],
            raw=raw_text(message),
            source=f"{FEED}/{session}/fix",
            source_offset=message.seq,
            source_row=row,
        )

    def garbled(self, session: str, garbled: Garbled, now_ns: int) -> None:
        """Write bytes that are no message."""
        self._garbled += 1
        self._output.rejected.append(
            venue=FEED,
            ts_recv=now_ns,
            reason="malformed_frame",
            detail=f"{garbled.detail}; {garbled.skipped} bytes",
            raw=garbled.raw.decode("utf-8", "replace").replace("\x01", "|").replace("\x00", "?"),
            source=f"{FEED}/{session}/bytes",
            source_offset=now_ns,
            source_row=self._garbled,
        )


def raw_text(message: Message) -> str:
    """Return a message as text, with | for SOH, cut."""
    fields = zip(message.layout.tags, message.values, strict=False)
    text = "".join([f"{tag}={value.decode('utf-8', 'replace')}|" for tag, value in fields if value is not None])
    return text[:RAW_CHARACTERS].replace("\x00", "?")
