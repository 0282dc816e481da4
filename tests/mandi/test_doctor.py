"""What the doctor says about stores and recovery stores, in every state that a test can bring about."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from conftest import new_database

from mandi import settings
from mandi.doctor import Finding, examine
from mandi.flow_names import FLOWS, NAMED
from mandi.running import registered
from pipelines.engine.recovery import run_flow
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.processes import free_port


@pytest.fixture
def found(tmp_path: Path, empty_stores: tuple[str, str]):  # type: ignore[no-untyped-def]
    """Examines an installation on the shared stores, with other settings where a test names them."""

    def examined(**environment: str) -> list[Finding]:
        usual = {"MANDI_TIMESCALE": empty_stores[0], "MANDI_CLICKHOUSE": empty_stores[1]}
        return list(examine(settings.load(tmp_path, usual | environment)))

    return examined


def about(findings: list[Finding], word: str) -> Finding:
    (one,) = [finding for finding in findings if word in finding.what]
    return one


def test_stores_that_answer_and_are_migrated_are_well(found) -> None:
    findings = found()
    assert about(findings, "TimescaleDB").ok is True
    assert about(findings, "ClickHouse").ok is True


def test_a_store_that_is_away_is_named_with_what_to_do(found) -> None:
    port = free_port()
    away = found(MANDI_TIMESCALE=f"postgresql://x@127.0.0.1:{port}/x", MANDI_CLICKHOUSE=f"http://127.0.0.1:{port}")
    for name, setting in (("TimescaleDB", "MANDI_TIMESCALE"), ("ClickHouse", "MANDI_CLICKHOUSE")):
        finding = about(away, name)
        assert finding.ok is False
        assert f"{name} is away" in finding.what
        assert setting in finding.do


@pytest.mark.parametrize("text", ["", "{}", '{"anchors": []}', "\udcff"])
def test_a_damaged_market_clock_is_named_with_what_to_do(found, tmp_path: Path, text: str) -> None:
    (tmp_path / "clock.json").write_bytes(text.encode(errors="surrogateescape"))
    clock = about(found(), "market clock")
    assert clock.ok is False
    assert "clock.json is damaged" in clock.do
    assert "Delete it" in clock.do


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_damaged_files_of_embedded_stores_are_named_with_what_to_do(data_dir: Path, text: str) -> None:
    server = EmbeddedClickHouse(data_dir, port=0)
    server.start()
    pid, right = server.pid, (data_dir / "clickhouse.json").read_text()
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("17")
    try:
        for name in ("clickhouse.json", "postgres.json", "postgres.dsn", "endpoints.json", "targets.json"):
            (data_dir / name).write_text(text)
        embedded = {"MANDI_TIMESCALE": "embedded", "MANDI_CLICKHOUSE": "embedded"}
        findings = list(examine(settings.load(data_dir, embedded)))
    finally:
        (data_dir / "clickhouse.json").write_text(right)
        server.stop()
    assert (
        about(findings, "clickhouse.json is damaged").do
        == f"end its process ({pid}): the next start writes the file anew"
    )
    assert "put one of them back" in about(findings, "neither postgres.json nor postgres.dsn").do


def test_a_database_that_lets_nobody_in_is_not_well_though_its_port_is_open(found, postgres_dsn: str) -> None:
    wrong = postgres_dsn.replace("@", "x@", 1)
    finding = about(found(MANDI_TIMESCALE=wrong), "TimescaleDB")
    assert finding.ok is False
    assert "password authentication failed" in finding.what
    assert wrong not in finding.what


def test_a_schema_that_is_behind_is_told(found, postgres_dsn: str) -> None:
    finding = about(found(MANDI_TIMESCALE=new_database(postgres_dsn, "unmigrated")), "TimescaleDB")
    assert (finding.ok, finding.do) == (False, "run `mandi migrate`")
    assert "0001_market" in finding.what


def test_a_damaged_page_of_a_recovery_store_is_found(found, tmp_path: Path) -> None:
    def build() -> Dataflow:
        flow = Dataflow("bars")
        numbers = op.input("in", flow, TestingSource(range(300), batch_size=1))  # type: ignore[arg-type]
        keyed = op.key_on("key", numbers, lambda number: f"{number:0200d}")
        kept = op.stateful_map("keep", keyed, lambda state, value: (state or value, value))
        op.output("out", kept, TestingSink([]))
        return flow

    run_flow("bars", build, tmp_path / "recovery" / "bars", epoch=timedelta(0))
    assert about(found(), "recovery of bars").ok is True
    part = next((tmp_path / "recovery" / "bars" / "store").glob("part-*.sqlite3"))
    size = part.stat().st_size
    with part.open("r+b") as file:
        file.seek(size - size // 4)
        file.write(b"\xff" * (size // 4))
    finding = about(found(), "recovery of bars")
    assert finding.ok is False
    assert "mandi rebuild bars" in finding.do


def test_an_empty_file_of_a_recovery_store_is_found(found, tmp_path: Path) -> None:
    store = tmp_path / "recovery" / "bars" / "store"
    store.mkdir(parents=True)
    (store / "part-0.sqlite3").touch()
    finding = about(found(), "recovery of bars")
    assert (finding.ok, "no such table" in finding.what) == (False, True)


@pytest.mark.parametrize("flow", [*FLOWS, *NAMED])
def test_a_missing_partition_is_found(found, tmp_path: Path, flow: str) -> None:
    (tmp_path / "recovery" / flow / "store").mkdir(parents=True)
    assert about(found(), f"recovery of {flow}").ok is False


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("mandi_log_away 1.0", "1 of 1 processes wait for the log's broker"),
        ('mandi_sink_away{sink="timescale"} 1.0', "the flow of timescale waits for its store"),
        ('mandi_process_restarts_total{process="bars"} 7.0', "bars was started again 7 times by timescale"),
        ('mandi_log_lag_rows{topic="market.bars",consumer="gateway"} 20001.0', "gateway is 20,001 records behind"),
    ],
)
def test_what_a_running_pipeline_waits_for_is_told_and_is_over_when_it_is_over(
    metric: str, says: str, found, tmp_path: Path
) -> None:
    with exporting(tmp_path, metric.rpartition(" ")[0] + " 0.0"):
        assert not [finding for finding in found() if finding.ok is False]
    with exporting(tmp_path, metric):
        finding = about(found(), says)
    assert finding.ok is False
    assert finding.do


def test_a_flow_that_began_again_is_told(found, tmp_path: Path) -> None:
    with exporting(tmp_path, 'mandi_flow_rebuilds_total{flow="bars"} 1.0'):
        finding = about(found(), "bars began again at the beginning of the log, its state did not fit")
    assert finding.ok is None


@contextmanager
def exporting(data_dir: Path, sample: str) -> Iterator[None]:
    """A process that uses this data directory, of which one sample is all that it exports."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{sample}\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with registered(data_dir, "timescale", url):
            yield
        server.shutdown()


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_disk_that_is_nearly_full_is_named_wherever_it_is_mounted(found, small_disk: Path) -> None:
    finding = about(found(MANDI_LOG=f"file://{small_disk}"), str(small_disk))
    assert finding.ok is False
    assert "make room there" in finding.do
