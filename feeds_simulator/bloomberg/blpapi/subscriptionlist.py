"""`SubscriptionList` and how a subscription string is read.

Source: blpapi documentation, python 3.26, `blpapi.SubscriptionList`: the form of the string, and how one that is not
fully qualified is completed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feeds_simulator.bloomberg.blpapi import exception
from feeds_simulator.bloomberg.blpapi.correlation import CorrelationId


class SubscriptionList:
    """Subscription strings, each with a correlation id."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, CorrelationId]] = []

    def add(
        self,
        topic: str | None,
        fields: str | Sequence[str] | None = None,
        options: str | Sequence[str] | Mapping[str, Any] | None = None,
        correlationId: CorrelationId | None = None,
    ) -> int:
        """Add a subscription; fields and options may be strings or lists, options also a mapping."""
        text = topic or ""
        if fields:
            text += "?fields=" + (fields if isinstance(fields, str) else ",".join(fields))
        if options:
            text += ("&" if fields else "?") + _option_text(options)
        self._entries.append((text, CorrelationId() if correlationId is None else correlationId))
        return 0

    def append(self, other: "SubscriptionList") -> int:
        self._entries.extend(other._entries)
        return 0

    def clear(self) -> int:
        self._entries.clear()
        return 0

    def size(self) -> int:
        return len(self._entries)

    def correlationIdAt(self, index: int) -> CorrelationId:
        return self._at(index)[1]

    def topicStringAt(self, index: int) -> str:
        return self._at(index)[0]

    def _at(self, index: int) -> tuple[str, CorrelationId]:
        if not 0 <= index < len(self._entries):
            raise exception.IndexOutOfRangeException(
                f"the list has no entry {index}", exception.ERROR_INDEX_OUT_OF_RANGE
            )
        return self._entries[index]

    def _name(self, index: int, correlation: CorrelationId) -> None:
        # The session gives an unset correlation id its value, in the caller's list too.
        self._entries[index] = (self._entries[index][0], correlation)


def _option_text(options: str | Sequence[str] | Mapping[str, Any]) -> str:
    if isinstance(options, str):
        return options
    if isinstance(options, Mapping):
        return "&".join(key if value is None else f"{key}={value}" for key, value in options.items())
    return "&".join(options)


class Subscription:
    """An active subscription as the session keeps it."""

    __slots__ = ("active", "cancelled", "correlation", "started", "text", "topic", "wire_id")

    def __init__(self, wire_id: int, correlation: CorrelationId, text: str, topic: "Topic") -> None:
        self.wire_id, self.correlation, self.text, self.topic = wire_id, correlation, text, topic
        self.started = self.active = self.cancelled = False

    def request(self, op: str) -> dict[str, Any]:
        """Return what the server is asked."""
        topic = self.topic
        return {
            "op": op,
            "id": self.wire_id,
            "service": topic.service,
            "topic": topic.instrument,
            "fields": list(topic.fields),
            "options": topic.options,
        }


@dataclass(frozen=True, slots=True)
class Topic:
    """A subscription string taken apart."""

    service: str
    instrument: str  # with its prefix: /ticker/USDINR Curncy
    fields: tuple[str, ...]
    options: dict[str, str]


def parse_topic(text: str, service: str, prefix: str) -> Topic:
    """Qualify and take apart a subscription string. Raises: InvalidArgumentException."""
    path, _, suffix = text.partition("?")
    if path.startswith("//"):
        parts = path.split("/", 4)
        if len(parts) < 5 or not parts[2] or not parts[3]:
            raise _invalid(text)
        service, path = f"//{parts[2]}/{parts[3]}", f"/{parts[4]}"
    elif not path.startswith("/"):
        path = f"/{prefix.strip('/')}/{path}" if prefix.strip("/") else f"/{path}"
    if not path.rpartition("/")[2].strip():
        raise _invalid(text)
    options = dict(part.partition("=")[::2] for part in suffix.split("&") if part)
    fields = tuple(name.strip() for name in options.pop("fields", "").split(",") if name.strip())
    return Topic(service, path, fields, options)


def _invalid(text: str) -> exception.InvalidArgumentException:
    return exception.InvalidArgumentException(f"invalid subscription string '{text}'", exception.ERROR_ILLEGAL_ARG)
