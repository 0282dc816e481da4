"""Rows of an MCX session that are no ticks: gaps, rejected packets, quality, the broker's messages.

The broker numbers nothing, so a gap is a stretch of our own numbering, which follows `ts_recv`: between its two numbers
something may be missing. Pure.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from connectors.mcx.constants import FEED, MIC
from connectors.mcx.packets import Broken, Text
from connectors.ticks import RAW_CHARACTERS, FeedOutput, Slot

_UNKNOWN_MAX: Final = 1_000  # a hostile venue must not grow the set
ALL: Final = "ticks"
"""The channel of a gap that is not of one instrument."""


@dataclass(slots=True, kw_only=True)
class Gap:
    """A stretch in which something may be missing; written when found, again when resolved."""

    channel: str
    seq_from: int
    seq_to: int
    ts_detected: int
    reason: str

    def fields(self) -> dict[str, Any]:
        return asdict(self)


class Ledger:
    """Write what was not straight through."""

    def __init__(self, output: FeedOutput, broker: str) -> None:
        self._output, self._source = output, f"{FEED}/{broker}"
        self._rows = 0
        self._unknown: set[int] = set()
        self._venue: tuple[str, str] = ("", "")
        self.clocks: dict[str, Slot] = {}
        """The venue's own slot in each commodity's shard."""

    def gap(self, gap: Gap, ts_resolved: int | None = None, recovered: int = 0) -> None:
        """Write a gap, open, or resolved by an image."""
        self._output.gaps.append(
            gap_id=f"{self._source}/{gap.channel}/{gap.seq_from}",
            venue=MIC,
            channel=gap.channel,
            seq_from=gap.seq_from,
            seq_to=gap.seq_to,
            ts_detected=gap.ts_detected,
            ts_resolved=ts_resolved,
            resolution=None if ts_resolved is None else "snapshot",
            recovered_rows=recovered,
            reason=gap.reason,
        )

    def venue(self, quality: str, reason: str, now_ns: int) -> None:
        """Write the quality of the whole session, if it changed."""
        if (quality, reason) == self._venue:
            return
        if quality != self._venue[0]:
            for slot in self.clocks.values():
                self._output.ticks.state(slot, now_ns, now_ns, quality)
        self._venue = (quality, reason)
        self._output.status.append(venue=MIC, ts_event=now_ns, quality=quality, reason=reason)

    def instrument(self, slot: Slot, instrument: str, quality: str, reason: str, now_ns: int) -> None:
        """Write the quality of an instrument."""
        self._output.ticks.state(slot, now_ns, now_ns, quality)
        self._output.status.append(venue=MIC, instrument=instrument, ts_event=now_ns, quality=quality, reason=reason)

    def text(self, message: Text, now_ns: int) -> None:
        """Surface a text: what the broker tells its customers is news, an error is a reason of the session's state."""
        if message.kind == "message":
            self._rows += 1
            self._output.news.append(
                news_id=f"{self._source}/{now_ns}/{self._rows}",
                venue=MIC,
                ts_event=now_ns,
                ts_recv=now_ns,
                headline=message.text[:200],
                body=message.text[:RAW_CHARACTERS],
                topics="broker",
                instruments="",
                urgency=1,
            )
        elif message.kind == "error":
            self.venue(self._venue[0] or "LIVE", f"broker error: {message.text[:200]}", now_ns)
        else:
            detail = f"a text message of type {message.kind}"
            self._reject("unsupported_message", detail, message.text, now_ns)

    def broken(self, part: Broken, now_ns: int) -> None:
        """Write bytes that are no packet."""
        self._reject(part.reason, part.detail, part.raw.hex(), now_ns)

    def refused(self, instrument: str, reason: str, detail: str, raw: object, now_ns: int) -> None:
        """Write a packet, or a part of one, that must not become a row."""
        self._reject(reason, detail, str(raw), now_ns, instrument)

    def unknown(self, token: int, now_ns: int) -> None:
        """Write that a token is no instrument: once, for its packets are states of the same thing."""
        if token not in self._unknown and len(self._unknown) < _UNKNOWN_MAX:
            self._unknown.add(token)
            self._reject("unknown_instrument", f"token {token}", str(token), now_ns)

    def _reject(self, reason: str, detail: str, raw: str, now_ns: int, instrument: str | None = None) -> None:
        self._rows += 1
        self._output.rejected.append(
            venue=MIC,
            instrument=instrument,
            ts_recv=now_ns,
            reason=reason,
            detail=detail,
            raw=raw[:RAW_CHARACTERS],
            source=self._source,
            source_offset=now_ns,
            source_row=self._rows,
        )
