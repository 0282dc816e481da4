"""`Session`: connects, opens services, subscribes, and delivers events.

Source: blpapi documentation, python 3.26, `blpapi.Session` and `blpapi.AbstractSession`. Cancelling a subscription that
has not started gives SubscriptionFailure, one that has gives SubscriptionTerminated. A subscription survives a lost
connection if the options say `autoRestartOnDisconnection`: its streams are deactivated, and activated again with a new
image.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from feeds_simulator.bloomberg.blpapi import exception
from feeds_simulator.bloomberg.blpapi.correlation import CorrelationId
from feeds_simulator.bloomberg.blpapi.event import DeliveryQueue, Event, Message, only
from feeds_simulator.bloomberg.blpapi.link import Link, LinkLost
from feeds_simulator.bloomberg.blpapi.options import SessionOptions
from feeds_simulator.bloomberg.blpapi.subscriptionlist import Subscription, SubscriptionList
from feeds_simulator.bloomberg.blpapi.subscriptions import (
    SubscriptionPreprocessError,
    SubscriptionPreprocessMode,
    Subscriptions,
)

_OPEN_TIMEOUT_S: Final = 60.0  # SessionOptions.serviceCheckTimeout of the SDK
_RESTART_DELAYS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # the SDK does not say; the last one repeats
_START_DELAY_S: Final = 0.2

EventHandler = Callable[[Event, "Session"], None]


class Service:
    """An open service."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


def _reason(category: str, description: str, code: int = 0) -> dict[str, Any]:
    return {"reason": {"source": "Session", "errorCode": code, "category": category, "description": description}}


