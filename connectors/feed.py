"""A venue's feed as a thread: the only part of a connector that does I/O. Any venue's session fits in.

One lock makes what came and its effect on rows and positions one step, so `take` never sees half of it.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa
import uvloop

from connectors.errors import FeedFailed
from connectors.ticks import DetachedRows, FeedOutput, row_batch

_STOP_TIMEOUT_S: Final = 1.5  # of the three seconds that a supervisor gives an ingest of several feeds

_log = logging.getLogger(__name__)

Positions = Mapping[str, int | str]
"""How far the rows of a venue go: plain values, written with the rows. `session`, `trades` and `book` have a meaning
to the ingest dataflow (pipelines/ingest.py); the rest is the venue's own."""


class Session(Protocol):
    """A venue's session: a state machine without clock or I/O, which writes rows into a FeedOutput.

    `now_ns` is the market clock. What `receive` is given is the transport's: a frame, bytes, an event of an SDK.
    """

    @property
    def counters(self) -> Mapping[str, int]: ...

    @property
    def lost(self) -> str | None:
        """Why the connection shall be closed, if it shall."""

    @property
    def min_retry_s(self) -> float:
        """Least delay before the next connection."""

    def on_open(self, now_ns: int) -> None: ...

    def receive(self, frame: Any, now_ns: int) -> None: ...

    def on_timer(self, now_ns: int) -> None: ...

    def on_close(self, code: int | None, now_ns: int, reason: str) -> None: ...

    def to_send(self) -> list[bytes]:
        """Requests to send now."""

    def next_timer_ns(self) -> int | None:
        """When `on_timer` is due."""

    def positions(self) -> Positions:
        """How far the rows in the output go; empty while there is nothing that could be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Rows of one venue, and how far they go. Write both in one step, or neither.

    `prices` holds ticks and depth by commodity, each in order of arrival.
    """

    venue: str
    prices: list[DetachedRows]
    rejected: pa.RecordBatch | None
    gaps: pa.RecordBatch | None
    status: pa.RecordBatch | None
    news: pa.RecordBatch | None
    positions: Positions
    counters: Mapping[str, int]

    @property
    def ticks(self) -> list[tuple[str, pa.RecordBatch]]:
        """(commodity, TICKS batch) pairs."""
        return [(rows.commodity, rows.batch()) for rows in self.prices if rows.kind == "ticks"]

    @property
    def depth(self) -> list[tuple[str, pa.RecordBatch]]:
        """(commodity, DEPTH batch) pairs."""
        return [(rows.commodity, rows.batch()) for rows in self.prices if rows.kind == "depth"]

    @property
    def rows(self) -> int:
        """Rows of all kinds."""
        ledgers = [batch for batch in (self.rejected, self.gaps, self.status, self.news) if batch is not None]
        return sum(int(batch.num_rows) for batch in ledgers) + sum(len(part.rows) for part in self.prices)


class Feed(Protocol):
    """A running venue: start it, take what came, stop it."""

    venue: str

    def start(self, loop: "FeedLoop | None" = None) -> None: ...

    def take(self) -> Flush: ...

    def wait(self, timeout_s: float) -> bool: ...

    def stop(self) -> None: ...


