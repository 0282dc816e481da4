"""kill -9 of an embedded store under flows started by hand: whoever uses it starts it again, and the doctor tells."""

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from mandi.doctor import Finding, examine
from mandi.settings import load
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.processes import free_port
from tests.acceptance.stores import BothStores
from tests.chaos.harness import FLOWS, Flows, Stopwatch, append, growing, hashes, undisturbed_hashes, until
from tests.chaos.harness import until_stored as until_all_stored
from tests.chaos.market import Market

pytestmark = pytest.mark.timeout(900)

Servers = Mapping[str, EmbeddedPostgres | EmbeddedClickHouse]
GONE = "was gone and has been started again"


def of(data_dir: Path) -> Servers:
    """Both servers as seen from outside. Nothing here starts one."""
    return {"timescale": EmbeddedPostgres(data_dir), "clickhouse": EmbeddedClickHouse(data_dir, port=0)}


def stores_of(servers: Servers) -> BothStores:
    postgres, clickhouse = servers["timescale"], servers["clickhouse"]
    assert isinstance(postgres, EmbeddedPostgres)
    assert isinstance(clickhouse, EmbeddedClickHouse)
    return BothStores(postgres.dsn, clickhouse.url)


def rows_in(servers: Servers, name: str) -> int:
    """Trades in a store; -1 while it is away."""
    if servers[name].pid is None:
        return -1
    try:
        return stores_of(servers).count_in(name, "trades")
    except (FileNotFoundError, psycopg.Error, ClickHouseError):
        return -1


@pytest.mark.parametrize("kills", [pytest.param(1, id="short"), pytest.param(8, id="long", marks=pytest.mark.chaos)])
def test_a_killed_store_is_started_again_once_and_has_every_row(kills: int, data_dir: Path, tmp_path: Path) -> None:
    servers, market, port = of(data_dir), Market(seed=3), free_port()
    resumed = {name: Stopwatch(f"{name}: from kill -9 of the server to the next row") for name in servers}
    commands = {"gateway": ("serve", "--port", str(port)), "prune": ("prune", "--every", "1h")}
    with Flows(data_dir, {}, commands=commands) as flows:
        try:
            append(flows.url, market, 50)
            with growing(flows.url, market):
                flows.start(*FLOWS, "gateway")
                for _ in range(kills):
                    for name, server in servers.items():
                        before = rows_in(servers, name)
                        until(lambda: rows_in(servers, name) > max(before, 0))  # noqa: B023
                        kill(server)
                        with resumed[name].measure():
                            until(lambda: rows_in(servers, name) > before)  # noqa: B023
            until(lambda: history(port) == 200)
            until_all_stored(stores_of(servers), flows, market)
            flows.stop("bars", "gateway", "timescale", "clickhouse")
            assert [server.pid for server in servers.values()] == [None, None]  # the last to go has stopped them
            said = sum(flows.said(name).count(GONE) for name in (*FLOWS, "gateway"))
            assert said == 2 * kills, "one of those that use a store starts it, and says so"
            for server in servers.values():
                server.start()
            disturbed = hashes(stores_of(servers))
            assert disturbed == undisturbed_hashes(flows, stores_of(servers), market, tmp_path / "undisturbed")
        finally:
            for server in servers.values():
                server.stop()
    for stopwatch in resumed.values():
        stopwatch.report()


def kill(server: EmbeddedPostgres | EmbeddedClickHouse) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.pid != pid)


def history(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/bars?instrument=XCEC:GC:202612&interval=1s") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except urllib.error.URLError:
        return 0


def test_the_doctor_knows_what_runs_by_hand_what_it_waits_for_and_what_has_died(data_dir: Path) -> None:
    server, market = EmbeddedPostgres(data_dir), Market(seed=5)

    def bad() -> dict[str, str]:
        return {each.what: each.do for each in findings(data_dir) if each.ok is False and "GiB" not in each.what}

    with Flows(data_dir, {}) as flows:
        try:
            append(flows.url, market, 20)
            assert "no pipeline is running on this data directory" in whats(data_dir)
            flows.start("timescale")
            until(lambda: rows_in({**of(data_dir), "timescale": server}, "timescale") > 0)
            (running,) = [what for what in whats(data_dir) if what.startswith("a pipeline is running")]
            assert running == f"a pipeline is running: timescale ({flows.process('timescale').pid})"
            assert not bad()

            settings = server.cluster / "postgresql.conf"
            right = settings.read_text()
            settings.write_text("no such thing\n")
            kill(server)
            append(flows.url, market, 20)
            until(lambda: "the flow of timescale waits for its store" in bad())
            assert "a store is down" in bad()["the flow of timescale waits for its store"]
            until(lambda: "(attempt 2)" in flows.said("timescale"))
            (do,) = [do for what, do in bad().items() if "does not run, though a process uses it" in what]
            assert "postgres.log" in do
            settings.write_text(right)
            until(lambda: not bad())
            assert f"postgres was started again once by timescale ({flows.process('timescale').pid})" in whats(data_dir)

            pid = flows.process("timescale").pid
            flows.kill("timescale")
            assert list(bad()) == [f"timescale ({pid}) ended without being told to"]
            assert "`mandi run timescale`" in bad()[f"timescale ({pid}) ended without being told to"]
            flows.start("timescale")
            until(lambda: not bad())
            flows.stop("timescale")
            assert not bad()
            assert server.pid is None
        finally:
            server.stop()


def findings(data_dir: Path) -> list[Finding]:
    return list(examine(load(data_dir, {})))


def whats(data_dir: Path) -> list[str]:
    return [each.what for each in findings(data_dir)]
