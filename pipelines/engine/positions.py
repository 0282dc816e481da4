"""How far sources were read, kept in the log itself, and never ahead of what is on the disk."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Generic, TypeVar

import orjson

from market.records import JSON_KIND, LogReader, LogWriter, TopicPartition
from sinks.faults import crash_point

P = TypeVar("P")


def saved_positions(reader: LogReader, tp: TopicPartition) -> Mapping[str, Any]:
    """The positions saved last, by source; empty if there are none."""
    end = reader.end_offset(tp) if tp in reader.partitions(tp.topic) else 0
    if end == 0:
        return {}
    found: Mapping[str, Any] = orjson.loads(reader.read(tp, end - 1)[0].value)
    return found


@dataclass(slots=True)
class PositionLog(Generic[P]):
    """Writes positions by source to `tp`, those that were `reached` when they are on disk.

    `name` is that of the flow, in the names of its crash points. `saved` also has sources that are not read this time.
    """

    writer: LogWriter
    tp: TopicPartition
    name: str
    saved: dict[str, P]
    _reached: dict[str, P] = field(default_factory=dict)
    _waiting: deque[tuple[float, dict[str, P]]] = field(default_factory=deque)  # flushed by, positions

    def reach(self, positions: Mapping[str, P]) -> None:
        """What these positions pass over was appended and flushed."""
        self._reached |= positions

    def end_epoch(self) -> bool:
        """Save what is on disk by now; whether there was anything.

        Asked without waiting: a wait for the disk, twice a second, would be the tail of every latency.
        """
        if self._reached:
            self._waiting.append((monotonic(), self._reached))
            self._reached = {}
        durable: dict[str, P] = {}
        until = self.writer.durable_until()
        while self._waiting and self._waiting[0][0] < until:
            durable |= self._waiting.popleft()[1]
        if durable:
            self._save(durable)
        return bool(durable)

    def save_now(self) -> None:
        """Wait for the disk, and save."""
        newest: dict[str, P] = {}
        for _, positions in (*self._waiting, (0.0, self._reached)):
            newest |= positions
        if not newest:
            return
        self.writer.sync()
        self._waiting.clear()
        self._reached = {}
        self._save(newest)

    def _save(self, positions: dict[str, P]) -> None:
        crash_point(f"{self.name}.positions.before")
        self.saved |= positions
        self.writer.append(self.tp, JSON_KIND, orjson.dumps(self.saved))
        self.writer.flush()
        crash_point(f"{self.name}.positions.after")
