"""Sinks on a network that fails within a write: no part of it is seen, and repeating it puts each row in once."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import psycopg
import pytest
from store_rows import batch_of, expected, read_clickhouse, read_timescale, rows_of
from toxic_proxy import ToxicProxy, toxic_proxy

from sinks.clickhouse import ClickHouseSink
from sinks.errors import StoreUnavailable
from sinks.timescale import TimescaleSink

ROWS = rows_of("trades", 40)


def through(address: str, proxy: ToxicProxy) -> str:
    return address.replace(f":{urlsplit(address).port}", f":{proxy.port}")


@pytest.fixture
def timescale(empty_stores: tuple[str, str]) -> str:
    return empty_stores[0]


@pytest.fixture
def clickhouse(empty_stores: tuple[str, str]) -> str:
    return empty_stores[1]


@pytest.fixture
def proxy(request: pytest.FixtureRequest) -> Iterator[ToxicProxy]:
    address = request.getfixturevalue(request.param)
    with toxic_proxy(urlsplit(address).port or 0) as found:
        yield found


@pytest.mark.parametrize("proxy", ["timescale"], indirect=True)
def test_a_server_that_goes_mute_is_given_up_and_tried_again(proxy: ToxicProxy, timescale: str) -> None:
    with closing(TimescaleSink(through(timescale, proxy), statement_timeout_s=0.5)) as sink:
        sink.write({"trades": [batch_of("trades", ROWS[:10])]})
        proxy.silent = True
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [batch_of("trades", ROWS)]})
        proxy.silent = False
        assert read_timescale(timescale, "trades") == expected("trades", ROWS[:10])
        sink.write({"trades": [batch_of("trades", ROWS)]})
    assert read_timescale(timescale, "trades") == expected("trades", ROWS)


@pytest.mark.parametrize("proxy", ["timescale"], indirect=True)
def test_a_lost_acknowledgement_of_a_commit_doubles_nothing(proxy: ToxicProxy, timescale: str) -> None:
    with closing(TimescaleSink(through(timescale, proxy))) as sink:
        sink.write({"trades": [batch_of("trades", ROWS[:10])]})
        proxy.lose_answer_to = b"COMMIT"
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [batch_of("trades", ROWS)]})
        proxy.lose_answer_to = b""
        sink.write({"trades": [batch_of("trades", ROWS)]})
    assert proxy.lost == 1
    assert read_timescale(timescale, "trades") == expected("trades", ROWS)


def test_a_backend_that_is_ended_within_a_copy_leaves_no_part_of_it(timescale: str) -> None:
    many = batch_of("trades", rows_of("trades", 20_000))
    done = threading.Event()

    def end_the_first_copy() -> None:
        with psycopg.connect(timescale, autocommit=True) as other:
            while not done.is_set():
                query = "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy WHERE tuples_processed > 0"
                if other.execute(query).fetchall():
                    return

    for _ in range(20):  # a copy takes some 100 ms: one of these is met in the middle
        done.clear()
        killer = threading.Thread(target=end_the_first_copy)
        killer.start()
        cut = False
        with closing(TimescaleSink(timescale)) as sink, suppress(StoreUnavailable):
            cut = True
            sink.write({"trades": [many]})
            cut = False
        done.set()
        killer.join()
        if cut:
            break
        with psycopg.connect(timescale) as connection:
            connection.execute("TRUNCATE market.trades")
    assert cut
    assert read_timescale(timescale, "trades") == []


@pytest.mark.parametrize("proxy", ["clickhouse"], indirect=True)
def test_a_lost_answer_to_an_insert_doubles_nothing(proxy: ToxicProxy, clickhouse: str) -> None:
    """However many inserts later it is repeated: nothing depends on a window in which the server knows blocks again."""
    with closing(ClickHouseSink(through(clickhouse, proxy))) as sink:
        sink.write({"status": [batch_of("status", rows_of("status", 1))]})  # connected by now
        proxy.lose_answer_to = b"INSERT"
        with pytest.raises(StoreUnavailable):
            sink.write({"trades": [batch_of("trades", ROWS)]})
        proxy.lose_answer_to = b""
        for at in range(8):
            sink.write({"quotes": [batch_of("quotes", rows_of("quotes", 1, seed=at))]})
        sink.write({"trades": [batch_of("trades", ROWS)]})
    assert proxy.lost == 1
    assert read_clickhouse(clickhouse, "trades") == expected("trades", ROWS)
    assert read_clickhouse(clickhouse, "trades", final=True) == expected("trades", ROWS)
