"""The session side of the acceptor: log-on, numbers, resend, reset, heartbeats. Pure.

A `Client` is a session: its numbers and what it is owed outlive its sockets, and it counts on while nobody is
connected. A `Connection` is one socket. Trades and states are kept and resent with PossDup; books and
administrative messages are not: a resend passes over them with a gap fill, and the client asks for images.
Source: FIX 4.4 volume 2, "FIX session protocol".

State: `window` messages kept for each client, about 300 bytes each.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from feeds_simulator.cme.dialects import Dialect
from feeds_simulator.cme.wire import Message, seal, utc, value
from feeds_simulator.faults import NS_PER_S, Faults, Wire

WINDOW: Final = 200_000
CLOCK_LIMIT_NS: Final = 120 * NS_PER_S
_UNKNOWN_TYPE: Final = 11
_KNOWN_TYPES: Final = {*"0123456789ABCDEFGHJVcdegjklxz", "AE"}
_HANDLED: Final = {"V", "e", "g"}


class Kept(NamedTuple):
    """A message that can be resent."""

    seq: int
    msg_type: str
    body: str
    sent_ns: int


@dataclass(eq=False)
class Connection:
    """One socket: what is to be written, and when it was heard of last."""

    wire: Wire[bytes]
    out: list[bytes] = field(default_factory=list)
    client: "Client | None" = None
    close: bool = False
    heard_ns: int = 0
    sent_ns: int = 0
    heartbeat_ns: int = 30 * NS_PER_S
    tested: bool = False


@dataclass(eq=False)
class Client:
    """A session, whether connected or not."""

    comp_id: str
    expected: int = 1
    next_out: int = 1
    kept: deque[Kept] = field(default_factory=deque)
    held: dict[int, Message] = field(default_factory=dict)
    asked_resend: bool = False
    connection: Connection | None = None
    trades: dict[str, str] = field(default_factory=dict)  # instrument key -> MDReqID
    books: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    session_status: str | None = None

    def reset(self) -> None:
        """Begin anew: numbers from 1, no subscription."""
        self.expected = self.next_out = 1
        for store in (self.kept, self.held, self.trades, self.books, self.statuses):
            store.clear()
        self.asked_resend, self.session_status = False, None


class Acceptor:
    """All sessions of the venue. `on_request` is given the application messages of a client, in order."""

    def __init__(
        self,
        comp_id: str,
        passwords: Mapping[str, str],
        dialect: Dialect,
        *,
        faults: Faults,
        counters: Counter[str],
        window: int = WINDOW,
        on_request: Callable[[Client, Message], None],
    ) -> None:
        self._comp_id, self._passwords, self._dialect = comp_id, passwords, dialect
        self._faults, self._counters, self._window = faults, counters, window
        self._on_request = on_request
        self.clients: dict[str, Client] = {}
        self.now_ns = 0
        """The venue's clock: what is sent is stamped with it."""

    # ---- sending

    def send(self, client: Client, msg_type: str, body: str, *, keep: bool = False, live: bool = False) -> None:
        """Number a message and send it; one that is kept counts even while nobody is connected."""
        seq = client.next_out
        client.next_out += 1
        if keep:
            client.kept.append(Kept(seq, msg_type, body, self.now_ns))
            if len(client.kept) > self._window:
                client.kept.popleft()
        connection = client.connection
        if connection is None:
            return
        message = self._message(client, msg_type, seq, body)
        connection.sent_ns = self.now_ns
        if not live:
            connection.out.append(message)
        elif not self._faults.stall:
            connection.out += connection.wire.send(message)

    def _message(self, client: Client, msg_type: str, seq: int, body: str, possible: str = "") -> bytes:
        sent = utc(self.now_ns, self._dialect.fraction_digits)
        header = f"35={msg_type}\x0149={self._comp_id}\x0156={client.comp_id}\x0134={seq}\x01"
        duplicate = f"43=Y\x0152={sent}\x01122={possible}\x01" if possible else f"52={sent}\x01"
        return seal(self._dialect.begin_string, header + duplicate + body)

    def _resend(self, client: Client, first: int, last: int) -> None:
        assert client.connection is not None
        out = client.connection.out
        if self._faults.refuse_replay:
            out.append(self._message(client, "4", client.next_out, f"36={client.next_out}\x01"))
            return
        at = first
        for kept in client.kept:
            if first <= kept.seq <= last:
                if kept.seq > at:
                    out.append(self._fill(client, at, kept.seq))
                original = utc(kept.sent_ns, self._dialect.fraction_digits)
                out.append(self._message(client, kept.msg_type, kept.seq, kept.body, original))
                at = kept.seq + 1
        if at <= last:
            out.append(self._fill(client, at, last + 1))
        self._counters["resends"] += 1

    def _fill(self, client: Client, first: int, following: int) -> bytes:
        body = f"123=Y\x0136={following}\x01"
        return self._message(client, "4", first, body, utc(self.now_ns, self._dialect.fraction_digits))

    def reject(self, client: Client, message: Message, reason: int, tag: int = 0) -> None:
        """Refuse a message for its form."""
        named = f"371={tag}\x01" if tag else ""
        kind = value(message, 35) or ""
        self.send(client, "3", f"45={value(message, 34)}\x01{named}372={kind}\x01373={reason}\x01")

    def log_out(self, client: Client, text: str) -> None:
        """Say good-bye and close."""
        self.send(client, "5", f"58={text}\x01" if text else "")
        if client.connection is not None:
            client.connection.close = True

    # ---- receiving

    def receive(self, connection: Connection, begin_string: str, message: Message) -> None:
        """Take one message of a client."""
        connection.heard_ns, connection.tested = self.now_ns, False
        client = connection.client
        if connection.close:
            return
        if client is None:
            self._log_on(connection, begin_string, message)
            return
        seq = value(message, 34)
        if begin_string != self._dialect.begin_string:
            self.log_out(client, f"BeginString {begin_string} is not {self._dialect.begin_string}")
        elif seq is None or not seq.isdigit():
            self.log_out(client, "MsgSeqNum is missing")
        elif value(message, 49) != client.comp_id or value(message, 56) != self._comp_id:
            self.reject(client, message, 9)
            self.log_out(client, "CompID problem")
        elif not self._is_timely(message):
            self.reject(client, message, 10, 52)
            self.log_out(client, "SendingTime accuracy problem")
        elif value(message, 35) == "4" and value(message, 123) != "Y":
            self._reset_to(client, message)
        else:
            self._in_sequence(client, int(seq), message)

    def _is_timely(self, message: Message) -> bool:
        sent = re.fullmatch(r"(\d{8}-\d\d:\d\d:\d\d)(\.\d+)?", value(message, 52) or "")
        limits = (utc(self.now_ns - CLOCK_LIMIT_NS, 0), utc(self.now_ns + CLOCK_LIMIT_NS, 0))
        return sent is not None and limits[0] <= sent[1] <= limits[1]  # as text: one format, one zone

    def _in_sequence(self, client: Client, seq: int, message: Message) -> None:
        if value(message, 35) == "2" and seq >= client.expected and value(message, 43) != "Y":
            self._answer_resend(client, message)  # at once: each side may wait for the other
        if seq > client.expected:
            client.held[seq] = message
            if not client.asked_resend:
                client.asked_resend = True
                self.send(client, "2", f"7={client.expected}\x0116=0\x01")
        elif seq < client.expected:
            if value(message, 43) != "Y":
                self.log_out(client, f"MsgSeqNum too low, expecting {client.expected} but received {seq}")
        else:
            self._consume(client, message)
            while (held := client.held.pop(client.expected, None)) is not None:
                self._consume(client, held)
            client.held = {number: kept for number, kept in client.held.items() if number > client.expected}
            if not client.held:
                client.asked_resend = False

    def _consume(self, client: Client, message: Message) -> None:
        kind = value(message, 35) or ""
        client.expected += 1
        if kind == "4":
            following = value(message, 36) or ""
            if not following.isdigit() or int(following) < client.expected:
                self.reject(client, message, 5, 36)
            else:
                client.expected = int(following)
        elif kind == "1":
            self.send(client, "0", f"112={value(message, 112) or ''}\x01")
        elif kind == "5":
            self.log_out(client, "")
        elif kind in _HANDLED:
            self._on_request(client, message)
        elif kind not in _KNOWN_TYPES:
            self.reject(client, message, _UNKNOWN_TYPE)
        elif kind not in {"0", "2", "3", "A"}:
            self.send(client, "j", f"45={value(message, 34)}\x01372={kind}\x01380=3\x01")

    def _answer_resend(self, client: Client, message: Message) -> None:
        first, last = value(message, 7) or "", value(message, 16) or ""
        if not first.isdigit() or not last.isdigit():
            return
        end = client.next_out - 1 if last == "0" else min(int(last), client.next_out - 1)
        if 0 < int(first) <= end:
            self._resend(client, int(first), end)

    def _reset_to(self, client: Client, message: Message) -> None:
        following = value(message, 36) or ""
        if following.isdigit() and int(following) >= client.expected:
            client.expected = int(following)
        else:
            self.reject(client, message, 5, 36)

    # ---- log-on

    def _log_on(self, connection: Connection, begin_string: str, message: Message) -> None:
        refusal = self._refusal(begin_string, message)
        name = value(message, 49) or ""
        client = self.clients.get(name) or Client(name)
        if refusal is None and client.connection is not None:
            refusal = "the session is connected already"
        if refusal is not None:
            self._counters["refused_logons"] += 1
            stranger = Client(name, connection=connection, next_out=client.next_out)
            self.log_out(stranger, refusal)
            return
        reset = value(message, 141) == "Y"
        if reset:
            client.reset()
        seq = int(value(message, 34) or "0")
        if seq < client.expected:
            self._counters["refused_logons"] += 1
            stranger = Client(name, connection=connection, next_out=client.next_out)
            self.log_out(stranger, f"MsgSeqNum too low, expecting {client.expected} but received {seq}")
            return
        self.clients[name] = client
        client.connection, connection.client = connection, client
        client.held.clear()
        client.asked_resend = False
        seconds = value(message, 108) or ""
        connection.heartbeat_ns = max(1, int(seconds) if seconds.isdigit() else 30) * NS_PER_S
        version = f"1137={self._dialect.application_version}\x01" if self._dialect.application_version else ""
        flag = "141=Y\x01" if reset else ""
        self.send(client, "A", f"98=0\x01108={connection.heartbeat_ns // NS_PER_S}\x01{flag}{version}")
        self._counters["logons"] += 1
        self._in_sequence(client, seq, message)

    def _refusal(self, begin_string: str, message: Message) -> str | None:
        name, tag = value(message, 49) or "", self._dialect.password_tag
        if value(message, 35) != "A":
            return "the first message must be a Logon"
        if begin_string != self._dialect.begin_string:
            return f"BeginString must be {self._dialect.begin_string}"
        if name not in self._passwords or value(message, 56) != self._comp_id:
            return "CompID problem"
        if tag and value(message, tag) != self._passwords[name]:
            return "invalid credentials"
        if not (value(message, 34) or "").isdigit() or not self._is_timely(message):
            return "MsgSeqNum or SendingTime is not right"
        return None

    # ---- time

    def tick(self, *, now_or_never: bool = False) -> None:
        """Send heartbeats, test the silent, give up the dead. `now_or_never`: heartbeats at every tick."""
        for client in self.clients.values():
            connection = client.connection
            if connection is None or connection.close:
                continue
            silent_ns = self.now_ns - connection.heard_ns
            if silent_ns > 2.4 * connection.heartbeat_ns:
                connection.close = True
                self.detach(connection)  # at once: a socket that is half open may stay for long
            elif silent_ns > 1.2 * connection.heartbeat_ns and not connection.tested:
                connection.tested = True
                self.send(client, "1", f"112=T{self.now_ns}\x01")
            elif now_or_never or self.now_ns - connection.sent_ns >= connection.heartbeat_ns:
                self.send(client, "0", "")

    def detach(self, connection: Connection) -> None:
        """A socket is gone; the session stays."""
        if connection.client is not None and connection.client.connection is connection:
            connection.client.connection = None
