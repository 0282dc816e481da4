"""The feed over a real loopback WebSocket: every trade once, across processes; back pressure, failure, stop."""

import threading
import time
from collections.abc import Iterator

import pytest

from connectors.errors import FeedFailed
from connectors.ice.config import IceConfig
from connectors.ice.source import open_feed
from tests.connectors.ice.peer import DEADLINE_S, Desk, Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    desks: list[Desk] = []
    yield desks
    for desk in desks:
        desk.feed.stop()


def test_trades_arrive_once_and_in_order(server: Server, desks: list[Desk]) -> None:
    desk = Desk(server)
    desks.append(desk)
    desk.live()
    before = time.time_ns()
    server.send(server.trades(200))
    desk.until(lambda: len(desk.trades) == 200)
    assert [row["seq"] for row in desk.trades] == list(range(1, 201))
    assert all(before <= row["ts_recv"] <= time.time_ns() for row in desk.trades)
    assert desk.last is not None
    assert desk.last.positions["trades"] == 200


def test_next_process_goes_on_where_the_log_ends(server: Server, desks: list[Desk]) -> None:
    first = Desk(server)
    desks.append(first)
    first.live()
    server.send(server.trades(3))
    first.until(lambda: len(first.trades) == 3)
    assert first.last is not None
    first.feed.stop()
    server.trades(4)  # while nobody listens
    second = Desk(server, resume=dict(first.last.positions))
    desks.append(second)
    second.until(lambda: len(second.trades) == 4)
    assert [row["seq"] for row in second.trades] == [4, 5, 6, 7]


def test_back_pressure_stops_reading_and_loses_nothing(server: Server, desks: list[Desk]) -> None:
    desk = Desk(server, max_rows=50)
    desks.append(desk)
    desk.live()
    sending = threading.Thread(target=server.send, args=(server.trades(3_000),))
    sending.start()
    most = 0
    deadline = time.monotonic() + DEADLINE_S
    while len(desk.trades) < 3_000 and time.monotonic() < deadline:
        desk.feed.wait(0.05)
        already = len(desk.trades)
        desk.take()
        most = max(most, len(desk.trades) - already)
    sending.join()
    assert [row["seq"] for row in desk.trades] == list(range(1, 3_001))
    assert 0 < most <= 50


def test_error_in_the_thread_is_raised_by_take(server: Server) -> None:
    config = IceConfig(url=f"ws://127.0.0.1:{server.port}/v1/feed", key="k", secret="s")

    def broken_clock() -> int:
        raise ZeroDivisionError

    feed = open_feed(config, broken_clock)
    feed.start()
    assert feed.wait(DEADLINE_S)
    with pytest.raises(FeedFailed) as failed:
        feed.take()
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    feed.stop()


def test_stop_before_and_during_connecting_ends_the_thread() -> None:
    feed = open_feed(IceConfig(url="ws://127.0.0.1:9/v1/feed", key="k", secret="s"), time.time_ns)
    feed.start()
    feed.stop()
    assert feed.take().positions == {}
