"""Rows that are no ticks of a venue that numbers nothing: gaps, rejected messages, quality. Pure.

A gap is a stretch of our own numbering, which follows `ts_recv`: between its two numbers something may be missing.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from connectors.ticks import RAW_CHARACTERS, FeedOutput, Slot

_REASON_CHARACTERS: Final = 300
GAPS_KEPT: Final = 100  # of connections lost again before all images were there


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
    """Write what was not straight through. `name` is the venue of the rows, `source` where they come from."""

    def __init__(self, output: FeedOutput, name: str, source: str) -> None:
        self._output, self._name, self._source = output, name, source
        self._rows = 0
        self._venue: tuple[str, str] = ("", "")
        self.clocks: dict[str, Slot] = {}
        """The venue's own slot in each commodity's shard, where states of the venue go among the ticks."""

    def gap(self, gap: Gap, ts_resolved: int | None = None, resolution: str = "snapshot", recovered: int = 0) -> None:
        """Write a gap, open or resolved."""
        self._output.gaps.append(
            gap_id=f"{self._source}/{gap.channel}/{gap.seq_from}",
            venue=self._name,
            channel=gap.channel,
            seq_from=gap.seq_from,
            seq_to=gap.seq_to,
            ts_detected=gap.ts_detected,
            ts_resolved=ts_resolved,
            resolution=None if ts_resolved is None else resolution,
            recovered_rows=recovered,
            reason=gap.reason[:_REASON_CHARACTERS],
        )

    def venue(self, quality: str, reason: str, now_ns: int) -> None:
        """Write the quality of the whole session, if it changed."""
        if (quality, reason) == self._venue:
            return
        if quality != self._venue[0]:
            for slot in self.clocks.values():
                self._output.ticks.state(slot, now_ns, now_ns, quality)
        self._venue = (quality, reason)
        self._status(None, quality, reason, now_ns)

    def instrument(self, instrument: str, quality: str, reason: str, now_ns: int, slot: Slot | None = None) -> None:
        """Write the quality of an instrument; with its slot, among its ticks too."""
        if slot is not None:
            self._output.ticks.state(slot, now_ns, now_ns, quality)
        self._status(instrument, quality, reason, now_ns)

    def rejected(self, instrument: str | None, reason: str, detail: str, raw: object, now_ns: int) -> None:
        """Write a message, or a part of one, that must not become a row."""
        self._rows += 1
        self._output.rejected.append(
            venue=self._name,
            instrument=instrument,
            ts_recv=now_ns,
            reason=reason,
            detail=detail[:RAW_CHARACTERS],
            raw=str(raw)[:RAW_CHARACTERS],
            source=self._source,
            source_offset=now_ns,
            source_row=self._rows,
        )

    def _status(self, instrument: str | None, quality: str, reason: str, now_ns: int) -> None:
        self._output.status.append(
            venue=self._name,
            instrument=instrument,
            ts_event=now_ns,
            quality=quality,
            reason=reason[:_REASON_CHARACTERS],
        )


class OpenGaps:
    """Gaps of whole connections, each open until every image is there.

    State: at most GAPS_KEPT; for one more the oldest is closed as `superseded`, and those after it go on.
    """

    def __init__(self, ledger: Ledger, left: object) -> None:
        """Take over what a process before this one left open, as JSON."""
        self._ledger = ledger
        self._gaps = [Gap(**fields) for fields in orjson.loads(str(left))]

    def __iter__(self) -> Iterator[Gap]:
        return iter(self._gaps)

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def open(self, gap: Gap, now_ns: int) -> None:
        """Write a gap, and keep it."""
        if len(self._gaps) >= GAPS_KEPT:
            self._ledger.gap(self._gaps.pop(0), now_ns, "superseded")
        self._gaps.append(gap)
        self._ledger.gap(gap)

    def resolve(self, last_seq: int, now_ns: int, remark: str = "") -> None:
        """Every image is there: close all, each up to the last row before."""
        for gap in self._gaps:
            gap.seq_to = max(gap.seq_to, last_seq)
            gap.reason = f"{gap.reason}; {remark}" if remark else gap.reason
            self._ledger.gap(gap, now_ns)
        self._gaps.clear()
