"""One flow on several processes: killed, frozen and rescaled in parts, and nothing of it shows in the stores."""

import itertools
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from reference import Oracle

from connectors.log import open_reader
from mandi.scrape import scrape
from pipelines.bars import BarsConfig, build
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer
from tests.acceptance.command import REPOSITORY, environment
from tests.acceptance.stores import BothStores
from tests.chaos.harness import DERIVED, Flows, append, growing, tell, until, verify
from tests.chaos.logs import records_of
from tests.chaos.market import WIDE, Market

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def test_other_numbers_of_workers_go_on_where_the_last_ones_were(log_url: str, tmp_path: Path) -> None:
    """In one process, 1 -> 2 -> 4 -> 1 threads, with more of the log each time: every bar of the oracle, once."""
    market = Market(seed=7)
    for workers in (1, 2, 4, 1):
        append(log_url, market, 12)
        stop = threading.Event()
        stop.set()  # a flow that is told to stop drains what is there
        config = BarsConfig(
            open_reader=partial(open_reader, log_url),
            open_writer=partial(open_writer, log_url),
            now=lambda: 0,
            stop=stop,
            sample_ns=None,
        )
        run_flow("bars", partial(build, config), tmp_path / "bars", workers=workers)
    found = bars_in(log_url)
    expected = [values for oracle in market.oracles.values() for values in keys_of(oracle)]
    assert len(expected) > 500
    assert sorted(found) == sorted(expected)  # none missing, none twice


def bars_in(url: str) -> list[tuple]:
    reader = open_reader(url)
    rows = [row for record in records_of(reader, DERIVED) if record.batch for row in record.batch.to_pylist()]
    reader.close()
    names = ("instrument", "interval", "ts_open", "revision", "open", "high", "low", "close", "trades")
    return [tuple(row[name] for name in names) for row in rows if row["final"]]


def keys_of(oracle: Oracle) -> list[tuple]:
    return [(*bar[1:9], bar[11]) for bar in oracle.published]


@pytest.mark.parametrize(
    "blow",
    [pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.chaos), pytest.param(signal.SIGSTOP, id="frozen")],
)
def test_a_group_of_which_one_is_killed_or_frozen_starts_again_as_a_group(blow: signal.Signals, tmp_path: Path) -> None:
    """And then goes on as one process: every bar of the oracle, none in two versions."""
    market = Market(seed=8)
    with Flows(tmp_path, {}, short_epochs=True) as flows:
        append(flows.url, market, 10)
        flows.start("bars", words=("--processes", "2"))
        until(lambda: flows.end_of() > 0)
        strike(flows, blow, random.Random(8), lambda: append(flows.url, market, 10))
        flows.stop("bars")
        append(flows.url, market, 10)
        flows.start("bars")
        expected = {values for oracle in market.oracles.values() for values in keys_of(oracle)}
        until(lambda: set(bars_in(flows.url)) >= expected)
        flows.stop("bars")
        assert set(bars_in(flows.url)) == expected


def test_a_group_whose_state_does_not_fit_the_log_begins_again(tmp_path: Path) -> None:
    """One of its processes refuses the state, and the others are torn along: the reason is told all the same."""
    market, another = Market(seed=10, shards=WIDE), Market(seed=11, shards=WIDE)
    with Flows(tmp_path, {}, short_epochs=True) as flows:
        append(flows.url, market, 20)
        flows.start("bars", words=("--processes", "2"))
        until(lambda: flows.end_of() > 0)
        flows.stop("bars")
        shutil.rmtree(tmp_path / "log")  # and another log, with as much in it
        append(flows.url, another, 30)
        flows.start("bars", words=("--processes", "2"), metrics=True)
        expected = {values for oracle in another.oracles.values() for values in keys_of(oracle)}
        until(lambda: set(bars_in(flows.url)) >= expected)
        assert scrape(flows.metrics).by_label("mandi_flow_rebuilds_total", "flow") == {"bars": 1.0}
        flows.stop("bars")
        assert set(bars_in(flows.url)) == expected
        said = (tmp_path / "bars.out").read_text()
        assert said.count("dropped and rebuilt from the log") == 1
        assert "the state of bars.prices expects the record it read last of market.prices." in said
        assert "Traceback" not in said


LONG = [*itertools.product((1, 2, 4, 1), (signal.SIGKILL, signal.SIGSTOP)), (2, None)]


@pytest.mark.chaos
@pytest.mark.timeout(1800)  # eighteen starts of up to four processes on a log that grows all the while
def test_a_group_that_is_killed_frozen_and_rescaled_changes_nothing(stores, tmp_path) -> None:
    market, chance = Market(seed=9), random.Random(9)
    with Flows(tmp_path / "victim", stores.environment, short_epochs=True) as flows:
        append(flows.url, market, 30)
        with growing(flows.url, market, pause_s=0.1):
            flows.start("timescale", words=("--processes", "2"))
            flows.start("clickhouse", words=("--processes", "2"))
            for processes, blow in LONG * 2:
                flows.start("bars", words=("--processes", str(processes), "--workers", "2"))
                until_more(flows)
                if blow is not None:
                    strike(flows, blow, chance)
                time.sleep(chance.uniform(0, 1))  # a random moment of its work is what the test is about
                flows.stop("bars")
        flows.start("bars")
        verify(flows, stores, market, tmp_path / "undisturbed")


def until_more(flows: Flows) -> None:
    before = flows.end_of()
    until(lambda: flows.end_of() > before)


def strike(
    flows: Flows, blow: signal.Signals, chance: random.Random, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Kill or freeze one process of the group; all of them are replaced."""
    group = flows.members("bars")
    began_s = time.monotonic()
    chance.choice(group).send_signal(blow)
    until(lambda: not any(process.is_running() for process in group))
    noticed_s = time.monotonic() - began_s
    before = flows.end_of()
    meanwhile()
    until(lambda: flows.end_of() > before)
    on_s = time.monotonic() - began_s
    tell(f"{blow.name} of one of {len(group)}: noticed after {noticed_s:.1f} s, going on after {on_s:.1f} s")


def test_the_group_dies_with_its_launcher_and_listens_on_loopback_alone(tmp_path: Path) -> None:
    """Also who is frozen: the lock of the flow is free again, and nobody is left who could write."""
    with Flows(tmp_path, {}) as flows:
        flows.start("bars", words=("--processes", "2"))
        until(
            lambda: len(flows.members("bars")) == 2 and all(len(listening(p)) == 1 for p in flows.members("bars")[:1])
        )
        group = flows.members("bars")
        assert {address for process in group for address in listening(process)} <= {"127.0.0.1"}
        second = run_again(tmp_path)
        assert second.returncode == 1
        assert "already running here" in second.stderr
        group[1].send_signal(signal.SIGSTOP)
        flows.kill("bars")
        until(lambda: not any(process.is_running() for process in group))


def listening(process: psutil.Process) -> list[str]:
    return [found.laddr.ip for found in process.net_connections("tcp") if found.status == psutil.CONN_LISTEN]


def run_again(directory: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mandi", "run", "bars", "--data-dir", str(directory)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