class FeedLoop:
    """A thread with an event loop, for the feeds of a process: threads of their own would only wait for each other."""

    def __init__(self, name: str = "feeds") -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._running.wait()
        if self._loop is None:
            raise FeedFailed(name)  # the thread has said why

    def begin(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        """Run a coroutine in the loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, action: Callable[[], None]) -> None:
        """Do something in the loop, soon; nothing once it is closed."""
        assert self._loop is not None
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    def close(self) -> None:
        """End the loop, and what still runs in it."""
        self.call(self._closed.set)
        self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._until_closed())
        finally:
            self._running.set()  # whoever waits for it must not wait for ever

    async def _until_closed(self) -> None:
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        self._running.set()
        await self._closed.wait()


class FeedThread:
    """A session and the coroutine that keeps it connected, in the thread of an event loop.

    Shape: what the venue sends -> TICKS and DEPTH per commodity in arrival order, REJECTED, GAPS, STATUS, NEWS.
    Units: `now` and `ts_recv` ns UTC of the market clock.
    Delivery: exactly once if each Flush is written with its positions, the newest ones are given to the next session
        as its resume, and the venue keeps what it sent since.
    State: at most `max_rows` rows; beyond that `full` says so, and the connection is not read.
    """

    def __init__(
        self,
        venue: str,
        session: Session,
        output: FeedOutput,
        connect: Callable[["FeedThread", asyncio.Event], Awaitable[None]],
        now: Callable[[], int],
        *,
        max_rows: int,
    ) -> None:
        self.venue, self.now = venue, now
        self._session, self._output, self._connect, self._max_rows = session, output, connect, max_rows
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._whole = True
        self._loop: FeedLoop | None = None
        self._owns_loop = False
        self._done: Future[None] | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False

    def start(self, loop: FeedLoop | None = None) -> None:
        """Start, in a loop with others or in one of its own."""
        self._owns_loop = loop is None
        self._loop = loop or FeedLoop(f"{self.venue}-feed")
        self._done = self._loop.begin(self._main())

    def take(self) -> Flush:
        """Take all rows so far and the positions that go with them; never blocks on the network.

        Raises: FeedFailed once the thread died. Rows not taken by then come again after a resume.
        """
        self._ready.clear()
        with self._lock:
            if self._failure is not None or not self._whole:
                raise FeedFailed(self.venue) from self._failure
            output = self._output
            prices = output.ticks.detach() + output.depth.detach()
            ledgers = {name: getattr(output, name).detach() for name in ("rejected", "gaps", "status", "news")}
            positions, counters = self._session.positions(), dict(self._session.counters)
        return Flush(
            venue=self.venue,
            prices=prices,
            **{name: row_batch(name, rows) for name, rows in ledgers.items()},
            positions=positions,
            counters=counters,
        )

    def wait(self, timeout_s: float) -> bool:
        """Block until there is something to take (rows, or an error to raise); False at the time-out."""
        return self._ready.wait(timeout_s)

    def stop(self) -> None:
        """Close the connection. What came until then can still be taken."""
        with self._lock:
            self._stopping = True
            stop = self._stop
        if self._loop is None or self._done is None:
            return
        if stop is not None:
            self._loop.call(stop.set)
        with suppress(TimeoutError, CancelledError):
            self._done.result(_STOP_TIMEOUT_S)
        if self._owns_loop:
            self._loop.close()

    def step(self, action: Callable[..., None], *arguments: object) -> None:
        """Let the session take a step, rows and positions together; for what the methods below do not cover."""
        # A step that raised half-way leaves rows and positions apart: nothing is taken any more.
        with self._lock:
            self._whole = False
            action(*arguments)
            self._whole = True
        if not self._ready.is_set() and self._output.rows:
            self._ready.set()

    # ---- connectors.transport.Handler

    def on_open(self, now_ns: int) -> None:
        self.step(self._session.on_open, now_ns)

    def receive(self, frame: Any, now_ns: int) -> None:
        self.step(self._session.receive, frame, now_ns)

    def on_timer(self, now_ns: int) -> None:
        self.step(self._session.on_timer, now_ns)

    def on_close(self, code: int | None, now_ns: int, reason: str) -> None:
        _log.warning("%s connection closed: code %s, %s", self.venue, code, reason or "no reason given")
        self.step(self._session.on_close, code, now_ns, reason)

    def to_send(self) -> list[bytes]:
        return self._session.to_send()

    def next_timer_ns(self) -> int | None:
        return self._session.next_timer_ns()

    def lost(self) -> str | None:
        return self._session.lost

    def min_retry_s(self) -> float:
        return self._session.min_retry_s

    def full(self) -> bool:
        return self._output.rows >= self._max_rows

    # ---- in the loop

    async def _main(self) -> None:
        stop = asyncio.Event()
        with self._lock:
            self._stop = stop
            if self._stopping:
                stop.set()
        try:
            await self._connect(self, stop)
        except asyncio.CancelledError as error:
            if not stop.is_set():  # nobody asked for it: a feed must not end in silence
                self._fail(error)
            raise
        except Exception as error:  # a supervisor: the next take() raises it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
        self._ready.set()
        _log.error("the %s feed died", self.venue, exc_info=error)
