"""The conformance cases that concern Bloomberg, over a real socket: feed, SDK facade, server."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from typing import Any, Final

import pytest
from bloomberg_events import KINDS
from bloomberg_server import EURUSD, GOLD, MS, T0, USDINR, Clock, Running, S, book, serving, trade

from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.source import open_feed
from connectors.errors import SdkMissing
from connectors.feed import FeedThread
from feeds_simulator.bloomberg.blpapi.event import DeliveryQueue
from feeds_simulator.bloomberg.securities import security_of
from feeds_simulator.bloomberg.server import SimulatorConfig
from feeds_simulator.bloomberg.venue import Entitlements
from feeds_simulator.events import BustEvent, Listing, StatusEvent, TradeEvent
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from market.instruments import InstrumentMaster
from market.parity import land, terms_of
from market.reference import read_reference

QUIET = SimulatorConfig(news_every_s=1e9)
CUT = date(2026, 10, 2)  # a notified rate, and with it the duty, is another from this day on
KEYS = ("BBG:USDINR:SPOT", "BBG:EURUSD:SPOT", "BBG:GC:202612")


class Desk:
    """A running feed and all that came of it."""

    def __init__(self, feed: FeedThread) -> None:
        self.feed = feed
        self.ticks: list[dict[str, Any]] = []
        self.ledgers: dict[str, list[dict[str, Any]]] = {"gaps": [], "status": [], "rejected": [], "news": []}
        self.counters: dict[str, int] = {}
        self.positions: dict[str, Any] = {}

    def take(self) -> None:
        flush = self.feed.take()
        for _, batch in flush.ticks:
            self.ticks += [row | {"kind": KINDS[row["kind"]]} for row in batch.to_pylist()]
        for name, rows in self.ledgers.items():
            batch = getattr(flush, name)
            rows += [] if batch is None else batch.to_pylist()
        self.counters, self.positions = dict(flush.counters), dict(flush.positions)

    def until(self, met: Callable[[], Any], seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := met()):
            assert time.monotonic() < deadline, (self.qualities(), self.ledgers, self.counters)
            self.feed.wait(0.05)
            self.take()
        return found

    def rows(self, kind: str, instrument: str | None = None) -> list[dict[str, Any]]:
        return [row for row in self.ticks if row["kind"] == kind and instrument in (None, row["instrument"])]

    def qualities(self) -> dict[str | None, str]:
        """The newest quality of each instrument; None: the venue."""
        return {row["instrument"]: row["quality"] for row in self.ledgers["status"]}

    def live(self, *keys: str) -> "Desk":
        self.until(lambda: all(self.qualities().get(key) == "LIVE" for key in (None, *(keys or KEYS))))
        return self


@contextmanager
def running(server: Running, resume: Any = None, **settings: Any) -> Iterator[Desk]:
    config = BloombergConfig(**({"port": server.port, "keys": KEYS, "news": False} | settings))
    desk = Desk(open_feed(config, server.clock, resume))
    desk.feed.start()
    try:
        yield desk
    finally:
        desk.feed.stop()


def cut(server: Running) -> None:
    server.do(lambda: [link.abort() for link in server.simulator._links])


class TestCase25:
    def test_case_25_images_quotes_and_trades(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            server.happen(book(USDINR, ("95.6100", 3), ("95.6200", 4)))
            desk.live()
            server.happen(book(USDINR, ("95.6125", 3), ("95.6200", 4)))
            server.happen(trade(GOLD, "4150.1", 2, "t1"))
            desk.until(lambda: len(desk.rows("quote", KEYS[0])) >= 2 and desk.rows("trade"))
            (row,) = desk.rows("trade")
            assert (row["instrument"], row["price"], row["trade_id"]) == (KEYS[2], 4150_100_000_000, "t1")
            assert desk.rows("quote", KEYS[0])[-1]["bid_price"] == 95_612_500_000
            seqs = [row["seq"] for row in desk.ticks if row["seq"] is not None]
            assert seqs == sorted(set(seqs))

    def test_case_25_partial_success_goes_on_and_tells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import connectors.bloomberg.session as session

        monkeypatch.setattr(session, "FIELDS", ("BID", "ASK", "NO_SUCH_FIELD"))
        monkeypatch.setattr(session.Command.__new__, "__defaults__", (session.FIELDS,))
        with serving(QUIET) as server, running(server) as desk:
            desk.live()
            server.happen(book(USDINR, ("95.6100", 3), ("95.6200", 4)))
            desk.until(lambda: desk.rows("quote", KEYS[0]))
            details = [row["detail"] for row in desk.ledgers["rejected"]]
            assert len(details) == 3
            assert all("BAD_FLD: field NO_SUCH_FIELD" in detail for detail in details)
            reasons = {row["reason"] for row in desk.ledgers["status"] if row["quality"] == "LIVE"}
            assert "BAD_FLD NO_SUCH_FIELD" in reasons

    def test_case_25_failures_do_not_stop_the_others(self) -> None:
        rights = Entitlements(denied=frozenset({"EURUSD Curncy"}))
        keys = (*KEYS, "BBG:NOSUCH:SPOT")
        with serving(replace(QUIET, entitlements=rights)) as server, running(server, keys=keys) as desk:
            desk.live(KEYS[0], KEYS[2])
            assert desk.qualities()[KEYS[1]] == desk.qualities()["BBG:NOSUCH:SPOT"] == "STALE"
            rejected = {row["instrument"]: row["detail"] for row in desk.ledgers["rejected"]}
            assert "NOT_AUTHORIZED" in rejected[KEYS[1]]
            assert "BAD_SEC" in rejected["BBG:NOSUCH:SPOT"]

    def test_case_25_terminated_is_asked_for_again(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            desk.live()
            server.do(server.simulator.venue.terminate, "USDINR Curncy")
            desk.until(lambda: desk.qualities()[KEYS[0]] == "STALE")
            assert desk.ledgers["gaps"][-1]["ts_resolved"] is None
            server.clock.ns += 5 * S
            desk.live()
            assert desk.ledgers["gaps"][-1]["resolution"] == "snapshot"

    def test_case_25_streams_deactivated_is_stale_until_the_next_image(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            desk.live()
            server.do(server.simulator.venue.deactivate, "USDINR Curncy")
            desk.until(lambda: desk.qualities()[KEYS[0]] == "STALE")
            assert desk.qualities()[KEYS[1]] == "LIVE"
            server.happen(book(USDINR, ("95.7000", 3), ("95.7100", 4)))
            server.do(server.simulator.venue.activate, "USDINR Curncy")
            desk.live()
            assert desk.rows("quote", KEYS[0])[-1]["bid_price"] == 95_700_000_000
            states = [row["size"] for row in desk.rows("state", KEYS[0])]
            assert states[-1] == 0  # LIVE, in the order of the rows

    def test_case_25_dataloss_is_a_gap_until_the_new_image(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            server.happen(book(USDINR, ("95.6100", 3), ("95.6200", 4)))
            desk.live()
            server.simulator.faults.drop_every = 1
            server.happen(book(USDINR, ("95.7000", 3), ("95.7100", 4)))  # lost on the way
            server.simulator.faults.drop_every = 0
            server.happen(book(EURUSD, ("1.08000", 3), ("1.08010", 4)))
            desk.until(lambda: [row for row in desk.ledgers["gaps"] if row["resolution"] == "snapshot"])
            desk.live()
            assert {row["channel"] for row in desk.ledgers["gaps"]} == {"USDINR Curncy"}
            assert "GAP" in [row["quality"] for row in desk.ledgers["status"] if row["instrument"] == KEYS[0]]
            assert desk.rows("quote", KEYS[0])[-1]["bid_price"] == 95_700_000_000

    def test_case_25_slow_consumer_conflates_quotes_never_trades(self, monkeypatch: pytest.MonkeyPatch) -> None:
        events, every = 900, 24
        queued, put = threading.Semaphore(0), DeliveryQueue.put

        def counted(queue: DeliveryQueue, event: Any) -> None:
            put(queue, event)
            queued.release()

        with serving(QUIET) as server, running(server, queue_events=1_000) as desk:
            desk.live()
            monkeypatch.setattr(DeliveryQueue, "put", counted)
            held = threading.Event()
            receive = desk.feed.receive

            def slow(event: Any, now_ns: int) -> None:  # stands for a machine that is too busy to read
                held.wait(20)
                receive(event, now_ns)

            def happen() -> None:  # each as an event of its own
                for number in range(events):
                    told = book(USDINR, ("95.6100", 1 + number), ("95.7000", 4))
                    one = trade(GOLD, "4150.1", 1, f"t{number}") if number % every == 0 else told
                    server.simulator.publish([[one]], server.clock.ns)
                    server.simulator.flush()

            desk.feed.receive = slow  # type: ignore[method-assign]
            server.do(happen)
            assert all(queued.acquire(timeout=20) for _ in range(events))  # all are there before one is read
            held.set()
            trades = -(-events // every)
            desk.until(lambda: len(desk.rows("trade")) == trades)
            desk.until(lambda: [row for row in desk.ledgers["gaps"] if row["resolution"] == "conflated"])
            desk.until(lambda: len(desk.rows("quote", KEYS[0])) + desk.counters["conflated"] == events - trades)
            assert desk.counters["slow_consumer_warnings"] >= 1
            assert desk.counters["conflated"] > 100
            assert desk.counters.get("dropped_by_sdk", 0) == 0

    def test_case_25_null_clears(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            server.happen(book(USDINR, ("95.6100", 3), ("95.6200", 4)))
            desk.live()
            server.happen(book(USDINR, None, ("95.6200", 4)))
            last = desk.until(lambda: [row for row in desk.rows("quote", KEYS[0]) if row["bid_price"] is None])[-1]
            assert (last["bid_size"], last["ask_price"]) == (None, 95_620_000_000)

    def test_case_25_a_delayed_stream_is_labelled(self) -> None:
        rights = Entitlements(delayed=frozenset({"GCZ6 Comdty"}), delay_s=900)
        clock = Clock()
        with serving(replace(QUIET, entitlements=rights), clock) as server, running(server) as desk:
            desk.until(lambda: desk.qualities().get(KEYS[2]) == "DELAYED")
            assert desk.qualities()[KEYS[0]] == "LIVE"
            happened = clock.ns
            server.happen(trade(GOLD, "4150.1", 2, "t1", happened))
            clock.ns += 900 * S
            (row,) = desk.until(lambda: desk.rows("trade"))
            assert (row["ts_event"], row["ts_recv"]) == (happened, clock.ns)
            assert desk.rows("state", KEYS[2])[-1]["size"] == 4  # DELAYED

    def test_case_25_a_lost_connection_is_one_gap_and_all_is_stale_meanwhile(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            server.happen(trade(GOLD, "4150.1", 2, "t1"))
            server.happen(book(GOLD, ("4150.0", 2), ("4150.2", 1)))
            desk.live()
            server.simulator.faults.down = True
            cut(server)
            desk.until(lambda: set(desk.qualities().values()) == {"STALE"})
            assert [(row["channel"], row["ts_resolved"]) for row in desk.ledgers["gaps"]] == [("ticks", None)]
            server.happen(trade(GOLD, "4150.3", 1, "t2"))  # nobody hears it
            server.simulator.faults.down = False
            desk.live()
            opened, resolved = desk.ledgers["gaps"]
            assert opened["gap_id"] == resolved["gap_id"]
            assert resolved["resolution"] == "snapshot"
            assert "connection lost" in resolved["reason"]


class TestOtherCases:
    def test_case_09_a_half_open_connection_is_left(self) -> None:
        """The SDK pings a quiet connection; without an answer it is gone, and another one is made."""
        settings = {"keepalive_s": (0.1, 0.2)}
        with serving(QUIET) as server, running(server, **settings) as desk:
            desk.live()
            server.simulator.faults.half_open = True
            desk.until(lambda: set(desk.qualities().values()) == {"STALE"})
            server.simulator.faults.half_open = False
            desk.live()

    def test_case_12_a_mute_venue_with_an_open_connection_is_still_connected(self) -> None:
        """Stalled: pings are answered, nothing is said. The session lives; that quotes are old is judged from rows."""
        with serving(QUIET) as server, running(server, keepalive_s=(0.05, 5.0)) as desk:
            desk.live()
            server.simulator.faults.stall = True
            server.happen(book(USDINR, ("95.7000", 3), ("95.7100", 4)))
            desk.feed.wait(0.3)
            desk.take()
            assert desk.qualities()[None] == "LIVE"
            assert desk.counters.get("SessionConnectionDown", 0) == 0
            server.simulator.faults.stall = False  # what was lost meanwhile is said: a gap, closed by a new image
            desk.until(lambda: any(row["ts_resolved"] for row in desk.ledgers["gaps"]))
            assert {row["channel"] for row in desk.ledgers["gaps"]} == {"USDINR Curncy"}
            assert desk.rows("quote", KEYS[0])[-1]["bid_price"] == 95_700_000_000

    def test_case_17_busts_and_corrections_by_trade_id(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            desk.live()
            at = server.clock.ns
            server.happen(trade(GOLD, "4150.1", 2, "t1", at))
            server.happen(trade(GOLD, "4150.2", 3, "t2", at))
            server.happen(BustEvent(at + MS, "GC Z26", "t1"))
            server.happen(trade(GOLD, "4150.3", 4, "t2", at + 2 * MS, corrects=True))
            desk.until(lambda: desk.rows("correction"))
            (bust,), (correction,) = desk.rows("bust"), desk.rows("correction")
            assert (bust["trade_id"], bust["ts_event"], bust["price"]) == ("t1", at + MS, None)
            assert (correction["trade_id"], correction["ts_event"]) == ("t2", at + 2 * MS)
            assert (correction["price"], correction["size"]) == (4150_300_000_000, 4 * S)
            assert len(desk.rows("trade")) == 2

    def test_case_18_a_halt_and_its_end(self) -> None:
        with serving(QUIET) as server, running(server) as desk:
            desk.live()
            for state, quality in (("HALT", "HALTED"), ("OPEN", "LIVE"), ("LIMIT", "LIVE"), ("CLOSE", "CLOSED")):
                server.happen(StatusEvent(server.clock.ns, "GC Z26", state))
                desk.until(lambda quality=quality: desk.qualities()[KEYS[2]] == quality)
            assert desk.qualities()[KEYS[0]] == "LIVE"

    def test_case_21_the_date_decides_the_decade_of_a_security(self) -> None:
        far = "BBG:GC:203612"  # its security is GCZ6 too, which is December 2026 until that has expired
        with serving(QUIET) as server, running(server, keys=(far, *KEYS)) as desk:
            desk.live()
            server.happen(trade(GOLD, "4150.1", 2, "t1"))
            desk.until(lambda: desk.rows("trade"))
            assert {row["instrument"] for row in desk.ticks} == set(KEYS)
            assert far not in desk.qualities()

    def test_case_21_ten_years_later_it_is_another_contract(self) -> None:
        far = Listing("GC Z36", "BBG:GC:203612", Decimal("0.1"))
        clock = Clock(T0 + 3_653 * 86_400 * S)
        with serving(QUIET, clock, listings=(USDINR, far)) as server, running(server, keys=()) as desk:
            desk.until(lambda: desk.qualities().get(far.key) == "LIVE")
            server.happen(trade(far, "4150.1", 2, "t1", clock.ns))
            desk.until(lambda: desk.rows("trade"))
            assert desk.rows("trade")[0]["instrument"] == far.key
            assert KEYS[2] not in desk.qualities()

    def test_case_28_prices_that_are_none_of_their_contract_are_kept_apart(self) -> None:
        fine = replace(GOLD, tick=Decimal("0.05"))  # half of what the contract has
        with serving(QUIET, listings=(USDINR, EURUSD, fine)) as server, running(server) as desk:
            desk.live()
            for number, price in enumerate(("4150.1", "41501.0", "415.0", "4150.15", "0", "-4150.1", "4150.2")):
                server.happen(trade(fine, price, 2, f"t{number}"))
            desk.until(lambda: len(desk.rows("trade")) == 2)
            assert [row["trade_id"] for row in desk.rows("trade")] == ["t0", "t6"]
            reasons = ["implausible_price", "implausible_price", "off_tick", "out_of_range", "out_of_range"]
            assert [(row["instrument"], row["reason"]) for row in desk.ledgers["rejected"]] == [
                (KEYS[2], reason) for reason in reasons
            ]

    def test_case_29_a_rate_and_a_duty_that_change_reprice_the_landed_cost(self) -> None:
        """What the wire says of a rate, and the reference of a duty, holds from its time on and not before."""
        old, new = "USDINR,96.80,95.10,2026-10-02", "USDINR,97.40,95.70,2026-10-02"
        data = files("market").joinpath("data")
        reference = read_reference(lambda name: data.joinpath(name).read_text(encoding="utf-8").replace(old, new))
        master = InstrumentMaster.load()
        route = next(one for one in reference.routes_of("gold", CUT) if one.value.local[1] == "GOLD")
        before, after = (terms_of(reference, master, route, on) for on in (CUT - timedelta(days=1), CUT))
        with serving(QUIET) as server, running(server) as desk:
            desk.live()
            for bid, ask in (("95.6000", "95.6000"), ("96.6000", "96.6000")):
                server.happen(book(USDINR, (bid, 3), (ask, 4)))
            desk.until(lambda: desk.rows("quote", KEYS[0]) and desk.rows("quote", KEYS[0])[-1]["bid_price"] > 96 * S)
            first, last = (Fraction(row["bid_price"], S) for row in desk.rows("quote", KEYS[0])[-2:])
        assert (first, last) == (Fraction("95.6"), Fraction("96.6"))
        gold = Fraction(4150)
        costs = [land(terms, gold, rate) for terms, rate in ((before, first), (before, last), (after, last))]
        assert costs[1].value / costs[0].value == last / first
        assert costs[1].duty == costs[0].duty  # the customs rate is notified, not the market's
        assert costs[2].duty / costs[1].duty == Fraction("97.40") / Fraction("96.80")
        assert costs[2].value == costs[1].value

    def test_case_30_a_server_that_is_away_for_long_is_tried_again_and_again(self) -> None:
        clock = Clock()
        with serving(QUIET, clock) as first:
            port = first.port
            with running(first) as desk:
                first.happen(book(USDINR, ("95.6100", 3), ("95.6200", 4)))
                desk.live()
                positions = desk.positions
        config = BloombergConfig(port=port, keys=KEYS, news=False)
        desk = Desk(open_feed(config, clock, positions))
        desk.feed.start()
        try:
            desk.until(lambda: desk.qualities().get(None) == "STALE")
            assert "cannot connect" in desk.ledgers["status"][0]["reason"]
            clock.ns += 3_600 * S
            with serving(QUIET, clock, port):
                desk.live()
                assert [row["reason"] for row in desk.ledgers["gaps"]] == ["restart"] * 2
                seqs = [row["seq"] for row in desk.ticks if row["seq"] is not None]
                assert all(seq > positions["seq"] for seq in seqs)
        finally:
            desk.feed.stop()


def test_every_trade_that_somebody_heard_is_a_row() -> None:
    """The simulator's market at full speed: what was said while subscribed is in the log, trade by trade."""
    start_ns = 1_795_424_400_000_000_000
    model = ModelConfig(
        start_ns=start_ns,
        seed=3,
        rate=2_000.0,
        profiles=PROFILES["bloomberg"],
        symbol_of=security_of,
        always_open=True,
        bust_every=40,
        correct_every=50,
    )
    market, clock = MarketModel(model), Clock(start_ns)
    said: Counter[tuple[str, str]] = Counter()
    names = {TradeEvent: "trade", BustEvent: "bust"}
    with serving(QUIET, clock, listings=list(market.listings.values())) as server, running(server, keys=()) as desk:
        desk.until(lambda: desk.qualities().get(None) == "LIVE")

        def happen() -> None:
            clock.ns += S // 10
            actions = market.pull(clock.ns)
            for one in (one for action in actions for one in action if server.simulator.heard(one.symbol)):
                if type(one) in names:
                    kind = "correction" if getattr(one, "corrects", False) else names[type(one)]
                    said[market.listings[one.symbol].key, kind] += 1
            server.simulator.publish(actions, clock.ns)

        for _ in range(30):
            server.do(happen)
        total = sum(said.values())
        assert total > 500
        kinds = ("trade", "bust", "correction")
        desk.until(lambda: sum(row["kind"] in kinds for row in desk.ticks) >= total)
        assert Counter((row["instrument"], row["kind"]) for row in desk.ticks if row["kind"] in kinds) == said
        assert {kind for _, kind in said} == set(kinds)


