"""From messages of the SDK to what they mean. Pure; knows the SDK's objects by their shape only.

Prices come as doubles, which is all the SDK has; they become int64 multiples of 1e-9 here, exactly: the double nearest
to a decimal of up to nine places and below 1e6 gives that decimal back (its error, times 1e9, is below a half).
Sources: blpapi documentation, python 3.26; sample messages of the SDK's published tests.
Units: prices and sizes int64 1e-9, times ns UTC.
"""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from connectors.bloomberg.constants import (
    ADMIN,
    DATALOSS,
    FIELDS,
    SERVICE_STATUS,
    SESSION_STATUS,
    SUBSCRIPTION_DATA,
    SUBSCRIPTION_STATUS,
)
from connectors.errors import DecodeError, ValueRefused
from market.schemas import PRICE_LIMIT, PRICE_SCALE

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT_BELOW: Final = 1e6
_NS_LIMIT: Final = 2**63
_PRICES: Final = frozenset(("BID", "ASK", "LAST_PRICE", "EVT_TRADE_PRICE_RT"))
_SIZES: Final = frozenset(("BID_SIZE", "ASK_SIZE", "SIZE_LAST_TRADE", "EVT_TRADE_SIZE_RT", "VOLUME"))
_TIMES: Final = frozenset(name for name in FIELDS if name.endswith(("_STAMP_RT", "_TIME_RT")))


class SdkElement(Protocol):
    """What we use of the SDK's Element."""

    def isNull(self) -> bool: ...  # noqa: N802 - the SDK's name
    def getValueAsFloat(self, index: int = ...) -> float: ...  # noqa: N802
    def getValueAsInteger(self, index: int = ...) -> int: ...  # noqa: N802
    def getValueAsString(self, index: int = ...) -> str: ...  # noqa: N802
    def getValueAsBool(self, index: int = ...) -> bool: ...  # noqa: N802
    def getValueAsDatetime(self, index: int = ...) -> Any: ...  # noqa: N802
    def getValueAsElement(self, index: int = ...) -> Any: ...  # noqa: N802
    def numValues(self) -> int: ...  # noqa: N802
    def hasElement(self, name: Any) -> bool: ...  # noqa: N802
    def getElement(self, name: Any) -> Any: ...  # noqa: N802


class SdkMessage(Protocol):
    """What we use of the SDK's Message."""

    def messageType(self) -> Any: ...  # noqa: N802 - the SDK's name
    def correlationIds(self) -> list[Any]: ...  # noqa: N802
    def hasElement(self, name: Any) -> bool: ...  # noqa: N802
    def getElement(self, name: Any) -> Any: ...  # noqa: N802


class Refusal(NamedTuple):
    """A field whose value cannot be used."""

    field: str
    reason: str
    detail: str


class Update(NamedTuple):
    """Market data of one security: what changed. None: the value is gone."""

    key: int
    kind: str
    subtype: str
    values: dict[str, int | str | None]
    delayed: bool | None
    refused: tuple[Refusal, ...] = ()


class Story(NamedTuple):
    """A headline."""

    news_id: str
    ts_event: int | None
    headline: str
    body: str
    topics: tuple[str, ...]
    securities: tuple[str, ...]
    urgency: int


class Started(NamedTuple):
    """A subscription that started; `exceptions` are fields it will not have."""

    key: int
    exceptions: tuple[tuple[str, str, str], ...]  # field, category, description
    delayed: bool


class Ended(NamedTuple):
    """A subscription that failed (`started` False) or was terminated."""

    key: int
    started: bool
    category: str
    description: str


class Streams(NamedTuple):
    """The sources of a subscription are there, or are not."""

    key: int
    active: bool
    reason: str


class Lost(NamedTuple):
    """The SDK dropped messages: of one subscription, or of any (None)."""

    key: int | None
    messages: int


class Slow(NamedTuple):
    """We read too slowly, or no longer do."""

    slow: bool
    dropped: int


class Notice(NamedTuple):
    """A message of the session or of a service."""

    name: str
    text: str


Decoded = Update | Story | Started | Ended | Streams | Lost | Slow | Notice

_SLOW: Final = {"SlowConsumerWarning": True, "SlowConsumerWarningCleared": False}
_STREAMS: Final = {"SubscriptionStreamsActivated": True, "SubscriptionStreamsDeactivated": False}
_ENDED: Final = {"SubscriptionFailure": False, "SubscriptionTerminated": True}


