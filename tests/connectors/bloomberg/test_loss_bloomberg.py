"""What the wire loses between simulator and session, without a socket: every trade is a row, or within a gap."""

from collections import defaultdict
from typing import Any

import pytest
from bloomberg_events import KEYS, Fed, event

from connectors.bloomberg.session import UNSUBSCRIBE
from feeds_simulator.bloomberg import blpapi, fields, server
from feeds_simulator.bloomberg.blpapi.event import Message
from feeds_simulator.bloomberg.framing import Unframer
from feeds_simulator.bloomberg.securities import security_of
from feeds_simulator.bloomberg.venue import Venue
from feeds_simulator.events import TradeEvent
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig

MS = 1_000_000
START_NS = 1_795_444_800_000_000_000  # 2026-11-23 14:40 UTC: every product trades


class Socket:
    """Stands for an asyncio transport: keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def abort(self) -> None:
        raise AssertionError("the client keeps up")


class Line:
    """A venue's link and a session, turn by turn: each turn is said, lost or carried, and answered."""

    def __init__(self, rate: float) -> None:
        profiles = PROFILES["bloomberg"]
        self.market = MarketModel(ModelConfig(start_ns=START_NS, rate=rate, profiles=profiles, symbol_of=security_of))
        self.venue = Venue(self.market.listings.values())
        self.faults, self.socket, self.unframer = Faults(), Socket(), Unframer()
        self.link = server._Link(self.socket, Wire(self.faults, START_NS), self.venue)
        self.fed = Fed(KEYS)
        self.now_ns = START_NS
        self.said: dict[str, list[str]] = defaultdict(list)
        self.held: dict[str, dict[str, int]] = defaultdict(dict)
        self.gaps: dict[str, dict[str, Any]] = {}

    def open(self) -> "Line":
        self.fed.session.on_open(self.now_ns)
        self._ask()
        return self

    def turn(self, ms: int, *, quiet: bool = False) -> None:
        self.now_ns += ms * MS
        actions = [] if quiet else self.market.pull(self.now_ns, 1 << 30)
        for told in (one for action in actions for one in action if self.venue.heard(one.symbol)):
            if isinstance(told, TradeEvent):
                self.said[self.market.listings[told.symbol].key].append(told.trade_id)
        self.venue.publish(actions, self.now_ns)
        self.link.flush(self.faults, self.now_ns, 1 << 30)
        self._carry()
        self._ask()

    def _carry(self) -> None:
        data, self.socket.data = self.socket.data, b""
        for body in self.unframer.feed(data):
            messages = [Message(name, content, blpapi.CorrelationId(key)) for key, name, content in body["messages"]]
            self.fed.session.receive(event(body["type"], *messages), self.now_ns)
        for row in self.fed.rows():
            if row["kind"] == "trade":
                self.held[row["instrument"]][row["trade_id"]] = row["seq"]
        self.gaps |= {row["gap_id"]: row for row in self.fed.ledgers()["gaps"]}

    def _ask(self) -> None:
        self.fed.session.on_timer(self.now_ns)
        for kind, key, topic, names in self.fed.session.commands():
            assert kind != UNSUBSCRIBE
            service = fields.MKTDATA if key else fields.NEWS
            self.venue.subscribe(
                self.link.client, {"id": key, "service": service, "topic": topic, "fields": list(names)}
            )

    def uncovered(self, instrument: str) -> list[str]:
        """Trades that are no rows, and not between the numbers of a gap either: by the rows around them."""
        said, held = self.said[instrument], self.held[instrument]
        gaps = [row for row in self.gaps.values() if row["channel"] == security_of(instrument)]
        found = []
        for at, trade_id in enumerate(said):
            if trade_id in held:
                continue
            before = max((held[one] for one in said[:at] if one in held), default=0)
            after = min((held[one] for one in said[at:] if one in held), default=1 << 62)
            if not any(before <= gap["seq_to"] and gap["seq_from"] <= after for gap in gaps):
                found.append(trade_id)
        return found


@pytest.mark.parametrize("event_messages", [500, 10], ids=["an event a turn", "several events a turn"])
@pytest.mark.parametrize("from_the_first", [False, True])
def test_what_is_lost_is_within_a_gap_and_counted(
    monkeypatch: pytest.MonkeyPatch, event_messages: int, from_the_first: bool
) -> None:
    monkeypatch.setattr(server, "_EVENT_MESSAGES", event_messages)
    line = Line(rate=1_000.0)
    line.faults.drop_every = 1 if from_the_first else 0
    line.open().turn(100)  # images, and what is traded meanwhile
    line.faults.drop_every = 4
    for _ in range(12):
        line.turn(60)
    line.faults.drop_every = 0
    line.turn(20)
    line.turn(11_000, quiet=True)  # an image that was lost is asked for again
    line.turn(20, quiet=True)
    missing = {key: len(line.said[key]) - len(line.held[key]) for key in KEYS}
    assert missing == {key: line.venue.lost[key] for key in KEYS}
    assert all(line.said[key] for key in KEYS)
    assert any(missing.values())
    assert {key: line.uncovered(key) for key in KEYS} == {key: [] for key in KEYS}
    assert {row["resolution"] for row in line.gaps.values()} == {"snapshot"}
