"""The market of MCX, simulated, through ingest into a log: what is in the log is what the simulator says it sent."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from log_support import read_all

from connectors.log import open_reader
from connectors.mcx.config import McxConfig
from connectors.mcx.source import open_feed
from feeds_simulator.events import Event
from feeds_simulator.faults import Faults
from feeds_simulator.mcx.symbols import kite_symbol
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from market import topics
from market.schemas import CLOCK, QUOTE, STATE, TRADE
from pipelines import ingest
from sinks.log import open_writer
from tests.connectors.mcx.desk import DEADLINE_S, Clock, Exchange

E9 = 10**9
COMMODITIES = ("copper", "cotton", "gold", "natgas", "silver", "wti")
RATE = 2_000.0


class Ending:
    """The market of the model, which the test can end."""

    def __init__(self, clock: Clock) -> None:
        profiles = PROFILES["mcx"]
        self._model = MarketModel(
            ModelConfig(start_ns=clock(), rate=RATE, profiles=profiles, symbol_of=kite_symbol, always_open=True)
        )
        self.listings = self._model.listings
        self.ended = False

    @property
    def next_ns(self) -> int:
        return 1 << 62 if self.ended else self._model.next_ns

    def pull(self, until_ns: int, max_actions: int) -> Sequence[Sequence[Event]]:
        return [] if self.ended else self._model.pull(until_ns, max_actions)

    def skip_to(self, ts_ns: int) -> None:
        self._model.skip_to(ts_ns)


@pytest.fixture
def mcx() -> Iterator[Exchange]:
    clock = Clock()
    exchange = Exchange(clock, market=Ending(clock))
    yield exchange
    exchange.close()


class Ingest:
    """The dataflow in a thread, on a log in a directory."""

    def __init__(self, mcx: Exchange, directory: Path) -> None:
        self._url, self._stop = directory.as_uri(), threading.Event()
        feed = McxConfig(
            url=mcx.url,
            rest_url=mcx.rest_url,
            api_key=mcx.config.api_key,
            access_token=lambda: mcx.config.access_token,
            rest_interval_s=0.05,
        )
        config = ingest.IngestConfig(
            feeds={"mcx": partial(open_feed, feed)},
            open_reader=partial(open_reader, self._url),
            open_writer=partial(open_writer, self._url),
            now=mcx.clock,
            stop=self._stop,
        )
        self._thread = threading.Thread(target=ingest.run, args=(config,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)

    def rows(self, kind: str = "ticks") -> list[dict[str, Any]]:
        reader = open_reader(self._url)
        found: list[dict[str, Any]] = []
        for commodity in COMMODITIES:
            for record in read_all(reader, topics.prices(commodity)):
                if record.kind == kind and record.batch is not None:
                    found += record.batch.to_pylist()
        return found


def run_for(mcx: Exchange, directory: Path, seconds: float) -> Ingest:
    """Ingest a running market for so long; everything the venue said is in the log afterwards."""
    running = Ingest(mcx, directory)
    mcx.until(lambda: len(mcx.simulator.venue.clients) == 1)
    time.sleep(seconds)
    mcx.do(lambda: setattr(mcx.market, "ended", True))
    time.sleep(1.5)  # what was sent arrives, images included
    running.stop()
    return running


def test_counts_in_the_log_are_those_of_the_simulator(mcx: Exchange, tmp_path: Path) -> None:
    running = run_for(mcx, tmp_path, 2.0)
    rows = running.rows()
    counters = mcx.simulator.counters
    by_kind = {
        kind: Counter(row["instrument"] for row in rows if row["kind"] == kind) for kind in (TRADE, QUOTE, CLOCK, STATE)
    }
    assert by_kind[TRADE] == +counters.trades
    assert by_kind[QUOTE] == +counters.quotes
    lots: Counter[str] = Counter()
    for row in rows:
        if row["kind"] == TRADE:
            lots[row["instrument"]] += row["size"] // E9
    assert lots == +counters.lots
    assert by_kind[TRADE].total() > 100
    assert by_kind[QUOTE].total() > 1_000
    assert by_kind[CLOCK].total() > 0
    assert len(by_kind[TRADE]) >= 8
    books = by_side(running.rows("depth"))
    for contract in mcx.simulator.board.contracts:
        if contract.state.stamped_ns:
            bids = {price * 10**7: (qty * E9, orders) for price, qty, orders in contract.state.bids}
            assert books[contract.key, 1] == bids


def by_side(depth: list[dict[str, Any]]) -> dict[tuple[str, int], dict[int, tuple[int, int]]]:
    """Fold changes of depth into books."""
    books: dict[tuple[str, int], dict[int, tuple[int, int]]] = {}
    for row in depth:
        if row["action"] == 0:
            books[row["instrument"], 1], books[row["instrument"], -1] = {}, {}
        elif row["action"] == 1:
            books[row["instrument"], row["side"]][row["price"]] = (row["size"], row["orders"])
        elif row["action"] == 2:
            del books[row["instrument"], row["side"]][row["price"]]
    return books


@pytest.mark.parametrize("fault", [{"drop_every": 7}, {"duplicate_every": 3}, {"garble_every": 9}])
def test_states_make_up_for_what_the_wire_does(mcx: Exchange, tmp_path: Path, fault: dict[str, int]) -> None:
    """No lot is lost by a lost message: the next state has it in its volume."""
    for name, value in fault.items():
        setattr(mcx.simulator.faults, name, value)
    running = Ingest(mcx, tmp_path)
    mcx.until(lambda: len(mcx.simulator.venue.clients) == 1)
    time.sleep(1.5)

    def mend_and_end() -> None:
        mcx.simulator.faults.__init__()  # type: ignore[misc]
        for contract in mcx.simulator.board.contracts:
            for client in mcx.simulator.venue.clients:
                mcx.simulator.venue.dialect.state(client, contract)
        mcx.market.ended = True  # type: ignore[attr-defined]

    assert isinstance(mcx.simulator.faults, Faults)
    mcx.do(mend_and_end)
    time.sleep(1.5)
    running.stop()
    lots: Counter[str] = Counter()
    for row in running.rows():
        if row["kind"] == TRADE:
            lots[row["instrument"]] += row["size"] // E9
    assert lots.total() > 100
    assert lots == +mcx.simulator.counters.lots
