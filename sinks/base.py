"""What every store sink is: one `write` of whole batches, idempotent by natural key, and how it is retried."""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import pyarrow as pa

from sinks.errors import StoreUnavailable

T = TypeVar("T")

FIRST_DELAY_S: Final = 0.05
"""A local store that restarts is back in about a second: begin small so that little time is lost."""

LAST_DELAY_S: Final = 4.0  # a store that is back is in use again within five seconds

Rows = Mapping[str, Sequence[pa.RecordBatch]]
"""Batches to write, by table name; each has the schema `market.schemas.SCHEMAS[name]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What one write did. `rows_in` were given, `rows_written` of them were new or changed; both by table."""

    rows_in: Mapping[str, int]
    rows_written: Mapping[str, int]
    seconds: float

    @property
    def total_in(self) -> int:
        return sum(self.rows_in.values())

    @property
    def total_written(self) -> int:
        return sum(self.rows_written.values())


class Sink(Protocol):
    """A store that takes batches."""

    @property
    def name(self) -> str:
        """Label of the store in metrics and errors: `timescale`, `clickhouse`."""

    def write(self, rows: Rows) -> WriteResult:
        """Write all tables of `rows`.

        Delivery: when it returns, every row is committed. Writing the same rows again changes nothing, so a
            write that raised may be repeated as a whole.
        Raises: StoreUnavailable (repeat it), StoreRejected (repeating cannot help).
        """

    def close(self) -> None:
        """Release the connection. The next write opens a new one."""


OnRetry = Callable[[StoreUnavailable, int, float], None]
"""Called before each wait with the error, the number of failed attempts and the seconds to wait."""

OnBack = Callable[[], None]
"""Called when what was repeated is done."""


def delay_s(attempt: int, first_s: float = FIRST_DELAY_S, last_s: float = LAST_DELAY_S) -> float:
    """Seconds to wait after failed attempt `attempt` (from 1): doubling, capped, half of it random.

    The random half keeps many writers from coming back in the same instant.
    """
    ceiling = min(last_s, first_s * 2.0 ** min(attempt - 1, 30))
    return ceiling * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Do something again while its store is unavailable: capped exponential backoff with jitter.

    `stop` ends the waiting; `on_retry` and `on_back` tell of it.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    on_retry: OnRetry = lambda _error, _attempt, _wait_s: None
    on_back: OnBack = lambda: None
    first_s: float = FIRST_DELAY_S
    last_s: float = LAST_DELAY_S

    def repeat(self, act: Callable[[], T]) -> T:
        """Return what `act` does, waiting for the store as long as it takes.

        Raises: what `act` raises; StoreUnavailable only after `stop` was set.
        """
        attempt = 0
        while True:
            try:
                done = act()
            except StoreUnavailable as error:
                attempt += 1
                wait_s = delay_s(attempt, self.first_s, self.last_s)
                self.on_retry(error, attempt, wait_s)
                if self.stop.wait(wait_s):
                    raise
            else:
                if attempt:
                    self.on_back()
                return done


class ReopenedSink:
    """A sink that is opened anew after each failure: its store may have come back at another address."""

    def __init__(self, name: str, open_sink: Callable[[], Sink]) -> None:
        self.name, self._open, self._sink = name, open_sink, open_sink()

    def write(self, rows: Rows) -> WriteResult:
        """Write `rows`. Raises: as `Sink.write`."""
        try:
            return self._sink.write(rows)
        except StoreUnavailable:
            self._sink.close()
            self._sink = self._open()
            raise

    def close(self) -> None:
        self._sink.close()


@dataclass(slots=True)
class RetryingSink:
    """A sink whose writes survive an outage of its store.

    `prepare` is done once, before the first write: what a store needs that was away until then.
    """

    sink: Sink
    retry: Retry = field(default_factory=Retry)
    prepare: Callable[[], object] | None = None

    @property
    def name(self) -> str:
        return self.sink.name

    def write(self, rows: Rows) -> WriteResult:
        """Write `rows`, waiting for the store as long as it takes.

        Raises: StoreRejected at once; StoreUnavailable only after `stop` was set.
        """
        return self.retry.repeat(lambda: self._write(rows))

    def close(self) -> None:
        self.sink.close()

    def _write(self, rows: Rows) -> WriteResult:
        if self.prepare is not None:
            self.prepare()
            self.prepare = None
        return self.sink.write(rows)
