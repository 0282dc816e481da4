"""The connector against the simulated venue, over a real socket: every trade once, whatever goes wrong on the way."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.cme.config import CmeConfig
from connectors.cme.dialects import DIALECTS
from connectors.cme.source import open_feed
from feeds_simulator.cme.server import CmeSimulator, SimulatorConfig
from market.schemas import DELETE, DIRTY, IMAGE, INSERT, QUOTE, SET, TRADE
from tests.feeds_simulator.scripted_market import KEYS, PRODUCTS, ScriptedMarket

DEADLINE_S = 15.0


class Venue:
    """A simulator in a thread of its own."""

    def __init__(self, dialect: str) -> None:
        self.market = ScriptedMarket()
        config = SimulatorConfig(dialect=dialect)
        self.simulator = CmeSimulator(config, time.time_ns, market=self.market)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main()))
        self._thread.start()
        assert self._up.wait(DEADLINE_S)

    async def _main(self) -> None:
        await self.simulator.run(self._stop, lambda _port: self._up.set())

    def do(self, action: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE_S)

    def trade(self, count: int) -> None:
        self.do(lambda: self.market.random_actions(count, time.time_ns()))

    def cut(self) -> None:
        self.do(lambda: [link.abort() for link in list(self.simulator._links)])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class Desk:
    def __init__(self, venue: Venue, dialect: str, resume: dict[str, Any] | None = None) -> None:
        config = CmeConfig(
            host="127.0.0.1",
            port=venue.simulator.port,
            password="demo-secret",
            dialect=DIALECTS[dialect],
            products=PRODUCTS,
            months=1,
        )
        self.ticks: list[dict[str, Any]] = []
        self.depth: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.quality: dict[str | None, str] = {}
        self.positions: dict[str, Any] = {}
        self.counters: dict[str, int] = {}
        self.feed = open_feed(config, time.time_ns, resume)
        self.feed.start()

    def take(self) -> None:
        flush = self.feed.take()
        for _, batch in flush.ticks:
            self.ticks += batch.to_pylist()
        for _, batch in flush.depth:
            self.depth += batch.to_pylist()
        if flush.gaps is not None:
            self.gaps += flush.gaps.to_pylist()
        if flush.status is not None:
            self.quality |= {row["instrument"]: row["quality"] for row in flush.status.to_pylist()}
        self.positions, self.counters = dict(flush.positions), dict(flush.counters)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, (self.counters, self.quality, self.gaps[-3:])
            self.feed.wait(0.02)
            self.take()

    def live(self) -> None:
        self.until(lambda: all(self.quality.get(key) == "LIVE" for key in KEYS))

    @property
    def trade_ids(self) -> list[str]:
        return [row["trade_id"] for row in self.ticks if row["kind"] == TRADE]

    def trades(self) -> Counter[str]:
        return Counter(row["instrument"] for row in self.ticks if row["kind"] == TRADE)

    def ladder(self, key: str) -> tuple[list[int], list[int]]:
        """The book as the depth rows tell it, by a rule as slow and obvious as can be."""
        sides: dict[int, list[int]] = {1: [], -1: []}
        for row in self.depth:
            if row["instrument"] != key:
                continue
            at, price = (row["level"] or 0) - 1, row["price"]
            levels = sides.get(row["side"], [])
            if row["action"] == IMAGE:
                sides = {1: [], -1: []}
            elif row["action"] == INSERT:
                levels.insert(at, price)
                del levels[10:]
            elif row["action"] == SET:
                levels[at : at + 1] = [price]
            elif row["action"] == DELETE:
                del levels[at]
        return sides[1], sides[-1]


@pytest.fixture(params=["levels-44", "levels-50"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def venue(dialect: str) -> Iterator[Venue]:
    venue = Venue(dialect)
    venue.do(lambda: venue.market.open(time.time_ns()))
    yield venue
    venue.close()


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    desks: list[Desk] = []
    yield desks
    for desk in desks:
        desk.feed.stop()


def test_every_trade_once_and_books_as_the_venue_has_them(venue: Venue, desks: list[Desk], dialect: str) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    venue.trade(1_000)
    desk.until(lambda: desk.trades() == venue.market.trades)
    time_of_last = max(row["ts_event"] for row in desk.ticks if row["kind"] == TRADE)
    assert time_of_last > 0
    instruments = venue.simulator.venue._instruments
    scale = {"GC": 10**8, "CL": 10**7, "ZW": 25 * 10**7}
    for key in KEYS:
        bids, asks = venue.do(lambda key=key: instruments[key].sides)
        tick = scale[key[5:7]]

        def same(key: str = key, bids: Any = bids, asks: Any = asks, tick: int = tick) -> bool:
            return desk.ladder(key) == ([lv.price * tick for lv in bids], [lv.price * tick for lv in asks])

        desk.until(same)
    assert desk.gaps == []


def test_cuts_lose_no_trade(venue: Venue, desks: list[Desk], dialect: str) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    for _ in range(3):
        venue.trade(300)
        venue.cut()
        venue.trade(300)
        desk.until(lambda: desk.trades() == venue.market.trades)
    desk.live()
    assert desk.trade_ids == sorted(desk.trade_ids, key=desk.trade_ids.index)
    assert len(set(desk.trade_ids)) == len(desk.trade_ids)
    assert any(row["resolution"] == "replay" for row in desk.gaps)


@pytest.mark.parametrize("fault", ["drop_every", "garble_every", "duplicate_every", "swap_every"])
def test_faults_on_the_wire_lose_no_trade(venue: Venue, desks: list[Desk], dialect: str, fault: str) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    setattr(venue.simulator.faults, fault, 97)
    venue.trade(400)
    desk.until(lambda: venue.simulator.faults.done.total() > 0)
    setattr(venue.simulator.faults, fault, 0)
    venue.trade(50)
    desk.until(lambda: desk.trades() == venue.market.trades)
    assert sorted(desk.trade_ids) == sorted(i for ids in venue.market.trade_ids.values() for i in ids)


def test_a_process_that_was_killed_is_followed_by_one_that_misses_nothing(
    venue: Venue, desks: list[Desk], dialect: str
) -> None:
    desks.append(first := Desk(venue, dialect))
    first.live()
    venue.trade(200)
    first.until(lambda: first.trades().total() > 50)
    positions, before = first.positions, first.trades()
    first.feed.stop()
    venue.trade(200)
    desks.append(second := Desk(venue, dialect, positions))
    second.until(lambda: before + second.trades() == venue.market.trades)
    second.live()
    assert not set(first.trade_ids[: before.total()]) & set(second.trade_ids)


def test_the_best_prices_are_those_of_the_ladder(venue: Venue, desks: list[Desk], dialect: str) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    venue.trade(300)
    desk.until(lambda: desk.trades() == venue.market.trades)
    for key in KEYS:
        quote = [row for row in desk.ticks if row["kind"] == QUOTE and row["instrument"] == key][-1]
        bids, asks = desk.ladder(key)
        assert (quote["bid_price"], quote["ask_price"]) == (bids[0], asks[0])


@pytest.mark.parametrize("dialect", ["entries-44", "plain-44", "images-44"])
def test_other_dialects_tell_the_same_trades(venue: Venue, desks: list[Desk], dialect: str) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    venue.trade(300)
    missing = 3 if dialect == "images-44" else 0  # there the first trade of each may be one of before
    desk.until(lambda: (venue.market.trades - desk.trades()).total() <= missing)
    assert sum(row["action"] == DIRTY for row in desk.depth) == len(KEYS)  # at log-on, and never again


@pytest.mark.parametrize("dialect", ["levels-44"])
def test_what_the_venue_will_not_resend_is_a_row_in_gaps(venue: Venue, desks: list[Desk], dialect: str) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    venue.simulator.faults.refuse_replay = True
    venue.simulator.faults.drop_every = 50
    venue.trade(300)
    desk.until(lambda: any(row["reason"] == "sequence_reset" for row in desk.gaps))
    venue.simulator.faults.drop_every = 0
    venue.trade(20)
    last = venue.market.trade_ids[KEYS[0]][-1]
    desk.until(lambda: last in desk.trade_ids and desk.quality[KEYS[0]] == "LIVE")
    told = [trade_id for ids in venue.market.trade_ids.values() for trade_id in ids]
    lost = set(told) - set(desk.trade_ids)
    closed = {row["gap_id"]: row["seq_to"] - row["seq_from"] + 1 for row in desk.gaps if row["ts_resolved"] is not None}
    assert len(desk.trade_ids) == len(set(desk.trade_ids))
    assert len(lost) <= sum(closed.values())
    assert {row["gap_id"] for row in desk.gaps} == set(closed)


@pytest.mark.parametrize("dialect", ["levels-44"])
def test_case_19_a_venue_with_a_wrong_clock_is_left_and_found_again(
    venue: Venue, desks: list[Desk], dialect: str
) -> None:
    desks.append(desk := Desk(venue, dialect))
    desk.live()
    venue.simulator.faults.clock_offset_s = -300.0
    venue.trade(5)
    desk.until(lambda: desk.quality[None] == "STALE" and desk.counters.get("clock_skew", 0) > 0)
    venue.simulator.faults.clock_offset_s = 0.0
    desk.until(lambda: desk.quality[None] == "LIVE")
    desk.until(lambda: desk.trades() == venue.market.trades)
