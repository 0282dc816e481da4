"""The ICE feed as a thread: the only part of the connector that does I/O.

One lock makes a frame and its effect on rows and positions one step, so `take` never sees half of it.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import uvloop

from connectors.errors import FeedFailed
from connectors.ice.config import IceConfig
from connectors.ice.session import Session
from connectors.ticks import FeedOutput, row_batch, tick_batches
from connectors.transport import Backoff, Link, keep_connected

_STOP_TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Rows, and how far they go. Write both in one step, or neither."""

    ticks: list[tuple[str, pa.RecordBatch]]
    rejected: pa.RecordBatch | None
    gaps: pa.RecordBatch | None
    status: pa.RecordBatch | None
    positions: Mapping[str, int | str]
    counters: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Rows of all kinds."""
        ledgers = [batch for batch in (self.rejected, self.gaps, self.status) if batch is not None]
        return int(sum(batch.num_rows for batch in [*ledgers, *(batch for _, batch in self.ticks)]))


class IceFeed:
    """A running ICE session: start it, take what came, stop it.

    Shape: frames -> TICKS per commodity in arrival order, REJECTED, GAPS, STATUS.
    Units: `now` and `ts_recv` ns UTC of the market clock.
    Delivery: exactly once if each Flush is written with its positions and the newest ones are given as `resume`.
    State: at most `config.max_rows` rows; beyond that the socket is not read.
    """

    def __init__(
        self, config: IceConfig, now: Callable[[], int], resume: Mapping[str, int | str] | None = None
    ) -> None:
        self._config, self._now = config, now
        self._output = FeedOutput()
        self._session = Session(config, self._output, resume)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._whole = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ice-feed", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self) -> Flush:
        """Take all rows so far and the positions that go with them; never blocks on the network.

        Raises: FeedFailed once the thread died. Rows not taken by then come again after a resume.
        """
        self._ready.clear()
        with self._lock:
            if self._failure is not None or not self._whole:
                raise FeedFailed("ICE") from self._failure
            output = self._output
            ticks, rejected = output.ticks.detach(), output.rejected.detach()
            gaps, status = output.gaps.detach(), output.status.detach()
            positions, counters = self._session.positions(), dict(self._session.counters)
        return Flush(
            ticks=tick_batches(ticks),
            rejected=row_batch("rejected", rejected),
            gaps=row_batch("gaps", gaps),
            status=row_batch("status", status),
            positions=positions,
            counters=counters,
        )

    def wait(self, timeout_s: float) -> bool:
        """Block until there is something to take (rows, or an error to raise); False at the time-out."""
        return self._ready.wait(timeout_s)

    def stop(self) -> None:
        """Close the connection and end the thread. What came until then can still be taken."""
        with self._lock:
            self._stopping = True
            loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            loop.call_soon_threadsafe(stop.set)
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    # ---- the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except Exception as error:  # a supervisor: the next take() raises it
            with self._lock:
                self._failure = error
            self._ready.set()
            _log.exception("the ICE feed died")

    async def _main(self) -> None:
        stop, config = asyncio.Event(), self._config
        with self._lock:
            self._loop, self._stop = asyncio.get_running_loop(), stop
            if self._stopping:
                stop.set()
        link = Link(
            url=config.url,
            open_timeout_s=config.open_timeout_s,
            ping_interval_s=config.ping_interval_s,
            dead_after_s=config.dead_after_s,
            stable_after_s=config.stable_after_s,
        )
        try:
            await keep_connected(self, link, self._now, stop, Backoff())
        finally:
            with self._lock:
                self._loop = None

    # ---- connectors.transport.Handler

    def on_open(self, now_ns: int) -> None:
        self._step(self._session.on_open, now_ns)

    def receive(self, frame: bytes, now_ns: int) -> None:
        self._step(self._session.receive, frame, now_ns)

    def on_timer(self, now_ns: int) -> None:
        self._step(self._session.on_timer, now_ns)

    def on_close(self, code: int | None, now_ns: int, reason: str) -> None:
        _log.warning("ICE connection closed: code %s, %s", code, reason or "no reason given")
        self._step(self._session.on_close, code, now_ns, reason)

    # A step that raised half-way leaves rows and positions apart: `_whole` stays False and nothing is taken any more.
    def _step(self, action: Callable[..., None], *arguments: object) -> None:
        with self._lock:
            self._whole = False
            action(*arguments)
            self._whole = True
        if not self._ready.is_set() and self._output.rows:
            self._ready.set()

    def to_send(self) -> list[bytes]:
        return self._session.to_send()

    def next_timer_ns(self) -> int | None:
        return self._session.next_timer_ns()

    def lost(self) -> str | None:
        return self._session.lost

    def min_retry_s(self) -> float:
        return self._session.min_retry_s

    def full(self) -> bool:
        return self._output.ticks.rows >= self._config.max_rows
