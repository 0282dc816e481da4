"""kill -9 of the trading backend's process: its log has every event of the outbox once."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from backend_events import insert, ledger, logged, outbox, payload

from tests.chaos.harness import Flows, Stopwatch, until

pytestmark = pytest.mark.timeout(900)

POINTS = (
    "backend.flush.before",
    "log.flush.before",
    "log.flush.mid",
    "log.flush.after",
    "backend.flush.after",
    "backend.positions.before",
    "backend.positions.after",
)
SHORT = ("log.flush.mid", "backend.flush.after", "backend.positions.before")
_EVERY = 7  # every seventh payload is no event


class Backend(threading.Thread):
    """Writes events in two interleaved transactions, so that ids are committed out of their order."""

    def __init__(self, dsn: str, table: str) -> None:
        super().__init__(daemon=True)
        self._dsn, self._table, self._stop_asked = dsn, table, threading.Event()
        self.events = 0
        self.poison = 0

    def run(self) -> None:
        with psycopg.connect(self._dsn) as slow, psycopg.connect(self._dsn) as fast:
            for number in range(1_000_000):
                if self._stop_asked.wait(0.01):
                    break
                insert(slow if number % 2 else fast, self._table, self._next(number))
                fast.commit()
                if number % 8 == 7:
                    slow.commit()

    def _next(self, number: int) -> bytes:
        if number % _EVERY == 0:
            self.poison += 1
            return b'{"version": "poison"}'
        self.events += 1
        return payload(number, ts_event=number)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


@contextmanager
def trading(dsn: str) -> Iterator[tuple[Backend, str]]:
    with outbox(dsn) as table:
        backend = Backend(dsn, table)
        backend.start()
        yield backend, table
        backend.stop()


@pytest.mark.parametrize(
    "points", [pytest.param(SHORT, id="short"), pytest.param(POINTS * 4, id="long", marks=pytest.mark.chaos)]
)
def test_a_killed_backend_flow_has_every_event_once(points: tuple[str, ...], postgres_dsn: str, tmp_path: Path) -> None:
    chance, resumed = random.Random(len(points)), Stopwatch("backend: from its start after a kill to its next event")
    with trading(postgres_dsn) as (backend, table):
        settings = {
            "MANDI_BACKEND_OUTBOX": postgres_dsn,
            "MANDI_BACKEND_OUTBOX_TABLE": table,
            "MANDI_BACKEND_OUTBOX_HOURS": "0.000001",
        }
        with Flows(tmp_path, settings, commands={"backend": ("ingest", "backend")}) as flows:
            for point in points:
                flows.crash({"backend": f"{point}:{chance.randint(1, 8 if 'flush' in point else 2)}"})
                before = len(logged(flows.url))
                with resumed.measure():
                    flows.start("backend")
                    until(lambda: len(logged(flows.url)) > before)  # noqa: B023 (used up here)
                time.sleep(chance.uniform(0, 0.3))
                flows.kill("backend")
            flows.start("backend")
            backend.stop()
            until(lambda: len(logged(flows.url)) >= backend.events)
            flows.stop("backend")
    assert Counter(Counter(logged(flows.url)).values()) == {1: backend.events}
    refused = {(row["source"], row["source_offset"], row["source_row"]) for row in ledger(flows.url)}
    assert len(refused) == backend.poison > 0
    assert all(json.loads(row["raw"]) == {"version": "poison"} for row in ledger(flows.url))
    resumed.report()
