"""Where both stores are: servers of the desk by address, or the embedded ones, started when they are needed."""

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import psycopg

from mandi.errors import MandiError
from mandi.settings import EMBEDDED, Settings
from pipelines import metrics
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.shared import Server, shared
from sinks.errors import EmbeddedServerError, StoreRejected, StoreUnavailable
from sinks.failures import CLICKHOUSE, TIMESCALE, timescale_refuses
from sinks.migrations import migrate_clickhouse, migrate_timescale, unapplied_clickhouse, unapplied_timescale

STORES: Final = (TIMESCALE, CLICKHOUSE)
_SETTINGS: Final = {TIMESCALE: "MANDI_TIMESCALE", CLICKHOUSE: "MANDI_CLICKHOUSE"}
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Addresses of both stores; they hold passwords. One that is `away` is to be waited for, and migrated then."""

    timescale: str = field(repr=False)
    clickhouse: str = field(repr=False)
    away: frozenset[str] = frozenset()
    moving: Mapping[str, Callable[[], str]] = field(default_factory=dict, repr=False)
    """Those that may be somewhere else when they are started again, and who knows where."""

    def address(self, name: str) -> str:
        """Where a store is now."""
        if name in self.moving:
            return self.moving[name]()
        return self.timescale if name == TIMESCALE else self.clickhouse

    def place(self, name: str) -> str:
        """The address for a reader: without what stands before it or behind, which may be a password."""
        return self.address(name).partition("://")[2].rpartition("@")[2].partition("?")[0]


@contextmanager
def open_stores(
    settings: Settings, *, migrate: bool = True, only: tuple[str, ...] = STORES, may_be_away: bool = False
) -> Iterator[Stores]:
    """Yield the addresses of migrated stores; embedded ones are kept running until the last who uses them is done.

    `only` names the stores that are wanted; of those that `may_be_away` it is told which are.
    Raises: MandiError with what to do about it; MigrationError; StoreUnavailable, also for one that goes away inside,
        with what to do unless it `may_be_away`.
    """
    timescale, clickhouse = settings.timescale, settings.clickhouse
    moving: dict[str, Callable[[], str]] = {}
    with ExitStack() as held:
        try:
            if timescale == EMBEDDED and TIMESCALE in only:
                postgres = EmbeddedPostgres(settings.data_dir)
                timescale = held.enter_context(_running(postgres))
                moving[TIMESCALE] = lambda: postgres.dsn
            if clickhouse == EMBEDDED and CLICKHOUSE in only:
                engine = EmbeddedClickHouse(settings.data_dir)
                clickhouse = held.enter_context(_running(engine))
                moving[CLICKHOUSE] = lambda: engine.url
        except EmbeddedServerError as error:
            raise MandiError(str(error)) from error
        stores = Stores(timescale=timescale, clickhouse=clickhouse, moving=moving)
        wanted = only if migrate else ()
        try:
            yield replace(stores, away=frozenset(name for name in wanted if _is_away(stores, name, may_be_away)))
        except StoreUnavailable as error:
            if may_be_away or error.store in moving:
                raise
            do = f"start it, or correct {_SETTINGS[error.store]} ({stores.place(error.store)}), and do it again"
            raise StoreUnavailable(error.store, f"{error.reason}; {do}") from error


@contextmanager
def _running(server: Server) -> Iterator[str]:
    restarts = metrics.PROCESS_RESTARTS.labels(server.name)  # from 0: the first restart is then a rise
    with shared(server, restarts.inc) as address:
        yield address


def migrate_stores(stores: Stores) -> list[str]:
    """Bring both schemas up to date; return the names of the migrations that were applied."""
    return [f"{name} {applied}" for name in STORES for applied in migrate_store(stores, name)]


def migrate_store(stores: Stores, name: str) -> list[str]:
    """Bring the schema of one store up to date; return the names of the migrations that were applied.

    Asks first what there is to do: that gives a server that is mute up within seconds.
    Raises: StoreUnavailable, StoreRejected, MigrationError.
    """
    address = stores.address(name)
    if name == TIMESCALE:
        return migrate_timescale(address) if unapplied_timescale(address) else []
    return migrate_clickhouse(address) if unapplied_clickhouse(address) else []


def make_ready(stores: Stores, name: str) -> None:
    """Migrate a store. Raises: StoreUnavailable if it is away; MandiError if it is there and does not let us in."""
    try:
        migrate_store(stores, name)
    except (StoreUnavailable, StoreRejected) as error:
        if isinstance(error, StoreRejected) or (name == TIMESCALE and timescale_refuses(stores.address(name))):
            do = f"correct {_SETTINGS[name]}, or the rights of its user"
            raise MandiError(f"{name} refuses us: {error.reason}; {do}") from error
        raise


def _is_away(stores: Stores, name: str, may_be_away: bool) -> bool:
    try:
        make_ready(stores, name)
    except StoreUnavailable as error:
        if not may_be_away:
            raise
        _log.warning("%s; what needs it waits until it is there", error)
        return True
    return False


def postgres_answers(server: EmbeddedPostgres) -> bool:
    """Whether the embedded PostgreSQL takes connections by now."""
    if server.pid is None:
        return False
    try:
        psycopg.connect(server.dsn, connect_timeout=1).close()
    except (psycopg.OperationalError, EmbeddedServerError):
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
