"""INSERTs that outlive the patience of who sent them: refused or waited for, so that no row is there twice."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from store_rows import batch_of, expected, read_clickhouse, rows_of
from toxic_proxy import ToxicProxy, toxic_proxy

from benchmarks.stores import trades
from sinks import clickhouse, clickhouse_fence
from sinks.base import Retry, RetryingSink
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.errors import StoreUnavailable
from sinks.migrations import migrate_clickhouse

ROWS = rows_of("trades", 40)
MANY = 20_000
"""Rows of trades that are more than the server reads (1 MiB) before it begins with the INSERT."""


@pytest.fixture
def url(clickhouse_url: str) -> str:
    with closing(clickhouse_connect.get_client(dsn=clickhouse_url, autogenerate_session_id=False)) as client:
        client.command("TRUNCATE TABLE market.trades")
    return clickhouse_url


@pytest.fixture
def proxy(url: str) -> Iterator[ToxicProxy]:
    with toxic_proxy(urlsplit(url).port or 0) as found:
        yield found


def through(proxy: ToxicProxy) -> ClickHouseSink:
    """A sink that talks by way of the proxy and has written, so that its next INSERT is one of rows."""
    sink = ClickHouseSink(f"http://127.0.0.1:{proxy.port}")
    sink.write({"status": [batch_of("status", rows_of("status", 1))]})
    return sink


def ask(url: str, query: str) -> int:
    with closing(clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)) as client:
        return int(client.query(query).result_rows[0][0])


@pytest.mark.parametrize("another", [False, True], ids=["by the same sink", "by another process"])
def test_an_insert_that_comes_after_it_was_repeated_is_refused(proxy: ToxicProxy, url: str, another: bool) -> None:
    with closing(through(proxy)) as sink, closing(ClickHouseSink(url)) as successor:
        proxy.keep_back = b"INSERT"
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [batch_of("trades", ROWS)]})
        proxy.keep_back = b""
        repeated = (successor if another else sink).write({"trades": [batch_of("trades", ROWS)]})
        assert repeated.total_written == len(ROWS)
        assert not proxy.let_go().startswith(b"HTTP/1.1 200")
    assert read_clickhouse(url, "trades") == expected("trades", ROWS)


@pytest.mark.parametrize("another", [False, True], ids=["by the same sink", "by another process"])
def test_an_insert_that_still_runs_is_waited_for(
    proxy: ToxicProxy, url: str, another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_fence, "PATIENCE_S", 0.2)
    with closing(through(proxy)) as sink, closing(ClickHouseSink(url)) as successor:
        proxy.keep_back, proxy.pass_on = b"INSERT", 1_400_000
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [trades(0, MANY)]})
        proxy.keep_back = b""
        while not ask(url, "SELECT count() FROM system.processes WHERE query_kind = 'Insert'"):
            time.sleep(0.01)
        again = successor if another else sink
        with pytest.raises(StoreUnavailable, match="still runs"):
            again.write({"trades": [trades(0, MANY)]})
        assert proxy.let_go().startswith(b"HTTP/1.1 200")
        assert again.write({"trades": [trades(0, MANY)]}).total_written == 0
    assert ask(url, "SELECT count() FROM market.trades") == MANY


def test_a_server_that_was_frozen_within_an_insert_has_each_row_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse, "SEND_RECEIVE_TIMEOUT_S", 1)
    server = EmbeddedClickHouse(data_dir, port=0)
    migrate_clickhouse(url := server.start())
    insert, pid = clickhouse._insert, server.pid
    assert pid is not None

    def freeze_first(*arguments: object) -> None:
        os.kill(pid, signal.SIGSTOP)
        insert(*arguments)  # type: ignore[arg-type]

    sink, successor = ClickHouseSink(url), ClickHouseSink(url)
    try:
        for each in (successor, sink):  # connected: what they send next is sent at once
            each.write({"trades": [trades(0, 1)]})
        for first in range(0, 3 * MANY, MANY):  # the repetition overtakes the INSERT in two of three
            batch = trades(first, MANY)
            with monkeypatch.context() as frozen:
                frozen.setattr(clickhouse, "_insert", freeze_first)
                with pytest.raises(StoreUnavailable):
                    sink.write({"trades": [batch]})
            os.kill(pid, signal.SIGCONT)
            RetryingSink(successor, Retry(last_s=0.2)).write({"trades": [batch]})
        assert ask(url, "SELECT count() FROM market.trades") == 3 * MANY
    finally:
        os.kill(pid, signal.SIGCONT)
        sink.close()
        successor.close()
        server.stop()


def test_two_that_write_the_same_rows_at_once_write_each_once(url: str) -> None:
    batches = [batch_of("trades", rows_of("trades", 100, seed)) for seed in range(8)]

    def write_all() -> None:
        sink = RetryingSink(ClickHouseSink(url), Retry(first_s=0.01, last_s=0.2))
        for batch in batches:
            sink.write({"trades": [batch]})
        sink.close()

    writers = [threading.Thread(target=write_all, daemon=True) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
        assert not writer.is_alive()
    assert ask(url, "SELECT count() FROM market.trades") == ask(url, "SELECT count() FROM market.trades FINAL") == 800


def test_who_began_while_another_was_about_to_is_shut_out_by_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, batch = batch_of("status", rows_of("status", 1)), batch_of("trades", ROWS)
    with closing(ClickHouseSink(url)) as slow, closing(ClickHouseSink(url)) as quick:
        client = slow._connected()
        command, insert, asked = client.command, clickhouse._insert, count()

        def paused(*arguments: Any, **options: Any) -> Any:
            if next(asked) == 1:  # between opening its session and announcing it
                quick.write({"status": [status]})
            return command(*arguments, **options)

        def overtaken(*arguments: Any) -> None:  # it knows by now which keys are there
            monkeypatch.setattr(clickhouse, "_insert", insert)
            assert quick.write({"trades": [batch]}).total_written == len(ROWS)
            insert(*arguments)

        monkeypatch.setattr(client, "command", paused)
        slow.write({"status": [status]})
        monkeypatch.setattr(clickhouse, "_insert", overtaken)
        assert slow.write({"trades": [batch]}).total_written == 0
    assert ask(url, "SELECT count() FROM market.trades") == len(ROWS)


def test_two_that_take_turns_need_not_be_repeated_and_leave_one_session_open(url: str) -> None:
    with closing(ClickHouseSink(url)) as one, closing(ClickHouseSink(url)) as other:
        for at, sink in enumerate([one, other, one, one, other]):
            assert sink.write({"trades": [batch_of("trades", ROWS[at : at + 2])]}).total_written in (1, 2)
    assert read_clickhouse(url, "trades") == expected("trades", ROWS[:6])
    assert ask(url, "SELECT count() FROM market.writers FINAL WHERE shut = 0") == 1
