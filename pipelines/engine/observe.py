"""How far a consumer is behind the log, for Prometheus."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from market.records import LogReader, TopicPartition
from pipelines import metrics

_EVERY_S: Final = 1.0  # asking for the end of a partition costs a file look-up


@dataclass(slots=True)
class Lag:
    """Called after each read; exports `mandi_log_lag_rows` about once a second and topic."""

    consumer: str
    open_reader: Callable[[], LogReader]
    _own: threading.local = field(default_factory=threading.local)  # a reader of each worker: threads share none
    _measured_at: dict[TopicPartition, float] = field(default_factory=dict)

    def __call__(self, tp: TopicPartition, next_offset: int, ts_append: int) -> None:
        if monotonic() < self._measured_at.get(tp, -1e9) + _EVERY_S:
            return
        self._measured_at[tp] = monotonic()
        if not hasattr(self._own, "reader"):
            self._own.reader = self.open_reader()
        behind = self._own.reader.behind(tp, next_offset)
        metrics.LOG_LAG_ROWS.labels(str(tp), self.consumer).set(behind)
