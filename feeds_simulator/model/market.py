"""The market of one venue as one ordered stream of events.

Pure and deterministic: the stream depends on the `ModelConfig` alone (seed, start, rate, ...), never on how it is
pulled. Fair values depend on the seed and market time only, so that the markets of several venues agree on them,
in one process or many. Each product is a generator with its own random stream; the market merges them by time.

Units: times ns UTC by the market clock; `rate` in messages/s (trades and full-depth book changes, all symbols) in
the busy hours; it is lower at others, as it is in a market.
Every market action has its own `ts_event`, larger than that of any action before; all events of one action share it.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from feeds_simulator.events import Event
from feeds_simulator.model.fair import NS_PER_S as NS_PER_S
from feeds_simulator.model.moves import Move
from feeds_simulator.model.product import Product, Terms
from feeds_simulator.model.products import ICE, Profile
from market.instruments import InstrumentMaster

_NO_LIMIT: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """All that a stream of events depends on."""

    start_ns: int
    seed: int = 7
    rate: float = 400.0
    profiles: tuple[Profile, ...] = ICE
    symbol_of: Callable[[str], str] = str
    """The venue's own symbol of an instrument key; by default the key."""
    always_open: bool = False
    """Trade at any hour, as busily as in the busy ones."""
    bust_every: int = 0
    """Every n-th trade of a product is busted by the action after it; 0 = never."""
    correct_every: int = 0
    moves: tuple[Move, ...] = ()
    """What scenarios do to the market; tell every venue all of them."""


class MarketModel:
    """The merged stream. `pull` takes what has happened up to a time."""

    def __init__(self, config: ModelConfig, master: InstrumentMaster | None = None) -> None:
        master = master or InstrumentMaster.load()
        terms = Terms(
            start_ns=config.start_ns,
            seed=config.seed,
            always_open=config.always_open,
            bust_every=config.bust_every,
            correct_every=config.correct_every,
            moves=config.moves,
            classes=len(config.profiles),
        )
        shares = sum(profile.share for profile in config.profiles)
        self.products = tuple(
            Product(terms, profile, index, config.rate * profile.share / shares, master, config.symbol_of)
            for index, profile in enumerate(config.profiles)
        )
        self.listings = {listing.symbol: listing for product in self.products for listing in product.listings}
        self._queue = [(actions := product.run(), next(actions)) for product in self.products]
        self._heap = [(action[0].ts_event, index) for index, (_, action) in enumerate(self._queue)]
        heapq.heapify(self._heap)

    @property
    def next_ns(self) -> int:
        """When the next action happens."""
        return self._heap[0][0]

    def pull(self, until_ns: int, max_actions: int = _NO_LIMIT) -> list[list[Event]]:
        """Take the actions up to and including `until_ns`, in order, at most `max_actions`."""
        taken: list[list[Event]] = []
        heap, queue, replace = self._heap, self._queue, heapq.heapreplace
        while heap[0][0] <= until_ns and len(taken) < max_actions:
            index = heap[0][1]
            actions, action = queue[index]
            taken.append(action)
            following = next(actions)
            queue[index] = (actions, following)
            replace(heap, (following[0].ts_event, index))
        return taken

    def skip_to(self, ts_ns: int) -> None:
        """Let nothing happen between the next action and `ts_ns`: the venue's machine was asleep."""
        for product in self.products:
            product.skip_to_ns = ts_ns
