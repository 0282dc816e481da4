"""What happens in the simulated market, before any wire format.

Units: `ts_event` int64 ns UTC by the market clock; prices in ticks; `qty` in lots. A side of a book is a tuple of
`Level`, best first. Named tuples, because thousands are made a second.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

BID: Final = 0
ASK: Final = 1

OPEN: Final = "OPEN"
HALT: Final = "HALT"  # nothing trades; the book stands as it was
LIMIT: Final = "LIMIT"  # at the price limit; the book is one-sided
CLOSE: Final = "CLOSE"


class Level(NamedTuple):
    price: int
    qty: int
    orders: int


Side: TypeAlias = tuple[Level, ...]


class BookEvent(NamedTuple):
    """The book after a change, all levels. `eot` False: the next event belongs to the same market action."""

    ts_event: int
    symbol: str
    bids: Side
    asks: Side
    eot: bool


class TradeEvent(NamedTuple):
    """A trade, or the new terms of one if `corrects`."""

    ts_event: int
    symbol: str
    trade_id: str
    price: int
    qty: int
    aggressor: str  # B or S
    corrects: bool = False


class BustEvent(NamedTuple):
    ts_event: int
    symbol: str
    trade_id: str


class StatusEvent(NamedTuple):
    ts_event: int
    symbol: str
    state: str  # OPEN, HALT, LIMIT, CLOSE
    limits: tuple[int, int] | None = None
    """The lowest and highest price of the session as it now stands; None: not told."""


class SettleEvent(NamedTuple):
    ts_event: int
    symbol: str
    price: int
    kind: str  # prelim or final


Event: TypeAlias = BookEvent | TradeEvent | BustEvent | StatusEvent | SettleEvent


@dataclass(frozen=True, slots=True)
class Listing:
    """A listed month: its venue symbol, instrument key and tick."""

    symbol: str
    key: str
    tick: Decimal
    _texts: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Prices as text: a day has some thousand, and a Decimal costs 1 us."""

    def price_text(self, ticks: int) -> str:
        """Return a price as a decimal with the tick's number of decimals."""
        text = self._texts.get(ticks)
        if text is None:
            text = self._texts[ticks] = f"{ticks * self.tick:f}"
        return text

    def ticks(self, price: Decimal) -> int:
        """Return a price rounded to whole ticks."""
        return round(price / self.tick)
