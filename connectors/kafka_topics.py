"""Whether the topics of a log on Kafka are still those that were read.

A topic that is deleted and made anew has the same name and the same offsets, and other records behind them. The broker
tells the two apart by an id (KIP-516), which no topic has twice.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from market.kafka_away import GONE_S


class KnownTopics:
    """Told what the broker lists; says which topics were deleted, or made anew, since they were first seen.

    State: an id for each topic that was seen; brokers before 2.8 tell none.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._ids: dict[str, str | None] = {}
        self._missing_since: dict[str, float] = {}

    def see(self, ids: Mapping[str, str | None]) -> list[str]:
        """Take the ids of topics that are there; return those that are not what they were. They are told once."""
        replaced = [topic for topic, found in ids.items() if self._ids.get(topic, found) != found]
        self._ids |= ids
        for topic in ids:
            self._missing_since.pop(topic, None)
        return replaced

    def unseen(self, ids: Iterable[str]) -> list[str]:
        """The topics seen before that are not among these."""
        return sorted(self._ids.keys() - set(ids))

    def miss(self, topics: Iterable[str]) -> list[str]:
        """Take topics that the broker says are not there; return those that are gone. They are told once."""
        now_s = self._clock_s()
        gone = [topic for topic in topics if now_s >= self._missing_since.setdefault(topic, now_s) + GONE_S]
        for topic in gone:
            del self._ids[topic], self._missing_since[topic]
        return gone
