"""The exchange's board: the state of each contract, as a broker shows it.

A state is all there is: last trade, day's figures, five levels a side. Events of the market change it; whoever asks
gets it whole.

Units: prices in paise, quantities in lots, times ns UTC.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final, NamedTuple

from feeds_simulator.events import BookEvent, Event, Listing, SettleEvent, Side, StatusEvent, TradeEvent
from feeds_simulator.mcx.symbols import exchange_tokens, expiry_of, kite_symbol

DEPTH: Final = 5
_PAISE: Final = 100
_DAY_NS: Final = 86_400_000_000_000
_IST_NS: Final = 19_800_000_000_000

Depth = tuple[tuple[int, int, int], ...]
"""Price, quantity, orders; best first."""


class State(NamedTuple):
    """What a broker knows of a contract at one moment."""

    last_price: int = 0
    last_qty: int = 0
    turnover: int = 0
    volume: int = 0
    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    """Of the previous session."""
    traded_ns: int = 0
    stamped_ns: int = 0
    interest: int = 0
    interest_high: int = 0
    interest_low: int = 0
    bids: Depth = ()
    asks: Depth = ()
    limits: tuple[int, int] = (0, 0)
    """Lowest and highest price of the day as it now stands; zeros: nobody has told."""
    number: int = 0
    """Counts the states of this contract."""

    @property
    def average(self) -> int:
        return self.turnover // self.volume if self.volume else 0

    @property
    def top(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Best price and quantity of each side."""
        return self.bids[0][:2] if self.bids else None, self.asks[0][:2] if self.asks else None


class Contract:
    """A listed contract and its state."""

    __slots__ = ("day", "exchange_token", "expiry", "key", "settle", "state", "symbol", "tick_paise", "token")

    def __init__(self, listing: Listing, exchange_token: int, on: date) -> None:
        self.key = listing.key
        self.symbol = kite_symbol(listing.key)
        self.exchange_token = exchange_token
        self.token = exchange_token << 8 | 7
        self.expiry = expiry_of(listing.key, on)
        self.tick_paise = int(listing.tick * _PAISE)
        if self.tick_paise != listing.tick * _PAISE:
            raise ValueError(f"the tick {listing.tick} of {listing.key} is no whole number of paise")
        self.state = State()
        self.settle = 0
        self.day: int | None = None

    def apply(self, event: Event, number: int) -> bool:
        """Change the state by an event of the market; False if it has no form on this wire, as busts have none.

        `number` is the state's after the action that the event belongs to.
        """
        self._new_day(event.ts_event)
        if isinstance(event, BookEvent):
            self._book(event, number)
        elif isinstance(event, TradeEvent) and not event.corrects:
            self._trade(event, number)
        elif isinstance(event, SettleEvent):
            self.settle = event.price * self.tick_paise
            self.state = self.state._replace(number=number)
        elif isinstance(event, StatusEvent) and event.state == "CLOSE":
            self.state = self.state._replace(bids=(), asks=(), stamped_ns=event.ts_event, number=number)
        elif isinstance(event, StatusEvent) and event.limits is not None:
            low, high = event.limits
            self.state = self.state._replace(limits=(low * self.tick_paise, high * self.tick_paise), number=number)
        else:
            return False
        return True

    # The day's figures begin anew; its first trade is still to come.
    def _new_day(self, ts_event: int) -> None:
        day = (ts_event + _IST_NS) // _DAY_NS
        if self.day is not None and day > self.day:
            old = self.state
            self.state = State(
                last_price=old.last_price,
                close=self.settle or old.last_price,
                interest=old.interest,
                interest_high=old.interest,
                interest_low=old.interest,
                stamped_ns=ts_event,
                number=old.number,
            )
        self.day = day if self.day is None else max(day, self.day)

    def _book(self, event: BookEvent, number: int) -> None:
        bids, asks = self._side(event.bids), self._side(event.asks)
        close = self.state.close
        if not close and bids and asks:  # nobody remembers yesterday: it ended where today begins
            close = (bids[0][0] + asks[0][0]) // 2 // self.tick_paise * self.tick_paise
        self.state = self.state._replace(bids=bids, asks=asks, close=close, stamped_ns=event.ts_event, number=number)

    def _side(self, levels: Side) -> Depth:
        tick = self.tick_paise
        return tuple([(price * tick, qty, orders) for price, qty, orders in levels[:DEPTH]])

    def _trade(self, event: TradeEvent, number: int) -> None:
        old, price = self.state, event.price * self.tick_paise
        # Whether a trade opens or closes positions is not in the model: every fourth one opens.
        interest = old.interest + (event.qty if number % 4 == 1 else 0)
        self.state = old._replace(
            last_price=price,
            last_qty=event.qty,
            volume=old.volume + event.qty,
            turnover=old.turnover + price * event.qty,
            open=old.open or price,
            high=max(old.high, price) if old.open else price,
            low=min(old.low, price) if old.open else price,
            close=old.close or price,
            traded_ns=event.ts_event,
            stamped_ns=event.ts_event,
            interest=interest,
            interest_high=max(old.interest_high, interest),
            interest_low=min(old.interest_low, interest),
            number=number,
        )


class Board:
    """All contracts, by the market's symbol."""

    def __init__(self, listings: Mapping[str, Listing], on: date) -> None:
        tokens = exchange_tokens(listing.key for listing in listings.values())
        self.by_market = {symbol: Contract(listing, tokens[listing.key], on) for symbol, listing in listings.items()}
        self.contracts = tuple(self.by_market.values())

    def apply(self, action: Iterable[Event]) -> list[Contract]:
        """Apply the events of one action; return the contracts it changed, each once."""
        changed: list[Contract] = []
        for event in action:
            contract = self.by_market[event.symbol]
            again = contract in changed
            if contract.apply(event, contract.state.number + (not again)) and not again:
                changed.append(contract)
        return changed
