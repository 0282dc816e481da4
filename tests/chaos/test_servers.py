"""A real day over Kafka into TimescaleDB and ClickHouse: what the oracle says, and hash by hash the embedded stores.

Kills fall on the flows, at commit points and at random; lines come shuffled, late and from the future.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from conftest import empty_clickhouse, empty_timescale, new_database
from shared_data import shared_data

from sinks.log import open_writer
from sinks.migrations import migrate_timescale
from sinks.reconcile import reconcile
from tests.acceptance.command import replay
from tests.acceptance.files import (
    Line,
    bars_of,
    latest,
    oracle_of,
    read_lines,
    shuffled,
    straggling,
    with_future_stamp,
)
from tests.acceptance.stores import BothStores
from tests.chaos.harness import FLOWS, Flows, copy_inputs, growing, hashes, tell, until, until_stored
from tests.chaos.real_day import RealDay
from tests.chaos.test_flows import POINTS, kill_at_random, output_of
from tests.services.base import Server

pytestmark = pytest.mark.timeout(900)

WITHIN_LATENESS_S = 50
TOO_LATE_S = 90
SLICE_LINES = 6_000
SHORT_AND_LONG = [pytest.param(1, id="short"), pytest.param(6, id="long", marks=pytest.mark.chaos)]


@pytest.fixture
def servers(timescale_server: Server, empty_stores: tuple[str, str]) -> Iterator[BothStores]:
    """A migrated database of this test's own on TimescaleDB, and ClickHouse over HTTP."""
    dsn = new_database(timescale_server.url, "real_day")
    migrate_timescale(dsn)
    yield BothStores(dsn, empty_stores[1])
    with psycopg.connect(timescale_server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE real_day WITH (FORCE)")


@pytest.fixture
def kafka_url(kafka_broker: Server) -> str:
    return f"{kafka_broker.url}/{uuid4().hex}"


@pytest.fixture
def day() -> Path:
    return shared_data("replay", "comex-gc-20131007.csv.gz")


@pytest.fixture
def embedded_hashes(empty_stores: tuple[str, str], tmp_path: Path) -> Callable[[Flows, RealDay], dict[str, str]]:
    """Hashes of a run that nobody disturbs, with the log in files and both stores embedded."""

    def run(flows: Flows, day: RealDay) -> dict[str, str]:
        directory, stores = tmp_path / "undisturbed", BothStores(*empty_stores)
        copy_inputs(flows.url, (directory / "log").as_uri())
        empty_timescale(stores.timescale)
        empty_clickhouse(stores.clickhouse)
        with Flows(directory, stores.environment) as alone:
            alone.start(*FLOWS)
            until_stored(stores, alone, day)
            alone.stop(*FLOWS)
        return hashes(stores)

    return run


@pytest.mark.parametrize("rounds", SHORT_AND_LONG)
def test_a_real_day_on_the_servers_survives_kills(rounds, day, servers, kafka_url, embedded_hashes, tmp_path) -> None:
    lines, chance = read_lines(day), random.Random(rounds)
    market = RealDay({"gold": lines}, day)
    settings = {**servers.environment, "MANDI_LOG": kafka_url}
    with Flows(tmp_path / "victim", settings, short_epochs=True) as flows:
        # Slowly, so that there is something to commit however long a round takes; the rest of the day at once.
        with growing(kafka_url, market, pause_s=0.5 if rounds == 1 else 4.0):
            for nth in range(rounds):
                for flow in FLOWS if nth else ():
                    flows.kill(flow)
                flows.crash({flow: f"{points[nth % len(points)]}:2" for flow, points in POINTS_ON_KAFKA.items()})
                flows.start(*FLOWS)
                until(lambda: all(output_of(flow, flows, servers) for flow in FLOWS))
                kill_at_random(FLOWS[nth % 3], flows, chance)
                flows.start(FLOWS[nth % 3])
        append_all(kafka_url, market)
        tell(f"kills: {dict(flows.kills)}")
        until_stored(servers, flows, market)
        flows.stop(*FLOWS)
        disturbed = hashes(servers)
        expected = bars_of(market.oracles["gold"])
        assert (servers.bars(), servers.latest()) == (expected, latest(expected))
        assert (servers.count("trades"), servers.count("rejected")) == (40_192 - 147, 147)
        assert disturbed == embedded_hashes(flows, market)


def append_all(url: str, market: RealDay) -> None:
    writer = open_writer(url)
    while not market.is_over:
        market.append_to(writer)
    writer.close()


_NEVER_HERE = ("log.flush.mid", "log.sync.after", "clickhouse.write.between_tables")
"""A record is whole at the broker or not there; it is the broker that commits a group; and while bars is dead there are
trades alone to write."""
POINTS_ON_KAFKA = {flow: tuple(p for p in points if p not in _NEVER_HERE) for flow, points in POINTS.items()}


def test_lines_out_of_order_late_and_ahead_on_the_servers(day, servers, kafka_url, embedded_hashes, tmp_path) -> None:
    """Gold is shuffled within the lateness, one stamp is a year ahead; of silver, the same lines, some are late."""
    lines = [line for line in read_lines(day)[:SLICE_LINES] if line.is_good]
    mixed = with_future_stamp(shuffled(lines, WITHIN_LATENESS_S), at=len(lines) // 2)
    silver = straggling([in_silver(line) for line in lines], count=200, by_s=TOO_LATE_S)
    market = RealDay({"gold": mixed, "silver": silver})
    append_all(kafka_url, market)
    with Flows(tmp_path / "victim", {**servers.environment, "MANDI_LOG": kafka_url}) as flows:
        flows.start(*FLOWS)
        until_stored(servers, flows, market)
        flows.stop(*FLOWS)
        in_gold = {key: bar for key, bar in servers.latest().items() if ":GC:" in key[0]}
        assert in_gold == latest(bars_of(oracle_of(lines)))  # as if nothing had been shuffled
        assert servers.bars() == {k: v for oracle in market.oracles.values() for k, v in bars_of(oracle).items()}
        late = market.oracles["silver"].late
        assert 100 < len(late) <= 200
        assert servers.grouped("late", "seq") == sorted((int(silver[number].seq), 1) for number in late)
        assert servers.grouped("rejected", "reason") == [("future_stamp", 1)]
        assert hashes(servers) == embedded_hashes(flows, market)


def in_silver(line: Line) -> Line:
    return Line(line.ts, line.instrument.replace("GC", "SI"), line.price, line.size, line.seq)


def test_the_command_gives_the_servers_what_it_gives_the_embedded_stores(day, servers, empty_stores, tmp_path) -> None:
    on_servers = replay(day, tmp_path, env=servers.environment)
    assert (on_servers["rows_in"], on_servers["rejected"], on_servers["late"]) == (40_192, 147, 0)
    assert reconcile(servers.timescale, servers.clickhouse, wall_clock=True).first is None
    empty_clickhouse(empty_stores[1])
    again = replay(day, tmp_path, "--batch-rows", 7_777, "--workers", 2, env=BothStores(*empty_stores).environment)
    assert again["output_hash"] == on_servers["output_hash"]
