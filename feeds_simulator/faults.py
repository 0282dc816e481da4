"""What goes wrong on purpose, for any venue: on the wire of each connection, and in what the venue says.

`Faults` is the switchboard of one venue; it may be changed while the venue runs. A server keeps one `Wire` a
connection and asks it about each market-data message; the pacing loop asks one `Distortion` about the events
before the venue sees them. All pure: what happens depends on message numbers and market time alone.

Units: `*_every` counts messages (0 = never); `*_s` seconds of market time; `now_ns` ns UTC by the market clock.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from feeds_simulator.events import Event, TradeEvent

NS_PER_S: Final = 1_000_000_000
_EVER: Final = 1 << 62
SWAP_WITHIN_NS: Final = NS_PER_S  # a message that waits for its successor does not wait for ever

Payload = TypeVar("Payload", str, bytes)
Action = Sequence[Event]


@dataclass(slots=True, kw_only=True)
class Faults:
    """What one venue does wrong. 0 and False mean never.

    The n-th counts live market-data messages of one connection; replays and answers are never touched.
    """

    drop_every: int = 0
    duplicate_every: int = 0
    swap_every: int = 0
    """The n-th goes out after the one that follows it."""
    delay_every: int = 0
    delay_s: float = 0.0
    """How long the wire keeps a delayed message; others overtake it."""
    garble_every: int = 0
    disconnect_every_s: float = 0.0
    """A connection is cut when it is this old."""
    half_open: bool = False
    """What is connected stays so, but nothing is read from it or written to it again, not even a pong."""
    stall: bool = False
    """Connected, answering pings, but mute: what would be sent is lost."""
    down: bool = False
    """Connections are cut and none is accepted."""
    refuse_replay: bool = False
    clock_offset_s: float = 0.0
    """Added to every `ts_event` and `ts_send`: the venue's clock is wrong."""
    future_every: int = 0
    """The n-th trade carries a `ts_event` that is `future_s` ahead."""
    future_s: float = 0.0
    late_every: int = 0
    """The n-th trade is published `late_s` after it happened, with its true `ts_event`."""
    late_s: float = 0.0
    closing: bool = False
    """Nothing more happens: what was held back is told at once, and whoever owes heartbeats sends one now."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each fault has struck: dropped, duplicated, swapped, delayed, garbled, cut, future, late."""

    def close(self) -> None:
        """Do nothing wrong any more, so that what was lost can be repeated; the clock stays as it is."""
        for name in _OF_THE_WIRE:
            setattr(self, name, type(getattr(self, name))())
        self.closing = True

    @property
    def clock_offset_ns(self) -> int:
        return round(self.clock_offset_s * NS_PER_S)


_OF_THE_WIRE: Final = (
    "drop_every", "duplicate_every", "swap_every", "delay_every", "garble_every", "disconnect_every_s", "half_open",
    "stall", "down", "refuse_replay", "future_every", "late_every",
)  # fmt: skip


def first_half(message: Payload) -> Payload:
    """Garble a message by cutting it short."""
    return message[: len(message) // 2]


class Wire(Generic[Payload]):
    """The wire of one connection, from `connected_ns` on. Ask `due` every turn: it also tells it the time."""

    __slots__ = ("_connected_ns", "_delayed", "_faults", "_garble", "_now_ns", "_number", "_swapped")

    def __init__(self, faults: Faults, connected_ns: int, garble: Callable[[Payload], Payload] = first_half) -> None:
        self._faults = faults
        self._garble: Callable[[Payload], Payload] = garble
        self._delayed: list[tuple[int, int, Payload]] = []
        self._swapped: tuple[int, Payload] | None = None
        self._connected_ns = self._now_ns = connected_ns
        self._number = 0

    def send(self, message: Payload) -> Sequence[Payload]:
        """Return what goes out now that `message` is sent: it, nothing, or several."""
        self._number += 1
        faults, number = self._faults, self._number
        if faults.drop_every and number % faults.drop_every == 0:
            faults.done["dropped"] += 1
            return ()
        if faults.garble_every and number % faults.garble_every == 0:
            faults.done["garbled"] += 1
            message = self._garble(message)
        if faults.delay_every and number % faults.delay_every == 0:
            faults.done["delayed"] += 1
            heapq.heappush(self._delayed, (self._now_ns + round(faults.delay_s * NS_PER_S), number, message))
            return ()
        if faults.swap_every and number % faults.swap_every == 0 and self._swapped is None:
            faults.done["swapped"] += 1
            self._swapped = (self._now_ns + SWAP_WITHIN_NS, message)
            return ()
        if faults.duplicate_every and number % faults.duplicate_every == 0:
            faults.done["duplicated"] += 1
            return self._with_swapped(message, message)
        return (message,) if self._swapped is None else self._with_swapped(message)

    def due(self, now_ns: int) -> Sequence[Payload]:
        """Return what was held back and goes out by now."""
        self._now_ns = now_ns
        if not self._delayed and self._swapped is None:
            return ()
        out: list[Payload] = []
        while self._delayed and self._delayed[0][0] <= now_ns:
            out.append(heapq.heappop(self._delayed)[2])
        if self._swapped is not None and self._swapped[0] <= now_ns:
            out.append(self._swapped[1])
            self._swapped = None
        return out

    def must_close(self, now_ns: int) -> bool:
        """Say whether the connection is to be cut, without a goodbye."""
        faults = self._faults
        old = faults.disconnect_every_s and now_ns - self._connected_ns >= faults.disconnect_every_s * NS_PER_S
        if faults.down or old:
            faults.done["cut"] += 1
            return True
        return False

    def _with_swapped(self, *messages: Payload) -> Sequence[Payload]:
        out = list(messages)
        if self._swapped is not None and out:
            out.append(self._swapped[1])
            self._swapped = None
        return out


class Distortion:
    """What the venue itself says wrong: trades told late, stamps in the future, a wrong clock."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: list[tuple[int, int, TradeEvent]] = []
        self._trades = 0

    @property
    def next_ns(self) -> int | None:
        """When a trade that was held back is due; None if there is none."""
        return self._held[0][0] if self._held else None

    def apply(self, actions: Sequence[Action], now_ns: int) -> Sequence[Action]:
        """Return the actions as the venue tells them, with late trades that are due by now at the end."""
        faults = self._faults
        if faults.late_every or faults.future_every or faults.clock_offset_s:
            actions = [told for action in actions if (told := [event for one in action for event in self._told(one)])]
        until_ns = _EVER if faults.closing else now_ns
        if self._held and self._held[0][0] <= until_ns:
            return [*actions, *self._due(until_ns)]
        return actions

    def _due(self, until_ns: int) -> Iterable[Action]:
        while self._held and self._held[0][0] <= until_ns:
            yield [heapq.heappop(self._held)[2]]

    def _told(self, event: Event) -> Sequence[Event]:
        faults = self._faults
        true_ns = event.ts_event
        if faults.clock_offset_s:
            event = event._replace(ts_event=true_ns + faults.clock_offset_ns)
        if not isinstance(event, TradeEvent) or event.corrects:
            return (event,)
        self._trades += 1
        if faults.late_every and self._trades % faults.late_every == 0:
            faults.done["late"] += 1
            heapq.heappush(self._held, (true_ns + round(faults.late_s * NS_PER_S), self._trades, event))
            return ()
        if faults.future_every and self._trades % faults.future_every == 0:
            faults.done["future"] += 1
            return (event._replace(ts_event=event.ts_event + round(faults.future_s * NS_PER_S)),)
        return (event,)
