"""The state of one instrument, as the last packet told it. Pure."""

from datetime import date, timedelta
from typing import Final

from connectors.mcx.constants import DAY_NS, IST_OFFSET_NS, MIC, REPEATED_NS, SECOND_NS
from connectors.mcx.instruments import Listing
from connectors.mcx.ledger import Gap
from connectors.mcx.limits import PriceRange
from connectors.mcx.packets import Level, Packet
from connectors.mcx.prices import Prices
from connectors.ticks import FeedOutput, Slot
from market.schemas import PRICE_SCALE

Levels = tuple[Level, ...]
Top = tuple[int | None, int | None, int | None, int | None]
_EMPTY: Final[Top] = (None, None, None, None)
_EPOCH: Final = date(1970, 1, 1)


def day_of(ts_ns: int) -> int:
    """Return the trading day in India, as a number. A session of MCX never crosses midnight.

    Example:
        >>> day_of(1_625_461_887_000_000_000) - day_of(1_625_423_399_000_000_000)  # 10:41:27, and 23:59:59 before it
        1
    """
    return (ts_ns + IST_OFFSET_NS) // DAY_NS


def date_of(ts_ns: int) -> date:
    """Return the date in India."""
    return _EPOCH + timedelta(days=day_of(ts_ns))


class Instrument:
    """One instrument: its last state, what of it was published, and how far it can be trusted."""

    __slots__ = (
        "asks",
        "attempts",
        "awaited",
        "bids",
        "book_known",
        "book_reference",
        "day",
        "depth_slot",
        "gap",
        "heard_ns",
        "listing",
        "number",
        "pending",
        "prices",
        "quality",
        "range",
        "refusal",
        "slot",
        "top",
        "ts_event",
        "ts_trade",
        "volume",
        "wanted_ns",
    )

    def __init__(self, listing: Listing, output: FeedOutput) -> None:
        self.listing = listing
        self.slot: Slot = output.ticks.slot(listing.commodity, MIC, listing.instrument)
        self.depth_slot: Slot = output.depth.slot(listing.commodity, MIC, listing.instrument)
        self.prices = Prices(listing.contract)
        self.volume: int | None = None
        self.ts_trade = self.ts_event = 0
        self.day: int | None = None
        self.top: Top = _EMPTY
        self.bids: Levels = ()
        self.asks: Levels = ()
        self.book_known = False
        self.book_reference: tuple[int | None, int | None] = (None, None)  # by which its prices were judged
        self.awaited = True
        self.wanted_ns = 0  # an image has been wanted since
        self.attempts = 0
        self.gap: Gap | None = None
        self.pending: list[tuple[Packet, int]] = []
        self.number: int | None = None
        self.heard_ns: int | None = None
        self.quality = "LIVE"
        self.range = PriceRange()
        self.refusal = ""

    def backwards(self, packet: Packet) -> str:
        """Say what ran backwards within a session, if anything did. A new day begins anew."""
        ts_event = packet.ts_event or self.ts_event
        if self.day is None or day_of(ts_event) > self.day:
            return ""
        if packet.volume is not None and self.volume is not None and packet.volume < self.volume:
            return f"volume {packet.volume // PRICE_SCALE} after {self.volume // PRICE_SCALE}"
        slack = 0 if packet.number is None else REPEATED_NS  # a number says which state is the newer one
        if packet.ts_trade is not None and packet.ts_trade < self.ts_trade - slack:
            return f"last trade {(self.ts_trade - packet.ts_trade) // SECOND_NS} s back"
        if ts_event < self.ts_event - slack:
            return f"state {(self.ts_event - ts_event) // SECOND_NS} s back"
        return ""
