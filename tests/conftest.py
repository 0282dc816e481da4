"""The real stores, embedded: one server of each a session, migrated; emptied for each module.

Hypothesis draws the same examples in every run; `HYPOTHESIS_PROFILE=search` draws new ones, and more.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import clickhouse_connect
import psycopg
import pytest
from hypothesis import settings
from kafka_support import OwnLog
from psycopg import sql

from sinks.clickhouse import stored_table
from sinks.columns import table_names, table_spec
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.migrations import migrate_clickhouse, migrate_timescale
from tests.services import own, provided
from tests.services.base import Server

# No deadline: it would judge the machine, which other tests share.
settings.register_profile("same", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("search", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def _no_client_is_left() -> Iterator[None]:
    """A Kafka client that a test leaves open tries its broker for ever, beside the tests that follow."""
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("kafka-io")]
    assert left == [], "this test closes not all it opened"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL with a migrated database."""
    with _directory() as directory:
        server = EmbeddedPostgres(directory)
        migrate_timescale(server.start())
        yield server
        server.stop()


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A running ClickHouse with a migrated database."""
    server = EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse"), port=0)
    migrate_clickhouse(server.start())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def postgres_dsn(postgres_server: EmbeddedPostgres) -> str:
    """DSN of a migrated PostgreSQL without rows."""
    empty_timescale(postgres_server.dsn)
    return postgres_server.dsn


@pytest.fixture(scope="module")
def clickhouse_url(clickhouse_server: EmbeddedClickHouse) -> str:
    """URL of a migrated ClickHouse without rows."""
    empty_clickhouse(clickhouse_server.url)
    return clickhouse_server.url


@pytest.fixture
def empty_stores(postgres_dsn: str, clickhouse_url: str) -> tuple[str, str]:
    """DSN and URL of both stores, emptied for this test."""
    empty_timescale(postgres_dsn)
    empty_clickhouse(clickhouse_url)
    return postgres_dsn, clickhouse_url


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Server]:
    """A running Kafka broker, which other tests use as well: take a `prefix` of its topics."""
    with provided("kafka") as server:
        yield server


@pytest.fixture
def own_log(kafka_broker: Server) -> Iterator[OwnLog]:
    """A log on that broker, and who may do things to its topics."""
    with closing(OwnLog(kafka_broker.url)) as log:
        yield log


@pytest.fixture(params=["embedded", "kafka"])
def new_log(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the URL of a log in which nothing is yet, as often as it is called; of either kind."""
    if request.param == "embedded":
        return lambda: Path(tempfile.mkdtemp(dir=tmp_path), "log").as_uri()
    broker: Server = request.getfixturevalue("kafka_broker")
    return lambda: f"{broker.url}/{uuid4().hex}"


@pytest.fixture
def log_url(new_log: Callable[[], str]) -> str:
    """The URL of a log in which nothing is yet; of either kind."""
    return new_log()


@pytest.fixture
def own_kafka_broker() -> Iterator[Server]:
    """A Kafka broker that a test may kill."""
    with own("kafka") as server:
        yield server


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[Server]:
    """A running TimescaleDB; its `url` is that of a database without tables."""
    with provided("timescale") as server:
        yield server


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Server]:
    """A running Prometheus that scrapes nothing."""
    with provided("prometheus") as server:
        yield server


@pytest.fixture(scope="session")
def alertmanager() -> Iterator[Server]:
    """A running Alertmanager that sends nothing."""
    with provided("alertmanager") as server:
        yield server


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory for servers of the test's own."""
    with _directory() as directory:
        yield directory / "data"


@pytest.fixture
def small_disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory on a disk of its own of 256 kB, or of the size that the test is parametrized with."""
    with _directory() as where:
        command = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '256k')}", "tmpfs", str(where)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a small tmpfs needs root")
        where.chmod(0o755)
        yield where
        subprocess.run(["umount", "-l", str(where)], check=True)


@contextmanager
def _directory() -> Iterator[Path]:
    # Not below pytest's own directory: a pytest that starts meanwhile takes all rights of others off that one,
    # and with them the right to pass through of the user that PostgreSQL runs as under root.
    with tempfile.TemporaryDirectory(prefix="mandi-test-") as name:
        yield Path(name)


def new_database(dsn: str, name: str) -> str:
    """Make an empty database beside the one of `dsn`, in place of one that an earlier run left; return its DSN."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{dsn.rpartition('/')[0]}/{name}"


def empty_timescale(dsn: str) -> None:
    tables = sql.SQL(", ").join(sql.Identifier("market", name) for name in table_names())
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(tables))


def empty_clickhouse(url: str) -> None:
    client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
    for name in table_names():
        client.command(f"TRUNCATE TABLE {stored_table(table_spec(name))}")
    client.close()
