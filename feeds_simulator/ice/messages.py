"""Encode the venue's messages as JSON text (docs/ice-profile.md).

A market-data message is made in two steps: its `Body` once per event (per depth, for books), then one text per
session with the session's own numbers around it. Formatting by hand costs 0.3 us a message; a JSON encoder 2 us.

Units: times int ns UTC; prices decimal strings; quantities in lots.
"""

import json
from typing import Any, Final, NamedTuple, TypeAlias

from feeds_simulator.events import BookEvent, BustEvent, Event, Level, Listing, SettleEvent, Side, TradeEvent

BOOK: Final = "book"
TRADES: Final = "trades"
STATUS: Final = "status"
SETTLE: Final = "settle"
CHANNELS: Final = (BOOK, TRADES, STATUS, SETTLE)

Message: TypeAlias = dict[str, Any]


class Body(NamedTuple):
    """The part of a sequenced message that all its receivers share.

    `bids` and `asks` are the book after it, at its depth; empty on other channels.
    """

    op: str
    symbol: str
    ts_event: int
    fields: str  # JSON members, without braces
    bids: Side = ()
    asks: Side = ()


class Encoder:
    """Encode events of the listed symbols."""

    __slots__ = ("_listings",)

    def __init__(self, listings: dict[str, Listing]) -> None:
        self._listings = listings

    def price(self, symbol: str, ticks: int) -> str:
        """Return a price as its decimal text."""
        return self._listings[symbol].price_text(ticks)

    def changes(self, symbol: str, side: str, old: Side, new: Side) -> list[str]:
        """Return what turns one side into another, as JSON arrays: deleted levels first."""
        price_text = self._listings[symbol].price_text
        gone = {level.price: level for level in old}
        kept: list[str] = []
        for level in new:
            price, qty, orders = level
            before = gone.pop(price, None)
            if before is None or before != level:
                action = "N" if before is None else "C"
                kept.append(f'["{side}","{action}","{price_text(price)}",{qty},{orders}]')
        return [f'["{side}","D","{price_text(price)}",0,0]' for price in gone] + kept

    def book(self, event: BookEvent, changes: list[str], bids: Side, asks: Side) -> Body:
        fields = f'"changes":[{",".join(changes)}],"eot":{"true" if event.eot else "false"}'
        return Body(BOOK, event.symbol, event.ts_event, fields, bids, asks)

    def other(self, event: Event) -> tuple[str, Body]:
        """Return the channel and body of anything but a book event."""
        match event:
            case TradeEvent():
                op = "trade_correct" if event.corrects else "trade"
                fields = (
                    f'"trade_id":"{event.trade_id}","px":"{self.price(event.symbol, event.price)}",'
                    f'"qty":{event.qty},"aggr":"{event.aggressor}","cond":""'
                )
                return TRADES, Body(op, event.symbol, event.ts_event, fields)
            case BustEvent():
                return TRADES, Body("trade_bust", event.symbol, event.ts_event, f'"trade_id":"{event.trade_id}"')
            case SettleEvent():
                fields = f'"px":"{self.price(event.symbol, event.price)}","kind":"{event.kind}"'
                return SETTLE, Body("settle", event.symbol, event.ts_event, fields)
            case BookEvent():
                raise TypeError("a book is encoded per depth, with its changes")
        return STATUS, Body("status", event.symbol, event.ts_event, f'"state":"{event.state}"')

    def snapshot(self, body: Body, *, seq: int, last_seq: int, state: str, ts_send: int) -> str:
        """Return the image of a book: `body` holds its levels."""
        return (
            f'{{"op":"snapshot","channel":"book","symbol":"{body.symbol}","seq":{seq},"last_seq":{last_seq},'
            f'"bids":{self._levels(body.symbol, body.bids)},"asks":{self._levels(body.symbol, body.asks)},'
            f'"state":"{state}","ts_event":{body.ts_event},"ts_send":{ts_send}}}'
        )

    def _levels(self, symbol: str, side: Side) -> str:
        return f"[{','.join(self._level(symbol, level) for level in side)}]"

    def _level(self, symbol: str, level: Level) -> str:
        return f'["{self.price(symbol, level.price)}",{level.qty},{level.orders}]'


def sequenced(body: Body, seq: int, prev_seq: int, ts_send: int, *, replayed: bool = False) -> str:
    """Return the text of a sequenced message. `prev_seq` is used on books only."""
    prev = f',"prev_seq":{prev_seq}' if body.op == BOOK else ""
    mark = ',"replayed":true' if replayed else ""
    return (
        f'{{"op":"{body.op}","seq":{seq}{prev},"symbol":"{body.symbol}","ts_event":{body.ts_event},'
        f'"ts_send":{ts_send},{body.fields}{mark}}}'
    )


def encode(message: Message) -> str:
    """Return any other message as text, without absent (None) members."""
    return json.dumps({name: value for name, value in message.items() if value is not None}, separators=(",", ":"))


def error(code: str, text: str, request_id: object = None) -> str:
    return encode({"op": "error", "code": code, "msg": text, "id": request_id})
