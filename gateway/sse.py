"""Server-sent events: the stream's messages over plain HTTP, one event each, for `curl` and `EventSource`.

An event's data is the JSON of the WebSocket message. Its id names a place in the whole gateway's order of updates
(an ordinal), since the browser gives back one id for all streams. An event has an id only when everything before
that place has left, be it inside a newer state that replaced it: so a resume can repeat an update, but not lose one.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, 2026-11.
"""

import asyncio
import email.utils
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

from websockets.protocol import CONNECTING

from gateway import protocol
from gateway.client import ClientQueue, Feed, QueuedEntry
from gateway.errors import HttpError, RequestError
from gateway.http import SAFETY_HEADERS, Target
from gateway.protocol import Since, Subscribe, frame_payload, parse_subscribe
from gateway.pump import CLOSE_S, Link
from gateway.stream import Update

SSE_PATH: Final = "/v1/sse"
EVENTS_TYPE: Final = "text/event-stream; charset=utf-8"
RETRY_MS: Final = 1_000
"""What browsers wait before they connect again; theirs of 3 s and more is long for a price."""

_PARAMETERS: Final = frozenset({"channels", "instruments", "interval"})
_EVENT_ID: Final = re.compile(r"([0-9a-z]{1,32})-([0-9]{1,18})-([0-9a-f]{8})", re.ASCII)


def subscriptions_of(target: Target, last_event_id: str | None) -> list[Subscribe]:
    """Return what a request asks for: a subscription per channel, of bars one per interval.

    Raises: HttpError 400 with the stream's error codes.
    """
    unknown = set(target.parameters) - _PARAMETERS
    if unknown:
        raise HttpError(400, "bad_request", f"sse has no parameter {min(unknown)[:40]!r}")
    channels = _listed(target, "channels")
    if not channels:
        raise HttpError(400, "bad_request", "channels is required: names with commas, such as trades,quotes")
    patterns = _listed(target, "instruments") or ["*"]
    since = None if last_event_id is None else _since(last_event_id, target)
    wanted = [
        (channel, interval)
        for channel in channels
        for interval in (_listed(target, "interval") or [""] if channel == "bars" else [""])
    ]
    try:
        return [_subscribe(channel, interval, patterns, since) for channel, interval in wanted]
    except RequestError as error:
        raise HttpError(400, error.code, error.message) from None


def _subscribe(channel: str, interval: str, patterns: list[str], since: Since | None) -> Subscribe:
    message: dict[str, Any] = {"channel": channel, "interval": interval, "instruments": patterns}
    return parse_subscribe(message, f"{channel}:{interval}" if interval else channel[: protocol.MAX_ID_CHARS], since)


def _listed(target: Target, name: str) -> list[str]:
    return list(dict.fromkeys(filter(None, target.parameters.get(name, "").split(","))))


def _query_mark(target: Target) -> str:
    # A place is one in the streams asked for: with other channels, updates before it were never sent.
    return f"{zlib.crc32(repr(sorted(target.parameters.items())).encode()):08x}"


def _since(last_event_id: str, target: Target) -> Since:
    found = _EVENT_ID.fullmatch(last_event_id)
    if found is None or found[3] != _query_mark(target):
        return Since(epoch="", seq={}, ordinal=0)  # no epoch of ours: a gap and a fresh image
    return Since(epoch=found[1], seq={}, ordinal=int(found[2]))


def response_head(extra: dict[str, str]) -> bytes:
    """Return the status line and headers; the body goes on until one of the two closes."""
    headers = {
        "Date": email.utils.formatdate(usegmt=True),
        "Connection": "close",
        "Content-Type": EVENTS_TYPE,
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",  # a proxy that collects events would hold them back
        **SAFETY_HEADERS,
        **extra,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\nretry: {RETRY_MS}\n\n".encode()


class EventQueue(ClientQueue):
    """A client's queue whose frames leave as events. Conflation and bounds are those of every client."""

    def __init__(self, *, epoch: str, target: Target, **options: Any) -> None:
        super().__init__(**options)
        self._id_start, self._id_end = f"id: {epoch}-".encode(), f"-{_query_mark(target)}\n".encode()
        self._ordinal = 0  # of what is being appended; 0: it has no id

    def mark(self, ordinal: int, frame: bytes) -> None:
        """Queue `frame` with the id of a place up to which everything is queued before it."""
        self._ordinal = ordinal
        self._put(frame, None, ordinal)
        self._ordinal = 0

    def heartbeat(self, frame: bytes) -> None:
        if not self.blocked:
            super()._append(b": " + frame_payload(frame) + b"\n\n")

    def _emit(self, feed: Feed, update: Update) -> None:
        self._ordinal = update.ordinal
        super()._emit(feed, update)
        self._ordinal = 0

    def _append(self, frame: bytes) -> None:
        super()._append(self._event(frame, self._ordinal))

    def _leaving(self, ticket: int, entry: QueuedEntry) -> bytes:
        frame = super()._leaving(ticket, entry)
        if entry.feed is None:
            return self._event(frame, entry.seq)
        # A state that waited may have been replaced by one that waits behind this: only the last entry's place
        # is one before which nothing is missing.
        done = entry.update is not None and not self._entries
        return self._event(frame, entry.update.ordinal if done and entry.update is not None else 0)

    def _event(self, frame: bytes, ordinal: int) -> bytes:
        event = b"data: " + frame_payload(frame) + b"\n\n"
        return event if not ordinal else self._id_start + str(ordinal).encode() + self._id_end + event


class EventLink(Link):
    """One response that never ends, and its queue."""

    def takes_data(self) -> bool:
        # For the library the handshake is still to be answered; when the client ends its side, it ends ours, too.
        found = self.connection.protocol
        return found.state is CONNECTING and not (found.eof_sent or self.connection.transport.is_closing())

    def end(self, code: int, reason: str, text: str) -> None:  # noqa: ARG002  events have no close code
        """Tell the client why and close; cut the connection if it does not take that."""
        if self.reason:
            return
        self.reason = reason
        self.queue.abandon()
        transport = self.connection.transport
        if self.takes_data():
            transport.write(b"data: " + protocol.message("error", id=None, code=reason, message=text) + b"\n\n")
        transport.close()
        asyncio.get_running_loop().call_later(CLOSE_S, transport.abort)

    def part(self, reason: str, text: str) -> None:
        self.end(0, reason, text)


def follow(subscribe: Callable[[Subscribe], None], wanted: list[Subscribe]) -> None:
    """Subscribe to all.

    Raises: HttpError with the code of the first that is refused.
    """
    for request in wanted:
        try:
            subscribe(request)
        except RequestError as error:
            raise HttpError(403 if error.code == "not_entitled" else 400, error.code, error.message) from None
