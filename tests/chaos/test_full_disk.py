"""A store whose disk is full: its sink waits with the rows, and writes each once when there is space again."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from store_rows import batch_of, expected, read_clickhouse, read_timescale, rows_of

from sinks.base import Retry, RetryingSink, Sink
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.errors import StoreUnavailable
from sinks.migrations import migrate_clickhouse, migrate_timescale
from sinks.timescale import TimescaleSink

ROWS = rows_of("trades", 3_000)
FIRST = 100


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """While inside, there is no space left."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb") as file:
        file.write(bytes(1 << 30))
    yield
    ballast.unlink()


def write_through_a_full_disk(sink: Sink, disk: Path) -> None:
    with closing(sink):
        sink.write({"trades": [batch_of("trades", ROWS[:FIRST])]})
        refused, stop = threading.Event(), threading.Event()
        told: list[StoreUnavailable] = []

        def note(error: StoreUnavailable, *_: object) -> None:
            told.append(error)
            refused.set()

        patient = RetryingSink(sink, Retry(stop=stop, on_retry=note, last_s=0.3))
        writer = threading.Thread(target=lambda: patient.write({"trades": [batch_of("trades", ROWS)]}), daemon=True)
        with full(disk):
            writer.start()
            assert refused.wait(60)
        writer.join(60)
        stop.set()
        assert not writer.is_alive()
        assert "space" in told[0].reason


@pytest.mark.parametrize("small_disk", ["220m"], indirect=True)
def test_postgres_on_a_full_disk(small_disk: Path) -> None:
    server = EmbeddedPostgres(small_disk / "data")
    try:
        migrate_timescale(server.start())
        write_through_a_full_disk(TimescaleSink(server.dsn), small_disk)
        assert read_timescale(server.dsn, "trades") == expected("trades", ROWS)
    finally:
        server.stop()


@pytest.mark.parametrize("small_disk", ["64m"], indirect=True)
def test_clickhouse_on_a_full_disk(small_disk: Path) -> None:
    server = EmbeddedClickHouse(small_disk / "data", port=0)
    try:
        migrate_clickhouse(server.start())
        write_through_a_full_disk(ClickHouseSink(server.url), small_disk)
        assert read_clickhouse(server.url, "trades") == expected("trades", ROWS)
    finally:
        server.stop()
