"""Read and obey what a client sends. Sans-I/O; the venue does the work, this file the manners.

Errors:

    Exception
    └── RequestRefused   answered by an `error` message with its code; never leaves this module
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from feeds_simulator.book import DEPTH
from feeds_simulator.ice.messages import BOOK, CHANNELS, encode, error
from feeds_simulator.ice.session import REPLAY_WINDOW, Session
from feeds_simulator.ice.venue import CLOSE_AUTH, CLOSE_ENTITLEMENT, Connection, Venue

AUTH_SKEW_NS: Final = 30_000_000_000
DEFAULT_DEPTH: Final = 5


@dataclass(frozen=True, slots=True)
class Credential:
    """A key's secret, and the roots it may see (None: all)."""

    secret: str
    roots: frozenset[str] | None = None


class RequestRefused(Exception):
    """A request that is answered by an error. Carries `code`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def sign(secret: str, ts: int) -> str:
    """Return the signature of an `auth` message."""
    return hmac.new(secret.encode(), str(ts).encode(), hashlib.sha256).hexdigest()


class Reception:
    """Answers requests: `receive` reads one text and leaves the answer in the connection."""

    def __init__(
        self,
        venue: Venue,
        credentials: Mapping[str, Credential],
        now: Callable[[], int],
        new_session_id: Callable[[], str],
    ) -> None:
        self._venue, self._credentials = venue, credentials
        self._now, self._new_session_id = now, new_session_id
        self._handlers: dict[str, Callable[[Connection, Session, dict[str, Any]], None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "snapshot": self._snapshot,
            "replay": self._replay,
            "pong": _ignore,
        }

    def receive(self, connection: Connection, text: str | bytes) -> None:
        """Obey one request; any bytes are answered, with an error if need be."""
        message: dict[str, Any] = {}
        try:
            message = _parse(text)
            if connection.session is None:
                self._authenticate(connection, message)
                return
            handler = self._handlers.get(str(message.get("op")))
            if handler is None:
                raise RequestRefused("bad_request", f"unknown op {message.get('op')!r}")
            handler(connection, connection.session, message)
        except RequestRefused as refused:
            connection.out.append(error(refused.code, str(refused), _echo(message.get("id"))))
            if connection.session is None:
                entitlement = refused.code == "not_entitled"
                connection.close = (CLOSE_ENTITLEMENT if entitlement else CLOSE_AUTH, refused.code)

    def _authenticate(self, connection: Connection, message: dict[str, Any]) -> None:
        key, ts, signature = message.get("key"), message.get("ts"), message.get("sig")
        if message.get("op") != "auth":
            raise RequestRefused("auth_failed", "the first message is auth")
        credential = self._credentials.get(key) if isinstance(key, str) else None
        if credential is None or not isinstance(signature, str) or not _is_int(ts):
            raise RequestRefused("auth_failed", "unknown key or malformed auth")
        if not hmac.compare_digest(sign(credential.secret, ts).encode(), signature.encode()):
            raise RequestRefused("auth_failed", "wrong signature")
        if abs(ts - self._now()) > AUTH_SKEW_NS:
            raise RequestRefused("auth_expired", "ts is more than 30 s from the venue's clock")
        entitled = self._entitled(credential)
        if not entitled:
            raise RequestRefused("not_entitled", "the key is entitled to nothing")
        self._welcome(connection, str(key), entitled, message.get("session"))

    def _welcome(self, connection: Connection, key: str, entitled: frozenset[str], wanted: object) -> None:
        session = self._venue.sessions.get(wanted) if isinstance(wanted, str) else None
        resumed = session is not None and session.key == key
        if session is None or not resumed:
            session = self._venue.new_session(self._new_session_id(), key, entitled)
        self._venue.attach(connection, session)
        channels = {
            name: {"seq": channel.seq, "replay_from": channel.replay_from} for name, channel in session.channels.items()
        }
        welcome = {"op": "auth_ok", "session": session.session_id, "resumed": resumed, "channels": channels}
        connection.out.append(encode({**welcome, "ts": self._now()}))

    def _entitled(self, credential: Credential) -> frozenset[str]:
        roots = credential.roots
        return frozenset(symbol for symbol in self._venue.symbols if roots is None or symbol.split(" ")[0] in roots)

    def _subscribe(self, connection: Connection, session: Session, message: dict[str, Any]) -> None:
        name, symbols = _channel(message), self._symbols(session, message)
        depth = message.get("depth", DEFAULT_DEPTH)
        if not _is_int(depth) or not 1 <= depth <= DEPTH:
            raise RequestRefused("bad_request", f"depth is 1 to {DEPTH}")
        self._acknowledge(connection, session, "subscribed", name, symbols, message)
        self._venue.subscribe(connection, session, name, symbols, depth, self._now())

    def _unsubscribe(self, connection: Connection, session: Session, message: dict[str, Any]) -> None:
        name, symbols = _channel(message), self._symbols(session, message)
        for symbol in symbols:
            session.channels[name].subscriptions.pop(symbol, None)
        self._acknowledge(connection, session, "unsubscribed", name, symbols, message)

    @staticmethod
    def _acknowledge(
        connection: Connection, session: Session, op: str, name: str, symbols: list[str], message: dict[str, Any]
    ) -> None:
        answer = {"op": op, "id": _echo(message.get("id")), "channel": name, "symbols": symbols}
        connection.out.append(encode({**answer, "seq": session.channels[name].seq}))

    def _symbols(self, session: Session, message: dict[str, Any]) -> list[str]:
        symbols = message.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(item, str) for item in symbols):
            raise RequestRefused("bad_request", "symbols is a list of names")
        if symbols == ["*"]:
            return [symbol for symbol in self._venue.symbols if symbol in session.entitled]
        for symbol in symbols:
            self._check_symbol(session, symbol)
        return list(dict.fromkeys(symbols))

    def _check_symbol(self, session: Session, symbol: str) -> None:
        if symbol not in self._venue.symbols:
            raise RequestRefused("unknown_symbol", f"no symbol {symbol[:40]!r}")
        if symbol not in session.entitled:
            raise RequestRefused("not_entitled", f"not entitled to {symbol}")

    def _snapshot(self, connection: Connection, session: Session, message: dict[str, Any]) -> None:
        symbol = message.get("symbol")
        if not isinstance(symbol, str):
            raise RequestRefused("bad_request", "symbol is a name")
        self._check_symbol(session, symbol)
        connection.out.append(self._venue.snapshot(session, symbol, self._now(), DEFAULT_DEPTH))

    def _replay(self, connection: Connection, session: Session, message: dict[str, Any]) -> None:
        name, first, last = _channel(message), message.get("from"), message.get("to")
        if not _is_int(first) or not _is_int(last) or first > last:
            raise RequestRefused("bad_request", "from and to are numbers, from <= to")
        entries = None
        if not self._venue.faults.refuse_replay and last - first < REPLAY_WINDOW:
            entries = session.channels[name].entries(first, last)
        if not entries:
            raise RequestRefused("replay_refused", f"{name} {first} to {last} is not kept, or too much")
        image = message.get("image") is True and name == BOOK
        texts = self._venue.replay(session, name, entries, self._now, image=image)
        done = {"op": "replay_done", "id": _echo(message.get("id")), "channel": name, "from": first, "to": last}

        def with_end() -> Iterator[str]:
            yield from texts
            yield encode(done)

        connection.replay = with_end()


def _ignore(_connection: Connection, _session: Session, _message: dict[str, Any]) -> None:
    pass


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestRefused("bad_request", "not JSON") from None
    if not isinstance(message, dict):
        raise RequestRefused("bad_request", "not a JSON object")
    return message


def _channel(message: dict[str, Any]) -> str:
    name = message.get("channel")
    if name not in CHANNELS:
        raise RequestRefused("unknown_channel", f"channel is one of {', '.join(CHANNELS)}")
    return str(name)


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _echo(request_id: object) -> object:
    # An id comes back as it was sent, if it is one.
    return request_id if isinstance(request_id, str) or _is_int(request_id) else None
