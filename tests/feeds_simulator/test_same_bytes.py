"""One seed and scenario, one stream of bytes: what every venue's server writes to a client, under a clock of ours.

The servers are the real ones, with their pacing, their sessions and the faults of the wire. Stood in for are the clock
(the market's and the event loop's) and the socket, which keeps what is written; so no time passes but ours.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.protocol import State

from feeds_simulator.backend.database import event_of
from feeds_simulator.backend.desk import Desk, DeskConfig
from feeds_simulator.bloomberg.framing import frame
from feeds_simulator.bloomberg.securities import security_of
from feeds_simulator.bloomberg.server import BloombergSimulator
from feeds_simulator.bloomberg.server import SimulatorConfig as BloombergConfig
from feeds_simulator.cme.server import CmeSimulator, _Line
from feeds_simulator.cme.server import SimulatorConfig as CmeConfig
from feeds_simulator.events import Listing
from feeds_simulator.faults import Faults
from feeds_simulator.ice.requests import sign
from feeds_simulator.ice.server import IceSimulator
from feeds_simulator.ice.server import SimulatorConfig as IceConfig
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.mcx.server import McxSimulator
from feeds_simulator.mcx.server import SimulatorConfig as McxConfig
from feeds_simulator.mcx.symbols import kite_symbol
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from feeds_simulator.scenarios import Script, parse
from feeds_simulator.stage import Stage

S = 1_000_000_000
START_NS = int(datetime(2026, 11, 24, 14, 40, tzinfo=UTC).timestamp()) * S
SECONDS = 37
TURNS_PER_S = 10
VENUES = ("ice", "mcx", "cme", "bloomberg")
WIRE = "gap,out_of_order,garbled,late,future_stamp,clock_skew,disconnect"
MARKET = "duplicate,bust_and_correct,halt,limit_move,crossed,fat_finger,spike,volume_surge,spoof,news_shock"
ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.ns = START_NS

    def __call__(self) -> int:
        return self.ns


class ClockedLoop(asyncio.SelectorEventLoop):
    """Its time is the market's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock_ns = clock

    def time(self) -> float:
        return (self._clock_ns() - START_NS) / S


