"""kill -9 of a store while the flows write into it: every row once, and the flows go on by themselves."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.migrations import migrate_clickhouse, migrate_timescale
from tests.acceptance.stores import BothStores
from tests.chaos.harness import FLOWS, Flows, Stopwatch, append, growing, until, verify
from tests.chaos.market import Market

pytestmark = pytest.mark.timeout(900)

Server = EmbeddedPostgres | EmbeddedClickHouse


@pytest.fixture
def servers(data_dir: Path) -> Iterator[dict[str, Server]]:
    """Both servers, for this test alone, since it kills them."""
    postgres, clickhouse = EmbeddedPostgres(data_dir), EmbeddedClickHouse(data_dir, port=0)
    try:
        migrate_timescale(postgres.start())
        migrate_clickhouse(clickhouse.start())
        yield {"timescale": postgres, "clickhouse": clickhouse}
    finally:
        postgres.stop()
        clickhouse.stop()


@pytest.mark.parametrize("kills", [pytest.param(1, id="short"), pytest.param(8, id="long", marks=pytest.mark.chaos)])
def test_a_killed_store_gets_every_row_once(kills, servers, tmp_path) -> None:
    stores = BothStores(servers["timescale"].dsn, servers["clickhouse"].url)
    market = Market(seed=3)
    resumed = {name: Stopwatch(f"{name}: from its server's restart to the next row") for name in servers}
    restarted = {name: Stopwatch(f"{name}: from kill -9 of the server until it answers") for name in servers}
    with Flows(tmp_path / "victim", stores.environment) as flows:
        append(flows.url, market, 50)
        with growing(flows.url, market):
            flows.start(*FLOWS)
            for _ in range(kills):
                for name, server in servers.items():
                    kill_and_restart(name, server, stores, restarted[name], resumed[name])
        verify(flows, stores, market, tmp_path / "undisturbed")
    for stopwatch in (*restarted.values(), *resumed.values()):
        stopwatch.report()


def kill_and_restart(name: str, server: Server, stores: BothStores, restarted: Stopwatch, resumed: Stopwatch) -> None:
    before = stores.count_in(name, "trades")
    until(lambda: stores.count_in(name, "trades") > before)  # its flow is writing
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with restarted.measure():
        until(lambda: server.pid != pid)
        server.start()
    before = stores.count_in(name, "trades")
    with resumed.measure():
        until(lambda: stores.count_in(name, "trades") > before)


@pytest.mark.parametrize("name", ["timescale", pytest.param("clickhouse", marks=pytest.mark.chaos)])
def test_a_store_that_is_down_holds_up_no_other(name, servers, tmp_path) -> None:
    stores = BothStores(servers["timescale"].dsn, servers["clickhouse"].url)
    other = {"timescale": "clickhouse", "clickhouse": "timescale"}[name]
    market = Market(seed=4)
    with Flows(tmp_path / "victim", stores.environment) as flows:
        append(flows.url, market, 50)
        flows.start(*FLOWS)
        until(lambda: stores.count_in(name, "trades") > 0)
        servers[name].stop()
        append(flows.url, market, 50)
        until(lambda: stores.count_in(other, "bars") == market.expected_counts()["bars"])
        until(lambda: "is unavailable" in flows.said(name))
        flows.stop(name)  # what it waits with is in the log
        assert "stopped while it waited" in flows.said(name)
        flows.start(name)
        until(lambda: "what needs it waits" in flows.said(name))
        servers[name].start()
        verify(flows, stores, market, tmp_path / "undisturbed")
