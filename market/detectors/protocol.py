"""What a detector of one instrument is: it scores a step of a second, and then, if nothing was odd, learns it.

A detector is told steps in order and knows nothing of clocks, venues or other instruments. Its state is plain data of
bounded size that pickles. Until it has learnt enough it finds nothing.

Units: prices int64 1e-9; volume in micro-lots; a score is a multiple of what is still taken for usual (1 = just odd).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

NS_PER_S: Final = 1_000_000_000
STEP_NS: Final = NS_PER_S

Evidence = Mapping[str, object]

RETURN_SPIKE: Final = "return_spike"
VOLUME_SURGE: Final = "volume_surge"
SPREAD_BLOW_OUT: Final = "spread_blow_out"
STALE_FEED: Final = "stale_feed"
CROSSED_BOOK: Final = "crossed_book"
PRICE_LIMIT: Final = "price_limit"
FAT_FINGER: Final = "fat_finger"
SCALE_ERROR: Final = "scale_error"
UNUSUAL: Final = "unusual"
"""What no rule has a name for: a generic detector's finding."""

KINDS: Final = (
    RETURN_SPIKE, VOLUME_SURGE, SPREAD_BLOW_OUT, STALE_FEED, CROSSED_BOOK, PRICE_LIMIT, FAT_FINGER, SCALE_ERROR, UNUSUAL
)  # fmt: skip


class Print(NamedTuple):
    """A trade that stood out of its step."""

    price: int
    ts_event: int
    trade_id: str | None


@dataclass(slots=True, kw_only=True)
class Step:
    """What one instrument did in one step of the arrival clock, `[at_ns - STEP_NS, at_ns)`.

    `bid` and `ask` as they stand at its end, None while a side is empty; `least_spread` of the quotes within it.
    """

    at_ns: int
    ts_event: int = 0
    trades: int = 0
    volume: int = 0
    low: Print | None = None
    high: Print | None = None
    last: int | None = None
    quotes: int = 0
    bid: int | None = None
    ask: int | None = None
    quoted: bool = False
    """Whether the instrument has quotes at all; if not, its trades are its price."""
    least_spread: int | None = None
    busted: list[str] = field(default_factory=list)

    @property
    def price(self) -> int | None:
        """The middle of a book of two sides that is not crossed; the last trade where there are no quotes."""
        if not self.quoted:
            return self.last
        if self.bid is None or self.ask is None or self.bid > self.ask:
            return None
        return (self.bid + self.ask) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something odd in a step. `base` is the (time, price) a move is measured from, for a witness to compare."""

    kind: str
    score: float
    value: int | None
    expected: int | None
    ts_event: int
    evidence: Evidence
    base: tuple[int, int] | None = None
    trade_id: str | None = None


class Detector(Protocol):
    """One way to look at one instrument."""

    def score(self, step: Step) -> Finding | None:
        """Say what is odd about a step. Changes nothing."""

    def learn(self, step: Step) -> None:
        """Take a step as usual. Never called with one that this detector, or one of bad data, found odd."""

    def skip(self, step: Step) -> None:
        """Take note that a step was, without learning from it."""

    def accept(self, step: Step) -> None:
        """It has been so for so long that it is usual now: begin again from here."""

    def reopen(self) -> None:
        """A session begins: what was last said in the one before is no measure of the first of this one."""
