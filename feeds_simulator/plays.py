"""What a venue can be made to say about a product during an act of a scenario. Pure.

A play is told when it begins and ends, and sees every event of its symbol in between; each of the three returns
the events that are said instead. Books are whole images, so dropping some harms nobody.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from feeds_simulator.events import (
    HALT,
    OPEN,
    BookEvent,
    BustEvent,
    Event,
    Level,
    Listing,
    SettleEvent,
    Side,
    StatusEvent,
    TradeEvent,
)


class Scene:
    """One symbol as it truly is: what a play looks at."""

    __slots__ = ("book", "limits", "listing", "state")

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.book: BookEvent | None = None
        self.state = ""
        self.limits: tuple[int, int] | None = None

    @property
    def symbol(self) -> str:
        return self.listing.symbol

    def see(self, event: Event) -> None:
        if isinstance(event, BookEvent):
            self.book = event
        elif isinstance(event, StatusEvent):
            self.state, self.limits = event.state, event.limits or self.limits

    def image(self, ts_ns: int) -> list[Event]:
        """Return the true book as of now, if it has been seen."""
        return [] if self.book is None else [self.book._replace(ts_event=ts_ns, eot=True)]


class Playing(Protocol):
    """One occurrence of a play on one symbol. `size` as the scenario says."""

    def begin(self, ts_ns: int) -> list[Event]: ...

    def during(self, event: Event) -> list[Event]: ...

    def end(self, ts_ns: int) -> list[Event]: ...


class Halted:
    """Trading stops; sessions still open and close."""

    def __init__(self, scene: Scene, size: float, name: str) -> None:  # noqa: ARG002
        self._scene = scene
        self._stopped = scene.state == OPEN

    def begin(self, ts_ns: int) -> list[Event]:
        return [StatusEvent(ts_ns, self._scene.symbol, HALT)] if self._stopped else []

    def during(self, event: Event) -> list[Event]:
        return [event] if not self._stopped or isinstance(event, SettleEvent) or _closes(event) else []

    def end(self, ts_ns: int) -> list[Event]:
        if not self._stopped or self._scene.state != OPEN:
            return []
        scene = self._scene
        return [StatusEvent(ts_ns, scene.symbol, OPEN, scene.limits), *scene.image(ts_ns)]


class Frozen:
    """Nothing is said about the symbol any more; its state stays as it was."""

    def __init__(self, scene: Scene, size: float, name: str) -> None:  # noqa: ARG002
        self._scene = scene

    def begin(self, ts_ns: int) -> list[Event]:  # noqa: ARG002
        return []

    def during(self, event: Event) -> list[Event]:
        return [event] if isinstance(event, StatusEvent | SettleEvent) else []

    def end(self, ts_ns: int) -> list[Event]:
        return self._scene.image(ts_ns) if self._scene.state == OPEN else []


class Overlaid:
    """The book is shown with something on top; everything else is as it is."""

    def __init__(self, scene: Scene, size: float, name: str) -> None:  # noqa: ARG002
        self._scene, self._size = scene, size

    def begin(self, ts_ns: int) -> list[Event]:
        return [self._shown(event) for event in self._scene.image(ts_ns) if self._scene.state == OPEN]

    def during(self, event: Event) -> list[Event]:
        return [self._shown(event)]

    def end(self, ts_ns: int) -> list[Event]:
        return self._scene.image(ts_ns) if self._scene.state == OPEN else []

    def _shown(self, event: Event) -> Event:
        if not isinstance(event, BookEvent) or not event.bids or not event.asks:
            return event
        return event._replace(bids=self.bids(event.bids, event.asks))

    def bids(self, bids: Side, asks: Side) -> Side:
        """Return the bids as shown."""
        raise NotImplementedError


class Crossed(Overlaid):
    """A bid `size` ticks above the best ask."""

    def bids(self, bids: Side, asks: Side) -> Side:
        return (Level(asks[0].price + int(self._size), bids[0].qty, 1), *bids[:-1])


class Spoofed(Overlaid):
    """Bids behind the touch are `size` times as large."""

    def bids(self, bids: Side, asks: Side) -> Side:  # noqa: ARG002
        large = tuple(Level(one.price, one.qty * int(self._size), one.orders + 1) for one in bids[1:4])
        return (bids[0], *large, *bids[4:])


class FatFinger:
    """One trade `size` (a fraction) away from the touch; it is busted at the end."""

    _LOTS: Final = 500

    def __init__(self, scene: Scene, size: float, name: str) -> None:
        self._scene, self._size = scene, size
        self._trade_id = f"FF-{name}"
        self._traded = False

    def begin(self, ts_ns: int) -> list[Event]:
        scene = self._scene
        if scene.book is None or not scene.book.bids or scene.state != OPEN:
            return []
        self._traded = True
        price = round(scene.book.bids[0].price * (1 + self._size))
        return [TradeEvent(ts_ns, scene.symbol, self._trade_id, price, self._LOTS, "S")]

    def during(self, event: Event) -> list[Event]:
        return [event]

    def end(self, ts_ns: int) -> list[Event]:
        return [BustEvent(ts_ns, self._scene.symbol, self._trade_id)] if self._traded else []


def _closes(event: Event) -> bool:
    return isinstance(event, StatusEvent) and event.state != OPEN


PLAYS: Final[Mapping[str, Callable[[Scene, float, str], Playing]]] = {
    "halt": Halted,
    "freeze": Frozen,
    "crossed": Crossed,
    "spoof": Spoofed,
    "fat_finger": FatFinger,
}
