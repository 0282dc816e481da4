"""One subscribed security: where its subscription stands, its last image, and the rows that come of its updates. Pure.

An update holds only what changed: it is merged onto the last image, null clears. So rows do not depend on how the SDK
groups updates into events.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from connectors.bloomberg.codec import Update
from connectors.bloomberg.constants import RECENT_TRADES, TRADE
from connectors.bloomberg.ledger import Gap, Ledger
from connectors.errors import ValueRefused
from connectors.prices import rule_of
from connectors.ticks import FeedOutput, Slot, check_trade
from market.schemas import BUY, FLAG_SNAPSHOT, SELL, UNKNOWN_SIDE

_SIDES: Final = {"B": BUY, "S": SELL}
_STATES: Final = {"HALTED": "HALTED", "CLOSED": "CLOSED"}

Top = tuple[int | None, int | None, int | None, int | None]
_EMPTY: Final[Top] = (None, None, None, None)


class Phase(Enum):
    """Where a subscription stands."""

    ASKED = "asked"
    """Subscribed, not confirmed."""
    AWAITING = "awaiting"
    """Confirmed, or something was lost: until the next image nothing that came before counts."""
    LIVE = "live"
    SILENT = "silent"
    """The SDK has no source for it, or no connection; it recovers by itself."""
    ENDED = "ended"
    """Failed or terminated; asked again later."""


@dataclass(slots=True, eq=False)
class Watched:
    """State: the image (at most a value a field), the ids of the last trades."""

    key: int
    security: str
    instrument: str
    slot: Slot
    phase: Phase = Phase.ASKED
    delayed: bool = False
    image: dict[str, int | str | None] = field(default_factory=dict)
    top: Top = _EMPTY
    ts_event: int = 0
    quality: str = ""
    problem: str = ""
    gap: Gap | None = None
    deadline_ns: int | None = None
    """Until when the image has to be there, or when to ask again."""
    failures: int = 0
    held: tuple[Top, int] | None = None
    """A quote that a slow consumer has not been told yet, and its number."""
    last_trade: int | None = None
    recent: dict[str, None] = field(default_factory=dict)
    """Ids of the last trades, oldest first."""

    def judge(self) -> str:
        """Return the quality it has by all we know."""
        if self.phase is Phase.LIVE:
            state = _STATES.get(str(self.image.get("RT_SIMP_SEC_STATUS")))
            return state or ("DELAYED" if self.delayed else "LIVE")
        if self.gap is not None and self.phase is Phase.AWAITING:
            return "GAP"
        return "STALE" if self.phase in (Phase.SILENT, Phase.ENDED) else "RESYNC"


class Rows:
    """Write the rows of all watched securities; `last_seq` numbers them."""

    def __init__(self, output: FeedOutput, ledger: Ledger, counters: Counter[str], last_seq: int) -> None:
        self._output, self._ledger, self._counters = output, ledger, counters
        self.last_seq = last_seq
        self.slow = False

    def next_seq(self, now_ns: int) -> int:
        """Number a row: rising over restarts, with nothing to be kept for it."""
        self.last_seq = max(self.last_seq + 1, now_ns)
        return self.last_seq

    # ---- updates

    def apply(self, watched: Watched, update: Update, now_ns: int, *, image: bool) -> None:
        """Merge an update and write what it means; an image replaces everything."""
        for refusal in update.refused:
            self._counters["refused"] += 1
            self._ledger.rejected(watched.instrument, refusal.reason, refusal.detail, update, now_ns)
        if image:
            watched.image = {name: value for name, value in update.values.items() if value is not None}
            last = watched.image.get("LAST_PRICE")
            watched.last_trade = last if isinstance(last, int) else watched.last_trade
        else:
            for name, value in update.values.items():
                if value is None:
                    watched.image.pop(name, None)
                else:
                    watched.image[name] = value
        for name in (refusal.field for refusal in update.refused):
            watched.image.pop(name, None)
        if update.kind == TRADE and not image:
            self._trade(watched, update, now_ns)
        if image or any(name in update.values for name in ("BID", "ASK", "BID_SIZE", "ASK_SIZE")) or update.refused:
            self._quote(watched, now_ns, image=image)

    # ---- quotes

    def _quote(self, watched: Watched, now_ns: int, *, image: bool) -> None:
        if watched.phase is not Phase.LIVE:
            self._counters["conflated"] += 1  # the image to come stands for it
            return
        top = self._top(watched, now_ns)
        if top == watched.top:
            return
        watched.top = top
        stamps = [watched.image.get(name) for name in ("BID_UPDATE_STAMP_RT", "ASK_UPDATE_STAMP_RT")]
        watched.ts_event = max((stamp for stamp in stamps if isinstance(stamp, int)), default=now_ns)
        if self.slow and not image:
            if watched.held is not None:
                self._counters["conflated"] += 1
            watched.held = (top, self.next_seq(now_ns))
            return
        watched.held = None
        flags = FLAG_SNAPSHOT if image else 0
        seq = self.next_seq(now_ns)
        self._output.ticks.quote(watched.slot, watched.ts_event, now_ns, seq, *top, flags)

    def release(self, watched: Watched, now_ns: int) -> None:
        """Write the quote that a slow consumer was not told."""
        if watched.held is not None:
            (top, _), watched.held = watched.held, None
            self._output.ticks.quote(watched.slot, watched.ts_event, now_ns, self.next_seq(now_ns), *top, 0)

    def _top(self, watched: Watched, now_ns: int) -> Top:
        sides: list[int | None] = []
        for name in ("BID", "ASK"):
            price, size = watched.image.get(name), watched.image.get(f"{name}_SIZE")
            if isinstance(price, int) and price <= 0 and not rule_of(watched.instrument, now_ns).may_be_negative:
                self._counters["refused"] += 1
                detail = f"{name} {price}e-9 of {watched.instrument} is not positive"
                self._ledger.rejected(watched.instrument, "out_of_range", detail, watched.image, now_ns)
                watched.image.pop(name)
                price = None
            known = isinstance(price, int)
            sides += [price if isinstance(price, int) else None, size if known and isinstance(size, int) else None]
        return sides[0], sides[1], sides[2], sides[3]

    # ---- trades

    def _trade(self, watched: Watched, update: Update, now_ns: int) -> None:
        try:
            if update.subtype == "CANCEL":
                self._bust(watched, update, now_ns)
            elif update.subtype == "CORRECTION":
                self._correct(watched, update, now_ns)
            else:
                self._print(watched, update, now_ns)
        except ValueRefused as refused:
            self._counters["refused"] += 1
            self._ledger.rejected(watched.instrument, refused.reason, refused.detail, update, now_ns)

    def _print(self, watched: Watched, update: Update, now_ns: int) -> None:
        trade_id = _text(update, "EVT_TRADE_IDENTIFIER_RT")
        if trade_id is not None and trade_id in watched.recent:
            self._counters["duplicate"] += 1
            return
        size = _either(watched, update, "EVT_TRADE_SIZE_RT", "SIZE_LAST_TRADE")
        if size is None:
            self._counters["indicative"] += 1  # a price at which nothing is known to have traded
            return
        price = self._checked(watched, _either(watched, update, "EVT_TRADE_PRICE_RT", "LAST_PRICE"), size, now_ns)
        rule_of(watched.instrument, now_ns).check_far(price, watched.last_trade)
        watched.last_trade = price
        if trade_id is not None:
            watched.recent[trade_id] = None
            if len(watched.recent) > RECENT_TRADES:
                del watched.recent[next(iter(watched.recent))]
        ts_event = _time(update, "TRADE_UPDATE_STAMP_RT", now_ns)
        seq = self.next_seq(now_ns)
        self._output.ticks.trade(watched.slot, ts_event, now_ns, seq, price, size, _side(update), trade_id, 0)

    def _bust(self, watched: Watched, update: Update, now_ns: int) -> None:
        ts_event = _time(update, "EVT_TRADE_CANCEL_TIME_RT", now_ns)
        self._output.ticks.bust(watched.slot, ts_event, now_ns, self.next_seq(now_ns), _original(update), 0)

    def _correct(self, watched: Watched, update: Update, now_ns: int) -> None:
        trade_id = _original(update)
        size = _number(update, "EVT_TRADE_SIZE_RT")
        if size is None:
            size = _number(update, "SIZE_LAST_TRADE")
        price = _number(update, "EVT_TRADE_PRICE_RT")
        if price is None:
            price = _number(update, "LAST_PRICE")
        if size is None:
            raise ValueRefused("missing_field", f"correction of {trade_id} without a size")
        price = self._checked(watched, price, size, now_ns)
        ts_event = _time(update, "EVT_TRADE_CORRECT_TIME_RT", now_ns)
        seq = self.next_seq(now_ns)
        self._output.ticks.correction(watched.slot, ts_event, now_ns, seq, price, size, _side(update), trade_id, 0)

    @staticmethod
    def _checked(watched: Watched, price: int | None, size: int, now_ns: int) -> int:
        if price is None:
            raise ValueRefused("missing_field", "a trade without a price")
        check_trade(price, size)
        rule_of(watched.instrument, now_ns).check(price)
        return price


def _text(update: Update, name: str) -> str | None:
    value = update.values.get(name)
    return value if isinstance(value, str) and value else None


def _number(update: Update, name: str) -> int | None:
    value = update.values.get(name)
    return value if isinstance(value, int) else None


# What the trade itself says; else, since what did not change is not sent, what the image says.
def _either(watched: Watched, update: Update, own: str, last: str) -> int | None:
    said = _number(update, own)
    if said is not None:
        return said
    value = watched.image.get(last)
    return value if isinstance(value, int) else None


def _time(update: Update, name: str, now_ns: int) -> int:
    stamp = _number(update, name)
    return now_ns if stamp is None else stamp


def _side(update: Update) -> int:
    return _SIDES.get(_text(update, "EVT_TRADE_AGGRESSOR_RT") or "", UNKNOWN_SIDE)


def _original(update: Update) -> str:
    trade_id = _text(update, "EVT_TRADE_ORIGINAL_IDENTIFIER_RT") or _text(update, "EVT_TRADE_IDENTIFIER_RT")
    if trade_id is None:
        raise ValueRefused("missing_field", f"{update.subtype} of a trade without its identifier")
    return trade_id
