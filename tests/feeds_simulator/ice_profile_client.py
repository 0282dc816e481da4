"""A raw client of docs/ice-profile.md for the tests: no connector code, one plain `websockets` socket."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from feeds_simulator.events import Event
from feeds_simulator.faults import Faults
from feeds_simulator.ice.server import IceSimulator, SimulatorConfig
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig

KEY, SECRET = "demo", "demo-secret"
DEADLINE_S = 20.0
Json = dict[str, Any]


class Market(MarketModel):
    """The market of ICE, always open; `happened` is all that was ever pulled."""

    def __init__(self, rate: float, **options: Any) -> None:
        made = {"profiles": PROFILES["ice"], "symbol_of": ice_symbol, "always_open": True, **options}
        super().__init__(ModelConfig(start_ns=time.time_ns(), rate=rate, **made))
        self.happened: list[Event] = []

    def pull(self, until_ns: int, max_actions: int = 1 << 30) -> list[list[Event]]:
        actions = super().pull(until_ns, max_actions)
        self.happened += [event for action in actions for event in action]
        return actions


@asynccontextmanager
async def running(market: Market, *, faults: Faults | None = None, **options: Any) -> AsyncIterator[IceSimulator]:
    """Run a venue on a free port of the loopback; stop it at the end."""
    simulator = IceSimulator(SimulatorConfig(**options), time.time_ns, market, faults)
    stop, listening = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(simulator.run(stop, lambda port: listening.set()))  # noqa: ARG005
    async with asyncio.timeout(DEADLINE_S):
        await listening.wait()
    try:
        yield simulator
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


def sign(ts: int, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), str(ts).encode(), hashlib.sha256).hexdigest()


class Client:
    """One socket. Messages are parsed as they are taken; every wait has a deadline."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session = ""
        self.seen: list[Json] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self) -> Json:
        async with asyncio.timeout(DEADLINE_S):
            message: Json = json.loads(await self.socket.recv())
        self.seen.append(message)
        return message

    async def until(self, wanted: Callable[[Json], bool]) -> list[Json]:
        """Take messages up to and including the first wanted one."""
        taken = []
        async with asyncio.timeout(DEADLINE_S):
            while not taken or not wanted(taken[-1]):
                taken.append(await self.next())
        return taken

    async def op(self, op: str) -> Json:
        return (await self.until(lambda message: message["op"] == op))[-1]

    async def auth(self, session: str | None = None, *, key: str = KEY, secret: str = SECRET) -> Json:
        ts = time.time_ns()
        wanted = {"session": session} if session else {}
        await self.send(op="auth", key=key, ts=ts, sig=sign(ts, secret), **wanted)
        answer = await self.next()
        self.session = answer.get("session", "")
        return answer

    async def subscribe(self, channel: str, symbols: list[str] | None = None, **more: Any) -> Json:
        await self.send(op="subscribe", id=channel, channel=channel, symbols=symbols or ["*"], **more)
        return await self.op("subscribed")

    async def closed(self) -> int:
        """Read on until the venue closes the socket; return its code."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                while True:
                    self.seen.append(json.loads(await self.socket.recv()))
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def connected(simulator: IceSimulator, **options: Any) -> AsyncIterator[Client]:
    uri = f"ws://127.0.0.1:{simulator.port}/v1/feed"
    async with connect(uri, compression=None, max_queue=None, **options) as socket:
        yield Client(socket)


class BookImage:
    """A client's copy of one book: snapshot, then changes, checked as they come."""

    def __init__(self, snapshot: Json) -> None:
        self.levels = {
            "B": {price: (qty, orders) for price, qty, orders in snapshot["bids"]},
            "S": {price: (qty, orders) for price, qty, orders in snapshot["asks"]},
        }
        self.seq = snapshot["seq"]

    def apply(self, message: Json) -> None:
        assert message["prev_seq"] == self.seq
        self.seq = message["seq"]
        for side, action, price, qty, orders in message["changes"]:
            assert (price in self.levels[side]) is (action != "N"), message
            if action == "D":
                del self.levels[side][price]
            else:
                assert qty >= orders >= 1
                self.levels[side][price] = (qty, orders)

    def sides(self) -> tuple[list[list[Any]], list[list[Any]]]:
        """Both sides as a snapshot shows them, best first."""
        bids = sorted(self.levels["B"].items(), key=lambda level: -float(level[0]))
        asks = sorted(self.levels["S"].items(), key=lambda level: float(level[0]))
        return ([[price, *rest] for price, rest in bids], [[price, *rest] for price, rest in asks])
