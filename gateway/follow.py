"""Follow the log in a thread and hand rows to the event loop.

A thread, because `LogReader.wait` blocks; decoding there keeps it off the loop's path to the sockets. At most
IN_FLIGHT deliveries are under way, so a busy loop makes the log wait instead of filling memory.

Delivery: every row of a partition once and in order while the process lives; after a retention gap the loss is
told (`Sink.lose`), never skipped over.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.rows import Row, rows_of
from market import topics
from market.records import LogReader, LogUnavailable, OffsetOutOfRange, Record, TopicPartition

PATTERNS: Final = (
    *(topics.PRICES_PATTERN, topics.BARS, topics.BOOKS, topics.STATUS, topics.NEWS),
    *(topics.ANOMALIES, topics.ARBITRAGE, topics.FORECASTS, topics.USER_TRADES),
)
WAIT_S: Final = 0.1  # a wait ends at the next append; this is how often nothing is looked at
DISCOVER_S: Final = 0.1  # how soon a topic that appears later is followed
REST_S: Final = 0.01
"""After a look that found something it rests as long as that took, at most so long: a look at a broker costs
milliseconds, and who looks again at once takes half a core from all others."""

RETRY_S: Final = 1.0
ROWS_PER_DELIVERY: Final = 256  # about 3 ms of the loop's time
READ_BYTES: Final = 1 << 20
IN_FLIGHT: Final = 4

_LOG: Final = logging.getLogger("mandi.gateway")


class Sink(Protocol):
    """What takes the rows, on the event loop."""

    def prime(self, topic: str, rows: Sequence[Row]) -> None: ...

    def finish_prime(self) -> None: ...

    def publish(self, topic: str, rows: Sequence[Row]) -> None: ...

    def lose(self, topic: str, reason: str) -> None: ...


class Follower:
    """Reads market topics from their tail on.

    State: one offset per partition. `error` says why it does not read, empty while it does.
    """

    def __init__(
        self,
        open_reader: Callable[[], LogReader],
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        tail_records: int,
    ) -> None:
        self._open_reader, self._sink, self._loop = open_reader, sink, loop
        self._tail_records = tail_records
        self._positions: dict[TopicPartition, int] = {}
        self._rows_per_record: dict[TopicPartition, float] = {}
        self._collected: list[tuple[str, Sequence[Row]]] = []  # (topic, rows) read, and not handed to the loop yet
        self._collected_rows = 0
        self._primed = False
        self._stop = threading.Event()
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._thread = threading.Thread(target=self._run, name="gateway-log", daemon=True)
        self._caught_up_s = float("-inf")
        self._lag_due_s = 0.0
        self.lag_rows: dict[str, int] = {}
        self.bad_records = 0
        self.failures = 0
        self.error = "the log was not read yet"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._stop.set()
        self._slots.release()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def caught_up_within(self, seconds: float) -> bool:
        """Tell whether the end of every topic was reached that recently."""
        return not self.error and time.monotonic() - self._caught_up_s <= seconds

    # In the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except LogUnavailable:
                return  # told to stop while it waited for the broker
            except Exception as error:
                # The supervisor of this thread: whatever a log raises, say so in /readyz and try again.
                self.failures += 1
                self.error = f"{type(error).__name__}: {error}"
                _LOG.exception("the log cannot be read; trying again in %s s", RETRY_S)
                self._stop.wait(RETRY_S)

    def _follow(self) -> None:
        reader = self._open_reader()
        try:
            self._discover(reader)
            self._finish_prime()
            discover_s = time.monotonic() + DISCOVER_S
            while not self._stop.is_set():
                began_s = time.monotonic()
                if self._read_all(reader):
                    self._stop.wait(min(time.monotonic() - began_s, REST_S))
                else:
                    reader.wait(WAIT_S)
                if time.monotonic() >= discover_s:
                    self._discover(reader)
                    discover_s = time.monotonic() + DISCOVER_S
        finally:
            reader.close()

    def _discover(self, reader: LogReader) -> None:
        for pattern in PATTERNS:
            for tp in reader.partitions(pattern):
                if tp not in self._positions:
                    self._begin(reader, tp)

    def _begin(self, reader: LogReader, tp: TopicPartition) -> None:
        # What is there at start is the image; a topic that appears later is news from its first record on.
        begin, end = reader.begin_offset(tp), reader.end_offset(tp)
        if self._primed:
            self._positions[tp] = begin
            return
        position = max(begin, end - self._tail_records)
        while position < end and not self._stop.is_set():
            records = [record for record in reader.read(tp, position, READ_BYTES) if record.offset < end]
            if not records:
                break
            for record in records:
                self._deliver(self._sink.prime, tp, record)
            position = records[-1].offset + 1
        self._positions[tp] = position

    def _finish_prime(self) -> None:
        if not self._primed:
            self._primed = True
            self._post(self._sink.finish_prime)

    def _read_all(self, reader: LogReader) -> bool:
        """Read once from every partition; return whether there was anything."""
        found = False
        try:
            for tp, position in self._positions.items():
                records = self._read(reader, tp, position)
                for record in records:
                    self._collect(tp, record)
                    self._positions[tp] = record.offset + 1
                found = found or bool(records)
        finally:
            self._publish_collected()
        now_s = time.monotonic()
        if not found:
            self._caught_up_s = now_s
            self.error = ""
        if now_s >= self._lag_due_s:
            self._lag_due_s = now_s + 0.5
            self.lag_rows = self._lag(reader)
        return found

    def _read(self, reader: LogReader, tp: TopicPartition, position: int) -> list[Record]:
        try:
            return reader.read(tp, position, READ_BYTES)
        except OffsetOutOfRange as error:
            _LOG.error("rows were lost to this gateway: %s", error)
            self._positions[tp] = error.begin
            self._post(lambda: self._sink.lose(tp.topic, "log_truncated"))
            return []

    def _lag(self, reader: LogReader) -> dict[str, int]:
        lag: dict[str, int] = {}
        for tp, position in self._positions.items():
            rows = round(reader.behind(tp, position) * self._rows_per_record.get(tp, 1.0))
            lag[tp.topic] = lag.get(tp.topic, 0) + rows
        return lag

    def _collect(self, tp: TopicPartition, record: Record) -> None:
        """Keep the rows for one delivery of all that was found at this look: to wake the loop costs more than a row."""
        rows = self._rows(tp, record)
        for start in range(0, len(rows), ROWS_PER_DELIVERY):
            part = rows[start : start + ROWS_PER_DELIVERY]
            if self._collected_rows + len(part) > ROWS_PER_DELIVERY:
                self._publish_collected()
            self._collected.append((tp.topic, part))
            self._collected_rows += len(part)

    def _publish_collected(self) -> None:
        if not self._collected:
            return
        collected, self._collected, self._collected_rows = self._collected, [], 0

        def publish() -> None:
            for topic, rows in collected:
                self._sink.publish(topic, rows)

        self._post(publish)

    def _deliver(self, take: Callable[[str, Sequence[Row]], None], tp: TopicPartition, record: Record) -> None:
        rows = self._rows(tp, record)
        for start in range(0, len(rows), ROWS_PER_DELIVERY):
            part = rows[start : start + ROWS_PER_DELIVERY]
            self._post(lambda part=part: take(tp.topic, part))  # type: ignore[misc]

    def _rows(self, tp: TopicPartition, record: Record) -> list[Row]:
        try:
            rows = rows_of(record)
        except ValueError as error:  # SchemaMismatch and what Arrow raises: one bad record stops nothing
            self.bad_records += 1
            _LOG.error("record %s of %s was skipped: %s", record.offset, tp, error)
            return []
        mean = self._rows_per_record.get(tp, float(len(rows)))
        self._rows_per_record[tp] = mean + (len(rows) - mean) / 16
        return rows

    def _post(self, call: Callable[[], None]) -> None:
        if not self._stop.is_set():
            self._slots.acquire()  # `stop` gives one more, so that this ends
        if self._stop.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(self._on_loop, call)
        except RuntimeError:  # the loop is closed: nobody to tell
            self._stop.set()

    def _on_loop(self, call: Callable[[], None]) -> None:
        self._slots.release()
        call()
