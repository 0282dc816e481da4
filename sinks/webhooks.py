"""Post messages to other people's servers, signed, repeated while they fail, never to an internal address.

Standard Webhooks 1.0.0: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, the last `v1,` and the
base64 HMAC-SHA256 of `id.timestamp.body`, once for each key, so that a receiver may change keys while both are in use.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, 2024.
"""

import base64
import binascii
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from sinks.addresses import AddressRefused, Network, Resolve, allowed_address, resolve
from sinks.base import delay_s
from sinks.errors import StoreUnavailable

TIMEOUT_S: Final = 15.0
ATTEMPTS: Final = 8
FIRST_DELAY_S: Final = 0.5
LAST_DELAY_S: Final = 30.0
"""Eight attempts are spread over about a minute; what a longer outage misses is a dead letter, not a longer queue."""

_ANSWER_BYTES: Final = 4_096
_KEY_BYTES: Final = (24, 64)  # what the standard asks for
_PORTS: Final = (443, 8443)
_GONE: Final = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver. `keys` sign, the newest first; `topics` are what it gets."""

    name: str
    url: str
    keys: tuple[bytes, ...] = field(repr=False)
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`message_id` is the same whenever this is sent; `body` is JSON."""

    message_id: str
    topic: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A message that was given up: to whom, why, after how many attempts."""

    endpoint: str
    message: Message
    reason: str
    attempts: int


def key_of(text: str) -> bytes:
    """Read a key `whsec_<base64>`. Raises: ValueError saying what is wrong, without the key."""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("a webhook key is not whsec_ and base64") from None
    if not text.startswith("whsec_") or not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
        raise ValueError(f"a webhook key must be whsec_ and the base64 of {_KEY_BYTES[0]} to {_KEY_BYTES[1]} bytes")
    return key


def signature(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """The header `webhook-signature`.

    Example:
        >>> signature([b"k" * 24], "msg_1", 1700000000, b"{}")
        'v1,E3sCg9uS8x43RKlJqcda1EcaYZxNkN+l2u7RBZBSZQQ='
    """
    signed = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    found = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{each}" for each in found)


class _Failed(Exception):
    """An attempt failed. `final`: another one cannot help. `wait_s` is what the receiver asked for."""

    def __init__(self, reason: str, *, final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.final, self.wait_s = final, wait_s


@dataclass(slots=True)
class Courier:
    """Delivers to one endpoint, one message after the other, so that they arrive in order.

    After a message was given up the next gets a single attempt, until one is taken: a receiver that is away for an hour
    costs an attempt a message and no queue. After 410 (gone) nothing is sent until the next start.

    Delivery: at least once; `deliver` returns when the message was taken, or says why it is dead.
    """

    endpoint: Endpoint
    stop: threading.Event
    allow: Sequence[Network] = ()
    on_retry: Callable[[str, str, float], None] = lambda _endpoint, _reason, _wait_s: None
    clock_s: Callable[[], float] = time.time
    look_up: Resolve = resolve
    first_s: float = FIRST_DELAY_S
    last_s: float = LAST_DELAY_S
    timeout_s: float = TIMEOUT_S
    _is_away: bool = False
    _is_gone: bool = False

    def deliver(self, message: Message) -> Dead | None:
        """Send a message; None when it was taken. Raises: StoreUnavailable when told to stop meanwhile."""
        if self._is_gone:
            return self._dead(message, "the receiver is gone (410)", 0)
        attempts = 1 if self._is_away else ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                self._post(message)
            except _Failed as failed:
                reason, final, asked_s = str(failed), failed.final, failed.wait_s
            else:
                self._is_away = False
                return None
            if final or attempt == attempts:
                break
            wait_s = max(delay_s(attempt, self.first_s, self.last_s), min(asked_s, self.last_s))
            self.on_retry(self.endpoint.name, reason, wait_s)
            if self.stop.wait(wait_s):
                raise StoreUnavailable(self.endpoint.name, reason)  # not acknowledged: it comes again
        self._is_away = True
        return self._dead(message, reason, attempt)

    def _dead(self, message: Message, reason: str, attempts: int) -> Dead:
        return Dead(endpoint=self.endpoint.name, message=message, reason=reason, attempts=attempts)

    def _post(self, message: Message) -> None:
        connection, path, host = self._connection()
        timestamp_s = int(self.clock_s())
        headers = {
            "host": host,
            "content-type": "application/json",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(self.endpoint.keys, message.message_id, timestamp_s, message.body),
        }
        try:
            connection.request("POST", path, message.body, headers)
            answer = connection.getresponse()
            answer.read(_ANSWER_BYTES)
            status, again = answer.status, answer.headers.get("retry-after", "")
        except (OSError, http.client.HTTPException) as error:
            raise _Failed(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        self._judge(status, again)

    def _judge(self, status: int, again: str) -> None:
        if 200 <= status < 300:
            return
        self._is_gone = status == _GONE
        # A redirect could lead inside; it is never followed.
        final = 300 <= status < 400 or self._is_gone
        raise _Failed(f"HTTP {status}", final=final, wait_s=float(again) if again.isdigit() else 0.0)

    def _connection(self) -> tuple[http.client.HTTPConnection, str, str]:
        parts = urlsplit(self.endpoint.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            address = allowed_address(host, port, self.allow, self.look_up)
        except AddressRefused as refused:
            raise _Failed(str(refused), final=True) from refused
        except OSError as error:
            raise _Failed(f"{host} cannot be resolved: {error}") from error
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return _Pinned(host, port, address, tls, self.timeout_s), path, parts.netloc


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was looked at, under the name that it was looked up by."""

    def __init__(self, host: str, port: int, address: str, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address, self._tls = address, tls

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def endpoint_of(name: str, given: Mapping[str, object], allow: Sequence[Network]) -> Endpoint:
    """Read an endpoint of the settings. Raises: ValueError naming what is wrong with which."""
    unknown = sorted(set(given) - {"url", "keys", "topics"})
    url, keys, topics = str(given.get("url", "")), given.get("keys"), given.get("topics")
    parts = urlsplit(url)
    if unknown:
        raise ValueError(f"webhook {name}: there is no {', '.join(unknown)}; there are url, keys, topics")
    if parts.scheme != "https" and not (parts.scheme == "http" and allow):
        raise ValueError(f"webhook {name}: its url must begin with https://")
    if not parts.hostname or parts.username is not None or (not allow and (parts.port or 443) not in _PORTS):
        raise ValueError(f"webhook {name}: its url needs a host, no user, and port {' or '.join(map(str, _PORTS))}")
    if not (isinstance(keys, list) and keys and isinstance(topics, list) and topics):
        raise ValueError(f"webhook {name}: it needs at least one of keys, and of topics")
    try:
        read = tuple(key_of(str(key)) for key in keys)
    except ValueError as error:
        raise ValueError(f"webhook {name}: {error}") from None
    return Endpoint(name=name, url=url, keys=read, topics=tuple(map(str, topics)))
