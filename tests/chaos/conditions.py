"""What alerts are for, done to the processes of a running demo: each a context; leaving it puts the thing right."""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from psycopg import sql
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from market import topics
from market.schemas import BARS
from sinks.embedded.postgres import DATABASE
from sinks.locks import try_lock
from tests.chaos.broker import Broker
from tests.chaos.harness import until
from tests.chaos.test_demo import Demo
from tests.pipelines.test_anomalies_flow import append as append_ticks
from tests.pipelines.test_anomalies_flow import quotes
from tests.pipelines.test_forecasts_flow import T0_NS, encoded
from tests.pipelines.test_forecasts_flow import append as append_batch

_PAUSE_S: Final = 2.0  # the supervisor gives up what stands still for 3.5 s
_INSIDE: Final = Path(__file__).parent / "inside"
_ORDER: Final = "lose-a-row"
_BAR_NS: Final = 5 * 10**9


def process_of(running: Demo, words: str) -> psutil.Process:
    """The demo's process `mandi WORDS`; waits for it while it is being started again."""
    found: list[psutil.Process] = []

    def look() -> bool:
        for child in psutil.Process(running.process.pid).children():
            with suppress(psutil.Error):
                command = " ".join(child.cmdline())
                if command.endswith(f"-m mandi {words}") or f"-m mandi {words} --" in command:
                    found.append(child)
        return bool(found)

    until(look)
    return found[0]


@contextmanager
def paused(process: psutil.Process) -> Iterator[None]:
    """A process has stood still, for less than its supervisor puts up with."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(_PAUSE_S)  # it is the condition
    process.send_signal(signal.SIGCONT)
    yield


@contextmanager
def subscribed(url: str) -> Iterator[None]:
    """A client of the stream takes what comes."""

    def listen() -> None:
        with suppress(ConnectionClosed):
            for _ in client:
                pass

    with connect(f"{url.replace('http', 'ws', 1)}/v1/stream", max_size=None) as client:
        client.send(json.dumps({"op": "subscribe", "id": 1, "channel": "quotes", "instruments": ["*"]}))
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield
    thread.join()


@contextmanager
def refusing(data_dir: Path) -> Iterator[None]:
    """PostgreSQL runs and takes no connection to our database, as in somebody's maintenance."""
    dsn = (data_dir / "postgres.dsn").read_text().strip().removesuffix(DATABASE) + "postgres"
    with psycopg.connect(dsn, autocommit=True) as connection:
        _allow(connection, False)
        try:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(query, [DATABASE])
            yield
        finally:
            _allow(connection, True)


def _allow(connection: psycopg.Connection, yes: bool) -> None:
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    connection.execute(statement.format(sql.Identifier(DATABASE), sql.Literal(yes)))


@contextmanager
def locked_out(running: Demo, flow: str) -> Iterator[None]:
    """A flow dies and cannot start again: somebody else has the lock of its recovery store."""
    process = process_of(running, f"run {flow}")
    with (running.data_dir / "recovery" / flow / "lock").open("a+") as lock:
        process.kill()
        until(lambda: try_lock(lock))
        yield


def inside_settings(directory: Path) -> dict[str, str]:
    """Settings with which the bars flow of a demo can lose a row, and its venues know `slow_line`."""
    path = os.pathsep.join(filter(None, (str(_INSIDE), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "LOSES_A_ROW": str(directory / _ORDER)}


@contextmanager
def losing_a_row(running: Demo, directory: Path) -> Iterator[None]:
    """The bars flow has a defect and loses a row; it is right again when it is started anew."""
    (directory / _ORDER).touch()
    until(lambda: not (directory / _ORDER).exists())
    yield
    process_of(running, "run bars").kill()


def damage_state(running: Demo, flow: str) -> None:
    """A flow dies, and finds that its recovery store is damaged: it reads the log anew."""
    with locked_out(running, flow):
        for part in (running.data_dir / "recovery" / flow / "store").iterdir():
            part.write_bytes(b"damaged")


@contextmanager
def away(broker: Broker) -> Iterator[None]:
    """The log's broker is killed, and comes back."""
    broker.kill()
    try:
        yield
    finally:
        broker.start()


@contextmanager
def nearly_full(disk: Path, percent: int = 95) -> Iterator[None]:
    """So much of a disk is taken."""
    usage, ballast = shutil.disk_usage(disk), disk / "ballast"
    ballast.write_bytes(bytes(usage.total * percent // 100 - usage.used))
    yield
    ballast.unlink()


_MONTHS: Final = [f"{year}{month:02}" for year in range(2027, 2031) for month in (2, 4, 6, 8, 10, 12)]
GOLD: Final = [f"XCEC:GC:{month}" for month in ("202612", *_MONTHS)]


class Moves:
    """Quotes of many contracts, second by second, put into a log: quiet, then all of them jump by a percent."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._quote(4_000, range(50))

    @contextmanager
    def market(self) -> Iterator[None]:
        time.sleep(40)  # a surge is one against the time before, of which there must be some
        self._quote(4_040, range(50, 90))
        yield

    def _quote(self, price: int, seconds: range) -> None:
        append_ticks(self._url, "gold", [row for name in GOLD for row in quotes(name, price, seconds)])


class Rough:
    """Bars of 5 s put into a log: quiet, then of four times the moves; then many more of those, which are learnt."""

    def __init__(self, url: str) -> None:
        self._url, self._random, self._number = url, random.Random(1), 0
        self._prices = dict.fromkeys(GOLD[:12], 4_000e9)
        self._append(12, 1e-4)

    @contextmanager
    def market(self) -> Iterator[None]:
        self._append(24, 4e-4)
        enough = threading.Event()

        def go_on() -> None:
            while not enough.wait(5.0):
                self._append(1, 4e-4)

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        yield
        enough.set()
        thread.join()
        for _ in range(12):  # the flow tells how good it is every 5 s, and only when it says something
            self._append(10, 4e-4)
            time.sleep(0.6)

    def _append(self, bars: int, deviation: float) -> None:
        for _ in range(bars):
            self._number += 1
            append_batch(
                self._url, topics.BARS, "bars", encoded([self._bar(name, deviation) for name in self._prices], BARS)
            )

    def _bar(self, name: str, deviation: float) -> dict[str, Any]:
        self._prices[name] *= 1 + self._random.gauss(0, deviation)
        price, ts_open = round(self._prices[name]), T0_NS + self._number * _BAR_NS
        return {
            "venue": "XCEC",
            "instrument": name,
            "interval": "5s",
            "ts_open": ts_open,
            "ts_close": ts_open + _BAR_NS,
            "revision": 0,
            "final": True,
            **dict.fromkeys(("open", "low", "close", "vwap"), price),
            "high": price + 4 * 10**8,
            "volume": Decimal(7),
            "trades": 3,
            "quality": "LIVE",
            "as_known_at": ts_open + _BAR_NS + 5,
        }
