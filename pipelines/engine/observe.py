"""How far a consumer is behind the log, for Prometheus."""

from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from market.records import LogReader, TopicPartition
from pipelines import metrics

_EVERY_S: Final = 1.0  # asking for the end of a partition costs a file look-up


@dataclass(slots=True)
class Lag:
    """Called after each read, and when there is no more; exports `mandi_log_lag_rows` about once a second and topic.

    A flow that waits for something else reads nothing: whoever waits asks `again`, in the thread that reads.
    """

    consumer: str
    _measured_at: dict[TopicPartition, float] = field(default_factory=dict)
    _behind: set[TopicPartition] = field(default_factory=set)  # measured at every read: the last one must say 0
    _read: dict[TopicPartition, tuple[LogReader, int]] = field(default_factory=dict)

    def __call__(self, reader: LogReader, tp: TopicPartition, next_offset: int) -> None:
        self._read[tp] = reader, next_offset
        if tp not in self._behind and monotonic() < self._measured_at.get(tp, -1e9) + _EVERY_S:
            return
        self._measure(tp, reader, next_offset)

    def again(self) -> None:
        """Measure what has been appended meanwhile."""
        for tp, (reader, next_offset) in self._read.items():
            self._measure(tp, reader, next_offset)

    def _measure(self, tp: TopicPartition, reader: LogReader, next_offset: int) -> None:
        self._measured_at[tp] = monotonic()
        behind = reader.behind(tp, next_offset)
        (self._behind.add if behind else self._behind.discard)(tp)
        metrics.LOG_LAG_ROWS.labels(str(tp), self.consumer).set(behind)
