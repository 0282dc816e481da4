"""What only ClickHouse needs shown: exact without FINAL, bounds that do not miss keys, surviving a kill."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest
from store_rows import NOW_NS, batch_of, expected, read_clickhouse, rows_of

from sinks import clickhouse
from sinks.base import Retry, RetryingSink
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.errors import StoreRejected, StoreUnavailable
from sinks.migrations import migrate_clickhouse


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedClickHouse]:
    own = EmbeddedClickHouse(data_dir, port=0)
    migrate_clickhouse(own.start())
    yield own
    own.stop()


@pytest.mark.parametrize("table", ["trades", "gaps"])
def test_counts_are_exact_with_and_without_final(empty_stores: tuple[str, str], table: str) -> None:
    url, rows = empty_stores[1], rows_of(table, 90)
    with closing(ClickHouseSink(url)) as sink:
        for part in (rows[:50], rows[30:], rows, rows[::-1]):
            sink.write({table: [batch_of(table, part)]})
            assert len(read_clickhouse(url, table)) == len(read_clickhouse(url, table, final=True))
    assert read_clickhouse(url, table) == expected(table, rows)


def test_many_texts_are_bounded_not_listed(empty_stores: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse, "MAX_LISTED_VALUES", 2)
    rows = rows_of("gaps", 50)
    with closing(ClickHouseSink(empty_stores[1])) as sink:
        assert sink.write({"gaps": [batch_of("gaps", rows)]}).total_written == 50
        assert sink.write({"gaps": [batch_of("gaps", rows)]}).total_written == 0


def test_bars_latest_shows_the_highest_revision(empty_stores: tuple[str, str]) -> None:
    url, bar = empty_stores[1], rows_of("bars", 1)[0]
    revisions = [bar | {"revision": revision, "close": revision} for revision in (0, 2, 1)]
    with closing(ClickHouseSink(url)) as sink:
        sink.write({"bars": [batch_of("bars", [*revisions, bar | {"ts_open": NOW_NS + 1}])]})
    with closing(clickhouse_connect.get_client(dsn=url, database="market")) as client:
        found = client.query("SELECT revision, close FROM bars_latest").result_rows
        columns = client.query("SELECT * FROM bars_latest").column_names
    assert (2, Decimal("0.000000002")) in found
    assert len(found) == 2
    assert list(columns) == list(bar)


def test_a_store_without_tables_rejects(server: EmbeddedClickHouse) -> None:
    with closing(clickhouse_connect.get_client(dsn=server.url)) as client:
        client.command("DROP TABLE market.trades")
    with closing(ClickHouseSink(server.url)) as sink, pytest.raises(StoreRejected) as caught:
        sink.write({"trades": [batch_of("trades", rows_of("trades", 1))]})
    assert caught.value.code == "60"


def test_a_server_that_is_away_is_unavailable(server: EmbeddedClickHouse) -> None:
    sink, rows = ClickHouseSink(server.url), rows_of("trades", 20)
    sink.write({"trades": [batch_of("trades", rows[:10])]})
    server.stop()
    for _ in range(2):  # with the old connection, and without one
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [batch_of("trades", rows)]})
    server.start()
    sink.write({"trades": [batch_of("trades", rows)]})
    sink.close()
    assert read_clickhouse(server.url, "trades") == expected("trades", rows)


def test_rows_are_exact_after_kills_during_writes(server: EmbeddedClickHouse) -> None:
    rows = rows_of("trades", 4_000)
    batches = [batch_of("trades", rows[at : at + 100]) for at in range(0, len(rows), 100)]
    written, stop, retries = threading.Semaphore(0), threading.Event(), []
    retry = Retry(stop=stop, on_retry=lambda error, *_: retries.append(error), last_s=0.2)
    sink = RetryingSink(ClickHouseSink(server.url), retry)

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
    assert read_clickhouse(server.url, "trades") == expected("trades", rows)


def kill(server: EmbeddedClickHouse) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
