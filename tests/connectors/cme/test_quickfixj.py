"""Both sides against an independent engine, QuickFIX/J, both ways round: log-on, market data, gap recovery."""

import time
from collections.abc import Callable

from connectors.cme.config import CmeConfig
from connectors.cme.dialects import DIALECTS
from connectors.cme.source import open_feed
from market.schemas import QUOTE, TRADE
from sinks.embedded.processes import free_port
from tests.connectors.cme.test_against_simulator import Venue
from tests.feeds_simulator.scripted_market import KEYS
from tests.services.quickfixj import counterpart

WITHIN_S = 60.0
GC = "XCEC:GC:202612"


class Desk:
    """The connector with one instrument, at the wall clock."""

    def __init__(self, port: int) -> None:
        config = CmeConfig(
            host="127.0.0.1",
            port=port,
            password="p",
            dialect=DIALECTS["plain-44"],
            products=(("XCEC", "GC"),),
            months=1,
        )
        self.rows: list[dict[str, object]] = []
        self.gaps: list[dict[str, object]] = []
        self.counters: dict[str, int] = {}
        self.feed = open_feed(config, time.time_ns)
        self.feed.start()

    def until_trades(self, ids: list[str]) -> None:
        self.until(lambda: [row["trade_id"] for row in self.rows if row["kind"] == TRADE] == ids)

    def until(self, met: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not met():
            assert time.monotonic() < deadline_s, (self.rows, self.gaps, self.counters)
            self.feed.wait(0.05)
            self.take()

    def take(self) -> None:
        flush = self.feed.take()
        for _, batch in flush.ticks:
            self.rows += batch.to_pylist()
        if flush.gaps is not None:
            self.gaps += flush.gaps.to_pylist()
        self.counters = dict(flush.counters)


def test_our_connector_recovers_gaps_from_quickfixj() -> None:
    port = free_port()
    with counterpart("acceptor", str(port)) as engine:
        engine.hears("listening")
        desk = Desk(port)
        try:
            engine.hears("|269=0|")  # our book request, valid by its dictionary
            engine.tell("trade t1")
            desk.until_trades(["t1"])
            desk.until(lambda: any(row["kind"] == QUOTE for row in desk.rows))  # the image may come after a trade
            engine.tell("skip 3")
            engine.tell("trade t2")
            engine.hears("|35=2|")
            desk.until_trades(["t1", "t2"])
            engine.tell("drop")
            engine.hears("logout")
            for name in ("t3", "t4"):
                engine.tell(f"trade {name}")
            desk.until_trades(["t1", "t2", "t3", "t4"])
            assert engine.said.count("logon") >= 1
            engine.hears("logon", times=2)
            assert {row["resolution"] for row in desk.gaps} == {None, "replay"}
            assert not any(line.startswith("error") or ("sent" in line and "|35=3|" in line) for line in engine.said)
            assert desk.counters.get("rejects_sent", 0) == 0
        finally:
            desk.feed.stop()
        engine.hears("admin 8=FIX.4.4", times=1)
        engine.hears("|35=5|")  # we say good-bye


def test_quickfixj_recovers_gaps_from_our_simulator() -> None:
    venue = Venue("plain-44")
    try:
        venue.do(lambda: venue.market.open(time.time_ns()))
        with counterpart("initiator", str(venue.simulator.port), "demo-secret") as engine:
            engine.hears("logon")
            root, expiry = KEYS[0].split(":")[1:]
            symbol = f"{root}{'FGHJKMNQUVXZ'[int(expiry[4:]) - 1]}{expiry[3]}"
            engine.tell(f"subscribe {symbol}")
            engine.hears("|35=W|")
            venue.simulator.faults.drop_every = 5
            for turn in range(3):
                venue.trade(40)
                wanted = len(venue.market.trade_ids[KEYS[0]])
                engine.until(lambda said, wanted=wanted: len(heard(said)) >= wanted - 4)  # type: ignore[misc]
                if turn == 1:
                    venue.cut()
                    engine.hears("logout")
            venue.simulator.faults.drop_every = 0
            engine.hears("logon", times=2)
            venue.trade(20)
            engine.until(lambda said: len(heard(said)) >= len(venue.market.trade_ids[KEYS[0]]))
            assert heard(engine.said) == venue.market.trade_ids[KEYS[0]]
            assert any(line.startswith("trade") and line.endswith("again") for line in engine.said)
            assert not any(
                line.startswith("error") or (line.startswith("sent") and "|35=3|" in line) for line in engine.said
            )
    finally:
        venue.close()


def heard(said: list[str]) -> list[str]:
    """Trade ids in the order in which the engine's application was given them."""
    return [line.split(" ")[1] for line in said if line.startswith("trade ")]
