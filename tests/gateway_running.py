"""A whole gateway on a free port, fed by the real embedded log, for the tests that need a socket."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any

from gateway_support import Json, batch
from websockets.asyncio.client import ClientConnection, connect

from gateway.config import GatewayConfig
from gateway.server import serve
from market.records import LogWriter, TopicPartition
from market.topics import prices
from sinks.log import open_writer

DEADLINE_S = 20.0
GOLD_PRICES = prices("gold")


@dataclass
class Running:
    """A gateway under test and the log it follows."""

    port: int
    writer: LogWriter
    stop: asyncio.Event
    task: asyncio.Task[None]

    def append(self, tp: TopicPartition, kind: str, *rows: Json) -> None:
        self.writer.append(tp, kind, batch(kind, *rows))
        self.writer.flush()

    def ticks(self, *rows: Json) -> None:
        self.append(GOLD_PRICES, "ticks", *rows)

    def connect(self, **options: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream", **options)

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
        return await asyncio.to_thread(_request, f"http://127.0.0.1:{self.port}{path}", method, headers)

    async def json(self, path: str) -> Any:
        status_code, _, body = await self.get(path)
        assert status_code == 200, body
        return json.loads(body)


def _request(url: str, method: str, headers: dict[str, str]) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@asynccontextmanager
async def gateway(directory: Path, *, ready: bool = True, **options: Any) -> AsyncIterator[Running]:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    writer = open_writer(directory.as_uri())
    config = GatewayConfig(log_url=directory.as_uri(), port=0, on_listening=lambda _, p: port.set_result(p))
    stop = asyncio.Event()
    task = asyncio.create_task(serve(replace(config, **options), time.time_ns, stop))
    try:
        running = Running(await port, writer, stop, task)
        if ready:
            await until_ready(running)
        yield running
    finally:
        stop.set()
        await task
        writer.close()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.005)


async def until_ready(running: Running) -> None:
    async def ready() -> bool:
        return (await running.get("/readyz"))[0] == 200

    await until(ready)


async def receive(client: ClientConnection) -> Json:
    async with asyncio.timeout(DEADLINE_S):
        message: Json = json.loads(await client.recv())
        return message


async def receive_until(client: ClientConnection, enough: Callable[[list[Json]], bool]) -> list[Json]:
    messages: list[Json] = []
    while not enough(messages):
        messages.append(await receive(client))
    return messages


async def say(client: ClientConnection, **message: object) -> None:
    await client.send(json.dumps(message))


def metric_value(text: str, name: str) -> str:
    return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name + " "))
