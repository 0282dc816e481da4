"""Rows of a Bloomberg session that are no ticks: headlines, beside what connectors/ledger.py writes. Pure."""

from collections.abc import Iterable

from connectors.bloomberg.codec import Story
from connectors.bloomberg.constants import FEED
from connectors.ledger import Gap as Gap
from connectors.ledger import Ledger as CommonLedger
from connectors.ledger import OpenGaps as OpenGaps
from connectors.ticks import FeedOutput


class Ledger(CommonLedger):
    """Write what was not straight through."""

    def __init__(self, output: FeedOutput) -> None:
        super().__init__(output, FEED, FEED)

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
