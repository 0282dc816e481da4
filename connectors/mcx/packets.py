"""What a broker's codec hands to the session: packets, what was broken, texts. One shape for every broker.

Units: prices and sizes int64 multiples of 1e-9 (sizes of a lot); times ns UTC. None where the packet has no such field
or a zero, which the venue sends for "not there".
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from market.schemas import PRICE_LIMIT

Level = tuple[int, int, int]
"""Price, size, number of orders."""
Limits = tuple[int, int]
"""Lowest and highest price of the day."""


class Packet(NamedTuple):
    """The state of one instrument: never a change, so the next one replaces it."""

    token: int
    last_price: int | None
    last_size: int | None
    volume: int | None
    """Of the day. Zero is a number here: nothing traded yet. None: the mode does not tell."""
    close: int | None
    """Of the previous session."""
    ts_trade: int | None
    ts_event: int | None
    bids: tuple[Level, ...] | None
    """Best first. None: the mode has no depth; empty: there are none."""
    asks: tuple[Level, ...] | None
    number: int | None = None
    """Counts the packets of this token, where the broker counts them."""
    limits: Limits | None = None
    """As they stand now. None: the packet does not tell."""


def limits_of(low: int, high: int) -> Limits | None:
    """Return the limits of a day; None if the numbers are none, as the zeros of a venue that does not tell."""
    return (low, high) if -PRICE_LIMIT < low < high < PRICE_LIMIT else None


class Broken(NamedTuple):
    """Bytes of a frame that are no packet. `reason` is one of REJECT_REASONS."""

    reason: str
    detail: str
    raw: bytes


class Text(NamedTuple):
    """A message in words. `kind`: error, message (of the broker to its customers), order, other."""

    kind: str
    text: str


class Frame(NamedTuple):
    """What one WebSocket message held. A frame with nothing in it is a heartbeat."""

    packets: Sequence[Packet] = ()
    broken: Sequence[Broken] = ()
    texts: Sequence[Text] = ()


class Broker(Protocol):
    """A broker's dialect: bytes to packets, tokens to requests. Pure."""

    name: str
    max_tokens: int
    """Instruments of one connection."""
    keepalive_ns: int | None
    """How often `keepalive` is to be sent; None where the WebSocket's own ping is enough."""
    keepalive: bytes
    has_quotes: bool
    """Whether an image can be asked for through REST."""

    def subscribe(self, tokens: Sequence[int]) -> list[bytes]: ...

    def unsubscribe(self, tokens: Sequence[int]) -> list[bytes]: ...

    def decode(self, frame: bytes) -> Frame:
        """Return what a frame holds. Raises: nothing, whatever the bytes."""


def batches(tokens: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut tokens into pieces of at most `size`."""
    return [tokens[at : at + size] for at in range(0, len(tokens), size)]
