"""What only PostgreSQL promises: one transaction, revisions as a view, and surviving what happens to a server."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from store_rows import NOW_NS, batch_of, expected, read_timescale, rows_of

from sinks.base import Retry, RetryingSink
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.errors import StoreRejected, StoreUnavailable
from sinks.migrations import migrate_timescale
from sinks.timescale import TimescaleSink


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    own = EmbeddedPostgres(data_dir)
    migrate_timescale(own.start())
    yield own
    own.stop()


def test_bars_latest_shows_the_highest_revision(empty_stores: tuple[str, str]) -> None:
    dsn = empty_stores[0]
    bar = rows_of("bars", 1)[0]
    revisions = [bar | {"revision": revision, "close": revision} for revision in (0, 2, 1)]
    with closing(TimescaleSink(dsn)) as sink:
        sink.write({"bars": [batch_of("bars", [*revisions, bar | {"ts_open": NOW_NS + 1}])]})
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT revision, close FROM bars_latest ORDER BY ts_open_ns").fetchall()
    assert (2, Decimal("0.000000002")) in found
    assert len(found) == 2


def test_a_write_is_one_transaction(empty_stores: tuple[str, str]) -> None:
    dsn = empty_stores[0]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE market.trades ADD CONSTRAINT small CHECK (seq < 5)")
        try:
            with closing(TimescaleSink(dsn)) as sink, pytest.raises(StoreRejected, match="small"):
                sink.write({name: [batch_of(name, rows_of(name, 10))] for name in ("bars", "trades")})
            assert read_timescale(dsn, "bars") == []
        finally:
            connection.execute("ALTER TABLE market.trades DROP CONSTRAINT small")


def test_a_sink_goes_on_after_its_connection_was_cut(empty_stores: tuple[str, str]) -> None:
    dsn = empty_stores[0]
    rows = rows_of("trades", 20)
    with closing(TimescaleSink(dsn)) as sink, psycopg.connect(dsn, autocommit=True) as other:
        sink.write({"trades": [batch_of("trades", rows[:10])]})
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mandi sink'")
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [batch_of("trades", rows)]})
        sink.write({"trades": [batch_of("trades", rows)]})
    assert read_timescale(dsn, "trades") == expected("trades", rows)


def test_a_lock_that_is_held_too_long_is_unavailable(empty_stores: tuple[str, str]) -> None:
    dsn = empty_stores[0]
    with closing(TimescaleSink(dsn, statement_timeout_s=0.2)) as sink, psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE market.trades IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            sink.write({"trades": [batch_of("trades", rows_of("trades", 1))]})


def test_a_store_without_tables_rejects(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE market.status")
    with closing(TimescaleSink(server.dsn)) as sink, pytest.raises(StoreRejected) as caught:
        sink.write({"status": [batch_of("status", rows_of("status", 1))]})
    assert caught.value.code == "42P01"


def test_rows_are_exact_after_kills_during_writes(server: EmbeddedPostgres) -> None:
    rows = rows_of("trades", 4_000)
    batches = [batch_of("trades", rows[at : at + 100]) for at in range(0, len(rows), 100)]
    written, stop, retries = threading.Semaphore(0), threading.Event(), []
    retry = Retry(stop=stop, on_retry=lambda error, *_: retries.append(error), last_s=0.2)
    sink = RetryingSink(TimescaleSink(server.dsn), retry)

    def write_all() -> None:
        for batch in batches:
            sink.write({"trades": [batch]})
            written.release()
        sink.close()

    writer = threading.Thread(target=write_all, daemon=True)
    writer.start()
    try:
        for _ in range(3):
            assert written.acquire(timeout=60)
            kill(server)
            server.start()
        writer.join(timeout=60)
        assert not writer.is_alive()
    finally:
        stop.set()
    assert retries
    assert read_timescale(server.dsn, "trades") == expected("trades", rows)


def kill(server: EmbeddedPostgres) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_new_rows_are_copied_straight_and_known_ones_are_not(empty_stores: tuple[str, str]) -> None:
    dsn = empty_stores[0]
    rows = rows_of("trades", 60)
    staged = "SELECT count(*) FROM pg_class WHERE relname = 'stage_trades'"
    with closing(TimescaleSink(dsn)) as sink, psycopg.connect(dsn, autocommit=True) as other:

        def write(part: list[dict[str, object]]) -> int:
            return sink.write({"trades": [batch_of("trades", part)]}).total_written

        assert [write(rows[:10]), write(rows[10:20])] == [10, 10]
        assert other.execute(staged).fetchone() == (0,)
        assert [write(rows[15:30]), write(rows[15:30]), write(rows[30:40])] == [10, 0, 10]
        assert other.execute(staged).fetchone() == (1,)
        assert [write(rows[40:50]), write(rows[45:]), write(rows)] == [10, 10, 0]
    assert read_timescale(dsn, "trades") == expected("trades", rows)


def test_a_copy_that_is_undone_keeps_the_other_tables_of_the_write(empty_stores: tuple[str, str]) -> None:
    dsn = empty_stores[0]
    with closing(TimescaleSink(dsn)) as sink:
        sink.write({"trades": [batch_of("trades", rows_of("trades", 5))]})
        result = sink.write({name: [batch_of(name, rows_of(name, 12))] for name in ("bars", "quotes", "trades")})
    assert result.rows_written == {"bars": 12, "quotes": 12, "trades": 7}
    for name in ("bars", "quotes", "trades"):
        assert read_timescale(dsn, name) == expected(name, rows_of(name, 12))
