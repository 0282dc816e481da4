"""A live market while the broker, PostgreSQL or ClickHouse is away: metrics say so, memory stays, nothing is missing.

On servers that the test kills with -9 and starts again later; the catching up is measured. A simulated venue at a fixed
rate with ingest and the flows: an ingest beside it, with a log of its own that nobody disturbs, says what the venue
sent. And a whole `mandi demo`, over one outage after the other: the venues themselves say what they sent, and a real
Prometheus with the rules and times of the repository says what is wrong. `make chaos ARGS="-k outage"`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import empty_clickhouse, empty_timescale

from mandi.clock import FileClock
from mandi.scrape import scrape
from pipelines.ingest import POSITIONS
from sinks.columns import table_names
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.migrations import migrate_clickhouse, migrate_timescale
from tests.acceptance.reconcile import printed, reconcile
from tests.acceptance.stores import BothStores
from tests.chaos.broker import broker_in
from tests.chaos.harness import FLOWS, Flows, copy_inputs, hashes, tell, until
from tests.chaos.test_demo import Demo, demo
from tests.chaos.test_ingest import client, compare, venue, written
from tests.services.on_call import Receiver, watched

pytestmark = [pytest.mark.timeout(900), pytest.mark.chaos]

AWAY_S = float(os.environ.get("MANDI_TEST_OUTAGE_S", "60"))
RATE = 300
"""Messages a second of the venue."""

USUAL_S = 5.0
"""For so long it is watched how old the newest row of the stores is when nothing is wrong."""

LEAST_FACTOR = 5.0
LONG_S = 60.0  # a shorter outage is not much against the seconds in which its server starts
MOST_GROWTH_MIB = 64.0
VICTIMS = ("ingest", *FLOWS)
CONDITIONS = {
    "broker": ("MandiLogAway", {"service": "ingest"}),
    "timescale": ("MandiSinkRetrying", {"sink": "timescale"}),
    "clickhouse": ("MandiSinkRetrying", {"sink": "clickhouse"}),
}
"""What is told of a demo, by the server that is away."""

DEMO_RATE = "100"
"""Of all venues together. With a broker at 400, its rate otherwise, a demo takes both processors of a small machine."""

AROUND_S = 60.0
"""For so long a server may start, the demo catch up, and be watched before the next one is killed."""


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
        broker = running.enter_context(broker_in(tmp_path / "broker"))
        postgres, clickhouse = EmbeddedPostgres(data_dir), EmbeddedClickHouse(data_dir, port=0)
        running.callback(postgres.stop)
        running.callback(clickhouse.stop)
        stores = BothStores(postgres.start(), clickhouse.start())
        migrate_timescale(stores.timescale)
        migrate_clickhouse(stores.clickhouse)
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
    server = servers.victims[name]
    with (
        venue(tmp_path, RATE) as (simulator, settings),
        client(tmp_path, "reference", settings) as reference,
        client(tmp_path, "victim", {**settings, **servers.environment}) as victim,
    ):
        reference.start("ingest")
        victim.start("ingest")
        until(lambda: written(reference) and victim.end_of(POSITIONS))
        victim.start(*FLOWS, metrics=True)
        now = FileClock(victim.data_dir / "clock.json")
        until(lambda: servers.stores.newest("timescale") and servers.stores.newest("clickhouse"))
        usual_s = oldest_within(USUAL_S, lambda: age_s(now, servers.stores))
        before = resident_mib(victim)
        server.kill()
        until(lambda: metric(victim, server.metric) > 0, every_s=0.5)
        time.sleep(AWAY_S)  # it is what the test is about
        server.start()
        back_s = time.monotonic()
        until(lambda: age_s(now, servers.stores) < usual_s + 0.5, every_s=0.25)
        took_s = time.monotonic() - back_s
        grown = {each: mib - before[each] for each, mib in resident_mib(victim).items()}
        until(lambda: metric(victim, server.metric) == 0, every_s=0.5)
        assert all(victim.is_running(each) for each in VICTIMS)
        simulator.stop("simulate")
        reference.stop("ingest")
        victim.stop("ingest")
        victim.stop("bars")
        victim.stop("timescale", "clickhouse")
        factor = (AWAY_S + took_s) / took_s
        tell(f"{name} away for {AWAY_S:.0f} s at {RATE} messages/s; before that rows were up to {usual_s:.1f} s old")
        tell(f"caught up in {took_s:.1f} s, {factor:.1f} times real time; grown, MiB: {grown}")
        compare(reference.url, victim.url)
        verify_stores(victim, servers.stores, tmp_path / "undisturbed")
    assert max(grown.values()) < MOST_GROWTH_MIB
    if AWAY_S >= LONG_S:
        assert factor >= LEAST_FACTOR


def test_a_demo_over_one_outage_after_the_other(servers: Servers, tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    lasts = ("--duration", f"{len(CONDITIONS) * (AWAY_S + AROUND_S):.0f}s", "--settle", "12s", "--rate", DEMO_RATE)
    with ExitStack() as stack:
        receiver = stack.enter_context(closing(Receiver()))
        running = stack.enter_context(demo(data_dir, *lasts, env=servers.environment))
        until(running.is_up)
        stack.enter_context(watched(tmp_path / "watched", receiver, data_dir / "targets.json", times=1.0))
        until(lambda: servers.stores.newest("timescale") and servers.stores.newest("clickhouse"))
        for name in CONDITIONS:
            over_an_outage(name, servers, running, receiver)
        assert running.process.poll() is None, "the demo was over before its last outage"
        assert running.finish() == 0, running.said
        tell(running.said[-1])
        assert receiver.told("MandiConservationBroken") == []
    found = reconcile(data_dir, servers.stores)
    printed("outages", found, verbose=False)
    assert sum(line.held for line in found.lines) > 0
    assert found.unexplained() == []
    hashes(servers.stores)


def over_an_outage(name: str, servers: Servers, running: Demo, receiver: Receiver) -> None:
    """Kill a server, see that it is told, start it again, and wait until all have caught up.

    How fast is told, and not judged: twenty processes share the machine with the servers.
    """
    server, now = servers.victims[name], FileClock(running.data_dir / "clock.json")
    usual_s = oldest_within(USUAL_S, lambda: age_s(now, servers.stores))
    server.kill()
    killed_s = time.monotonic()
    time.sleep(AWAY_S)  # it is what the test is about
    server.start()
    back_s = time.monotonic()
    until(lambda: age_s(now, servers.stores) < usual_s + 0.5, every_s=0.25)
    took_s = time.monotonic() - back_s
    factor = (back_s - killed_s + took_s) / took_s
    tell(f"a demo without its {name} for {back_s - killed_s:.0f} s; before that rows were up to {usual_s:.1f} s old")
    tell(f"caught up in {took_s:.1f} s, {factor:.1f} times real time")
    alert, labels = CONDITIONS[name]
    until(lambda: receiver.told(alert, **labels))
    tell(f"{alert} was told after {receiver.told(alert, **labels)[0].at_s - killed_s:.0f} s")


def verify_stores(victim: Flows, stores: BothStores, directory: Path) -> None:
    """Both stores hold what a run over a copy of the log gives that nobody disturbs, by hash."""
    counts = {table: stores.count(table) for table in table_names()}
    disturbed = hashes(stores)
    assert min(counts["trades"], counts["quotes"], counts["bars"]) > 100
    copy_inputs(victim.url, (directory / "log").as_uri())
    empty_timescale(stores.timescale)
    empty_clickhouse(stores.clickhouse)
    with Flows(directory, stores.environment) as alone:
        alone.start(*FLOWS)
        both = ("timescale", "clickhouse")
        until(lambda: all(stores.count_in(at, table) == rows for at in both for table, rows in counts.items()))
        alone.stop(*FLOWS)
    assert hashes(stores) == disturbed


def oldest_within(seconds: float, age: Callable[[], float]) -> float:
    end_s, oldest = time.monotonic() + seconds, 0.0
    while time.monotonic() < end_s:
        oldest = max(oldest, age())
        time.sleep(0.1)
    return oldest


def age_s(now: FileClock, stores: BothStores) -> float:
    """How old the newest quote of the staler store is."""
    return (now() - min(stores.newest("timescale"), stores.newest("clickhouse"))) / 1e9


def metric(flows: Flows, name: str) -> float:
    """The highest value of a metric over the flows."""
    return max(scrape([url]).total(name) for url in flows.metrics)


def resident_mib(flows: Flows) -> dict[str, int]:
    return {name: flows.process(name).memory_info().rss >> 20 for name in VICTIMS}
