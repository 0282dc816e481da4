"""A live market while the broker, PostgreSQL or ClickHouse is away: metrics say so, memory stays, nothing is missing.

The demo runs on servers that the test kills with -9 and starts again; what the venues said is then counted against both
stores, and the catching up is measured. `make chaos ARGS="-k outages"`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import pytest

from mandi.clock import FileClock
from mandi.scrape import scrape
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.reconcile import reconcile as compare
from tests.acceptance.reconcile import reconcile
from tests.acceptance.stores import BothStores
from tests.chaos.harness import tell, until
from tests.chaos.test_demo import Demo, demo
from tests.chaos.test_kafka import Broker
from tests.services import kafka
from tests.services.base import Missing

pytestmark = [pytest.mark.timeout(900), pytest.mark.chaos]

AWAY_S = float(os.environ.get("MANDI_TEST_OUTAGE_S", "60"))
BEFORE_S = 8.0
FRESH_S = 5.0
"""Rows in the stores are as old as an epoch of the bars flow and one of the store's, when nothing is behind."""

LEAST_FACTOR = 5.0
MOST_GROWTH_MIB = 64.0


@dataclass(frozen=True)
class Victim:
    """A server: how to end it, how to bring it back, and the metric that says that it is away."""

    kill: Callable[[], None]
    start: Callable[[], object]
    metric: str


@dataclass(frozen=True)
class Servers:
    victims: Mapping[str, Victim]
    stores: BothStores
    environment: Mapping[str, str]


@pytest.fixture
def servers(data_dir: Path, tmp_path: Path) -> Iterator[Servers]:
    """A broker and both stores, of this test's own."""
    with ExitStack() as running:
        (tmp_path / "broker").mkdir()
        try:
            command, port = kafka.prepare(tmp_path / "broker")
            broker = Broker(command, tmp_path / "broker", port, kafka.run(command, tmp_path / "broker", port))
        except Missing as error:
            pytest.skip(f"no kafka: {error}")
        running.callback(lambda: broker.server.stop())
        postgres, clickhouse = EmbeddedPostgres(data_dir), EmbeddedClickHouse(data_dir, port=0)
        running.callback(postgres.stop)
        running.callback(clickhouse.stop)
        stores = BothStores(postgres.start(), clickhouse.start())
        yield Servers(
            {
                "broker": Victim(broker.kill, broker.start, "mandi_log_away"),
                "timescale": Victim(lambda: kill(postgres), postgres.start, "mandi_sink_away"),
                "clickhouse": Victim(lambda: kill(clickhouse), clickhouse.start, "mandi_sink_away"),
            },
            stores,
            {**stores.environment, "MANDI_LOG": broker.url},
        )


def kill(server: EmbeddedPostgres | EmbeddedClickHouse) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.pid != pid)


@pytest.mark.parametrize("name", ["broker", "timescale", "clickhouse"])
def test_a_live_market_over_an_outage(name: str, servers: Servers, tmp_path: Path) -> None:
    victim = servers.victims[name]
    duration_s = BEFORE_S + 1.5 * AWAY_S + 30.0
    words = ("--duration", f"{duration_s:g}s", "--settle", "12s", "--rate", "200")
    with demo(tmp_path / "data", *words, env=servers.environment) as running:
        until(running.is_up)
        until(lambda: age_s(running, servers.stores) < FRESH_S, every_s=0.5)
        with memory_watched(running):
            victim.kill()
            until(lambda: metric(running, victim.metric) > 0, every_s=0.5)
            time.sleep(AWAY_S)  # it is what the test is about
            victim.start()
            back_s = time.monotonic()
            until(lambda: age_s(running, servers.stores) < FRESH_S, every_s=0.25)
            took_s = time.monotonic() - back_s
        until(lambda: metric(running, victim.metric) == 0, every_s=0.5)
        assert running.finish() == 0, running.said
        summary = orjson.loads(running.said[-1])
    factor = (AWAY_S + took_s) / took_s
    tell(f"{name} away for {AWAY_S:.0f} s: caught up in {took_s:.1f} s, {factor:.1f} times real time; {summary}")
    assert summary["rows_in"] == summary["rows_out"] + summary["late"] + summary["rejected"] + summary["conflated"]
    assert compare(servers.stores.timescale, servers.stores.clickhouse, wall_clock=True).first is None
    found = reconcile(tmp_path / "data", servers.stores)
    said, missing = sum(line.said for line in found.lines), sum(line.missing for line in found.lines)
    tell(f"the venues said {said} trades, {missing} are missing, gaps own up to {dict(found.lost)}")
    assert said > 100
    assert found.unexplained() == []
    assert factor >= LEAST_FACTOR


def age_s(running: Demo, stores: BothStores) -> float:
    """How old the newest quote of the staler store is."""
    assert running.process.poll() is None, running.said[-3:]
    newest = min(stores.newest("timescale"), stores.newest("clickhouse"))
    return (FileClock(running.data_dir / "clock.json")() - newest) / 1e9


def metric(running: Demo, name: str) -> float:
    """The highest value of a metric over all processes."""
    urls = orjson.loads((running.data_dir / "endpoints.json").read_bytes())["metrics"]
    return max(scrape([url]).total(name) for url in urls)


@contextmanager
def memory_watched(running: Demo) -> Iterator[None]:
    """Each process may grow by so much while inside."""
    before = resident_mib(running)
    yield
    after = resident_mib(running)
    grown = {name: after[name] - before[name] for name in before.keys() & after.keys()}
    tell("grown, MiB: " + ", ".join(f"{name} {mib:+.0f}" for name, mib in sorted(grown.items())))
    assert max(grown.values()) < MOST_GROWTH_MIB


def resident_mib(running: Demo) -> dict[str, float]:
    children = psutil.Process(running.process.pid).children()
    return {" ".join(child.cmdline()[-2:]): child.memory_info().rss / 2**20 for child in children}
