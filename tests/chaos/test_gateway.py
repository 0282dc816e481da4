"""kill -9 of the gateway under a client that follows bars: it ends up with exactly the bars of the store."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from sinks.embedded.processes import free_port
from tests.acceptance.stores import BothStores
from tests.chaos.harness import FLOWS, Flows, Stopwatch, append, growing, tell, until, until_stored
from tests.chaos.market import SHARDS, Market

pytestmark = pytest.mark.timeout(900)

INTERVAL = "1s"
KILLS = 3
BACKFILL_AFTER_S = 4.0
"""A subscriber asks the store for what it missed, when that is there for sure: its flow writes once a second."""

Json = dict[str, Any]
Bars = dict[tuple[str, str], Json]


class Follower:
    """A program on the stream: follows bars, comes back after a loss, and asks REST for what it missed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.bars: Bars = {}
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._backfill_at: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.05):
                try:
                    with connect(f"ws://127.0.0.1:{self.port}/v1/stream", max_size=None) as socket:
                        self._follow(socket)
                except (OSError, ConnectionClosed, InvalidHandshake):
                    self.counts["disconnected"] += 1
        except BaseException as error:
            self.failure = error
            raise

    def _follow(self, socket: ClientConnection) -> None:
        request = {"op": "subscribe", "id": 1, "channel": "bars", "interval": INTERVAL, "instruments": ["*"]}
        socket.send(json.dumps(request))
        self._backfill_at = time.monotonic() + BACKFILL_AFTER_S
        while not self._stop.is_set():
            try:
                message = json.loads(socket.recv(timeout=0.1))
            except TimeoutError:
                message = {"op": "nothing"}
            self._take(message)
            if self._backfill_at is not None and time.monotonic() > self._backfill_at:
                self._backfill()

    def _take(self, message: Json) -> None:
        self.counts[message["op"]] += 1
        assert message["op"] != "error", message
        if message["op"] == "gap":
            self._backfill_at = time.monotonic() + BACKFILL_AFTER_S
        if message["op"] in ("snapshot", "update"):
            self._keep(message["data"])

    def _backfill(self) -> None:
        self._backfill_at = None
        self.counts["backfills"] += 1
        for bar in stored_bars(self.port).values():
            self._keep(bar)

    def _keep(self, bar: Json) -> None:
        key = bar["instrument"], bar["ts_open"]
        known = self.bars.get(key)
        if not bar["final"] or (known is not None and bar["revision"] < known["revision"]):
            return
        assert known is None or bar["revision"] > known["revision"] or bar == known, "stream and store differ"
        self.bars[key] = bar


def stored_bars(port: int) -> Bars:
    """All final bars, as REST tells them."""
    found: Bars = {}
    for instrument in (name for pairs in SHARDS.values() for _, name in pairs):
        url = f"http://127.0.0.1:{port}/v1/bars?instrument={instrument}&interval={INTERVAL}&limit=10000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found |= {(bar["instrument"], bar["ts_open"]): bar for bar in json.load(answer)}
    return found


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_a_client_has_every_bar_after_the_gateway_was_killed(empty_stores, tmp_path) -> None:
    stores, market, port = BothStores(*empty_stores), Market(seed=5), free_port()
    resumed = Stopwatch("gateway: from its start after a kill to the first message of its client")
    command = ("serve", "--port", str(port))
    with Flows(tmp_path / "data", stores.environment, commands={"gateway": command}) as flows:
        append(flows.url, market, 50)
        flows.start(*FLOWS, "gateway")
        until(lambda: answers(port))
        with Follower(port) as client:
            with growing(flows.url, market):
                for _ in range(KILLS):
                    seen = client.counts["update"]
                    until(lambda: client.counts["update"] > seen + 20)  # noqa: B023 (used up here)
                    flows.kill("gateway")
                    seen = client.counts["update"] + client.counts["snapshot"]
                    with resumed.measure():
                        flows.start("gateway")
                        until(lambda: client.counts["update"] + client.counts["snapshot"] > seen)  # noqa: B023
            until_stored(stores, flows, market)
            expected = stored_bars(port)
            until(lambda: client.failure is not None or client.bars == expected, every_s=0.5)
            tell(f"{len(expected)} bars; the client saw {dict(client.counts)}")
            assert client.failure is None
            assert {key: bar["revision"] for key, bar in expected.items()} == latest_revisions(stores)
    resumed.report()


def latest_revisions(stores: BothStores) -> dict[tuple[str, str], int]:
    bars = stores.bars("bars_latest")
    return {(name, str(ts_open)): revision for name, interval, ts_open, revision in bars if interval == INTERVAL}
