"""The feed over a real loopback WebSocket, against a scripted server written from docs/ice-profile.md."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from connectors.errors import FeedFailed
from connectors.feed import Flush
from connectors.ice.config import IceConfig
from connectors.ice.source import open_feed
from market.schemas import TRADE
from tests.connectors.ice.venue import FakeVenue

SYMBOL = "CT Z26"
DEADLINE_S = 20.0


class Server:
    """FakeVenue behind a socket, in its own thread."""

    def __init__(self) -> None:
        self.venue = FakeVenue((SYMBOL,))
        self.connections: list[ServerConnection] = []
        self.mute = False
        self.refuse = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main()))
        self._thread.start()
        assert self._up.wait(DEADLINE_S)

    async def _main(self) -> None:
        async with serve(self._talk, "127.0.0.1", 0, close_timeout=1) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._up.set()
            await self._stop.wait()

    async def _talk(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            async for raw in connection:
                assert isinstance(raw, str), "the profile asks for text frames"
                if self.refuse:
                    await connection.send('{"op":"error","code":"auth_failed","msg":"no"}')
                    await connection.close(4001, "auth")
                elif not self.mute:
                    for frame in self.venue.answer(raw.encode()):
                        await connection.send(frame, text=True)
        except ConnectionClosed:
            pass

    def do(self, action: Callable[[], Any]) -> Any:
        """Run in the server's loop: the venue is not thread-safe."""

        async def run() -> Any:
            result = action()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(DEADLINE_S)

    def send(self, frames: list[bytes], fragments: int = 1) -> None:
        async def run() -> None:
            for frame in frames:
                size = -(-len(frame) // fragments)
                parts = [frame[at : at + size].decode() for at in range(0, len(frame), size)]
                await self.connections[-1].send(parts if fragments > 1 else parts[0])

        self.do(run)

    def trades(self, count: int) -> list[bytes]:
        return self.do(lambda: [frame for n in range(count) for frame in self.venue.trade(SYMBOL, 8000 + n % 7, 1)])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class Desk:
    """Takes from a feed until what it waits for is there."""

    def __init__(self, server: Server, resume: dict[str, Any] | None = None, **options: Any) -> None:
        config = IceConfig(url=f"ws://127.0.0.1:{server.port}/v1/feed", key="k", secret="s", **options)
        self.trades: list[dict[str, Any]] = []
        self.status: list[tuple[str | None, str]] = []
        self.last: Flush | None = None
        self.feed = open_feed(config, time.time_ns, resume)
        self.feed.start()

    def take(self) -> None:
        self.last = self.feed.take()
        for _, batch in self.last.ticks:
            self.trades += [row for row in batch.to_pylist() if row["kind"] == TRADE]
        if self.last.status is not None:
            self.status += [(row["instrument"], row["quality"]) for row in self.last.status.to_pylist()]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.feed.wait(0.05)
            self.take()

    def live(self) -> None:
        self.until(lambda: (None, "LIVE") in self.status)


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


def test_case_8_fragments_give_the_same_rows(server: Server, desks: list[Desk]) -> None:
    desk = Desk(server)
    desks.append(desk)
    desk.live()
    server.send(server.trades(5), fragments=40)
    desk.until(lambda: len(desk.trades) == 5)
    assert [row["seq"] for row in desk.trades] == [1, 2, 3, 4, 5]


def test_case_9_cut_in_mid_message_reconnects_and_misses_nothing(server: Server, desks: list[Desk]) -> None:
    desk = Desk(server)
    desks.append(desk)
    desk.live()
    frames = server.trades(10)
    server.send(frames[:4])
    desk.until(lambda: len(desk.trades) == 4)

    def cut() -> None:
        transport = server.connections[-1].transport
        transport.write(b"\x81\x7e\x01\x00" + frames[4][:20])  # a header that promises 256 bytes, and 20 of them
        transport.abort()

    server.do(cut)
    desk.until(lambda: len(desk.trades) == 10)
    assert [row["seq"] for row in desk.trades] == list(range(1, 11))
    assert (None, "STALE") in desk.status
    assert len(server.connections) == 2


def test_case_9_half_open_socket_is_given_up(server: Server, desks: list[Desk]) -> None:
    desk = Desk(server, dead_after_s=0.5, ping_interval_s=60.0)
    desks.append(desk)
    desk.live()
    desk.until(lambda: len(server.connections) >= 2)  # nothing was sent: no data, no pong
    assert (None, "STALE") in desk.status


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


def test_refused_credentials_are_no_hot_loop(server: Server, desks: list[Desk]) -> None:
    server.refuse = True
    desk = Desk(server)
    desks.append(desk)
    desk.until(lambda: (None, "STALE") in desk.status)
    assert desk.feed.min_retry_s() >= 5.0
    assert len(server.connections) == 1


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
