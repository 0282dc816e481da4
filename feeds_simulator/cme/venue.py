"""The market data side: who asked for what, and what each is told. Pure.

Trades and states are kept for a client that is away and resent to it; books are told to the connected only, and asked
for as images afterwards. All changes of one market action to one book are one message.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from feeds_simulator.cme.dialects import Dialect
from feeds_simulator.cme.messages import Teller
from feeds_simulator.cme.sessions import WINDOW, Acceptor, Client
from feeds_simulator.cme.wire import Message, value, values
from feeds_simulator.events import BookEvent, BustEvent, Event, Listing, SettleEvent, Side, StatusEvent, TradeEvent
from feeds_simulator.faults import Faults

DEPTH: Final = 10
_BOOK_TYPES: Final = frozenset("01")
_KNOWN_TYPES: Final = frozenset("0123456789ABC")


class _Instrument:
    # What the venue knows of one instrument.
    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.sides: tuple[Side, Side] = ((), ())
        self.ts_event = 0
        self.number = 0  # RptSeq
        self.state = "CLOSE"
        self.state_ts = 0
        self.trade: TradeEvent | None = None


class Venue:
    """The venue's books, states and subscriptions, on top of its sessions."""

    def __init__(
        self,
        listings: Mapping[str, Listing],
        dialect: Dialect,
        passwords: Mapping[str, str],
        *,
        comp_id: str = "CME",
        faults: Faults | None = None,
        counters: Counter[str] | None = None,
        window: int = WINDOW,
    ) -> None:
        self._dialect = dialect
        self._instruments = {symbol: _Instrument(listing) for symbol, listing in listings.items()}
        self._teller = Teller(dialect, dict(listings))
        self._by_fields = {self._teller.symbol(symbol): symbol for symbol in listings}
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.acceptor = Acceptor(
            comp_id,
            passwords,
            dialect,
            faults=faults or Faults(),
            counters=self.counters,
            window=window,
            on_request=self._request,
        )

    def heard(self, symbol: str) -> bool:
        """Say whether a session, connected or not, is told the trades of an instrument."""
        for client in self.acceptor.clients.values():  # a generator costs 1 us, an event
            if symbol in (client.trades if self._dialect.incremental else client.books):
                return True
        return False

    # ---- what happens

    def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:
        """Tell what happened to every client that asked for it."""
        self.acceptor.now_ns = ts_send
        for action in actions:
            books: dict[str, BookEvent] = {}
            for event in action:
                if isinstance(event, BookEvent):
                    books[event.symbol] = event
                elif isinstance(event, TradeEvent | BustEvent):
                    self._trade(event)
                elif isinstance(event, StatusEvent):
                    self._status(event)
                else:
                    assert isinstance(event, SettleEvent)  # nobody asks for settlements
            for book in books.values():
                self._book(book)

    def _trade(self, event: TradeEvent | BustEvent) -> None:
        self.counters["trades"] += 1
        if isinstance(event, TradeEvent):
            self._instruments[event.symbol].trade = event
            body = self._teller.trade(event)
        else:
            body = self._teller.bust(event.symbol, event.trade_id, event.ts_event)
        if self._dialect.incremental:
            self._tell(event.symbol, "trades", "X", body, keep=True)
        else:
            self._tell_image(event.symbol, keep=True)

    def _status(self, event: StatusEvent) -> None:
        instrument = self._instruments[event.symbol]
        instrument.state, instrument.state_ts = event.state, event.ts_event
        body = self._teller.status(event.symbol, event.state, event.ts_event)
        for client in self.acceptor.clients.values():
            request_id = client.statuses.get(event.symbol)
            if request_id is not None:
                self.acceptor.send(client, "f", f"324={request_id}\x01{body}", keep=True, live=True)

    def _book(self, event: BookEvent) -> None:
        instrument = self._instruments[event.symbol]
        before, instrument.sides = instrument.sides, (event.bids[:DEPTH], event.asks[:DEPTH])
        body = self._teller.changes(event.symbol, before, instrument.sides, event.ts_event, instrument.number + 1)
        instrument.ts_event = event.ts_event
        if not body:
            return
        instrument.number += 1
        if self._dialect.incremental:
            self._tell(event.symbol, "books", "X", body, keep=False)
        else:
            self._tell_image(event.symbol, keep=False)

    def _tell(self, symbol: str, what: str, msg_type: str, body: str, *, keep: bool) -> None:
        for client in self.acceptor.clients.values():
            subscriptions: dict[str, str] = getattr(client, what)
            request_id = subscriptions.get(symbol)
            if request_id is not None and (keep or client.connection is not None):
                self.acceptor.send(client, msg_type, f"262={request_id}\x01{body}", keep=keep, live=True)
                self.counters["told"] += 1

    def _tell_image(self, symbol: str, *, keep: bool) -> None:
        instrument = self._instruments[symbol]
        body = self._teller.image(symbol, instrument.sides, self._last(instrument), instrument.number, instrument.trade)
        self._tell(symbol, "books", "W", body, keep=keep)

    def _last(self, instrument: _Instrument) -> int:
        return instrument.ts_event or self.acceptor.now_ns

    # ---- what is asked

    def _request(self, client: Client, message: Message) -> None:
        kind = value(message, 35)
        if kind == "V":
            self._market_data(client, message)
        elif kind == "e":
            self._security_status(client, message)
        else:
            self._session_status(client, message)

    def _market_data(self, client: Client, message: Message) -> None:
        request_id, kind, types = value(message, 262), value(message, 263), set(values(message, 269))
        missing = next((tag for tag in (262, 263, 264, 267, 146) if value(message, tag) is None), None)
        if missing is not None:
            self.acceptor.reject(client, message, 1, missing)
            return
        assert request_id is not None
        symbols = self._symbols(message)
        refusal = self._refusal(client, request_id, kind, types, symbols)
        if refusal is not None:
            self.counters["refused_requests"] += 1
            self.acceptor.send(client, "Y", f"262={request_id}\x01281={refusal[0]}\x0158={refusal[1]}\x01")
            return
        for symbol in symbols:
            assert symbol is not None
            for wanted, store in ((types & _BOOK_TYPES, client.books), ("2" in types, client.trades)):
                if wanted and kind == "1":
                    store[symbol] = request_id
                elif wanted and kind == "2" and store.get(symbol) == request_id:
                    del store[symbol]
            if kind != "2":
                self._answer(client, request_id, symbol, types)

    def _refusal(
        self, client: Client, request_id: str, kind: str | None, types: set[str], symbols: list[str | None]
    ) -> tuple[str, str] | None:
        if kind not in ("0", "1", "2"):
            return "4", f"SubscriptionRequestType {kind}"
        if not types <= _KNOWN_TYPES:
            return "8", "MDEntryType"
        if None in symbols:
            return "0", "unknown symbol"
        if kind == "1" and request_id in (*client.trades.values(), *client.books.values()):
            return "1", "MDReqID is in use"
        return None

    def _answer(self, client: Client, request_id: str, symbol: str, types: set[str]) -> None:
        instrument = self._instruments[symbol]
        sides = instrument.sides if types & _BOOK_TYPES else ((), ())
        trade = instrument.trade if "2" in types or not self._dialect.incremental else None
        body = self._teller.image(symbol, sides, self._last(instrument), instrument.number, trade)
        processed = f"369={client.next_out - 1}\x01" if self._dialect.processed else ""
        self.acceptor.send(client, "W", f"{processed}262={request_id}\x01{body}")

    def _symbols(self, message: Message) -> list[str | None]:
        found: list[dict[int, str]] = []
        for tag, text in message[[number for number, _ in message].index(146) + 1 :]:
            if tag == 55:
                found.append({})
            if found and tag in (55, 48, 22, 200, 207):
                found[-1][tag] = text
        return [self._symbol(fields) for fields in found]

    def _symbol(self, fields: Mapping[int, str]) -> str | None:
        text = "".join([f"{tag}={fields[tag]}\x01" for tag in (55, 48, 22, 200, 207) if tag in fields])
        return self._by_fields.get(text)

    def _security_status(self, client: Client, message: Message) -> None:
        request_id = value(message, 324) or ""
        symbol = self._symbol({tag: text for tag, text in message if tag in (55, 48, 22, 200, 207)})
        if symbol is None:
            self.acceptor.send(client, "j", f"45={value(message, 34)}\x01372=e\x01380=2\x0158=unknown symbol\x01")
            return
        if value(message, 263) == "1":
            client.statuses[symbol] = request_id
        instrument = self._instruments[symbol]
        body = self._teller.status(symbol, instrument.state, instrument.state_ts or self.acceptor.now_ns)
        self.acceptor.send(client, "f", f"324={request_id}\x01{body}")

    # One session, of all products: it is open while any of them is.
    def _session_status(self, client: Client, message: Message) -> None:
        client.session_status = value(message, 335) or ""
        self.acceptor.send(client, "h", f"335={client.session_status}\x01336=1\x01340=2\x01")
