"""Pace a market by the market clock and hand what happens to a venue: the loop of every venue's server.

Delivery: an event is handed over within about a millisecond of its `ts_event` (the resolution of the loop's
timers), at thousands of events a second within three, in order. After a sleep of the machine longer than `MAX_LAG_NS`
what was missed is skipped; less is caught up with, `MAX_ACTIONS_PER_TURN` at a time.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from feeds_simulator.events import Event, Listing
from feeds_simulator.faults import NS_PER_S, Action, Distortion, Faults

MAX_ACTIONS_PER_TURN: Final = 2_000  # about 50 ms of work, so that requests are answered during a catch-up
MAX_LAG_NS: Final = 30 * NS_PER_S  # further behind (the machine slept), the model skips what it missed
MAX_SLEEP_S: Final = 0.05  # the clock may be shifted while we sleep
_DUTY: Final = 4.0
"""After a turn wait this many times as long as it took, but no longer than _MOST_PAUSE_S: at a low rate an event goes
out at once, at a high one many go in one write. A turn costs as much as two or three events, here and at the client."""
_MOST_PAUSE_S: Final = 0.002
HOUSEKEEPING_S: Final = 0.25


class Market(Protocol):
    """Where the events come from: a `MarketModel`, or a recorded file."""

    @property
    def listings(self) -> Mapping[str, Listing]: ...

    @property
    def next_ns(self) -> int: ...

    def pull(self, until_ns: int, max_actions: int) -> Sequence[Sequence[Event]]: ...

    def skip_to(self, ts_ns: int) -> None: ...


class VenueServer(Protocol):
    """What a venue does with the market. All three return at once."""

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:
        """Say what happened to every client that asked for it."""

    def keep_house(self, at_s: float, published_ns: int) -> None:
        """Do what time demands, about every quarter second: heartbeats, forgotten sessions, faults by time.

        `at_s` is the event loop's time; up to `published_ns` of market time everything has been said.
        """

    def flush(self) -> None:
        """Write out what there is to say. Called once a turn, after the other two."""


class Pacer:
    """Pulls from a market, hands to a venue. `run` it as a task."""

    def __init__(
        self,
        market: Market,
        venue: VenueServer,
        now: Callable[[], int],
        *,
        faults: Faults,
    ) -> None:
        self._market, self._venue, self._now, self._faults = market, venue, now, faults
        self._count: Callable[[Sequence[Action]], None] = getattr(market, "count", lambda _: None)  # a stage does
        self._distortion = Distortion(faults)
        self._speed = 1.0  # market seconds per second
        self._paced = (time.monotonic(), now())
        self._housekeeping_s = 0.0

    async def run(self) -> None:
        """Pace until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = time.monotonic()  # the loop's own time is that of its last look, in milliseconds
            self.turn(loop.time())
            pause_s = min(_DUTY * (time.monotonic() - began_s), _MOST_PAUSE_S)
            await asyncio.sleep(max(self._nap_s(loop.time()), pause_s))

    def turn(self, at_s: float) -> None:
        """Let the venue say what has happened by now. `at_s` is the event loop's time."""
        published_ns = self._publish(self._now())
        if at_s >= self._housekeeping_s:
            self._housekeeping_s = at_s + HOUSEKEEPING_S
            self._venue.keep_house(at_s, published_ns)
        self._venue.flush()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Pace until `stop` is set. Raises: what a venue raised while it was paced."""
        pacing, stopping = asyncio.create_task(self.run()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({pacing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if pacing.done():
                pacing.result()  # it only ends by failing
        finally:
            pacing.cancel()
            stopping.cancel()
            await asyncio.gather(pacing, stopping, return_exceptions=True)

    def _publish(self, now_ns: int) -> int:
        # Returns the time up to which everything has been said.
        if now_ns - self._market.next_ns > MAX_LAG_NS:
            self._market.skip_to(now_ns)
        actions = self._market.pull(now_ns, MAX_ACTIONS_PER_TURN)
        told = self._distortion.apply(actions, now_ns)
        self._count(told)
        self._venue.publish(told, self._now() + self._faults.clock_offset_ns)
        return min(now_ns, self._market.next_ns - 1)

    def _nap_s(self, at_s: float) -> float:
        # The next event is known by market time; the clock's speed is learnt from how far it came since last time.
        market_ns = self._now()
        passed_s = at_s - self._paced[0]
        if passed_s > 1e-3:
            speed = (market_ns - self._paced[1]) / NS_PER_S / passed_s
            self._speed = min(max(speed, 1e-3), 1e6)
            self._paced = (at_s, market_ns)
        return min(max((self._next_ns() - market_ns) / NS_PER_S / self._speed, 0.0), MAX_SLEEP_S)

    def _next_ns(self) -> int:
        held_ns = self._distortion.next_ns
        return self._market.next_ns if held_ns is None else min(self._market.next_ns, held_ns)
