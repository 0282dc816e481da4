"""Events of the SDK, made by hand, and a session fed with them."""

from collections.abc import Iterable
from typing import Any

from connectors.bloomberg.codec import Decoder
from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.session import Session
from connectors.ticks import FeedOutput
from feeds_simulator.bloomberg import blpapi
from feeds_simulator.bloomberg.blpapi.event import Message
from market.schemas import BUST, CORRECTION, QUOTE, STATE, TRADE

T0 = 1_795_000_000_000_000_000
KINDS = {TRADE: "trade", QUOTE: "quote", BUST: "bust", CORRECTION: "correction", STATE: "state"}

KEYS = ("BBG:USDINR:SPOT", "BBG:GC:202612")
USDINR, GOLD = 1, 2  # correlation ids, in the order of KEYS


def data(key: int, kind: str, subtype: str, **fields: Any) -> Message:
    content = {"MKTDATA_EVENT_TYPE": kind, "MKTDATA_EVENT_SUBTYPE": subtype} | fields
    return Message("MarketDataEvents", content, blpapi.CorrelationId(key))


def image(key: int, bid: float | None = 95.61, ask: float | None = 95.62, **fields: Any) -> Message:
    return data(key, "SUMMARY", "INITPAINT", BID=bid, BID_SIZE=1, ASK=ask, ASK_SIZE=2, **fields)


def status(key: int, name: str, **content: Any) -> Message:
    return Message(name, content, blpapi.CorrelationId(key))


def event(kind: int, *messages: Message) -> blpapi.Event:
    return blpapi.Event(kind, list(messages))


class Fed:
    """A session and what it wrote."""

    def __init__(self, keys: tuple[str, ...] = KEYS, resume: dict[str, Any] | None = None) -> None:
        self.output = FeedOutput()
        self.session = Session(
            BloombergConfig(keys=keys, news=True), self.output, resume, Decoder(blpapi.Name, blpapi.Exception)
        )
        self.now = T0

    def open(self) -> "Fed":
        """Subscribed, confirmed, with images: live."""
        self.session.on_open(self.now)
        for key in list(self.session.watched):
            self.say(3, status(key, "SubscriptionStarted", exceptions=[], streamIds=["1"]))
            self.say(8, image(key))
        self.session.commands()
        self.rows()
        self.ledgers()
        return self

    def say(self, kind: int, *messages: Message) -> None:
        self.now += 1_000
        self.session.receive(event(kind, *messages), self.now)

    def rows(self) -> list[dict[str, Any]]:
        """Ticks since the last time, with their kinds by name."""
        found = [row for _, batch in self.output.ticks.take() for row in batch.to_pylist()]
        return [row | {"kind": KINDS[row["kind"]]} for row in found]

    def ledgers(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of the other tables since the last time."""
        found = {}
        for name in ("gaps", "status", "rejected", "news"):
            batch = getattr(self.output, name).take()
            found[name] = [] if batch is None else batch.to_pylist()
        return found


def kinds(rows: Iterable[dict[str, Any]]) -> list[str]:
    return [row["kind"] for row in rows]
