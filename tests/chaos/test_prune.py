"""kill -9 of `mandi prune` between any two of its steps, and within one: run again, it leaves what one alone leaves."""

import hashlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from arrivals import batch
from reference import Row
from store_rows import batch_of, rows_of

from mandi.pruning import prune
from mandi.settings import load
from market import topics
from market.schemas import TICKS
from sinks.canonical import canonical_hash
from sinks.clickhouse import ClickHouseSink
from sinks.log import open_writer
from sinks.timescale import RAW_TABLES, TimescaleSink
from tests.acceptance.stores import BothStores
from tests.chaos.harness import Flows, append, stand_still, until
from tests.chaos.market import Market

pytestmark = pytest.mark.timeout(900)

S = 1_000_000_000
DAY_NS = 86_400 * S
NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * S
OLD_DAYS = {"trades": (130, 160), "quotes": (130,), "books": (160,)}
"""What `fill` writes: of trades there are two months to delete, so that a kill falls between them."""

OLD_TRADES = 20
STEPS = {"timescale.expire.after": 3, "clickhouse.expire.after": 4}
"""By point, how often one prune of that passes it: after each table, and after each month of each table."""

FLOWS = ("timescale", "clickhouse")
PRUNE = {"prune": ("prune",)}


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def fill(stores: BothStores) -> None:
    """Old rows of every raw table into both stores."""
    rows = {
        table: [row | {"ts_event": row["ts_event"] - days * DAY_NS} for days in ages for row in rows_of(table, 12)]
        for table, ages in OLD_DAYS.items()
    }
    for sink in (TimescaleSink(stores.timescale), ClickHouseSink(stores.clickhouse)):
        with closing(sink):
            sink.write({table: [batch_of(table, found)] for table, found in rows.items()})


def append_old(url: str) -> None:
    """A record of trades of four months before: a flow that reads the log anew writes them once more."""
    then = NOW_NS - 130 * DAY_NS
    rows = [
        Row("trade", "XCEC", "XCEC:GC:202612", then + nth * S, then + nth * S, 1_300 * S, S, nth, nth, f"old{nth}")
        for nth in range(OLD_TRADES)
    ]
    with closing(open_writer(url)) as writer:
        writer.append(topics.prices("gold"), "ticks", batch(rows).select(TICKS.names), key="gold")


def run_until_stored(flows: Flows, stores: BothStores, market: Market, old: int = 0) -> None:
    """Run both flows until they have written the market's trades and quotes; their stores have `old` trades beside."""
    oracles = market.oracles.values()
    kinds = {"trades": ("trade", "bust", "correction"), "quotes": ("quote",)}
    expected = {table: sum(o.accepted_kinds[kind] for o in oracles for kind in kinds[table]) for table in kinds}
    expected["trades"] += old
    flows.start(*FLOWS)
    for name in FLOWS:
        until(lambda: all(stores.count_in(name, table) >= rows for table, rows in expected.items()))  # noqa: B023 (used up here)
    flows.stop(*FLOWS)
    for name in FLOWS:
        assert stores.counts_in(name, list(kinds)) == expected


def hashes(stores: BothStores) -> list[dict[str, str]]:
    return [canonical_hash(stores.timescale), canonical_hash(stores.clickhouse)]


def raw_counts(stores: BothStores) -> tuple[int, ...]:
    return tuple(rows for name in FLOWS for rows in stores.counts_in(name, RAW_TABLES).values())


def log_and_positions(data_dir: Path) -> dict[str, str]:
    """Every byte of them."""
    files = (path for part in ("log", "recovery") for path in (data_dir / part).rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def waiting(dsn: str) -> int:
    """Connections that wait for a lock."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT DISTINCT pid FROM pg_locks WHERE NOT granted").fetchall()
    return len(rows)


def test_a_prune_that_is_killed_and_run_again_leaves_what_one_alone_leaves(stores: BothStores, tmp_path: Path) -> None:
    market, settings = Market(seed=6), load(tmp_path, stores.environment)
    with Flows(tmp_path, stores.environment, commands=PRUNE, forked=True) as flows:
        append_old(flows.url)
        append(flows.url, market, 10)
        run_until_stored(flows, stores, market, old=OLD_TRADES)
        stand_still(tmp_path, NOW_NS)
        untouched = log_and_positions(tmp_path)
        fill(stores)
        seen = [raw_counts(stores)]
        prune(settings, every_s=None)
        expected = hashes(stores)
        assert expected[0] == expected[1]
        for point, times in STEPS.items():
            for nth in range(1, times + 1):
                fill(stores)
                flows.crash({"prune": f"{point}:{nth}"})
                seen.append(raw_counts(stores))
                prune(settings, every_s=None)
                assert hashes(stores) == expected, (point, nth)
            fill(stores)
            flows.start("prune", crash_at=f"{point}:{times + 1}")
            assert flows.ended("prune") == 0, f"{point} has more steps than are tested"
        assert len(set(seen)) == 1 + sum(STEPS.values()), "each step leaves something else"
        assert log_and_positions(tmp_path) == untouched
        append(flows.url, market, 10)
        run_until_stored(flows, stores, market)  # from where they were: at the log's beginning are old trades


def test_prunes_are_not_hindered_by_each_other_nor_by_the_statement_of_one_that_was_killed(
    stores: BothStores, tmp_path: Path
) -> None:
    """A server goes on with that. Each of the three is to look into the same pieces before any deletes one."""
    fill(stores)
    commands = dict.fromkeys(("killed", "again", "beside"), PRUNE["prune"])
    with Flows(tmp_path, stores.environment, commands=commands, forked=True) as flows:
        stand_still(tmp_path, NOW_NS)
        with psycopg.connect(stores.timescale) as other:
            other.execute("LOCK TABLE market.trades_202607 IN ACCESS EXCLUSIVE MODE")
            flows.start("killed")
            until(lambda: waiting(stores.timescale) == 1)
            flows.kill("killed")
            flows.start("again", "beside")
            until(lambda: waiting(stores.timescale) == 3)
        for name in ("again", "beside"):
            assert flows.ended(name) == 0, flows.said(name)
    assert set(raw_counts(stores)) == {0}
