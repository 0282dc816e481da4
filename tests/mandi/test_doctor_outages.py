"""What the doctor says in each outage: that it is one, and what to do. Each is the true one, and no stand-in for it."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from mandi import settings
from mandi.doctor import Finding, examine
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.processes import free_port
from sinks.log import open_writer
from sinks.retention import Retention
from tests.chaos.harness import Flows, append, until
from tests.chaos.market import Market
from tests.chaos.test_full_disk import full

Examine = Callable[..., Sequence[Finding]]


@pytest.fixture
def found(tmp_path: Path, empty_stores: tuple[str, str]) -> Examine:
    """Examines an installation on the shared stores, with other settings where a test names them."""

    def examined(data_dir: Path = tmp_path, **environment: str) -> Sequence[Finding]:
        usual = {"MANDI_TIMESCALE": empty_stores[0], "MANDI_CLICKHOUSE": empty_stores[1]}
        return list(examine(settings.load(data_dir, usual | environment)))

    return examined


def bad(findings: Sequence[Finding], *words: str) -> Finding:
    """The one finding with these words, which must be a bad one that says what to do."""
    (one,) = [finding for finding in findings if all(word in finding.what for word in words)]
    assert one.ok is False
    assert one.do
    return one


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of a server that is frozen: it takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_a_broker_that_is_away(found: Examine) -> None:
    began_s = time.monotonic()
    finding = bad(found(MANDI_LOG=f"kafka://127.0.0.1:{free_port()}/x"), "the log cannot be reached")
    assert "'the broker is down'" in finding.do
    assert time.monotonic() < began_s + 60


def freeze(pid: int) -> None:
    """Stop a process, which takes it a moment where the machine is busy."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize("store", ["TimescaleDB", "ClickHouse"])
def test_a_store_that_is_frozen(found: Examine, mute: int, store: str) -> None:
    """A server of the desk's own."""
    address = {"TimescaleDB": f"postgresql://x@127.0.0.1:{mute}/x", "ClickHouse": f"http://127.0.0.1:{mute}"}[store]
    setting = {"TimescaleDB": "MANDI_TIMESCALE", "ClickHouse": "MANDI_CLICKHOUSE"}[store]
    assert setting in bad(found(**{setting: address}), store, "is away").do


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedClickHouse])
def test_an_embedded_store_that_is_frozen(
    found: Examine, kind: type[EmbeddedPostgres] | type[EmbeddedClickHouse], data_dir: Path
) -> None:
    server = kind(data_dir)
    server.start()
    pid = server.pid
    assert pid is not None
    freeze(pid)
    try:
        setting = "MANDI_TIMESCALE" if kind is EmbeddedPostgres else "MANDI_CLICKHOUSE"
        finding = bad(found(data_dir, **{setting: "embedded"}), f"as process {pid}", "stopped")
        assert f"kill -CONT {pid}" in finding.do
    finally:
        os.kill(pid, signal.SIGCONT)
        server.stop()


def test_a_flow_that_is_frozen(found: Examine, tmp_path: Path) -> None:
    with Flows(tmp_path, {}) as flows:
        append(flows.url, Market(seed=3), 5)
        flows.start("bars")
        until(lambda: flows.end_of() > 0)
        process = flows.process("bars")
        freeze(process.pid)
        try:
            assert f"kill -CONT {process.pid}" in bad(found(), f"bars ({process.pid})", "stopped").do
        finally:
            process.resume()
        flows.stop("bars")
    assert not [finding for finding in found() if "bars (" in finding.what]


@pytest.mark.parametrize("small_disk", ["8m"], indirect=True)
def test_a_full_disk_is_the_only_thing_that_is_wrong_with_what_is_on_it(found: Examine, small_disk: Path) -> None:
    """The log and the recovery stores are whole: nobody must be told to throw one away."""
    data_dir = small_disk / "data"
    with Flows(data_dir, {}) as flows:
        append(flows.url, Market(seed=3), 5)
        flows.start("bars")
        until(lambda: flows.end_of() > 0)
        flows.kill("bars")
    with full(small_disk):
        findings = found(data_dir)
        assert "make room there" in bad(findings, "0.0 GiB free").do
        others = [finding for finding in findings if finding.ok is False and "GiB free" not in finding.what]
        assert [finding.what for finding in others if "ended without" not in finding.what] == []


def test_an_offset_that_the_log_no_longer_has(found: Examine, tmp_path: Path) -> None:
    market, at = Market(seed=3), "market.prices.gold/0"
    with Flows(tmp_path, {}) as flows:
        append(flows.url, market, 10)
        flows.start("bars")
        until(lambda: flows.end_of() > 0)
        flows.stop("bars")
        append(flows.url, market, 10)
        assert not [finding for finding in found() if "no longer has" in finding.what]
        drop_all_but_the_newest(flows.url, market)
        finding = bad(found(), "bars", at, "no longer has")
    assert "mandi rebuild bars" in finding.do


def drop_all_but_the_newest(url: str, market: Market) -> None:
    """Let retention pass every record that is there now."""
    with closing(open_writer(url, segment_bytes=1, retention=Retention(max_age_s=0, max_bytes=1))) as writer:
        for _ in range(3):
            market.append_to(writer)
