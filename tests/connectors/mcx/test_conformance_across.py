"""The conformance cases that concern several venues: COMEX gold over FIX, MCX gold over Kite's WebSocket and USDINR
from Bloomberg, each a real server on a real socket with its real feed, compared by the kernel that compares them.

One clock is shared and stands until the test moves it: days pass between two lines.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from typing import Any

import pyarrow as pa
from bloomberg_server import Clock, S

from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.source import open_feed as open_bloomberg
from feeds_simulator.bloomberg.server import BloombergSimulator
from feeds_simulator.bloomberg.server import SimulatorConfig as BloombergServer
from feeds_simulator.events import Listing
from market.arbitrage import ArbitrageKernel
from market.instruments import InstrumentMaster
from market.kernel import arrivals
from market.opportunities import Caution
from market.parity import land, terms_of
from market.reference import Reference, read_reference
from tests.connectors.mcx.venues import Venue, comex, mcx, ns

DEADLINE_S = 12.0
MCX, COMEX, USDINR = "XIMC:GOLD:202702", "XCEC:GC:202702", "BBG:USDINR:SPOT"
CUT = date(2026, 12, 11)  # a Friday
GOLD, RATE = Fraction(4150), Fraction("95.6")


def duty_cut(name: str) -> str:
    """The reference data, with the duty on gold cut from 15 % to 6 % on a day."""
    text = files("market").joinpath("data").joinpath(name).read_text(encoding="utf-8")
    for component, old, new in (("BCD", "0.10", "0.05"), ("AIDC", "0.05", "0.01")):
        row = f"gold,{component},{old},tariff,2026-05-13,"
        assert name != "duties.csv" or f"{row},verified" in text
        text = text.replace(
            f"{row},verified", f"gold,{component},{new},tariff,{CUT},,assumed,test\n{row}2026-12-10,verified"
        )
    return text


class Desk:
    """All three, and the kernel that compares them."""

    def __init__(self, at: str, reference: Reference | None = None) -> None:
        self.clock = Clock(ns(at))
        clock = self.clock
        self.fx = Venue(
            USDINR,
            [Listing("USDINR", USDINR, Decimal("0.0025"))],
            clock,
            lambda port, market: BloombergSimulator(BloombergServer(port=port, news_every_s=1e9), clock, market=market),
            lambda server: open_bloomberg(BloombergConfig(port=server.port, keys=(USDINR,), news=False), clock),
        )
        self.comex, self.mcx = comex(clock, COMEX, "XCEC:GC:202612"), mcx(clock, MCX)
        self.venues = (self.fx, self.comex, self.mcx)
        caution = Caution(learn_s=3)
        reference = reference or Reference.load()
        self.kernel = ArbitrageKernel(caution=caution, reference=reference)
        self.said: list[dict[str, Any]] = []
        self._rows = 0

    def open(self, mcx: Fraction) -> None:
        self.fx.open(round(RATE / Fraction("0.0025")))
        self.comex.open(round(GOLD * 10))
        self.mcx.open(round(mcx))

    def seconds(self, count: int, *, mcx: Fraction | None = None, comex: bool = True) -> list[dict[str, Any]]:
        """Let seconds pass in which everybody quotes (a price of MCX in rupees); return what the kernel says."""
        before = len(self.said)
        for _ in range(count):
            self.clock.ns += S
            self.fx.quote(round(RATE / Fraction("0.0025")))
            if comex:
                self.comex.quote(round(GOLD * 10))
            if mcx is not None:
                self.mcx.quote(round(mcx))
            self.compare()
        return self.said[before:]

    def compare(self) -> None:
        for venue in self.venues:
            venue.take()
            for batch in venue.batches:
                rows = pa.array(range(self._rows, self._rows + batch.num_rows), pa.int64())
                found = self.kernel.on_batch(arrivals(batch, "test", rows, rows)).get("arbitrage")
                self.said += [] if found is None else found.to_pylist()
                self._rows += batch.num_rows
            venue.batches.clear()

    def close(self) -> None:
        for venue in self.venues:
            venue.feed.stop()
            venue.down()


@contextmanager
def desk(at: str, mcx: Fraction, reference: Reference | None = None) -> Iterator[Desk]:
    made = Desk(at, reference)
    try:
        made.open(mcx)
        yield made
    finally:
        made.close()


def landed(reference: Reference, on: date) -> Fraction:
    route = next(one for one in reference.routes_of("gold", on) if one.value.local == ("XIMC", "GOLD"))
    return land(terms_of(reference, InstrumentMaster.load(), route, on), GOLD, RATE).landed


def test_case_29_a_duty_that_changes_is_computed_anew_and_told() -> None:
    reference = read_reference(duty_cut)
    dear, cheap = (landed(reference, on) for on in (date(2026, 12, 10), CUT))
    with desk("2026-12-10T10:00:00", dear, reference) as at:
        watched = at.seconds(5, mcx=dear)[-1]
        assert (watched["state"], watched["cost_duty"] != 0) == ("watch", True)
        at.clock.ns = ns("2026-12-11T06:00:00")  # the next day, in force since midnight in India
        told = at.seconds(3, mcx=dear)[-1]
        assert told["state"] == "silent"
        assert told["reason"].startswith("policy_shock")
        assert "gold" in told["assumed"]  # the row that nobody verified
        again = at.seconds(4, mcx=cheap)[-1]
        assert (again["state"], again["direction"]) == ("watch", watched["direction"])
        assert abs(again["cost_duty"] - watched["cost_duty"] * Fraction(6, 15)) < 1
        assert dear - cheap > 10_000


def test_case_30_one_venue_away_for_hours_suspends_parity_and_nothing_else() -> None:
    fair = landed(Reference.load(), date(2026, 12, 10))
    with desk("2026-12-10T10:00:00", fair) as at:
        assert at.seconds(5, mcx=fair)[-1]["state"] == "watch"
        at.comex.down()
        at.comex.until(lambda: at.comex.states.get(None) == "STALE")
        before = at.mcx.quotes
        for hour in range(3):
            at.clock.ns = ns(f"2026-12-10T{11 + hour}:00:00")
            at.seconds(2, mcx=fair, comex=False)
        assert at.mcx.quotes - before == 6
        assert at.said[-1]["state"] == "silent"
        assert COMEX in at.said[-1]["reason"]
        at.comex.up()
        at.comex.open(round(GOLD * 10))
        assert at.seconds(5, mcx=fair)[-1]["state"] == "watch"


def test_case_30_a_holiday_of_one_country_suspends_parity() -> None:
    """Republic Day 2027: MCX has no session, COMEX has; nothing is compared, and COMEX goes on."""
    fair = landed(Reference.load(), date(2027, 1, 26))
    with desk("2027-01-26T10:00:00", fair) as at:
        at.seconds(5, mcx=fair)
        assert {row["state"] for row in at.said} == {"silent"}
        assert at.said[-1]["reason"] == f"closed: {MCX}: closed"
        assert at.comex.quotes == at.mcx.quotes == 6
        status = at.kernel._quality.counts()
        assert (status["XIMC", "CLOSED"], status["XCEC", "LIVE"]) == (1, 1)
