"""Where both stores are: servers of the desk by address, or the embedded ones, started when they are needed."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psycopg

from mandi.errors import MandiError
from mandi.settings import EMBEDDED, Settings
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.errors import EmbeddedServerError
from sinks.migrations import migrate_clickhouse, migrate_timescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Addresses of both stores; they hold passwords."""

    timescale: str = field(repr=False)
    clickhouse: str = field(repr=False)


@contextmanager
def open_stores(settings: Settings, *, migrate: bool = True, only: str | None = None) -> Iterator[Stores]:
    """Yield the addresses of migrated stores; embedded ones we had to start are stopped at the end.

    `only` names the one store that is wanted. Raises: MandiError with what to do about it.
    """
    started: list[EmbeddedPostgres | EmbeddedClickHouse] = []
    try:
        timescale, clickhouse = settings.timescale, settings.clickhouse
        if timescale == EMBEDDED and only != "clickhouse":
            timescale = _start(EmbeddedPostgres(settings.data_dir), started)
        if clickhouse == EMBEDDED and only != "timescale":
            clickhouse = _start(EmbeddedClickHouse(settings.data_dir), started)
        stores = Stores(timescale=timescale, clickhouse=clickhouse)
        if migrate:
            migrate_stores(stores, only)
        yield stores
    except EmbeddedServerError as error:
        raise MandiError(str(error)) from error
    finally:
        for server in reversed(started):
            server.stop()


def migrate_stores(stores: Stores, only: str | None = None) -> list[str]:
    """Bring the schemas up to date; return the names of the migrations that were applied."""
    applied = []
    if only != "clickhouse":
        applied += [f"timescale {name}" for name in migrate_timescale(stores.timescale)]
    if only != "timescale":
        applied += [f"clickhouse {name}" for name in migrate_clickhouse(stores.clickhouse)]
    return applied


def postgres_answers(server: EmbeddedPostgres) -> bool:
    """Whether the embedded PostgreSQL takes connections by now."""
    if server.pid is None:
        return False
    try:
        psycopg.connect(server.dsn, connect_timeout=1).close()
    except (psycopg.OperationalError, FileNotFoundError):
        return False
    return True


def clickhouse_answers(server: EmbeddedClickHouse) -> bool:
    """Whether the embedded ClickHouse answers by now."""
    if server.pid is None:
        return False
    address = urlsplit(server.url)
    try:
        with urllib.request.urlopen(f"http://{address.hostname}:{address.port}/ping", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _start(server: EmbeddedPostgres | EmbeddedClickHouse, started: list[EmbeddedPostgres | EmbeddedClickHouse]) -> str:
    was_running = server.pid is not None
    address = server.start()
    if not was_running:
        started.append(server)
    return address
