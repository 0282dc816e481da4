"""Rows of a Bloomberg session that are no ticks: gaps, rejected messages, quality, headlines. Pure.

Bloomberg numbers nothing, so a gap is a stretch of our own numbering, which follows `ts_recv`: between its two numbers
something may be missing.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from connectors.bloomberg.codec import Story
from connectors.bloomberg.constants import FEED
from connectors.ticks import RAW_CHARACTERS, FeedOutput

_REASON_CHARACTERS: Final = 300


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

    def __init__(self, output: FeedOutput) -> None:
        self._output = output
        self._rows = 0
        self._venue: tuple[str, str] = ("", "")

    def gap(self, gap: Gap, ts_resolved: int | None = None, resolution: str = "snapshot", recovered: int = 0) -> None:
        """Write a gap, open or resolved."""
        self._output.gaps.append(
            gap_id=f"{FEED}/{gap.channel}/{gap.seq_from}",
            venue=FEED,
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
        if (quality, reason) != self._venue:
            self._venue = (quality, reason)
            text = reason[:_REASON_CHARACTERS]
            self._output.status.append(venue=FEED, ts_event=now_ns, quality=quality, reason=text)

    def instrument(self, instrument: str, quality: str, reason: str, now_ns: int) -> None:
        """Write the quality of an instrument."""
        text = reason[:_REASON_CHARACTERS]
        self._output.status.append(venue=FEED, instrument=instrument, ts_event=now_ns, quality=quality, reason=text)

    def news(self, story: Story, instruments: Iterable[str], now_ns: int) -> None:
        """Write a headline."""
        self._output.news.append(
            news_id=story.news_id,
            venue=FEED,
            ts_event=now_ns if story.ts_event is None else story.ts_event,
            ts_recv=now_ns,
            headline=story.headline,
            body=story.body,
            topics=" ".join(story.topics),
            instruments=" ".join(instruments),
            urgency=story.urgency,
        )

    def rejected(self, instrument: str | None, reason: str, detail: str, raw: object, now_ns: int) -> None:
        """Write a message, or a field of one, that must not become a row."""
        self._rows += 1
        self._output.rejected.append(
            venue=FEED,
            instrument=instrument,
            ts_recv=now_ns,
            reason=reason,
            detail=detail[:RAW_CHARACTERS],
            raw=str(raw)[:RAW_CHARACTERS],
            source=FEED,
            source_offset=now_ns,
            source_row=self._rows,
        )
