"""ICE on a real loopback WebSocket: a server written from docs/ice-profile.md, and a desk that takes from a feed."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

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

    def __init__(
        self, server: Server, resume: dict[str, Any] | None = None, *, port: int | None = None, **options: Any
    ) -> None:
        config = IceConfig(url=f"ws://127.0.0.1:{port or server.port}/v1/feed", key="k", secret="s", **options)
        self.ticks: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.counters: dict[str, int] = {}
        self.status: list[tuple[str | None, str]] = []
        self.last: Flush | None = None
        self.feed = open_feed(config, time.time_ns, resume)
        self.feed.start()

    @property
    def trades(self) -> list[dict[str, Any]]:
        return [row for row in self.ticks if row["kind"] == TRADE]

    def take(self) -> None:
        self.last = self.feed.take()
        for _, batch in self.last.ticks:
            self.ticks += batch.to_pylist()
        self.counters = dict(self.last.counters)
        if self.last.gaps is not None:
            self.gaps += self.last.gaps.to_pylist()
        if self.last.rejected is not None:
            self.rejected += self.last.rejected.to_pylist()
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