class Session:
    """A consumer session: synchronous without an event handler (`nextEvent`), asynchronous with one."""

    UNSUBSCRIBED: Final = 0
    SUBSCRIBING: Final = 1
    SUBSCRIBED: Final = 2
    CANCELLED: Final = 3
    PENDING_CANCELLATION: Final = 4

    def __init__(
        self,
        options: SessionOptions | None = None,
        eventHandler: EventHandler | None = None,
        eventDispatcher: object | None = None,
    ) -> None:
        if eventHandler is None and eventDispatcher is not None:
            raise exception.InvalidArgumentException(
                "eventDispatcher is specified but eventHandler is None", exception.ERROR_ILLEGAL_ARG
            )
        self._options = options or SessionOptions()
        self._handler = eventHandler
        self._queue = DeliveryQueue(
            self._options.maxEventQueueSize(),
            self._options.slowConsumerWarningHiWaterMark(),
            self._options.slowConsumerWarningLoWaterMark(),
        )
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._subscriptions = Subscriptions(self._options)
        self._services: set[str] = set()
        self._opening: dict[int, threading.Event] = {}
        self._numbers = count(1)
        self._begun = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    # ---- life

    def start(self) -> bool:
        """Start, and wait until started or failed. A session starts once."""
        self._begin()
        if not self._connect_first():
            return False
        self._spawn(self._run, "blpapi-session")
        return True

    def startAsync(self) -> bool:
        """Begin to start; SESSION_STATUS tells how it went."""
        self._begin()
        self._spawn(self._start_and_run, "blpapi-session")
        return True

    def _start_and_run(self) -> None:
        if self._connect_first():
            self._run()

    def _begin(self) -> None:
        if self._begun:
            raise exception.InvalidStateException("Session already started", exception.ERROR_ILLEGAL_STATE)
        self._begun = True
        if self._handler is not None:
            self._spawn(self._dispatch, "blpapi-events")

    def _spawn(self, target: Callable[[], object], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> bool:
        """Stop and wait; from within the event handler, as `stopAsync`."""
        self.stopAsync()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(5.0)
        return True

    def stopAsync(self) -> bool:
        """Begin to stop; SessionTerminated is the last event."""
        self._stopping.set()
        with self._lock:
            link = self._link
        if link is not None:
            link.close()
        elif not self._begun:
            self._queue.end()
        return True

    # ---- events

    def nextEvent(self, timeout: int = 0) -> Event:
        """Return the next event; after `timeout` ms (0: never) an event of type TIMEOUT.

        Raises: InvalidStateException with an event handler, or when the session is over.
        """
        if self._handler is not None:
            raise exception.InvalidStateException("nextEvent of an asynchronous session", exception.ERROR_ILLEGAL_STATE)
        event = self._queue.get(timeout / 1e3 if timeout else None)
        if event is not None:
            return event
        if self._queue.over:
            raise exception.InvalidStateException("the session is over", exception.ERROR_ILLEGAL_STATE)
        return Event(Event.TIMEOUT, [])

    def tryNextEvent(self) -> Event | None:
        """Return the next event if there is one; never blocks."""
        return None if self._handler is not None else self._queue.get(0)

    def __iter__(self) -> Iterator[Event]:
        if self._handler is not None:
            raise exception.InvalidStateException("an asynchronous session", exception.ERROR_ILLEGAL_STATE)
        while (event := self._queue.get(None)) is not None:
            yield event

    def _dispatch(self) -> None:
        assert self._handler is not None
        while (event := self._queue.get(None)) is not None:
            try:
                self._handler(event, self)
            except Exception:  # the SDK ends the program, and says so
                traceback.print_exc(file=sys.stderr)
                os._exit(1)

    # ---- services

    def openService(self, serviceName: str) -> bool:
        """Open a service and wait; a SERVICE_STATUS event comes first."""
        number, answered = next(self._numbers), threading.Event()
        with self._lock:
            self._opening[number] = answered
        self._request({"op": "open", "id": number, "service": serviceName})
        answered.wait(_OPEN_TIMEOUT_S)
        with self._lock:
            self._opening.pop(number, None)
            return serviceName in self._services

    def openServiceAsync(self, serviceName: str, correlationId: CorrelationId | None = None) -> CorrelationId:
        """Begin to open a service; a SERVICE_STATUS event tells how it went."""
        self._request({"op": "open", "id": next(self._numbers), "service": serviceName})
        return correlationId or CorrelationId.generated()

    def getService(self, serviceName: str) -> Service:
        """Return an open service. Raises: InvalidStateException if it is not open."""
        with self._lock:
            if serviceName not in self._services:
                raise exception.InvalidStateException(f"{serviceName} is not open", exception.ERROR_ILLEGAL_STATE)
        return Service(serviceName)

    # ---- subscriptions

    def subscribe(
        self,
        subscriptionList: SubscriptionList,
        identity: object | None = None,
        requestLabel: str | None = None,
        mode: SubscriptionPreprocessMode = SubscriptionPreprocessMode.FAIL_ON_FIRST_ERROR,
    ) -> list[SubscriptionPreprocessError] | None:
        """Subscribe to every entry; a SUBSCRIPTION_STATUS event for each tells how it went.

        Raises: DuplicateCorrelationIdException, InvalidArgumentException (unless the mode says to return errors);
            then nothing of the list is subscribed.
        """
        del identity, requestLabel
        with self._lock:
            accepted, errors = self._subscriptions.accept(subscriptionList, mode)
            for subscription in accepted:
                self._request(subscription.request("subscribe"))
        return errors if mode == SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS else None

    def resubscribe(
        self,
        subscriptionList: SubscriptionList,
        requestLabel: str | None = None,
        resubscriptionId: int | None = None,
        mode: SubscriptionPreprocessMode = SubscriptionPreprocessMode.FAIL_ON_FIRST_ERROR,
    ) -> list[SubscriptionPreprocessError] | None:
        """Change subscriptions; an entry whose correlation id is not active is ignored."""
        del requestLabel
        with self._lock:
            for index in range(subscriptionList.size()):
                subscription = self._subscriptions.of(subscriptionList.correlationIdAt(index))
                if subscription is not None:
                    subscription.text = subscriptionList.topicStringAt(index)
                    subscription.topic = self._subscriptions.topic(subscription.text)
                    self._request(subscription.request("resubscribe") | {"resubscriptionId": resubscriptionId})
        return [] if mode == SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS else None

    def unsubscribe(self, subscriptionList: SubscriptionList) -> None:
        """Cancel subscriptions; an entry whose correlation id is not active is ignored."""
        self.cancel([subscriptionList.correlationIdAt(index) for index in range(subscriptionList.size())])

    def cancel(self, correlationId: CorrelationId | Iterable[CorrelationId] | None) -> None:
        """Cancel by correlation id."""
        given = [correlationId] if isinstance(correlationId, CorrelationId) else list(correlationId or ())
        for correlation in given:
            with self._lock:
                subscription = self._subscriptions.of(correlation)
                if subscription is not None:
                    self._subscriptions.remove(subscription)
                    subscription.cancelled = True
                    self._request({"op": "unsubscribe", "id": subscription.wire_id})
                    name = "SubscriptionTerminated" if subscription.started else "SubscriptionFailure"
                    self._status(subscription, name, _reason("CANCELED", "Subscription canceled"))

    def subscriptionStatus(self, correlationId: CorrelationId) -> int:
        """Return the state of a subscription."""
        with self._lock:
            subscription = self._subscriptions.of(correlationId)
        if subscription is None:
            return self.UNSUBSCRIBED
        return self.SUBSCRIBED if subscription.started else self.SUBSCRIBING

    def _request(self, body: dict[str, Any]) -> None:
        with self._lock:
            link = self._link
        if link is not None:
            with contextlib.suppress(LinkLost):  # the reading thread sees it too, and tells
                link.send(body)

    # ---- the connection

    def _connect_first(self) -> bool:
        problem = "stopped"
        for attempt in range(max(1, self._options.numStartAttempts())):
            if self._stopping.wait(_START_DELAY_S if attempt else 0):
                break
            try:
                self._connect()
            except LinkLost as lost:
                problem = str(lost)
            else:
                self._queue.put(only(Event.SESSION_STATUS, "SessionStarted", {"initialEndpoints": self._endpoints()}))
                return True
        self._queue.put(only(Event.SESSION_STATUS, "SessionStartupFailure", _reason("IO_ERROR", problem)))
        self._queue.end()
        return False

    def _connect(self) -> None:
        problem = LinkLost("no server address")
        for address in self._options.serverAddresses():
            try:
                link = Link(address, self._options)
            except LinkLost as lost:
                problem = lost
                continue
            content = {
                "server": link.server,
                "serverId": str(link.welcome.get("serverId", "")),
                "encryptionStatus": "Clear",
                "compressionStatus": "Uncompressed",
            }
            with self._lock:
                self._link = link
                self._queue.put(only(Event.SESSION_STATUS, "SessionConnectionUp", content))
                self._restore(link)
            return
        raise problem

    def _endpoints(self) -> list[dict[str, str]]:
        link = self._link
        return [] if link is None else [{"address": link.server}]

    # After a lost connection the server knows nothing of us.
    def _restore(self, link: Link) -> None:
        for service in sorted(self._services):
            link.send({"op": "open", "id": 0, "service": service})
        for subscription in self._subscriptions:
            link.send(subscription.request("subscribe"))

    def _run(self) -> None:
        while True:
            link = self._link
            assert link is not None
            reason = "stopped"
            try:
                for body in link.receive():
                    self._deliver(body)
            except LinkLost as lost:
                reason = str(lost)
            link.close()
            self._disconnected(link, reason)
            if not self._restart():
                break
        self._terminate(reason)

    def _disconnected(self, link: Link, reason: str) -> None:
        with self._lock:
            self._link = None
            down = {"server": link.server, "serverId": str(link.welcome.get("serverId", "")), "description": reason}
            self._queue.put(only(Event.SESSION_STATUS, "SessionConnectionDown", down))
            for subscription in self._subscriptions:
                if subscription.active:
                    subscription.active = False
                    self._status(subscription, "SubscriptionStreamsDeactivated", {"streams": [], "reason": reason})
            for answered in self._opening.values():
                answered.set()

    def _restart(self) -> bool:
        if not self._options.autoRestartOnDisconnection():
            return False
        for attempt in count():
            if self._stopping.wait(_RESTART_DELAYS_S[min(attempt, len(_RESTART_DELAYS_S) - 1)]):
                return False
            with contextlib.suppress(LinkLost):
                self._connect()
                return True
        return False

    def _terminate(self, reason: str) -> None:
        with self._lock:
            for subscription in list(self._subscriptions):
                self._subscriptions.remove(subscription)
                name = "SubscriptionTerminated" if subscription.started else "SubscriptionFailure"
                self._status(subscription, name, _reason("SESSION_TERMINATED", reason))
            self._queue.put(only(Event.SESSION_STATUS, "SessionTerminated", _reason("IO_ERROR", reason)))
            self._queue.end()

    # ---- what the server says

    def _deliver(self, body: dict[str, Any]) -> None:
        kind = body.get("type", 0)
        received = None
        if self._options.recordSubscriptionDataReceiveTimes():
            received = datetime.fromtimestamp(time.time(), UTC)
        with self._lock:
            if kind == Event.SUBSCRIPTION_DATA:
                self._deliver_data(body["messages"], received)
            elif kind == Event.SUBSCRIPTION_STATUS:
                for number, name, content in body["messages"]:
                    self._deliver_status(number, name, content)
            elif kind == Event.SERVICE_STATUS:
                self._deliver_service(body)

    def _deliver_data(self, bodies: list[Any], received: datetime | None) -> None:
        messages = []
        for number, name, content in bodies:
            subscription = self._subscriptions.numbered(number)
            if subscription is not None:
                messages.append(Message(name, content, subscription.correlation, subscription, received))
        if messages:
            self._queue.put(Event(Event.SUBSCRIPTION_DATA, messages))

    def _deliver_status(self, number: int, name: str, content: dict[str, Any]) -> None:
        subscription = self._subscriptions.numbered(number)
        if subscription is None:
            return
        if name in ("SubscriptionFailure", "SubscriptionTerminated"):
            self._subscriptions.remove(subscription)
            if subscription.started:
                name = "SubscriptionTerminated"
        elif name == "SubscriptionStarted":
            if subscription.started and not subscription.active:  # the connection came back
                name = "SubscriptionStreamsActivated"
                streams = [{"id": stream} for stream in content.get("streamIds", [])]
                content = {"streams": streams, "reason": "reconnected"}
            subscription.started = True
        if name in ("SubscriptionStarted", "SubscriptionStreamsActivated"):
            subscription.active = True
        elif name == "SubscriptionStreamsDeactivated":
            subscription.active = False
        self._status(subscription, name, content)

    def _deliver_service(self, body: dict[str, Any]) -> None:
        number, name, content = body["messages"][0]
        opened = name == "ServiceOpened"
        known = content.get("serviceName") in self._services
        if opened:
            self._services.add(content["serviceName"])
        if not (opened and known and number == 0):  # opened again behind the program's back
            self._queue.put(only(Event.SERVICE_STATUS, name, content))
        answered = self._opening.get(number)
        if answered is not None:
            answered.set()

    def _status(self, subscription: Subscription, name: str, content: dict[str, Any]) -> None:
        self._queue.put(Event(Event.SUBSCRIPTION_STATUS, [Message(name, content, subscription.correlation)]))
