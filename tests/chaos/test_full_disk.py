"""A disk that is full: a store's sink waits with the rows, and writes each once when there is space again. An ingest
ends, says why, and has every row that a venue repeats when it is started again.
"""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from store_rows import batch_of, expected, read_clickhouse, read_timescale, rows_of

from connectors.log import open_reader
from mandi.clock import FileClock
from mandi.opening import open_market
from mandi.scrape import scrape
from mandi.supervisor import Child, Supervisor
from pipelines.ingest import last_positions
from sinks.base import Retry, RetryingSink, Sink
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.processes import free_port
from sinks.errors import StoreUnavailable
from sinks.migrations import migrate_clickhouse, migrate_timescale
from sinks.timescale import TimescaleSink
from tests.acceptance.reconcile import SETTLE_S, reconcile
from tests.acceptance.reconcile_log import LogTables
from tests.chaos.conditions import nearly_full
from tests.chaos.harness import Flows, tell, until
from tests.chaos.test_ingest import listens, written

pytestmark = pytest.mark.timeout(600)

ROWS = rows_of("trades", 3_000)
FIRST = 100


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """While inside, there is no space left."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb") as file:
        file.write(bytes(1 << 30))
    yield
    ballast.unlink()


def write_through_a_full_disk(sink: Sink, disk: Path) -> None:
    with closing(sink):
        sink.write({"trades": [batch_of("trades", ROWS[:FIRST])]})
        refused, stop = threading.Event(), threading.Event()
        told: list[StoreUnavailable] = []

        def note(error: StoreUnavailable, *_: object) -> None:
            told.append(error)
            refused.set()

        patient = RetryingSink(sink, Retry(stop=stop, on_retry=note, last_s=0.3))
        writer = threading.Thread(target=lambda: patient.write({"trades": [batch_of("trades", ROWS)]}), daemon=True)
        with full(disk):
            writer.start()
            assert refused.wait(60)
        writer.join(60)
        stop.set()
        assert not writer.is_alive()
        assert "space" in told[0].reason


@pytest.mark.parametrize("small_disk", ["220m"], indirect=True)
def test_postgres_on_a_full_disk(small_disk: Path) -> None:
    server = EmbeddedPostgres(small_disk / "data")
    try:
        migrate_timescale(server.start())
        write_through_a_full_disk(TimescaleSink(server.dsn), small_disk)
        assert read_timescale(server.dsn, "trades") == expected("trades", ROWS)
    finally:
        server.stop()


@pytest.mark.parametrize("small_disk", ["64m"], indirect=True)
def test_clickhouse_on_a_full_disk(small_disk: Path) -> None:
    server = EmbeddedClickHouse(small_disk / "data", port=0)
    try:
        migrate_clickhouse(server.start())
        write_through_a_full_disk(ClickHouseSink(server.url), small_disk)
        assert read_clickhouse(server.url, "trades") == expected("trades", ROWS)
    finally:
        server.stop()


VENUES = {"ice", "cme", "mcx", "bloomberg"}
CAN_REPEAT = {"ice", "cme"}
SECRETS = {
    "MANDI_ICE_SECRET": "a secret of this test",
    "MANDI_CME_PASSWORD": "a password of this test",
    "MANDI_MCX_ACCESS_TOKEN": "a token of this test",
}


@contextmanager
def four_venues(directory: Path) -> Iterator[Flows]:
    """The simulated venues of all feeds, with open markets; who connects takes the same settings and clock."""
    ice, cme, mcx, bloomberg = (free_port() for _ in range(4))
    settings = SECRETS | {
        "MANDI_ICE_URL": f"ws://127.0.0.1:{ice}/v1/feed",
        "MANDI_CME": f"127.0.0.1:{cme}",
        "MANDI_MCX_URL": f"ws://127.0.0.1:{mcx}/",
        "MANDI_BLOOMBERG": f"127.0.0.1:{bloomberg}",
    }
    words = ("simulate", "--port", str(ice), "--rate", "1500")
    with Flows(directory / "venues", settings, commands={"simulate": words}) as venues:
        open_market(FileClock(venues.data_dir / "clock.json"), 1.0, tell)
        venues.start("simulate")
        until(lambda: all(listens(port) for port in (ice, cme, mcx, bloomberg)))
        yield venues


@pytest.mark.parametrize("small_disk", ["32m"], indirect=True)
@pytest.mark.parametrize("place", ["log", "everything"])
def test_ingest_on_a_full_disk_ends_with_a_reason_and_has_every_row_when_there_is_space(
    place: str, small_disk: Path, tmp_path: Path
) -> None:
    """All venues go on meanwhile. Who can repeat has repeated; of the others a gap owns up to what was missed."""
    with four_venues(tmp_path) as venues:
        log, data = small_disk / "log", small_disk / "data" if place == "everything" else tmp_path / "data"
        settings = {**venues.settings, "MANDI_LOG": log.as_uri()}
        with Flows(data, settings, commands={"ingest": ("ingest",)}) as flows:
            (data / "clock.json").write_text((venues.data_dir / "clock.json").read_text())
            flows.start("ingest")
            until(lambda: feeds_of(flows.url) == VENUES)
            with full(small_disk):
                ends_for_want_of_space(flows, place)
                flows.start("ingest")  # as its supervisor does
                ends_for_want_of_space(flows, place)
            flows.start("ingest")
            before = written(flows)
            until(lambda: written(flows) > before + 300)
            venues.process("simulate").send_signal(signal.SIGUSR1)
            time.sleep(SETTLE_S)  # the venues repeat what they owe
            flows.stop("ingest")
        venues.stop("simulate")
    found = reconcile(venues.data_dir, LogTables(log.as_uri()))
    said = sum(line.said for line in found.lines)
    tell(f"{said} trades were said; missing by feed: {Counter({line.feed: line.missing for line in found.lines})}")
    assert said > 200
    assert {line.feed for line in found.lines if line.held} == VENUES
    assert found.unexplained() == []
    assert [line for line in found.lines if line.feed in CAN_REPEAT and line.missing] == []


def ends_for_want_of_space(flows: Flows, place: str) -> None:
    began_s = time.monotonic()
    # Python ends with 120 if what is left to say cannot be written, either.
    assert flows.ended("ingest") in ((1,) if place == "log" else (1, 120))
    tell(f"the disk is full: ingest ended after {time.monotonic() - began_s:.1f} s")
    if place == "log":  # else there is nowhere to write it
        assert "No space left on device" in flows.said("ingest").splitlines()[-1]


def feeds_of(url: str) -> set[str]:
    """The feeds of which there are rows in the log, and a position."""
    reader = open_reader(url)
    try:
        return {feed for feed, at in last_positions(reader).items() if "session" in at or at["seq"]}
    finally:
        reader.close()


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_supervisor_says_that_a_disk_is_full_where_its_child_cannot(small_disk: Path) -> None:
    said: list[str] = []
    fails = "import sys; print('no reason of mine', file=sys.stderr, flush=True); sys.exit(1)"
    watch = Supervisor(small_disk / "logs", said.append)
    with full(small_disk):
        watch.start(Child(name="child", command=[sys.executable, "-c", fails]))
        until(lambda: watch.poll() or said)
        watch.stop()
    assert "is full: it could not write why" in said[0]


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_disk_that_fills_up_shows_in_the_metrics(small_disk: Path, tmp_path: Path) -> None:
    """Of a log that is mounted apart, and in every process."""
    with Flows(tmp_path, {"MANDI_LOG": (small_disk / "log").as_uri()}) as flows:
        flows.start("bars", metrics=True)
        until(lambda: share_free(flows.metrics) is not None)
        assert (share_free(flows.metrics) or 0.0) > 0.5
        with nearly_full(small_disk):
            assert 0.0 < (share_free(flows.metrics) or 0.0) < 0.1
        flows.stop("bars")


def share_free(urls: list[str]) -> float | None:
    """Of the log's disk; None until the process tells."""
    found = scrape(urls)
    free, size = (found.by_label(f"mandi_disk_{what}_bytes", "place").get("log") for what in ("free", "size"))
    return None if free is None or not size else free / size
