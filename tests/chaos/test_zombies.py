"""Zombies: processes that were frozen, and wake up when others do their work. They are shut out, or change nothing."""

import signal
import time
from pathlib import Path

import pytest

from pipelines.ingest import POSITIONS
from tests.acceptance.stores import BothStores
from tests.chaos.broker import Broker
from tests.chaos.harness import FLOWS, Flows, append, growing, tell, until, verify
from tests.chaos.market import Market
from tests.chaos.test_cluster import bars_in, keys_of
from tests.chaos.test_ingest import client, compare, venue, written

pytestmark = pytest.mark.timeout(900)

STORES = ("timescale", "clickhouse")


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def test_a_zombie_whose_supervisor_died_keeps_out_who_would_replace_it_and_ends_when_it_wakes_up(
    tmp_path: Path,
) -> None:
    market, log = Market(seed=13), tmp_path / "logs" / "bars.log"
    with Flows(tmp_path, {}, commands={"first": ("run", "bars", "book"), "second": ("run", "bars", "book")}) as flows:
        append(flows.url, market, 10)
        flows.start("first")
        until(lambda: flows.end_of() > 0)
        zombie = next(process for process in flows.members("first") if "bars" in process.cmdline())
        zombie.send_signal(signal.SIGSTOP)
        flows.kill("first")
        try:
            flows.start("second")
            until(lambda: f"already running here, as process {zombie.pid}" in log.read_text())
            append(flows.url, market, 10)
        finally:
            zombie.send_signal(signal.SIGCONT)
        woke_s = time.monotonic()
        until(lambda: not zombie.is_running())
        until(lambda: set(bars_in(flows.url)) >= expected_of(market))
        tell(f"a zombie that woke up was gone, and its bars were there, after {time.monotonic() - woke_s:.1f} s")
        assert set(bars_in(flows.url)) == expected_of(market)
        flows.stop("second")


@pytest.mark.parametrize("words", [pytest.param((), id="one"), pytest.param(("--processes", "2"), id="group")])
def test_a_zombie_of_another_machine_is_shut_out_of_the_log(
    words: tuple[str, ...], broker: Broker, tmp_path: Path
) -> None:
    """Two data directories stand for two machines. A group is frozen whole, with its launcher."""
    market, url, log = Market(seed=14), broker.url, tmp_path / "zombie" / "bars.out"
    settings = {"MANDI_LOG": url}
    with Flows(tmp_path / "zombie", settings) as zombie, Flows(tmp_path / "other", settings) as other:
        append(url, market, 10)
        zombie.start("bars", words=words)
        until(lambda: zombie.end_of() > 0)
        frozen = [zombie.process("bars"), *zombie.members("bars")]
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        append(url, market, 10)
        other.start("bars")
        until(lambda: set(bars_in(url)) >= expected_of(market))
        for process in reversed(frozen):
            process.send_signal(signal.SIGCONT)
        append(url, market, 10)
        if words:  # a launcher starts again, and shuts out the other one: two that are restarted take turns
            until(lambda: "the group of 2 starts again" in log.read_text())
            zombie.kill("bars")
        else:
            assert zombie.ended("bars") == 1
            assert "another writer took" in zombie.said("bars").splitlines()[-1]
            tell(zombie.said("bars").splitlines()[-1])
        until(lambda: set(bars_in(url)) >= expected_of(market) or not other.is_running("bars"))
        if not other.is_running("bars"):
            other.start("bars")
        until(lambda: set(bars_in(url)) >= expected_of(market))
        other.stop("bars")
        assert set(bars_in(url)) == expected_of(market)


def expected_of(market: Market) -> set[tuple]:
    return {values for oracle in market.oracles.values() for values in keys_of(oracle)}


def test_an_ingest_that_wakes_up_when_another_one_has_its_session_is_shut_out(broker: Broker, tmp_path: Path) -> None:
    """Next to an ingest that nobody disturbs."""
    with (
        venue(tmp_path) as (simulator, settings),
        client(tmp_path, "reference", settings) as reference,
        client(tmp_path, "zombie", {**settings, "MANDI_LOG": (url := broker.url)}) as zombie,
        client(tmp_path, "other", {**settings, "MANDI_LOG": url}) as other,
    ):
        reference.start("ingest")
        zombie.start("ingest")
        until(lambda: written(reference) and zombie.end_of(POSITIONS))
        frozen = zombie.process("ingest")
        frozen.send_signal(signal.SIGSTOP)
        other.start("ingest")
        before = written(other)
        until(lambda: written(other) > before + 5)
        frozen.send_signal(signal.SIGCONT)
        assert zombie.ended("ingest") == 1
        assert "another writer took" in zombie.said("ingest").splitlines()[-1]
        tell(zombie.said("ingest").splitlines()[-1])
        before = written(other)
        until(lambda: written(other) > before + 5)
        simulator.stop("simulate")
        reference.stop("ingest")
        other.stop("ingest")
        compare(reference.url, url)


def test_store_flows_that_wake_up_beside_others_change_nothing(stores: BothStores, tmp_path: Path) -> None:
    """Another machine begins at the start of the log, and writes the same rows: each is there once."""
    market = Market(seed=15)
    with (
        Flows(tmp_path / "zombie", stores.environment) as zombie,
        Flows(tmp_path / "other", {**stores.environment, "MANDI_LOG": zombie.url}) as other,
    ):
        append(zombie.url, market, 30)
        with growing(zombie.url, market, pause_s=0.1):
            zombie.start(*FLOWS)
            until(lambda: all(stores.count_in(name, "bars") for name in STORES))
            frozen = [zombie.process(name) for name in STORES]
            for process in frozen:
                process.send_signal(signal.SIGSTOP)
            other.start(*STORES)
            until_more_bars(stores)
            for process in frozen:
                process.send_signal(signal.SIGCONT)
            until_more_bars(stores)  # of both
        other.stop(*STORES)
        verify(zombie, stores, market, tmp_path / "undisturbed")


def until_more_bars(stores: BothStores) -> None:
    before = {name: stores.count_in(name, "bars") for name in STORES}
    until(lambda: all(stores.count_in(name, "bars") > before[name] for name in STORES))
