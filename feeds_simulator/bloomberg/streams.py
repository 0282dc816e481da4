"""What one security says to those who subscribed to it: images, changes, conflated changes, delayed changes.

Pure. Source: blpapi documentation and Core Developer Guide 1.6: a first SUMMARY INITPAINT with the full image, then
events that hold only what changed, a null for what is gone; with the option `interval`, at most one message in so many
seconds, which stands for all changes meanwhile.

Units: times ns UTC by the market clock.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from feeds_simulator.bloomberg import fields

MARKET_DATA: Final = "MarketDataEvents"
NS_PER_S: Final = 1_000_000_000
_DEAD_FIELDS: Final = frozenset(("EVT_TRADE_CANCEL_TIME_RT", "EVT_TRADE_CORRECT_TIME_RT", "EVT_TRADE_ACTION_REALTIME"))

Content = dict[str, Any]
Message = tuple[int, str, Content]
"""Of which subscription, its name, its content."""


class Client:
    """One connection as the streams see it: what is to be sent, in order, by type of event."""

    def __init__(self) -> None:
        self.out: list[tuple[int, list[Message]]] = []
        self.subscriptions: dict[int, Subscription] = {}

    def say(self, kind: int, wire_id: int, name: str, content: Content) -> None:
        """Append a message, to the last event if it is of the same type."""
        if self.out and self.out[-1][0] == kind == fields.SUBSCRIPTION_DATA:
            self.out[-1][1].append((wire_id, name, content))
        else:
            self.out.append((kind, [(wire_id, name, content)]))


@dataclass(slots=True, eq=False)
class Subscription:
    """One client's wish for a security."""

    client: Client
    wire_id: int
    stream: "Stream"
    wanted: frozenset[str]
    interval_ns: int = 0
    merged: Content | None = None
    due_ns: int = 0


@dataclass(slots=True, eq=False)
class Stream:
    """A security: its image, and who listens. `delay_ns` > 0: everything is said that much later, and labelled."""

    security: str
    delay_ns: int = 0
    image: Content = field(default_factory=dict)
    listeners: list[Subscription] = field(default_factory=list)
    active: bool = True
    waiting: deque[tuple[int, str, str, Content]] = field(default_factory=deque)

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to listen, with the image first."""
        self.listeners.append(subscription)
        self.paint(subscription)

    def paint(self, subscription: Subscription, subtype: str = fields.INITPAINT) -> None:
        """Send the full image: every field that was asked for, null where there is no value."""
        image = dict.fromkeys(sorted(subscription.wanted)) | {
            name: value for name, value in self.image.items() if name in subscription.wanted
        }
        subscription.merged = None
        self._say(subscription, fields.SUMMARY, subtype, image)

    def change(self, now_ns: int, kind: str, subtype: str, changes: Content) -> None:
        """Something happened now."""
        if self.delay_ns:
            self.waiting.append((now_ns + self.delay_ns, kind, subtype, changes))
        else:
            self._tell(now_ns, kind, subtype, changes)

    def on_time(self, now_ns: int) -> None:
        """Say what was delayed or conflated and is due."""
        while self.waiting and self.waiting[0][0] <= now_ns:
            due_ns, kind, subtype, changes = self.waiting.popleft()
            self._tell(due_ns, kind, subtype, changes)
        for subscription in self.listeners:
            if subscription.merged and now_ns >= subscription.due_ns:
                subscription.due_ns = now_ns + subscription.interval_ns
                self._say(subscription, fields.SUMMARY, fields.INTRADAY, subscription.merged)
                subscription.merged = None

    def lose(self, subscription: Subscription) -> None:
        """Tell a listener that something was lost on the way to it."""
        self._say(subscription, fields.SUMMARY, fields.DATALOSS, {})

    def _tell(self, now_ns: int, kind: str, subtype: str, changes: Content) -> None:
        self.image.update({name: value for name, value in changes.items() if name not in _DEAD_FIELDS})
        if not self.active:
            return
        for subscription in self.listeners:
            heard = {name: value for name, value in changes.items() if name in subscription.wanted}
            if not heard:
                continue
            if subscription.interval_ns:
                subscription.merged = (subscription.merged or {}) | heard
                subscription.due_ns = subscription.due_ns or now_ns
            else:
                self._say(subscription, kind, subtype, heard)

    def _say(self, subscription: Subscription, kind: str, subtype: str, content: Content) -> None:
        header: Content = {"MKTDATA_EVENT_TYPE": kind, "MKTDATA_EVENT_SUBTYPE": subtype}
        if kind == fields.SUMMARY:
            header["IS_DELAYED_STREAM"] = bool(self.delay_ns)
        subscription.client.say(fields.SUBSCRIPTION_DATA, subscription.wire_id, MARKET_DATA, header | content)
