"""The backend's events from all its sources, each read by a thread of its own, checked, and handed over in batches.

Delivery: with the positions of the newest flush given as `resume`, every event that came after it comes again, and
    none before it. Events may come twice, also by two ways; whoever writes them tells them apart by id.
State: at most MAX_WAITING messages and one read; beyond that the sources are not read.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from connectors.backend.config import KafkaConfig, OutboxConfig
from connectors.backend.outbox import OutboxSource
from connectors.backend.source import BACKEND, Message, Messages, Positions, Source, SourceUnavailable
from connectors.errors import FeedFailed
from connectors.ticks import RAW_CHARACTERS, row_batch
from connectors.transport import Backoff
from market.instruments import InstrumentMaster
from market.trade_events import EventRefused, TradeEvent, parse_event

MAX_WAITING: Final = 50_000
_READ_S: Final = 0.25  # how long a stop may have to wait
_STOP_TIMEOUT_S: Final = (
    1.5  # of the three seconds that a supervisor gives; the threads may wait for a server for longer
)
MUTE_S: Final = 15.0
"""A read that takes as long has met a server that takes what is sent and never answers: no connection breaks then."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A checked event and the message it came in."""

    event: TradeEvent
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFlush:
    """Events in order, and how far they go. Write both in one step, or neither."""

    events: Sequence[Received]
    rejected: pa.RecordBatch | None
    gaps: pa.RecordBatch | None
    positions: Positions


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """Where the events are: one of the two, or both."""

    kafka: KafkaConfig | None = None
    outbox: OutboxConfig | None = None


def open_feed(config: BackendConfig, now: Callable[[], int], resume: Positions) -> "BackendFeed":
    """Return the feed of a backend, not started. `now` is the market clock."""
    sources: list[Source] = []
    if config.kafka is not None:
        from connectors.backend.kafka import KafkaSource  # 0.3 s that the outbox alone shall not cost

        sources.append(KafkaSource(config.kafka, resume))
    if config.outbox is not None:
        sources.append(OutboxSource(config.outbox, resume))
    return BackendFeed(sources, now)


class BackendFeed:
    """The running sources: start them, take what came, stop them."""

    def __init__(self, sources: Sequence[Source], now: Callable[[], int]) -> None:
        self._sources, self._now = sources, now
        self._master = InstrumentMaster.load()
        self._changed = threading.Condition()
        self._events: list[Received] = []
        self._rejected: list[dict[str, Any]] = []
        self._gaps: list[dict[str, Any]] = []
        self._positions: dict[str, str] = {}
        self._on_disk: Positions = {}
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._up = {source.name: False for source in sources}
        self._asked_s = {source.name: float("inf") for source in sources}  # inf: nobody waits for an answer
        self._threads = [
            threading.Thread(target=self._follow, args=(source,), name=f"{BACKEND}-{source.name}", daemon=True)
            for source in sources
        ]

    @property
    def up(self) -> Mapping[str, bool]:
        """Which of the sources answer."""
        mute_s = time.monotonic() - MUTE_S
        return {name: is_up and self._asked_s[name] > mute_s for name, is_up in self._up.items()}

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def take(self) -> EventFlush | None:
        """Take what came; None if nothing did. Raises: FeedFailed once a thread died."""
        with self._changed:
            if self._failure is not None:
                raise FeedFailed(BACKEND) from self._failure
            if not self._positions:
                return None
            events, self._events = self._events, []
            rejected, self._rejected = self._rejected, []
            gaps, self._gaps = self._gaps, []
            positions, self._positions = self._positions, {}
            self._changed.notify_all()
        return EventFlush(
            events=events,
            rejected=row_batch("rejected", rejected),
            gaps=row_batch("gaps", gaps),
            positions=positions,
        )

    def forget(self, positions: Positions) -> None:
        """All before these positions is on disk in the log."""
        with self._changed:
            self._on_disk = positions

    def stop(self) -> None:
        """End the threads. What came until then can still be taken."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        end_s = time.monotonic() + _STOP_TIMEOUT_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end_s - time.monotonic()))

    # ---- the threads

    def _follow(self, source: Source) -> None:
        backoff, said = Backoff(), ""
        try:
            while not self._stopping.is_set():
                try:
                    self._asked_s[source.name] = time.monotonic()
                    found = source.read(_READ_S)
                    self._asked_s[source.name] = float("inf")
                    self._put(found)
                    self._asked_s[source.name] = time.monotonic()
                    source.forget(self._on_disk)
                except SourceUnavailable as error:
                    self._up[source.name] = False
                    if str(error) != said:
                        said = str(error)
                        _log.warning("%s; trying again", said)
                    self._stopping.wait(backoff.next_delay_s())
                    continue
                self._up[source.name] = True
                said = ""
                backoff.reset()
        except Exception as error:  # a supervisor: the next take() raises it
            _log.exception("the %s source of the backend died", source.name)
            with self._changed:
                self._failure = error
        finally:
            source.close()

    def _put(self, found: Messages) -> None:
        ts_recv = self._now()
        events, rejected = list[Received](), list[dict[str, Any]]()
        for message in found.messages:
            try:
                event = parse_event(message.raw, ts_recv, self._master)
                events.append(Received(event=event, message=message))
            except EventRefused as error:
                rejected.append(rejected_row(message, error, ts_recv))
        gaps = [gap_row(gap, ts_recv) for gap in found.gaps]
        with self._changed:
            # Asked to stop, what was read is dropped with its positions, and read again at the next start.
            self._changed.wait_for(lambda: self._has_room() or self._stopping.is_set())
            if not self._has_room():
                return
            self._events += events
            self._rejected += rejected
            self._gaps += gaps
            self._positions |= found.positions

    def _has_room(self) -> bool:
        return len(self._events) + len(self._rejected) < MAX_WAITING


def rejected_row(message: Message, error: EventRefused, ts_recv: int) -> dict[str, Any]:
    """A row of REJECTED; read again after a crash, the message gives the same key."""
    return {
        "venue": BACKEND,
        "ts_recv": ts_recv,
        "reason": error.reason,
        "detail": error.detail,
        "raw": message.raw[: 4 * RAW_CHARACTERS].decode("utf-8", "replace")[:RAW_CHARACTERS],
        "source": message.channel,
        "source_offset": message.offset,
        "source_row": 0,
    }


def gap_row(gap: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
    """A row of GAPS that is over as soon as it is found: what it names cannot come any more."""
    return {
        **gap,
        "gap_id": f"{gap['channel']}/{gap['seq_from']}",
        "venue": BACKEND,
        "ts_detected": now_ns,
        "ts_resolved": now_ns,
        "resolution": "snapshot",
        "recovered_rows": 0,
    }
