"""The migrations and the sink on a real TimescaleDB: hypertables that hold the rows a plain PostgreSQL holds."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import new_database
from store_rows import NOW_NS, TABLES, batch_of, expected, read_timescale, rows_of

from sinks.archive import dump_timescale, load_timescale
from sinks.canonical import canonical_hash
from sinks.expiry import cut_before, expire_timescale
from sinks.migrations import migrate_timescale, read_migrations
from sinks.timescale import TimescaleSink
from tests.services.base import Server

DAY_NS = 86_400 * 10**9


@pytest.fixture
def timescale(timescale_server: Server) -> Iterator[str]:
    """A migrated database of its own on the server."""
    dsn = new_database(timescale_server.url, "stores")
    assert migrate_timescale(dsn) == [each.name for each in read_migrations("timescale")]
    yield dsn
    with psycopg.connect(timescale_server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE stores WITH (FORCE)")


def ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def chunks(dsn: str, table: str) -> int:
    return len(ask(dsn, f"SELECT show_chunks('market.{table}')"))


def write(dsn: str, table: str, rows: list[dict[str, Any]]) -> int:
    sink = TimescaleSink(dsn)
    try:
        return sink.write({table: [batch_of(table, rows)]}).total_written
    finally:
        sink.close()


def test_ticks_and_bars_are_hypertables(timescale: str) -> None:
    found = ask(
        timescale,
        "SELECT hypertable_name, time_interval FROM timescaledb_information.dimensions ORDER BY hypertable_name",
    )
    assert [(name, interval.days) for name, interval in found] == [
        ("bars", 7),
        ("books", 1),
        ("forecast_scores", 7),
        ("forecasts", 7),
        ("quotes", 1),
        ("trades", 1),
    ]
    assert migrate_timescale(timescale) == []


def test_it_holds_what_a_plain_postgres_holds(timescale: str, empty_stores: tuple[str, str], tmp_path: Path) -> None:
    for dsn in (timescale, empty_stores[0]):
        for table in TABLES:
            write(dsn, table, rows_of(table, 60))
            assert write(dsn, table, rows_of(table, 60)) == 0
    assert canonical_hash(timescale) == canonical_hash(empty_stores[0])

    dump_timescale(empty_stores[0], tmp_path / "kept")  # and a backup of the one is restored into the other
    with psycopg.connect(timescale) as connection:
        for table in TABLES:
            connection.execute(f"TRUNCATE market.{table}")  # type: ignore[arg-type]
    load_timescale(timescale, tmp_path / "kept")
    assert canonical_hash(timescale) == canonical_hash(empty_stores[0])


def test_late_rows_go_into_old_chunks_and_into_dropped_ones(timescale: str) -> None:
    rows = rows_of("trades", 30)
    write(timescale, "trades", rows)
    now = chunks(timescale, "trades")
    late = [row | {"ts_event": row["ts_event"] - 400 * DAY_NS} for row in rows]
    assert write(timescale, "trades", late) == 30
    assert chunks(timescale, "trades") > now
    assert write(timescale, "trades", late[:7]) == 0

    ask(timescale, f"SELECT drop_chunks('market.trades', to_timestamp({NOW_NS // 10**9}) - interval '90 days')")
    assert read_timescale(timescale, "trades") == expected("trades", rows)
    assert write(timescale, "trades", late) == 30
    assert read_timescale(timescale, "trades") == expected("trades", [*rows, *late])


def test_old_rows_go_with_their_chunks(timescale: str, empty_stores: tuple[str, str]) -> None:
    rows = [
        row | {"ts_event": row["ts_event"] - days * DAY_NS} for days in (0, 95, 130) for row in rows_of("trades", 9)
    ]
    for dsn in (timescale, empty_stores[0]):
        assert write(dsn, "trades", rows) == 27
    cut = cut_before(NOW_NS, timedelta(days=90))
    assert expire_timescale(timescale, cut) == expire_timescale(empty_stores[0], cut)
    assert chunks(timescale, "trades") == 2
    assert canonical_hash(timescale) == canonical_hash(empty_stores[0])


def policies(dsn: str) -> list[tuple[Any, ...]]:
    return ask(dsn, "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'")


def compresses_well(dsn: str) -> bool:
    """Whether it is Timescale's own edition, and one that is quick at late rows in compressed chunks."""
    version, licence = ask(
        dsn,
        "SELECT extversion, current_setting('timescaledb.license') FROM pg_extension WHERE extname = 'timescaledb'",
    )[0]
    return licence == "timescale" and tuple(map(int, version.split(".")[:2])) >= (2, 20)


def test_who_compresses_after_seven_days(timescale: str) -> None:
    assert len(policies(timescale)) == (4 if compresses_well(timescale) else 0)


@pytest.fixture
def compressing(timescale: str) -> str:
    """The database of a server that compresses."""
    if not compresses_well(timescale):
        pytest.skip(
            "this server compresses nothing: name a root folder with Timescale's own edition, 2.20 or later, in "
            "MANDI_TEST_TIMESCALE_ROOT"
        )
    return timescale


def run_policies(dsn: str) -> list[bool]:
    """Run what the server runs every twelve hours; return of each chunk whether it is compressed."""
    jobs = policies(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for job in jobs:
            connection.execute("CALL run_job(%s)", job)
    return [found for (found,) in ask(dsn, "SELECT is_compressed FROM timescaledb_information.chunks")]


def of_two_days(table: str, count: int) -> list[dict[str, Any]]:
    """Rows of two days forty days ago, mixed: of the first third there is something in every quarter of an hour."""
    ago_ns = [40 * DAY_NS - number * 7919 % 172_800 * 10**9 for number in range(count)]
    at = [name for name in ("ts_event", "ts_open") if name in rows_of(table, 1)[0]]
    return [
        row | {name: row[name] - ago for name in at} for row, ago in zip(rows_of(table, count), ago_ns, strict=True)
    ]


def test_late_rows_go_into_compressed_chunks_in_time(compressing: str, empty_stores: tuple[str, str]) -> None:
    rows = {
        table: of_two_days(table, count) for table, count in {"trades": 60_000, "bars": 9_000, "books": 900}.items()
    }
    for table, those in rows.items():
        write(compressing, table, those[: len(those) // 3])
    assert all(run_policies(compressing))

    sink = TimescaleSink(compressing, statement_timeout_s=8.0)  # 2.19 took 28 s for the trades
    for table, those in rows.items():
        assert sink.write({table: [batch_of(table, those)]}).total_written == len(those) - len(those) // 3
        assert sink.write({table: [batch_of(table, those)]}).total_written == 0
        write(empty_stores[0], table, those)
    sink.close()
    assert canonical_hash(compressing) == canonical_hash(empty_stores[0])
    assert all(run_policies(compressing))
    assert canonical_hash(compressing) == canonical_hash(empty_stores[0])


def test_compressed_chunks_are_dropped_backed_up_and_restored(compressing: str, tmp_path: Path) -> None:
    rows = of_two_days("trades", 300)
    write(compressing, "trades", rows)
    assert all(run_policies(compressing))
    before = canonical_hash(compressing)
    dump_timescale(compressing, tmp_path / "kept")
    assert expire_timescale(compressing, cut_before(NOW_NS, timedelta(days=0)))["trades"] == 300
    assert read_timescale(compressing, "trades") == []
    load_timescale(compressing, tmp_path / "kept")
    assert canonical_hash(compressing) == before
