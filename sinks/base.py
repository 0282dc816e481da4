"""What every store sink is: one `write` of whole batches, idempotent by natural key, and how it is retried."""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from sinks.errors import StoreUnavailable

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
"""Called when a write that was repeated went in."""


def delay_s(attempt: int, first_s: float = FIRST_DELAY_S, last_s: float = LAST_DELAY_S) -> float:
    """Seconds to wait after failed attempt `attempt` (from 1): doubling, capped, half of it random.

    The random half keeps many writers from coming back in the same instant.
    """
    ceiling = min(last_s, first_s * 2.0 ** min(attempt - 1, 30))
    return ceiling * random.uniform(0.5, 1.0)


class RetryingSink:
    """A sink that repeats writes while its store is unavailable. See `retrying`."""

    def __init__(
        self,
        sink: Sink,
        stop: threading.Event,
        on_retry: OnRetry | None,
        on_back: OnBack | None,
        first_s: float,
        last_s: float,
    ) -> None:
        self._sink = sink
        self._stop = stop
        self._on_retry = on_retry
        self._on_back = on_back
        self._first_s = first_s
        self._last_s = last_s

    @property
    def name(self) -> str:
        return self._sink.name

    def write(self, rows: Rows) -> WriteResult:
        """Write `rows`, waiting for the store as long as it takes.

        Raises: StoreRejected at once; StoreUnavailable only after `stop` was set.
        """
        attempt = 0
        while True:
            try:
                written = self._sink.write(rows)
            except StoreUnavailable as error:
                attempt += 1
                wait_s = delay_s(attempt, self._first_s, self._last_s)
                if self._on_retry is not None:
                    self._on_retry(error, attempt, wait_s)
                if self._stop.wait(wait_s):
                    raise
            else:
                if attempt and self._on_back is not None:
                    self._on_back()
                return written

    def close(self) -> None:
        self._sink.close()


def retrying(
    sink: Sink,
    *,
    stop: threading.Event | None = None,
    on_retry: OnRetry | None = None,
    on_back: OnBack | None = None,
    first_s: float = FIRST_DELAY_S,
    last_s: float = LAST_DELAY_S,
) -> RetryingSink:
    """Wrap `sink` so that writes survive an outage of the store: capped exponential backoff with jitter.

    `stop` ends the waiting (the write then raises the last StoreUnavailable); `on_retry` and `on_back` tell of it.
    """
    return RetryingSink(sink, stop or threading.Event(), on_retry, on_back, first_s, last_s)