class Decoder:
    """Reads messages.

    `name` is the SDK's Name: names are made once, as its documentation wants it; `error` what its calls raise.
    """

    def __init__(self, name: Callable[[str], Any] = str, error: type[Exception] = ValueError) -> None:
        self._name = lru_cache(maxsize=None)(name)
        self._errors = (error, TypeError, ValueError, OverflowError)
        self._fields = tuple((field, name(field), _reader(field)) for field in FIELDS)
        self._kind, self._subtype = name("MKTDATA_EVENT_TYPE"), name("MKTDATA_EVENT_SUBTYPE")
        self._delayed = name("IS_DELAYED_STREAM")

    def decode(self, event_type: int, message: SdkMessage, now_ns: int) -> list[Decoded]:
        """Return what a message means: once for each subscription it belongs to, nothing if it is not our business.

        Raises: DecodeError for a message that is not as its kind must be.
        """
        try:
            return list(self._decode(event_type, message, now_ns))
        except ValueRefused as refused:
            raise DecodeError(refused.reason, refused.detail) from refused
        except self._errors as error:
            raise DecodeError("malformed_frame", f"{message.messageType()}: {error}") from error

    def _decode(self, event_type: int, message: SdkMessage, now_ns: int) -> Iterator[Decoded]:
        name = str(message.messageType())
        if event_type == SUBSCRIPTION_DATA:
            if name == "NewsHeadline":
                yield self._story(message, now_ns)
            else:
                for key in _keys(message):
                    yield self._update(key, message, now_ns)
        elif event_type == SUBSCRIPTION_STATUS:
            for key in _keys(message):
                yield from self._status(key, name, message)
        elif event_type == ADMIN:
            yield from self._admin(name, message)
        elif event_type in (SESSION_STATUS, SERVICE_STATUS):
            yield Notice(name, self._text(message, "description") or self._reason(message)[1])

    # ---- market data

    def _update(self, key: int, message: SdkMessage, now_ns: int) -> Update:
        if not message.hasElement(self._kind):
            raise DecodeError("malformed_frame", "market data without MKTDATA_EVENT_TYPE")
        kind = str(message.getElement(self._kind).getValueAsString())
        subtype = ""
        if message.hasElement(self._subtype):
            subtype = str(message.getElement(self._subtype).getValueAsString())
        values: dict[str, int | str | None] = {}
        refused: list[Refusal] = []
        has = message.hasElement
        for field, name, read in self._fields:
            if has(name):
                element = message.getElement(name)
                try:
                    values[field] = None if element.isNull() else read(element, now_ns)
                except ValueRefused as refusal:
                    refused.append(Refusal(field, refusal.reason, refusal.detail))
                except self._errors as error:
                    refused.append(Refusal(field, "unparseable", f"{field}: {error}"))
        delayed = None
        if message.hasElement(self._delayed):
            element = message.getElement(self._delayed)
            delayed = None if element.isNull() else bool(element.getValueAsBool())
        if subtype == DATALOSS:
            values.clear()
        return Update(key, kind, subtype, values, delayed, tuple(refused))

    # ---- news

    def _story(self, message: SdkMessage, now_ns: int) -> Story:
        news_id, headline = self._text(message, "STORY_ID"), self._text(message, "HEADLINE")
        if not news_id or not headline:
            raise DecodeError("missing_field", "a headline without STORY_ID or HEADLINE")
        at = self._name("STORY_TIME_RT")
        stamped = message.hasElement(at) and not message.getElement(at).isNull()
        urgency = self._text(message, "URGENCY")
        return Story(
            news_id=news_id,
            ts_event=to_ns(message.getElement(at).getValueAsDatetime(), now_ns) if stamped else None,
            headline=headline,
            body=self._text(message, "BODY"),
            topics=_listed(self._text(message, "TOPIC_CODES")),
            securities=_listed(self._text(message, "TICKERS")),
            urgency=min(2, int(urgency)) if urgency.isdigit() else 0,
        )

    # ---- status

    def _status(self, key: int, name: str, message: SdkMessage) -> Iterator[Decoded]:
        if name == "SubscriptionStarted":
            exceptions = tuple(self._exceptions(message))
            said = " ".join((self._text(message, "reason"), *(" ".join(one[1:]) for one in exceptions)))
            yield Started(key, exceptions, "DELAYED" in said.upper())
        elif name in _ENDED:
            yield Ended(key, _ENDED[name], *self._reason(message))
        elif name in _STREAMS:
            yield Streams(key, _STREAMS[name], self._text(message, "reason"))

    def _exceptions(self, message: SdkMessage) -> Iterator[tuple[str, str, str]]:
        name = self._name("exceptions")
        if message.hasElement(name):
            every = message.getElement(name)
            for index in range(every.numValues()):
                one = every.getValueAsElement(index)
                yield (self._text(one, "fieldId"), *self._reason(one))

    def _admin(self, name: str, message: SdkMessage) -> Iterator[Decoded]:
        if name in _SLOW:
            yield Slow(_SLOW[name], self._number(message, "eventsDropped"))
        elif name == "DataLoss":
            messages = self._number(message, "numMessagesDropped")
            keys = [correlation.value() for correlation in message.correlationIds()]
            ours = [key for key in keys if isinstance(key, int)]
            yield from (Lost(key, messages) for key in ours)
            if not ours:
                yield Lost(None, messages)

    def _reason(self, holder: SdkMessage | SdkElement) -> tuple[str, str]:
        name = self._name("reason")
        if not holder.hasElement(name):
            return "", ""
        why = holder.getElement(name)
        return self._text(why, "category"), self._text(why, "description")

    def _text(self, holder: SdkMessage | SdkElement, field: str) -> str:
        name = self._name(field)
        if not holder.hasElement(name):
            return ""
        element = holder.getElement(name)
        if element.isNull() or element.numValues() == 0:
            return ""
        try:
            return str(element.getValueAsString())
        except self._errors:  # a sequence where text was expected: as good as none
            return ""

    def _number(self, message: SdkMessage, field: str) -> int:
        text = self._text(message, field)
        return int(text) if text.isdigit() else 0


