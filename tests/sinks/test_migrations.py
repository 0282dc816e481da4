"""Migrations: each once, in order, never changed behind the store's back."""

import threading
from collections.abc import Callable
from pathlib import Path

import clickhouse_connect
import psycopg
import pytest
from conftest import new_database

from sinks.embedded.sqltext import statements
from sinks.errors import MigrationError, StoreUnavailable
from sinks.migrations import migrate_clickhouse, migrate_timescale, read_migrations

Migrate = Callable[[str, Path], list[str]]


@pytest.fixture
def timescale(postgres_dsn: str) -> str:
    """An empty database beside the shared one."""
    return new_database(postgres_dsn, "fresh")


def put(directory: Path, store: str, name: str, text: str) -> None:
    (directory / store).mkdir(parents=True, exist_ok=True)
    (directory / store / f"{name}.sql").write_text(text)


def test_ours_apply_once_to_a_fresh_database(timescale: str) -> None:
    names = [migration.name for migration in read_migrations("timescale")]
    assert migrate_timescale(timescale) == names
    assert migrate_timescale(timescale) == []


def test_ours_are_applied_to_clickhouse_already(clickhouse_url: str) -> None:
    assert migrate_clickhouse(clickhouse_url) == []


def test_states_of_before_they_had_another_key_are_kept_however_often_it_is_applied(
    empty_stores: tuple[str, str],
) -> None:
    (text,) = (each.text for each in read_migrations("clickhouse") if each.name == "0030_status_key")
    client = clickhouse_connect.get_client(dsn=empty_stores[1], database="market")
    row = "('XCEC', 'XCEC:GC:202612', '2026-10-01 12:00:00', '{}', 'sequence_gap')"
    client.command(f"INSERT INTO status_log VALUES {row.format('GAP')}")
    client.command(f"INSERT INTO status_log VALUES {row.format('LIVE')}")
    for statement in [*statements(text), *statements(text)]:
        client.command(statement)
    assert client.query("SELECT quality FROM status").result_rows == [("LIVE",)]
    client.command("TRUNCATE TABLE status_log")
    client.close()


def test_a_new_file_is_applied_after_the_old(timescale: str, tmp_path: Path) -> None:
    put(tmp_path, "timescale", "0001_one", "CREATE TABLE market.one (a int); INSERT INTO market.one VALUES (1)")
    assert migrate_timescale(timescale, tmp_path) == ["0001_one"]
    put(tmp_path, "timescale", "0002_two", "UPDATE market.one SET a = a + 1")
    assert migrate_timescale(timescale, tmp_path) == ["0002_two"]
    with psycopg.connect(timescale) as connection:
        assert connection.execute("SELECT a FROM market.one").fetchall() == [(2,)]


def test_a_changed_file_is_an_error(timescale: str, tmp_path: Path) -> None:
    put(tmp_path, "timescale", "0001_one", "SELECT 1")
    migrate_timescale(timescale, tmp_path)
    put(tmp_path, "timescale", "0001_one", "SELECT 2")
    with pytest.raises(MigrationError, match=r"0001_one.*changed after it was applied"):
        migrate_timescale(timescale, tmp_path)


def test_a_changed_file_is_an_error_in_clickhouse(clickhouse_url: str, tmp_path: Path) -> None:
    put(tmp_path, "clickhouse", "0001_market", "SELECT 2")
    with pytest.raises(MigrationError, match=r"0001_market.*changed after it was applied"):
        migrate_clickhouse(clickhouse_url, tmp_path)


def test_a_failing_file_leaves_nothing(timescale: str, tmp_path: Path) -> None:
    put(tmp_path, "timescale", "0001_one", "CREATE TABLE market.one (a int)")
    put(tmp_path, "timescale", "0002_two", "CREATE TABLE market.two (a int); SELECT nonsense")
    with pytest.raises(MigrationError, match=r"0002_two.*nonsense"):
        migrate_timescale(timescale, tmp_path)
    with psycopg.connect(timescale) as connection:
        assert connection.execute("SELECT to_regclass('market.one'), to_regclass('market.two')").fetchone() == (
            None,
            None,
        )


def test_a_file_between_applied_ones_is_an_error(timescale: str, tmp_path: Path) -> None:
    put(tmp_path, "timescale", "0003_three", "SELECT 1")
    migrate_timescale(timescale, tmp_path)
    put(tmp_path, "timescale", "0002_two", "SELECT 1")
    with pytest.raises(MigrationError, match="comes before 0003_three"):
        migrate_timescale(timescale, tmp_path)


def test_series_come_in_either_order(timescale: str, tmp_path: Path) -> None:
    put(tmp_path, "timescale", "0020_other", "SELECT 1")
    migrate_timescale(timescale, tmp_path)
    put(tmp_path, "timescale", "0012_two", "SELECT 1")
    assert migrate_timescale(timescale, tmp_path) == ["0012_two"]
    assert migrate_timescale(timescale, tmp_path) == []
    put(tmp_path, "timescale", "0011_one", "SELECT 1")
    with pytest.raises(MigrationError, match="comes before 0012_two"):
        migrate_timescale(timescale, tmp_path)


def test_no_files_and_double_numbers_are_errors(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="no migrations in"):
        read_migrations("timescale", tmp_path)
    put(tmp_path, "timescale", "0001_one", "SELECT 1")
    put(tmp_path, "timescale", "0001_uno", "SELECT 1")
    with pytest.raises(MigrationError, match="two files have this number"):
        read_migrations("timescale", tmp_path)


def test_two_at_a_time_apply_each_file_once(timescale: str) -> None:
    applied: list[list[str]] = []
    threads = [threading.Thread(target=lambda: applied.append(migrate_timescale(timescale))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [[], [], [], [migration.name for migration in read_migrations("timescale")]]


def test_a_store_that_is_away_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        migrate_timescale("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(StoreUnavailable):
        migrate_clickhouse("http://127.0.0.1:1")


def test_names_read_with_and_without_the_schema(postgres_dsn: str, clickhouse_url: str) -> None:
    statement = 'SELECT open, high, "interval" FROM {} LIMIT 1'
    with psycopg.connect(postgres_dsn) as connection:
        for name in ("bars", "market.bars", "bars_latest", "market.bars_latest"):
            connection.execute(statement.format(name))  # type: ignore[arg-type]
    client = clickhouse_connect.get_client(dsn=clickhouse_url, database="market")
    for name in ("bars", "market.bars", "bars_latest", "market.bars_latest", "gaps FINAL", "trades FINAL"):
        client.query(f"SELECT * FROM {name} LIMIT 1")
    client.close()
