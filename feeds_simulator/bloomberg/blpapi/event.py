"""`Message`, `Event` and the queue a session delivers them from.

Source: blpapi documentation, python 3.26, `blpapi.Message`, `blpapi.Event`, `blpapi.EventQueue`; water marks and the
size of the queue: `blpapi.SessionOptions`. Assumed, since the documentation is silent: warnings go to the front of the
queue (at its end they would come after what they warn of), and only subscription data is ever dropped.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from feeds_simulator.bloomberg import fields
from feeds_simulator.bloomberg.blpapi.correlation import CorrelationId
from feeds_simulator.bloomberg.blpapi.element import Element
from feeds_simulator.bloomberg.blpapi.name import Name, text_of
from feeds_simulator.bloomberg.blpapi.subscriptionlist import Subscription


class Message:
    """One message of an event."""

    __slots__ = ("_content", "_correlation", "_name", "_recap", "_received", "_subscription", "_topic")

    FRAGMENT_NONE: Final = 0
    RECAPTYPE_NONE: Final = 0
    RECAPTYPE_SOLICITED: Final = 1
    RECAPTYPE_UNSOLICITED: Final = 2

    def __init__(
        self,
        name: str,
        content: dict[str, Any],
        correlation: CorrelationId | None = None,
        subscription: Subscription | None = None,
        received: datetime | None = None,
    ) -> None:
        self._name, self._content = name, content
        self._correlation, self._subscription, self._received = correlation, subscription, received
        self._topic = "" if subscription is None else f"{subscription.topic.service}{subscription.topic.instrument}"
        painted = content.get("MKTDATA_EVENT_SUBTYPE") == fields.INITPAINT
        self._recap = self.RECAPTYPE_SOLICITED if painted else self.RECAPTYPE_NONE

    def messageType(self) -> Name:
        return Name(self._name)

    def correlationId(self) -> CorrelationId | None:
        return self._correlation

    def correlationIds(self) -> list[CorrelationId]:
        return [] if self._correlation is None else [self._correlation]

    def topicName(self) -> str:
        return self._topic

    def fragmentType(self) -> int:
        return self.FRAGMENT_NONE

    def recapType(self) -> int:
        return self._recap

    def getRequestId(self) -> str | None:
        return None

    def timeReceived(self, tzinfo: tzinfo = UTC) -> datetime:
        """Return when the SDK received it. Raises: ValueError if the session does not record that."""
        if self._received is None:
            raise ValueError("Message has no timestamp")
        return self._received.astimezone(tzinfo)

    def asElement(self) -> Element:
        return Element(self._name, self._content)

    def numElements(self) -> int:
        return len(self._content)

    def hasElement(self, name: object, excludeNullElements: bool = False) -> bool:
        key = text_of(name)
        if key not in self._content:
            return False
        return not excludeNullElements or not Element(key, self._content[key]).isNull()

    def getElement(self, name: object) -> Element:
        key = "" if isinstance(name, int) else text_of(name)
        if key in self._content:
            return Element(key, self._content[key])
        return self.asElement().getElement(name)  # by position, or the exception

    def getElementAsBool(self, name: object) -> bool:
        return self.asElement().getElementAsBool(name)

    def getElementAsString(self, name: object) -> str:
        return self.asElement().getElementAsString(name)

    def getElementAsBytes(self, name: object) -> bytes:
        return self.asElement().getElementAsBytes(name)

    def getElementAsInteger(self, name: object) -> int:
        return self.asElement().getElementAsInteger(name)

    def getElementAsFloat(self, name: object) -> float:
        return self.asElement().getElementAsFloat(name)

    def getElementAsDatetime(self, name: object) -> datetime:
        return self.asElement().getElementAsDatetime(name)

    def toPy(self) -> Any:
        return self.asElement().toPy()

    def toJson(self) -> str:
        return self.asElement().toJson()

    def toString(self, level: int = 0, spacesPerLevel: int = 4) -> str:
        return self.asElement().toString(level, spacesPerLevel)

    def __getitem__(self, name: object) -> Any:
        return self.asElement()[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.asElement())

    def __len__(self) -> int:
        return self.numElements()

    def __contains__(self, item: object) -> bool:
        return item in self.asElement()

    def __str__(self) -> str:
        return self.toString()


class Event:
    """Zero or more messages of one type."""

    __slots__ = ("_messages", "_type")

    ADMIN: Final = fields.ADMIN
    SESSION_STATUS: Final = fields.SESSION_STATUS
    SUBSCRIPTION_STATUS: Final = fields.SUBSCRIPTION_STATUS
    REQUEST_STATUS: Final = 4
    RESPONSE: Final = 5
    PARTIAL_RESPONSE: Final = 6
    SUBSCRIPTION_DATA: Final = fields.SUBSCRIPTION_DATA
    SERVICE_STATUS: Final = fields.SERVICE_STATUS
    TIMEOUT: Final = fields.TIMEOUT
    AUTHORIZATION_STATUS: Final = 11
    RESOLUTION_STATUS: Final = 12
    TOPIC_STATUS: Final = 13
    TOKEN_STATUS: Final = 14
    REQUEST: Final = 15
    UNKNOWN: Final = -1

    def __init__(self, kind: int, messages: list[Message]) -> None:
        self._type, self._messages = kind, messages

    def eventType(self) -> int:
        return self._type

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def _drop_cancelled(self) -> bool:
        # Data of a subscription that was cancelled after it was queued is not delivered. False if nothing is left.
        if self._type == self.SUBSCRIPTION_DATA:
            self._messages = [m for m in self._messages if m._subscription is None or not m._subscription.cancelled]
            return bool(self._messages)
        return True


def only(kind: int, name: str, content: dict[str, Any], correlation: CorrelationId | None = None) -> Event:
    """Return an event of one message."""
    return Event(kind, [Message(name, content, correlation)])


class DeliveryQueue:
    """Events on their way to the program: bounded, with warnings at its water marks.

    Delivery: beyond `limit` events, subscription data is dropped; once there is room, an ADMIN `DataLoss` for every
    subscription that lost messages says how many.
    """

    def __init__(self, limit: int, high: float, low: float) -> None:
        self._limit, self._high, self._low = limit, high * limit, low * limit
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._dropped: Counter[CorrelationId] = Counter()
        self._dropped_events = 0
        self._warned = self._ended = False

    def put(self, event: Event) -> None:
        """Append an event, or drop it when the queue is full and it is data."""
        with self._changed:
            if len(self._events) >= self._limit and event.eventType() == Event.SUBSCRIPTION_DATA:
                self._dropped_events += 1
                self._dropped.update(message.correlationId() or CorrelationId() for message in event)
                return
            self._report_loss()
            self._events.append(event)
            if not self._warned and len(self._events) > self._high:
                self._warned = True
                self._events.appendleft(only(Event.ADMIN, "SlowConsumerWarning", {}))
            self._changed.notify_all()

    def _report_loss(self) -> None:
        for correlation, messages in self._dropped.items():
            content = {"id": str(correlation.value()), "source": "Session", "numMessagesDropped": messages}
            self._events.append(only(Event.ADMIN, "DataLoss", content, correlation))
        self._dropped.clear()

    def get(self, timeout_s: float | None) -> Event | None:
        """Return the next event; None at the time-out, and for ever once the session has ended and all is told."""
        with self._changed:
            self._changed.wait_for(self._ready, timeout_s)
            if not self._events:
                return None
            event = self._events.popleft()
            if self._warned and len(self._events) < self._low:
                self._warned = False
                self._report_loss()
                cleared = {"eventsDropped": self._dropped_events}
                self._dropped_events = 0
                self._events.appendleft(only(Event.ADMIN, "SlowConsumerWarningCleared", cleared))
            return event

    def _ready(self) -> bool:
        while self._events and not self._events[0]._drop_cancelled():
            self._events.popleft()
        return bool(self._events) or self._ended

    def end(self) -> None:
        """Nothing comes after what is queued."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether everything was delivered and nothing comes any more."""
        with self._changed:
            return self._ended and not self._events
