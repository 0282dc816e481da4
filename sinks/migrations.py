"""Bring the stores' schemas up to date: numbered SQL files, forward only, each applied once.

What was applied stands in `market.schema_migrations` with its checksum; a file that changed after it was applied is
an error, since nobody can say what the store looks like then. Write a new file instead.

Numbers may have gaps. Ten of them (0010 to 0019) are a series: a file depends on earlier ones of its own series and on
0001 to 0009, and on no others, so that series that were written side by side may reach a store in either order.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import clickhouse_connect
import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from psycopg import sql

from sinks.embedded.sqltext import statements
from sinks.errors import MigrationError
from sinks.failures import clickhouse_failures, timescale_failures

SQL_DIRECTORY_VARIABLE: Final = "MANDI_SQL_DIR"

_SERIES_DIGITS: Final = 3  # of the four of a number
_ASK_TIMEOUT_S: Final = 5  # somebody waits at a terminal
_ADVISORY_LOCK: Final = 0x6D616E6469  # "mandi": one migration at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A file: its name without suffix, its text, and the checksum that is recorded."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def sql_directory() -> Path:
    """The directory `sql` beside the packages, or where MANDI_SQL_DIR says."""
    override = os.environ.get(SQL_DIRECTORY_VARIABLE)
    return Path(override) if override else Path(__file__).resolve().parent.parent / "sql"


def read_migrations(store: str, directory: Path | None = None) -> list[Migration]:
    """Return the migrations of a store in order. Raises: MigrationError if there are none or a number repeats."""
    place = (directory or sql_directory()) / store
    files = sorted(place.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    numbers = [file.name[:4] for file in files]
    if not files:
        raise MigrationError(store, "0001", f"no migrations in {place}; set {SQL_DIRECTORY_VARIABLE}")
    if len(set(numbers)) != len(numbers):
        raise MigrationError(store, max(numbers, key=numbers.count), "two files have this number")
    return [Migration(name=file.stem, text=file.read_text()) for file in files]


def pending(store: str, found: list[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """Return those of `found` that are not in `applied` (name -> checksum).

    Raises: MigrationError if an applied one has changed, or a pending one comes before an applied one of its series.
    """
    for migration in found:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(
                store, migration.name, "the file changed after it was applied; restore it, add a new one"
            )
    missing = [migration for migration in found if migration.name not in applied]
    for migration in missing:
        series = migration.name[:_SERIES_DIGITS]
        last = max((name for name in applied if name.startswith(series)), default="")
        if migration.name < last:
            raise MigrationError(store, migration.name, f"it comes before {last}, which is applied already")
    return missing


def migrate_timescale(dsn: str, directory: Path | None = None) -> list[str]:
    """Apply what is missing; return its names. All of it or nothing, one process at a time.

    Raises: MigrationError, StoreUnavailable.
    """
    found = read_migrations("timescale", directory)
    with timescale_failures(), psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        connection.execute("CREATE SCHEMA IF NOT EXISTS market")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS market.schema_migrations "
            "(name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = connection.execute("SELECT name, checksum FROM market.schema_migrations").fetchall()
        applied: dict[str, str] = dict(rows)
        missing = pending("timescale", found, applied)
        for migration in missing:
            _apply_timescale(connection, migration)
    return [migration.name for migration in missing]


def unapplied_timescale(dsn: str) -> list[str]:
    """The names of the migrations that a store lacks; changes nothing. Raises: StoreUnavailable, MigrationError."""
    found = read_migrations("timescale")
    with timescale_failures(), psycopg.connect(dsn, connect_timeout=_ASK_TIMEOUT_S) as connection:
        there = connection.execute("SELECT to_regclass('market.schema_migrations') IS NOT NULL").fetchone()
        if there != (True,):
            return [migration.name for migration in found]
        rows = connection.execute("SELECT name, checksum FROM market.schema_migrations").fetchall()
    return [migration.name for migration in pending("timescale", found, dict(rows))]


def unapplied_clickhouse(url: str) -> list[str]:
    """As `unapplied_timescale`, of ClickHouse."""
    found = read_migrations("clickhouse")
    with clickhouse_failures():
        client = clickhouse_connect.get_client(
            dsn=url,
            autogenerate_session_id=False,
            database="default",
            connect_timeout=_ASK_TIMEOUT_S,
            send_receive_timeout=_ASK_TIMEOUT_S,
        )
        try:
            there = client.query("EXISTS TABLE market.schema_migrations").result_rows[0][0]
            rows = client.query("SELECT name, checksum FROM market.schema_migrations").result_rows if there else []
        finally:
            client.close()
    return [migration.name for migration in pending("clickhouse", found, {row[0]: row[1] for row in rows})]


def _apply_timescale(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        connection.execute(sql.SQL(migration.text))  # a file of ours, no values
    except (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError) as error:
        raise MigrationError("timescale", migration.name, str(error)) from error
    connection.execute(
        "INSERT INTO market.schema_migrations (name, checksum) VALUES (%s, %s)",
        [migration.name, migration.checksum],
    )


def migrate_clickhouse(url: str, directory: Path | None = None) -> list[str]:
    """Apply what is missing; return its names. Statements are repeatable, so two at a time converge.

    Raises: MigrationError, StoreUnavailable.
    """
    found = read_migrations("clickhouse", directory)
    with clickhouse_failures():
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False, database="default")
        try:
            client.command("CREATE DATABASE IF NOT EXISTS market")
            client.command(
                "CREATE TABLE IF NOT EXISTS market.schema_migrations (name String, checksum String, "
                "applied_at DateTime DEFAULT now()) ENGINE = ReplacingMergeTree ORDER BY name"
            )
            rows = client.query("SELECT name, checksum FROM market.schema_migrations FINAL").result_rows
            missing = pending("clickhouse", found, {str(row[0]): str(row[1]) for row in rows})
            for migration in missing:
                _apply_clickhouse(client, migration)
        finally:
            client.close()
    return [migration.name for migration in missing]


def _apply_clickhouse(client: Client, migration: Migration) -> None:
    for statement in statements(migration.text):
        try:
            client.command(statement)
        except ClickHouseError as error:
            raise MigrationError("clickhouse", migration.name, str(error)) from error
    client.insert("market.schema_migrations", [[migration.name, migration.checksum]], column_names=["name", "checksum"])