class Socket:
    """A transport that takes everything at once."""

    def __init__(self, taken: "hashlib._Hash") -> None:
        self._taken = taken
        self.cut = False
        self.on_cut: Callable[[None], None] = lambda _: None

    def write(self, data: bytes) -> None:
        self._taken.update(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.cut

    def pause_reading(self) -> None:
        pass

    def abort(self) -> None:
        self.cut = True
        self.on_cut(None)

    close = abort

    def get_extra_info(self, _name: str) -> None:
        return None


class WebSocket(SimpleNamespace):
    """A client that says what it has to say, then listens."""

    def __init__(self, socket: Socket, requests: list[str]) -> None:
        super().__init__(transport=socket, state=State.OPEN, keepalive_task=None)
        self._requests = iter(requests)

    async def recv(self) -> str:
        request = next(self._requests, None)
        if request is None:
            await asyncio.Event().wait()
        assert request is not None
        return request

    def __aiter__(self) -> AsyncIterator[str]:
        return self._rest()

    async def _rest(self) -> AsyncIterator[str]:
        while True:
            yield await self.recv()

    async def drain(self) -> None:
        pass


class Ice:
    symbol_of = staticmethod(ice_symbol)

    def __init__(self, clock: Clock, faults: Faults, market: Stage) -> None:
        self.server = IceSimulator(IceConfig(), clock, market, faults)
        self._clock = clock

    async def connect(self, socket: Socket) -> None:
        ts = self._clock.ns
        requests: list[dict[str, Any]] = [{"op": "auth", "key": "demo", "ts": ts, "sig": sign("demo-secret", ts)}]
        requests += [
            {"op": "subscribe", "id": channel, "channel": channel, "symbols": ["*"]}
            for channel in ("book", "trades", "status", "settle")
        ]
        await self.server._serve_client(WebSocket(socket, [json.dumps(one) for one in requests]))  # type: ignore[arg-type]


class Mcx:
    symbol_of = staticmethod(kite_symbol)

    def __init__(self, clock: Clock, faults: Faults, market: Stage) -> None:
        self.server = McxSimulator(McxConfig(), clock, market, faults)

    async def connect(self, socket: Socket) -> None:
        tokens = [contract.token for contract in self.server.board.contracts]
        requests = [{"a": "subscribe", "v": tokens}, {"a": "mode", "v": ["full", tokens]}]
        await self.server._serve_client(WebSocket(socket, [json.dumps(one) for one in requests]))  # type: ignore[arg-type]


class Cme:
    symbol_of = staticmethod(str)

    def __init__(self, clock: Clock, faults: Faults, market: Stage) -> None:
        self.server = CmeSimulator(CmeConfig(), clock, market, faults)
        self._clock = clock

    async def connect(self, socket: Socket) -> None:
        line = _Line(self.server)
        socket.on_cut = line.connection_lost
        line.connection_made(socket)  # type: ignore[arg-type]
        said = [("A", "98=0|108=10|141=Y|553=MANDI|554=demo-secret|")]
        for number, symbol in enumerate(self.server.venue._instruments):
            named = self.server.venue._teller.symbol(symbol).replace("\x01", "|")
            for kind, types in (("B", "267=2|269=0|269=1|"), ("T", "267=1|269=2|")):
                said.append(("V", f"262={kind}{number}|263=1|264=0|{types}146=1|{named}"))
        for number, (kind, body) in enumerate(said, start=1):
            line.data_received(self._sealed(kind, number, body))

    def _sealed(self, kind: str, number: int, body: str) -> bytes:
        sent = datetime.fromtimestamp(self.server.clock_ns() // S, UTC)
        head = f"35={kind}|49=MANDI|56=CME|34={number}|52={sent:%Y%m%d-%H:%M:%S}|"
        content = (head + body).replace("|", "\x01").encode()
        message = b"8=FIX.4.4\x019=%d\x01" % len(content) + content
        return message + b"10=%03d\x01" % (sum(message) % 256)


class Bloomberg:
    symbol_of = staticmethod(security_of)

    def __init__(self, clock: Clock, faults: Faults, market: Stage) -> None:
        self.server = BloombergSimulator(BloombergConfig(news_every_s=3.0), clock, market, faults)
        self._listings: list[Listing] = list(market.listings.values())

    async def connect(self, socket: Socket) -> None:
        reader = asyncio.StreamReader()
        requests: list[dict[str, Any]] = [{"op": "hello", "version": 1, "name": "test"}]
        requests.append({"op": "subscribe", "id": 1, "service": "//blp/mktnews", "topic": "all"})
        fields = ["BID", "ASK", "BID_SIZE", "ASK_SIZE", "LAST_PRICE", "SIZE_LAST_TRADE", "VOLUME", "NO_SUCH_FIELD"]
        for number, listing in enumerate(self._listings, start=2):
            topic = security_of(listing.key)
            wanted = {"service": "//blp/mktdata", "topic": topic, "fields": fields}
            requests.append({"op": "subscribe", "id": number, **wanted})
        reader.feed_data(b"".join(frame(request) for request in requests))
        await self.server._serve_client(reader, SimpleNamespace(transport=socket))  # type: ignore[arg-type]


CLIENTS: dict[str, Callable[[Clock, Faults, Stage], Any]] = {"ice": Ice, "mcx": Mcx, "cme": Cme, "bloomberg": Bloomberg}


def stage(venue: str, names: str, seed: int, faults: Faults) -> Stage:
    script = Script(parse(names), START_NS, VENUES)
    config = ModelConfig(
        start_ns=START_NS,
        seed=seed,
        rate=40.0,
        profiles=PROFILES[venue],
        symbol_of=CLIENTS[venue].symbol_of,  # type: ignore[attr-defined]
        moves=script.moves(),
        bust_every=script.bust_every,
        correct_every=script.correct_every,
    )
    return Stage(venue, MarketModel(config), script, faults)


def written(venue: str, names: str, seed: int = 7) -> tuple[str, Faults]:
    """The hash of all that a client is sent in 37 s, who comes back when it is cut; and what was done to it."""
    clock, faults, taken = Clock(), Faults(), hashlib.sha256()
    client = CLIENTS[venue](clock, faults, stage(venue, names, seed, faults))

    async def run() -> None:
        tasks, socket = [], None
        for turn in range(SECONDS * TURNS_PER_S):
            clock.ns = START_NS + turn * S // TURNS_PER_S
            if socket is None or socket.cut:
                for task in tasks:
                    task.cancel()
                socket = Socket(taken)
                tasks = [asyncio.create_task(client.connect(socket))]
            for _ in range(8):  # whoever has something to read has read it by then
                await asyncio.sleep(0)
            client.server._pacer.turn(asyncio.get_running_loop().time())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with asyncio.Runner(loop_factory=lambda: ClockedLoop(clock)) as runner:
        runner.run(run())
    return taken.hexdigest(), faults


def events_of_the_backend(seed: int = 7) -> str:
    """The hash of ten minutes of the trading backend's events, as they are put into its outbox."""
    desk, taken = Desk(DeskConfig(start_ns=START_NS, seed=seed)), hashlib.sha256()
    for minute in range(1, 11):
        for change in desk.pull(START_NS + minute * 60 * S, most=10_000):
            taken.update(event_of(change).encode() + b"\n")
    return taken.hexdigest()


def everything() -> Iterator[tuple[str, str, str]]:
    for venue in VENUES:
        for names in (WIRE, MARKET):
            taken, faults = written(venue, names)
            yield f"{venue} {names}", taken, " ".join(sorted(faults.done))
    yield "backend", events_of_the_backend(), ""


@pytest.fixture(scope="module")
def here() -> list[tuple[str, str, str]]:
    return list(everything())


def test_another_process_writes_the_same_bytes(here: list[tuple[str, str, str]]) -> None:
    """Also with another order of what is in a set."""
    said = subprocess.run(
        [sys.executable, "-c", "from test_same_bytes import *; print(list(everything()))"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
            "PYTHONHASHSEED": "1234",
        },
    ).stdout
    assert said.strip() == str(here)


def test_what_was_to_go_wrong_did(here: list[tuple[str, str, str]]) -> None:
    for name, _, done in here[:-1]:
        if WIRE in name:
            assert {"cut", "dropped", "swapped", "delayed", "late", "future"} <= set(done.split()), name


@pytest.mark.parametrize("venue", VENUES)
def test_another_seed_or_scenario_is_another_stream(venue: str, here: list[tuple[str, str, str]]) -> None:
    usual, faults = written(venue, "")
    assert not faults.done
    assert usual == written(venue, "")[0]
    assert len({usual, written(venue, "", seed=8)[0], *(taken for _, taken, _ in here)}) == 2 + len(here)


def test_the_backend_depends_on_its_seed() -> None:
    assert events_of_the_backend() == events_of_the_backend()
    assert events_of_the_backend() != events_of_the_backend(seed=8)
