"""The broker without I/O: who is connected, what they subscribed, and what they are sent.

Everything for a client is left in its `out`, in order: text as str, binary messages as bytes. A packet tells a state,
so a client that subscribes gets one at once. The faults of the wire strike whole binary messages.

Units: `ts_send`, `now_ns` ns UTC by the market clock; `at_s` seconds of a monotonic clock.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from feeds_simulator.events import Event
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.mcx import angel, kite
from feeds_simulator.mcx.board import Board, Contract

_NOTHING: Final = (None, None)


@dataclass(slots=True)
class Counters:
    """What has been said, by instrument key, and has happened, since the start."""

    packets: Counter[str] = field(default_factory=Counter)
    trades: Counter[str] = field(default_factory=Counter)
    """Packets whose day volume is above that of the packet before it on the same connection."""
    lots: Counter[str] = field(default_factory=Counter)
    """By how much it is above it."""
    quotes: Counter[str] = field(default_factory=Counter)
    """Packets whose best prices or their quantities differ from the packet before it; also the first with a book."""
    connections: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """By HTTP status."""
    quotes_asked: int = 0


class Client:
    """One connection. The server writes `out`."""

    __slots__ = ("_last", "heard_s", "modes", "out", "packets", "wire")

    def __init__(self, wire: Wire[bytes], at_s: float) -> None:
        self.wire = wire
        self.modes: dict[int, str | int] = {}
        self.packets: list[bytes] = []
        self.out: list[str | bytes] = []
        self.heard_s = at_s  # something was sent to it
        self._last: dict[int, tuple[int | None, object]] = {}

    def count(self, contract: Contract, counters: Counters, *, has_book: bool, has_volume: bool) -> None:
        """Count what a packet says beyond the one before it."""
        state, key = contract.state, contract.key
        volume, top = self._last.get(contract.token, (None, _NOTHING))
        counters.packets[key] += 1
        if has_volume and volume is not None:
            counters.trades[key] += state.volume > volume
            counters.lots[key] += max(0, state.volume - volume)
        if has_book and state.top != top:
            counters.quotes[key] += 1
            top = state.top
        self._last[contract.token] = (state.volume if has_volume else volume, top)


class Dialect(Protocol):
    """How a broker talks."""

    def receive(self, client: Client, request: str | bytes) -> None:
        """Answer a request of a client, in its `out`."""

    def state(self, client: Client, contract: Contract) -> None:
        """Tell a subscribed client the state of a contract."""

    def messages(self, packets: Sequence[bytes]) -> Iterable[bytes]:
        """Put packets into binary messages."""

    @property
    def heartbeat(self) -> bytes | None: ...

    def token(self, contract: Contract) -> int:
        """Return the number clients subscribe."""


class KiteDialect:
    """Subscribe and mode by token; many packets a message; a byte as heartbeat."""

    heartbeat: bytes | None = kite.HEARTBEAT

    def __init__(self, board: Board, counters: Counters, max_tokens: int) -> None:
        self._contracts = {contract.token: contract for contract in board.contracts}
        self._counters, self._max_tokens = counters, max_tokens

    def token(self, contract: Contract) -> int:
        return contract.token

    def receive(self, client: Client, request: str | bytes) -> None:
        try:
            fields: Any = json.loads(request)
            action, value = fields["a"], fields["v"]
            mode, tokens = (value[0], value[1]) if action == "mode" else ("", value)
            if action not in ("subscribe", "unsubscribe", "mode") or not all(type(token) is int for token in tokens):
                raise ValueError
            if action == "mode" and mode not in kite.MODES:
                raise ValueError
        except (ValueError, TypeError, KeyError, IndexError):
            client.out.append(kite.text("error", "Invalid request"))
            return
        if action == "unsubscribe":
            for token in tokens:
                client.modes.pop(token, None)
        elif action == "mode":
            for token in tokens:
                if token in client.modes:
                    client.modes[token] = mode
                    self._image(client, token)
        else:
            self._subscribe(client, tokens)

    def _subscribe(self, client: Client, tokens: Iterable[int]) -> None:
        over = []
        for token in tokens:
            if token not in client.modes and len(client.modes) >= self._max_tokens:
                over.append(token)
                continue
            client.modes.setdefault(token, kite.QUOTE)
            self._image(client, token)
        if over:
            words = f"Maximum of {self._max_tokens} instruments a connection; not subscribed: {len(over)}"
            client.out.append(kite.text("error", words))

    def _image(self, client: Client, token: int) -> None:
        contract = self._contracts.get(token)
        if contract is not None and contract.state.stamped_ns:
            self.state(client, contract)

    def state(self, client: Client, contract: Contract) -> None:
        mode = client.modes[contract.token]
        client.packets.append(kite.packet(contract, str(mode)))
        client.count(contract, self._counters, has_book=mode == kite.FULL, has_volume=mode != kite.LTP)

    def messages(self, packets: Sequence[bytes]) -> Iterable[bytes]:
        for at in range(0, len(packets), kite.PACKETS_MAX):
            yield kite.message(packets[at : at + kite.PACKETS_MAX])


class AngelDialect:
    """Subscribe by token with a mode; a packet a message, numbered; ping as text."""

    heartbeat: bytes | None = None

    def __init__(self, board: Board, counters: Counters, max_tokens: int, buy_flag: int) -> None:
        self._contracts = {contract.exchange_token: contract for contract in board.contracts}
        self._counters, self._max_tokens, self._buy_flag = counters, max_tokens, buy_flag

    def token(self, contract: Contract) -> int:
        return contract.exchange_token

    def receive(self, client: Client, request: str | bytes) -> None:
        if request in ("ping", b"ping"):
            client.out.append("pong")
            return
        correlation_id = ""
        try:
            fields: Any = json.loads(request)
            correlation_id = str(fields.get("correlationID", ""))
            action, mode = fields["action"], fields["params"]["mode"]
            listed = fields["params"]["tokenList"]
            tokens = [int(token) for entry in listed for token in entry["tokens"] if entry["exchangeType"] == 5]
            if action not in (0, 1) or mode not in angel.MODES or len(correlation_id) > 10:
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError):
            client.out.append(angel.error(angel.INVALID_PAYLOAD, correlation_id))
            return
        if action == 0:
            for token in tokens:
                client.modes.pop(token, None)
        elif len(client.modes.keys() | set(tokens)) > self._max_tokens:
            client.out.append(angel.error(angel.OVER_LIMIT, correlation_id))
        else:
            self._subscribe(client, tokens, mode)

    def _subscribe(self, client: Client, tokens: Iterable[int], mode: int) -> None:
        for token in tokens:
            client.modes[token] = mode
            contract = self._contracts.get(token)
            if contract is not None and contract.state.stamped_ns:
                self.state(client, contract)

    def state(self, client: Client, contract: Contract) -> None:
        mode = int(client.modes[contract.exchange_token])
        client.packets.append(angel.packet(contract, mode, self._buy_flag))
        client.count(contract, self._counters, has_book=mode == angel.SNAP, has_volume=mode != angel.LTP)

    def messages(self, packets: Sequence[bytes]) -> Iterable[bytes]:
        return packets


class Venue:
    """All clients of a broker."""

    def __init__(self, board: Board, dialect: Dialect, faults: Faults, heartbeat_s: float) -> None:
        self.board, self.dialect = board, dialect
        self._faults, self._heartbeat_s = faults, heartbeat_s
        self.clients: set[Client] = set()
        self.tap: Callable[[Contract], None] | None = None
        """Told each state as it is published: the truth, for tests."""

    def publish(self, actions: Sequence[Sequence[Event]]) -> None:
        """Tell every client the states that the actions lead to, each action's by itself."""
        for action in actions:
            for contract in self.board.apply(action):
                token = self.dialect.token(contract)
                for client in self.clients:
                    if token in client.modes:
                        self.dialect.state(client, contract)
                if self.tap is not None:
                    self.tap(contract)

    def repeat(self) -> None:
        """Tell every client once more the states it follows: nothing else shows that the last packet was lost."""
        for contract in self.board.contracts:
            token = self.dialect.token(contract)
            for client in self.clients:
                if token in client.modes and contract.state.stamped_ns:
                    self.dialect.state(client, contract)

    def compose(self, client: Client, now_ns: int, at_s: float) -> list[str | bytes]:
        """Take what is to be written to a client now."""
        client.out += client.wire.due(now_ns)
        packets, client.packets = client.packets, []
        for message in self.dialect.messages(packets):
            client.out += client.wire.send(message)
        out, client.out = client.out, []
        if out:
            client.heard_s = at_s
        elif self.dialect.heartbeat is not None and at_s - client.heard_s >= self._heartbeat_s:
            client.heard_s = at_s
            return [self.dialect.heartbeat]
        return out

    def announce(self, words: str) -> None:
        """Send a message to all customers."""
        for client in self.clients:
            client.out.append(kite.text("message", words))
