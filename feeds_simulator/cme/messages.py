"""Market events -> FIX entries: bodies of W, X and f, without header and MDReqID. Pure.

A book is told as the changes between what was told last and now: deletes from the worst level up, so that the
positions of those above stay; then new levels from the best down; then changed ones.
"""

from functools import lru_cache
from typing import Final

from feeds_simulator.cme.dialects import Dialect
from feeds_simulator.cme.wire import utc
from feeds_simulator.events import Level, Listing, Side, TradeEvent

_SIDES: Final = (("0", "B"), ("1", "A"))
_AGGRESSORS: Final = {"B": "1", "S": "2"}

TRADING_STATUS: Final = {
    "OPEN": 17,
    "CLOSE": 26,
    "PREOPEN": 21,
    "HALT": 2,
    "LIMIT": 23,
    "EXPIRED": 18,
}  # fmt: skip
"""The model's states as SecurityTradingStatus (326). Trade at the limit is a fast market with its limits told."""


class Teller:
    """Writes entries in one dialect. `listings` by the model's symbol."""

    def __init__(self, dialect: Dialect, listings: dict[str, Listing]) -> None:
        self._dialect = dialect
        self._listings = listings
        self._symbols = {symbol: dialect.symbol_fields(listing.key) for symbol, listing in listings.items()}

    def symbol(self, symbol: str) -> str:
        """The fields that name an instrument."""
        return self._symbols[symbol]

    # ---- X

    def trade(self, trade: TradeEvent) -> str:
        """A trade, or the new terms of one."""
        terms = self._terms(trade.symbol, Level(trade.price, trade.qty, 0))
        action, side = "1" if trade.corrects else "0", ""
        if self._dialect.aggressor_tag:
            side = f"{self._dialect.aggressor_tag}={_AGGRESSORS.get(trade.aggressor, '0')}\x01"
        return self._trade_entry(action, trade.symbol, trade.trade_id, f"{terms}{_when(trade.ts_event)}", side)

    def bust(self, symbol: str, trade_id: str, ts_event: int) -> str:
        """A trade that never was."""
        return self._trade_entry("2", symbol, trade_id, _when(ts_event), "")

    def _trade_entry(self, action: str, symbol: str, trade_id: str, terms: str, side: str) -> str:
        named = f"{self._dialect.trade_id_tag}={trade_id}\x01"
        first, last = (named, "") if self._dialect.trade_id_tag == 278 else ("", named)
        return f"268=1\x01279={action}\x01269=2\x01{first}{self._symbols[symbol]}{terms}{last}{side}"

    def changes(self, symbol: str, before: tuple[Side, Side], now: tuple[Side, Side], ts_event: int, rpt: int) -> str:
        """The changes of both sides of a book; empty if there are none."""
        when, number = _when(ts_event), self._number(rpt)
        entries = [
            self._change(action, side, symbol, position, level, when, number)
            for side in (0, 1)
            for action, position, level in differences(before[side], now[side])
        ]
        return f"268={len(entries)}\x01{''.join(entries)}" if entries else ""

    def _change(self, action: str, side: int, symbol: str, position: int, level: Level, when: str, number: str) -> str:
        entry_type, letter = _SIDES[side]
        terms = "" if action == "2" and self._dialect.by_entry_id else self._terms(symbol, level)
        named = f"278={letter}{level.price}\x01" if self._dialect.by_entry_id else ""
        orders = "" if action == "2" else f"346={level.orders}\x01"
        return (
            f"279={action}\x01269={entry_type}\x01{named}{self._symbols[symbol]}{terms}{when}{orders}"
            f"{self._place(position)}{number}"
        )

    def _terms(self, symbol: str, level: Level) -> str:
        return f"270={self._listings[symbol].price_text(level.price)}\x01271={level.qty}\x01"

    def _place(self, position: int) -> str:
        return "" if self._dialect.by_entry_id else f"{self._dialect.position_tag}={position}\x01"

    def _number(self, rpt: int) -> str:
        return f"83={rpt}\x01" if self._dialect.numbered else ""

    # ---- W

    def image(self, symbol: str, sides: tuple[Side, Side], ts_event: int, rpt: int, trade: TradeEvent | None) -> str:
        """A full refresh: the levels of both sides, and the last trade if it is wanted."""
        entries = [
            self._level(side, symbol, position, level, ts_event)
            for side in (0, 1)
            for position, level in enumerate(sides[side], 1)
        ]
        if trade is not None:
            terms = self._terms(symbol, Level(trade.price, trade.qty, 0))
            named = "" if self._dialect.incremental else f"278={trade.trade_id}\x01"
            entries.append(f"269=2\x01{named}{terms}{_when(trade.ts_event)}")
        return f"{self._symbols[symbol]}{self._number(rpt)}268={len(entries)}\x01{''.join(entries)}"

    def _level(self, side: int, symbol: str, position: int, level: Level, ts_event: int) -> str:
        entry_type, letter = _SIDES[side]
        named = f"278={letter}{level.price}\x01" if self._dialect.by_entry_id else ""
        terms = self._terms(symbol, level)
        return f"269={entry_type}\x01{named}{terms}{_when(ts_event)}346={level.orders}\x01{self._place(position)}"

    # ---- f

    def status(self, symbol: str, state: str, ts_event: int) -> str:
        """A security status."""
        return f"{self._symbols[symbol]}326={TRADING_STATUS.get(state, 20)}\x0160={utc(ts_event, 3)}\x01"


@lru_cache(maxsize=64)  # one for all entries of an action
def _when(ts_event: int) -> str:
    date, _, time = utc(ts_event, 9).partition("-")
    return f"272={date}\x01273={time}\x01"


def differences(before: Side, now: Side) -> list[tuple[str, int, Level]]:
    """Return (action, position from 1, level) that lead from one side of a book to another.

    Example:
        >>> differences((Level(9, 1, 1), Level(8, 1, 1)), (Level(10, 2, 1), Level(8, 3, 1)))
        [('2', 1, Level(price=9, qty=1, orders=1)), ('0', 1, Level(price=10, qty=2, orders=1)), \
('1', 2, Level(price=8, qty=3, orders=1))]
    """
    if before is now:
        return []
    at_each = enumerate(zip(before, now, strict=False), 1)
    unlike = [(at, old, level) for at, (old, level) in at_each if old is not level and old != level]
    if len(before) == len(now) and all(old.price == level.price for _, old, level in unlike):
        return [("1", at, level) for at, _, level in unlike]  # an order more or less: most of what happens
    prices = {level.price for level in now}
    steps = [("2", at, before[at - 1]) for at in range(len(before), 0, -1) if before[at - 1].price not in prices]
    stayed = {level.price: level for level in before if level.price in prices}
    steps += [("0", at, level) for at, level in enumerate(now, 1) if level.price not in stayed]
    steps += [("1", at, level) for at, level in enumerate(now, 1) if stayed.get(level.price, level) != level]
    return steps