def _keys(message: SdkMessage) -> list[int]:
    keys = [correlation.value() for correlation in message.correlationIds()]
    if not keys or not all(isinstance(key, int) for key in keys):
        raise DecodeError("malformed_frame", f"a message of no subscription of ours: {keys!r}")
    return keys


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


# ---- values


def _reader(field: str) -> Callable[[SdkElement, int], int | str]:
    if field in _PRICES or field in _SIZES:
        return lambda element, _now_ns: to_fixed_point(element.getValueAsFloat())
    if field in _TIMES:
        return lambda element, now_ns: to_ns(element.getValueAsDatetime(), now_ns)
    return lambda element, _now_ns: str(element.getValueAsString())


def to_fixed_point(number: float) -> int:
    """Return a double as an int64 multiple of 1e-9, rounded half to even where it has more than nine places.

    Raises: ValueRefused with `price_not_finite` or `out_of_range`.

    Example:
        >>> to_fixed_point(95.6125)
        95612500000
    """
    if -_EXACT_BELOW < number < _EXACT_BELOW:
        return round(number * PRICE_SCALE)
    if not math.isfinite(number):
        raise ValueRefused("price_not_finite", f"number {number!r}")
    fixed = int((Decimal(repr(number)) * PRICE_SCALE).to_integral_value(ROUND_HALF_EVEN))
    if not -PRICE_LIMIT < fixed < PRICE_LIMIT:
        raise ValueRefused("out_of_range", f"number {number!r}")
    return fixed


def to_ns(moment: object, now_ns: int) -> int:
    """Return a date with time as ns UTC; of a time alone (which some fields are) the one nearest to now.

    Raises: ValueRefused for anything else, and for a time outside int64.
    """
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return _ns(aware - _EPOCH)
    if isinstance(moment, time):
        today = (_EPOCH + timedelta(seconds=now_ns // 1_000_000_000)).date()
        candidates = [_at(today + timedelta(days=days), moment) for days in (-1, 0, 1)]
        return min(candidates, key=lambda ns: abs(ns - now_ns))
    raise ValueRefused("unparseable", f"time {moment!r}")


def _at(day: date, moment: time) -> int:
    aware = datetime.combine(day, moment, moment.tzinfo or UTC)
    return _ns(aware - _EPOCH)


def _ns(since: timedelta) -> int:
    ns = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
    if not 0 <= ns < _NS_LIMIT:
        raise ValueRefused("out_of_range", f"{since} since 1970")
    return ns