class TestNews:
    def test_headlines_once_over_a_lost_connection(self) -> None:
        with serving(QUIET) as server, running(server, news=True) as desk:
            desk.live()
            at = server.clock.ns
            server.do(server.simulator.news.flash, at, "Duty cut on gold", "To 6 %", ["gold"])
            server.do(lambda: server.simulator.publish([], at))
            desk.until(lambda: desk.ledgers["news"])
            cut(server)
            desk.until(lambda: desk.counters.get("duplicate_news"))  # told again after the reconnect
            (row,) = desk.ledgers["news"]
            assert (row["headline"], row["topics"], row["instruments"], row["urgency"]) == (
                "Duty cut on gold",
                "gold",
                "BBG:GC:202612",
                2,
            )


def test_a_missing_sdk_is_named() -> None:
    with pytest.raises(SdkMissing, match="no_such_sdk"):
        open_feed(BloombergConfig(sdk="no_such_sdk"), Clock())


_WAITING_FOR_EVER: Final = """
import sys, threading, types
from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.source import open_feed
from feeds_simulator.bloomberg import blpapi

started = threading.Event()

class Session(blpapi.Session):
    def start(self):
        started.set()
        threading.Event().wait()

sys.modules["sdk"] = types.SimpleNamespace(**vars(blpapi) | {"Session": Session})
open_feed(BloombergConfig(port=1, sdk="sdk"), lambda: 0).start()
assert started.wait(10)
"""


def test_a_call_of_the_sdk_that_never_returns_does_not_hold_the_process() -> None:
    subprocess.run([sys.executable, "-c", _WAITING_FOR_EVER], check=True, timeout=20)
