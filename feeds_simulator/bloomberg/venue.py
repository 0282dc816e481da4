"""The simulated Bloomberg without its sockets: who may hear what, and what the market's events look like there.

Pure. Source: blpapi documentation (python 3.26); shapes of status messages: the SDK's published sample messages.
Units: times ns UTC by the market clock; prices as doubles, as the SDK gives them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from feeds_simulator.bloomberg import fields
from feeds_simulator.bloomberg.securities import normalised, security_of
from feeds_simulator.bloomberg.streams import NS_PER_S, Client, Content, Message, Stream, Subscription
from feeds_simulator.events import BookEvent, BustEvent, Event, Listing, SettleEvent, StatusEvent, TradeEvent
from feeds_simulator.news import Headline

NEWS_MESSAGE: Final = "NewsHeadline"
HEADLINES_KEPT: Final = 50
_LEAST_INTERVAL_S: Final = 0.1
_STATES: Final = {"OPEN": "TRADING", "LIMIT": "TRADING", "HALT": "HALTED", "CLOSE": "CLOSED"}

BAD_SEC: Final = "BAD_SEC"
BAD_FLD: Final = "BAD_FLD"
NOT_AUTHORIZED: Final = "NOT_AUTHORIZED"
LIMIT: Final = "LIMIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlements:
    """What a client may have, by security."""

    denied: frozenset[str] = frozenset()
    delayed: frozenset[str] = frozenset()
    delay_s: float = 900.0
    subscriptions: int = 3_500  # of one session; the desktop's documented limit


def reason(category: str, description: str, code: int) -> Content:
    """Return a `reason` element."""
    return {
        "source": "simulator",
        "errorCode": code,
        "category": category,
        "description": description,
        "subcategory": category,
    }


@dataclass(slots=True)
class _Desk:
    # Those who listen to news, and the newest stories for those who come later.
    listeners: list[tuple[Client, int, str]] = field(default_factory=list)
    kept: list[Headline] = field(default_factory=list)


class Venue:
    """All securities and news. Requests in, events out through each `Client`."""

    def __init__(self, listings: Iterable[Listing], entitlements: Entitlements | None = None) -> None:
        self._rights = rights = entitlements or Entitlements()
        self._listings = {listing.symbol: listing for listing in listings}
        self.streams: dict[str, Stream] = {}
        for listing in self._listings.values():
            security = security_of(listing.key)
            delay_ns = round(rights.delay_s * NS_PER_S) if security in rights.delayed else 0
            self.streams[security] = Stream(security, delay_ns)
        self._of_symbol = {symbol: self.streams[security_of(one.key)] for symbol, one in self._listings.items()}
        self._key_of = {security_of(listing.key): listing.key for listing in self._listings.values()}
        self.lost: Counter[str] = Counter()
        """Trades, corrections and busts that were said and did not get through, by instrument."""
        self._volumes: dict[str, int] = {}
        self._securities_of: dict[str, list[str]] = {}
        self._news = _Desk()

    # ---- requests

    def open_service(self, client: Client, number: int, service: str) -> None:
        """Answer that a service is there, or not."""
        if service in fields.SERVICES:
            client.say(fields.SERVICE_STATUS, number, "ServiceOpened", {"serviceName": service})
        else:
            why = reason("BAD_SERVICE", f"no service {service}", 5)
            client.say(fields.SERVICE_STATUS, number, "ServiceOpenFailure", {"serviceName": service, "reason": why})

    def subscribe(self, client: Client, request: Mapping[str, Any]) -> None:
        """Start a subscription, in full or in part, or refuse it."""
        wire_id, service = int(request["id"]), str(request.get("service"))
        if service == fields.NEWS:
            self._subscribe_news(client, wire_id, str(request.get("topic")))
            return
        stream = self.streams.get(normalised(str(request.get("topic")))) if service == fields.MKTDATA else None
        refusal = self._refusal(client, stream)
        asked = [str(name).upper() for name in request.get("fields") or ()]
        known = frozenset(name for name in asked if name in fields.TYPES)
        if refusal is None and not known:
            refusal = (BAD_FLD, "none of the fields is known", 9)
        if refusal is not None or stream is None:
            category, description, code = refusal or (BAD_SEC, "unknown security", 2)
            content = {"reason": reason(category, description, code)}
            client.say(fields.SUBSCRIPTION_STATUS, wire_id, "SubscriptionFailure", content)
            return
        again = client.subscriptions.get(wire_id)
        if again is not None:
            self.unsubscribe(client, wire_id)
        subscription = Subscription(client, wire_id, stream, known, _interval_ns(request.get("options") or {}))
        client.subscriptions[wire_id] = subscription
        self._start(subscription, [name for name in asked if name not in fields.TYPES], request)
        stream.subscribe(subscription)

    def _refusal(self, client: Client, stream: Stream | None) -> tuple[str, str, int] | None:
        if stream is None:
            return BAD_SEC, "unknown security", 2
        if stream.security in self._rights.denied:
            return NOT_AUTHORIZED, f"not entitled to {stream.security}", 11
        if len(client.subscriptions) >= self._rights.subscriptions:
            return LIMIT, f"more than {self._rights.subscriptions} subscriptions", 12
        return None

    def _start(self, subscription: Subscription, unknown: Sequence[str], request: Mapping[str, Any]) -> None:
        content: Content = {
            "exceptions": [
                {"fieldId": name, "reason": reason(BAD_FLD, f"unknown field {name}", 9)} for name in unknown
            ],
            "streamIds": ["1"],
        }
        if subscription.stream.delay_ns:
            content["reason"] = "DELAYED: real-time data is not entitled"
        if request.get("resubscriptionId") is not None:
            content["resubscriptionId"] = int(request["resubscriptionId"])
        client, wire_id = subscription.client, subscription.wire_id
        client.say(fields.SUBSCRIPTION_STATUS, wire_id, "SubscriptionStarted", content)
        if not subscription.stream.active:
            self._streams_status(subscription, "SubscriptionStreamsDeactivated", "no source")

    def unsubscribe(self, client: Client, wire_id: int) -> None:
        """Forget a subscription; the SDK has told the program already."""
        subscription = client.subscriptions.pop(wire_id, None)
        if subscription is not None:
            subscription.stream.listeners.remove(subscription)
        self._news.listeners = [one for one in self._news.listeners if one[:2] != (client, wire_id)]

    def detach(self, client: Client) -> None:
        """Forget a client."""
        for wire_id in list(client.subscriptions):
            self.unsubscribe(client, wire_id)
        self._news.listeners = [one for one in self._news.listeners if one[0] is not client]

    # ---- the market

    def publish(self, actions: Sequence[Sequence[Event]], now_ns: int) -> None:
        """Say what happened, and what is due by now."""
        for action in actions:
            for event in action:
                stream = self._of_symbol.get(event.symbol)
                if stream is not None:
                    self._say(stream, self._listings[event.symbol], event, now_ns)
        for stream in self.streams.values():
            stream.on_time(now_ns)

    def _say(self, stream: Stream, listing: Listing, event: Event, now_ns: int) -> None:
        if isinstance(event, BookEvent):
            if event.eot:
                self._say_book(stream, listing, event, now_ns)
        elif isinstance(event, TradeEvent):
            self._say_trade(stream, listing, event, now_ns)
        elif isinstance(event, BustEvent):
            changes = {
                "EVT_TRADE_IDENTIFIER_RT": event.trade_id,
                "EVT_TRADE_CANCEL_TIME_RT": event.ts_event,
                "EVT_TRADE_ACTION_REALTIME": "C",
            }
            stream.change(now_ns, fields.TRADE, "CANCEL", changes)
        elif isinstance(event, StatusEvent):
            state = {"RT_SIMP_SEC_STATUS": _STATES.get(event.state, event.state)}
            stream.change(now_ns, fields.SUMMARY, fields.INTRADAY, state)
        elif isinstance(event, SettleEvent):
            settle = {"PX_SETTLE": float(listing.price_text(event.price))}
            stream.change(now_ns, fields.SUMMARY, fields.INTRADAY, settle)

    def _say_book(self, stream: Stream, listing: Listing, event: BookEvent, now_ns: int) -> None:
        # Only the sides of the touch that changed; a null where a side is empty.
        changes: Content = {}
        subtypes = []
        for name, side in (("BID", event.bids), ("ASK", event.asks)):
            now = {
                name: float(listing.price_text(side[0].price)) if side else None,
                f"{name}_SIZE": side[0].qty if side else None,
            }
            new = {key: value for key, value in now.items() if key not in stream.image or stream.image[key] != value}
            new |= self._delayed_changes(stream, now) if stream.delay_ns else {}
            if new:
                subtypes.append(name)
                changes |= new | {f"{name}_UPDATE_STAMP_RT": event.ts_event}
        if changes:
            stream.change(now_ns, fields.QUOTE, "PAIRED" if len(subtypes) > 1 else subtypes[0], changes)

    # The image of a delayed stream is old, so what changed is not known by it: everything is sent.
    @staticmethod
    def _delayed_changes(stream: Stream, now: Content) -> Content:
        return now if stream.waiting else {}

    def _say_trade(self, stream: Stream, listing: Listing, event: TradeEvent, now_ns: int) -> None:
        price = float(listing.price_text(event.price))
        changes: Content = {
            "EVT_TRADE_IDENTIFIER_RT": event.trade_id,
            "EVT_TRADE_PRICE_RT": price,
            "EVT_TRADE_SIZE_RT": event.qty,
            "EVT_TRADE_AGGRESSOR_RT": event.aggressor,
        }
        if event.corrects:
            changes |= {"EVT_TRADE_CORRECT_TIME_RT": event.ts_event, "EVT_TRADE_ACTION_REALTIME": "R"}
            stream.change(now_ns, fields.TRADE, "CORRECTION", changes)
            return
        volume = self._volumes[event.symbol] = self._volumes.get(event.symbol, 0) + event.qty
        changes |= {
            "LAST_PRICE": price,
            "SIZE_LAST_TRADE": event.qty,
            "VOLUME": volume,
            "TRADE_UPDATE_STAMP_RT": event.ts_event,
        }
        stream.change(now_ns, fields.TRADE, "NEW", changes)

    def heard(self, symbol: str) -> bool:
        """Say whether anybody is told what happens to a symbol."""
        stream = self._of_symbol.get(symbol)
        return stream is not None and stream.active and bool(stream.listeners)

    # ---- trouble

    def deactivate(self, security: str, why: str = "no source") -> None:
        """Lose the source of a security."""
        stream = self.streams[security]
        stream.active = False
        for subscription in stream.listeners:
            self._streams_status(subscription, "SubscriptionStreamsDeactivated", why)

    def activate(self, security: str) -> None:
        """Have the source again: streams are activated and painted anew."""
        stream = self.streams[security]
        stream.active = True
        for subscription in stream.listeners:
            self._streams_status(subscription, "SubscriptionStreamsActivated", "source is back")
            stream.paint(subscription)

    def terminate(self, security: str, category: str = "TERMINATED") -> None:
        """End every subscription to a security."""
        for subscription in list(self.streams[security].listeners):
            self.unsubscribe(subscription.client, subscription.wire_id)
            content = {"reason": reason(category, "ended by the source", 13)}
            subscription.client.say(fields.SUBSCRIPTION_STATUS, subscription.wire_id, "SubscriptionTerminated", content)

    def lose(self, client: Client, messages: Iterable[Message]) -> None:
        """Tell a client which of its subscriptions lost data on the way, and count what was traded in it."""
        trades: Counter[int] = Counter()
        for wire_id, _, content in messages:
            trades[wire_id] += content.get("MKTDATA_EVENT_TYPE") == fields.TRADE
        for wire_id in sorted(trades):
            subscription = client.subscriptions.get(wire_id)
            if subscription is not None:
                self.lost[self._key_of[subscription.stream.security]] += trades[wire_id]
                subscription.stream.lose(subscription)

    @staticmethod
    def _streams_status(subscription: Subscription, name: str, why: str) -> None:
        content = {"streams": [{"id": "1"}], "reason": why}
        subscription.client.say(fields.SUBSCRIPTION_STATUS, subscription.wire_id, name, content)

    # ---- news

    def _subscribe_news(self, client: Client, wire_id: int, topic: str) -> None:
        code = topic.strip("/").rpartition("/")[2].lower()
        self._news.listeners.append((client, wire_id, code))
        client.say(fields.SUBSCRIPTION_STATUS, wire_id, "SubscriptionStarted", {"exceptions": [], "streamIds": ["1"]})
        for story in self._news.kept:
            self._say_story(client, wire_id, code, story)

    def publish_news(self, stories: Iterable[Headline]) -> None:
        """Say what was published."""
        for story in stories:
            self._news.kept = [*self._news.kept, story][-HEADLINES_KEPT:]
            for client, wire_id, code in self._news.listeners:
                self._say_story(client, wire_id, code, story)

    def _say_story(self, client: Client, wire_id: int, code: str, story: Headline) -> None:
        if code not in ("all", *story.commodities):
            return
        tickers = [security for name in story.commodities for security in self._securities_of.get(name, ())]
        content = {
            "STORY_ID": story.story_id,
            "STORY_TIME_RT": story.ts_event,
            "HEADLINE": story.headline,
            "BODY": story.body,
            "TOPIC_CODES": ",".join(story.commodities),
            "TICKERS": ",".join(tickers),
            "URGENCY": story.urgency,
        }
        client.say(fields.SUBSCRIPTION_DATA, wire_id, NEWS_MESSAGE, content)

    def cover(self, commodity_of: Mapping[str, str]) -> None:
        """Say which commodity each instrument key is, so that stories name its securities."""
        for key, commodity in commodity_of.items():
            self._securities_of.setdefault(commodity, []).append(security_of(key))


def _interval_ns(options: Mapping[str, str]) -> int:
    try:
        seconds = float(options.get("interval", 0) or 0)
    except ValueError:
        return 0
    return round(max(_LEAST_INTERVAL_S, seconds) * NS_PER_S) if seconds > 0 else 0
