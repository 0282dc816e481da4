"""A venue by hand: a real socket on which a test says, message by message, what the connector under test hears."""

import re
import socket
import time
from collections.abc import Callable
from typing import Any

from connectors.cme.config import CmeConfig
from connectors.cme.dialects import DIALECTS
from connectors.cme.source import open_feed
from connectors.feed import Flush
from market.schemas import QUOTE, TRADE
from tests.connectors.fix.wire import T0, fix, stamp

DEADLINE_S = 20.0
GC = "XCEC:GC:202612"
PRODUCTS = (("XCEC", "GC"),)


class Peer:
    """Listens, takes one client at a time, counts its own numbers."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE_S)
        self.port = self.listener.getsockname()[1]
        self.seq = 0
        self.connection: socket.socket | None = None
        self.heard: list[str] = []
        self._rest = b""

    def accept(self) -> "Peer":
        if self.connection is not None:
            self.connection.close()
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(DEADLINE_S)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        return self

    def logged_on(self, logon: str = "141=Y") -> "Peer":
        """Accept, answer the Logon and hear out the requests that follow it."""
        self.accept()
        self.expect("35=A")
        if logon == "141=Y":
            self.seq = 0
        self.say(f"35=A|98=0|108=10|{logon}" if logon else "35=A|98=0|108=10")
        self.expect("35=g")
        return self

    def expect(self, pattern: str) -> str:
        """Read up to a message in which the pattern is found, and return that, with | for SOH."""
        while True:
            found = re.search(rb"8=FIX.*?\x0110=\d{3}\x01", self._rest, re.DOTALL)
            if found is None:
                assert self.connection is not None
                data = self.connection.recv(65_536)
                assert data, f"closed while waiting for {pattern}; heard {self.heard[-5:]}"
                self._rest += data
                continue
            self._rest = self._rest[found.end() :]
            text = found[0].decode().replace("\x01", "|")
            self.heard.append(text)
            if re.search(rf"(^|\|){pattern}", text):
                return text

    def closed(self) -> bool:
        """Read until the client closes."""
        assert self.connection is not None
        while data := self.connection.recv(65_536):
            self._rest += data
        self.heard += re.findall(r"35=.*?10=\d{3}", self._rest.decode().replace("\x01", "|"))
        return True

    def text(self, message: str, **options: Any) -> bytes:
        """A message with the next number: `35=X|...`, without 34."""
        self.seq += 1
        kind, _, rest = message.partition("|")
        return fix(f"{kind}|34={self.seq}|{rest}", **options)

    def say(self, message: str, **options: Any) -> None:
        self.send(self.text(message, **options))

    def send(self, data: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(data)

    def resend(self, seq: int, message: str, **options: Any) -> None:
        """Send an old message again."""
        kind, _, rest = message.partition("|")
        self.send(fix(f"{kind}|34={seq}|{rest}", header="43=Y|122=" + stamp(), **options))

    def skip(self, count: int) -> None:
        """Lose messages."""
        self.seq += count

    def image(
        self, bid: str = "4150.1", ask: str = "4150.3", rpt: int = 1, size: int = 5, request: str = "B/" + GC
    ) -> None:
        """A full refresh of one level a side."""
        levels = f"268=2|269=0|270={bid}|271={size}|290=1|269=1|270={ask}|271={size}|290=1"
        self.say(f"35=W|262={request}|55=GCZ6|83={rpt}|{levels}")

    def close(self) -> None:
        self.listener.close()
        if self.connection is not None:
            self.connection.close()


def trade(trade_id: str, price: str = "4150.2", size: int = 1, action: int = 0, more: str = "") -> str:
    return (
        f"35=X|262=T/{GC}|268=1|279={action}|269=2|278={trade_id}|55=GCZ6|270={price}|271={size}"
        f"|272=20261121|273=03:23:17.000{more}"
    )


def change(action: int, side: int, position: int, price: str, size: int, rpt: int) -> str:
    return (
        f"35=X|262=B/{GC}|268=1|279={action}|269={side}|55=GCZ6|270={price}|271={size}"
        f"|272=20261121|273=03:23:17.000|290={position}|83={rpt}"
    )


class Desk:
    """Takes from a feed until what it waits for is there. Its clock stands still unless a test moves it."""

    def __init__(
        self, port: int, resume: dict[str, Any] | None = None, dialect: str = "levels-44", **options: Any
    ) -> None:
        self.now = T0
        config = CmeConfig(
            host="127.0.0.1",
            port=port,
            password="p",
            dialect=DIALECTS[dialect],
            **({"products": PRODUCTS, "months": 1} | options),
        )
        self.ticks: list[dict[str, Any]] = []
        self.depth: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.status: list[tuple[str | None, str, str]] = []
        self.status_ns: list[int] = []
        self.rejected: list[dict[str, Any]] = []
        self.last: Flush | None = None
        self.feed = open_feed(config, lambda: self.now, resume)
        self.feed.start()

    def take(self) -> None:
        self.last = self.feed.take()
        for _, batch in self.last.ticks:
            self.ticks += batch.to_pylist()
        for _, batch in self.last.depth:
            self.depth += batch.to_pylist()
        if self.last.gaps is not None:
            self.gaps += self.last.gaps.to_pylist()
        if self.last.rejected is not None:
            self.rejected += self.last.rejected.to_pylist()
        if self.last.status is not None:
            self.status_ns += [row["ts_event"] for row in self.last.status.to_pylist() if row["instrument"] is not None]
            self.status += [(row["instrument"], row["quality"], row["reason"]) for row in self.last.status.to_pylist()]

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.feed.wait(0.02)
            self.take()

    def of(self, kind: int) -> list[dict[str, Any]]:
        return [row for row in self.ticks if row["kind"] == kind]

    def pass_s(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    def counter(self, name: str) -> int:
        self.take()
        assert self.last is not None
        return self.last.counters.get(name, 0)


Start = Callable[..., Desk]


def prices(desk: Desk) -> list[tuple[int, int]]:
    return [(row["bid_price"] // 10**8, row["ask_price"] // 10**8) for row in desk.of(QUOTE)]


def ids(desk: Desk) -> list[str]:
    return [row["trade_id"] for row in desk.of(TRADE)]


def live(peer: Peer, start: Start, **options: Any) -> Desk:
    """A desk that is logged on and has an image of its one book at RptSeq 1."""
    desk = start(**options)
    peer.logged_on()
    peer.image()
    desk.until(lambda: desk.of(QUOTE))
    return desk
