"""`mandi demo` as a user and an unfriendly machine treat it: each child killed once, Ctrl-C, and started again."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from connectors.log import open_reader
from market import topics
from market.schemas import QUOTE, TRADE
from tests.acceptance.command import REPOSITORY, environment
from tests.chaos.harness import DEADLINE_S, Stopwatch, tell, until
from tests.chaos.logs import ticks

pytestmark = pytest.mark.timeout(900)

CHILDREN = {
    "ingest": "mandi ingest",
    "trading": "mandi simulate backend",
    "backend": "mandi ingest backend",
    "bars": "mandi run bars",
    "timescale": "mandi run timescale",
    "clickhouse": "mandi run clickhouse",
    "gateway": "mandi serve",
    "postgres": "sinks.embedded.postgres",
    "chdb": "sinks.embedded.clickhouse",
}
STOP_TARGET_S = 5.0
STOP_LIMIT_S = 25.0


class Demo:
    """A running demo, its family, and what it said."""

    def __init__(self, data_dir: Path, *words: str, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self._said = data_dir / "said"
        command = [sys.executable, "-m", "mandi", "demo", "--data-dir", str(data_dir), "--port", "0", *words]
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment(env), stdout=out, stderr=out)
        self.family: set[psutil.Process] = set()

    @property
    def said(self) -> list[str]:
        return self._said.read_text().strip().splitlines()

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.said
        return any(line.startswith("dashboard: ") for line in self.said)

    def look(self) -> dict[str, psutil.Process]:
        """The children by name; remembers every process of the family."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.family |= set(children)
        found = {}
        for child in children:
            try:
                words = " ".join(child.cmdline())
            except psutil.Error:
                continue
            names = [name for name, command in CHILDREN.items() if f"-m {command}" in words]
            found |= {name: child for name in names if name == max(names, key=lambda name: len(CHILDREN[name]))}
        return found

    def survivors(self) -> list[psutil.Process]:
        """Processes of the family that still run."""
        return [process for process in self.family if process.is_running() and process.status() != "zombie"]

    def finish(self) -> int:
        return self.process.wait(DEADLINE_S)

    def interrupt(self) -> float:
        """Press Ctrl-C; return how long it took to end."""
        self.look()
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.finish() == 0, self.said
        return time.monotonic() - began


@contextmanager
def demo(data_dir: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Demo]:
    running = Demo(data_dir, *words, env=env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.look()
        running.process.kill()
        running.process.wait()
        for process in running.survivors():
            with suppress(psutil.NoSuchProcess):  # ended meanwhile, as its parent did
                process.kill()


def rows_logged(data_dir: Path) -> int:
    """Records of all price topics."""
    reader = open_reader((data_dir / "log").as_uri())
    try:
        return sum(reader.end_offset(tp) for tp in reader.partitions(topics.PRICES_PATTERN))
    finally:
        reader.close()


def bars_stored(data_dir: Path) -> int:
    """Bars in PostgreSQL; none while it is away."""
    try:
        with psycopg.connect((data_dir / "postgres.dsn").read_text().strip()) as connection:
            (count,) = connection.execute("SELECT count(*) FROM market.bars").fetchone() or (0,)
    except psycopg.OperationalError:
        return 0
    return int(count)


def test_each_child_killed_once(tmp_path) -> None:
    restarted = Stopwatch("demo: from kill -9 of a child until another one runs")
    with demo(tmp_path / "data") as running:
        until(running.is_up)
        until(lambda: rows_logged(running.data_dir) > 20)
        for name in CHILDREN:
            victim = running.look()[name]
            with restarted.measure():
                victim.kill()
                until(lambda: is_replaced(running, name, victim))  # noqa: B023 (used up here)
        until(lambda: bars_stored(running.data_dir) > 0)
        running.interrupt()
        said = "\n".join(running.said)
        assert all(f"{name} was killed by SIGKILL" in said for name in CHILDREN), said
        assert running.survivors() == []
    with demo(tmp_path / "data", "--duration", "1") as last:
        assert last.finish() == 0, last.said
        summary: dict[str, Any] = json.loads(last.said[-1])
    aside = summary["late"] + summary["rejected"] + summary["conflated"]
    assert summary["rows_in"] == summary["rows_out"] + aside
    assert summary["bars"] > 0
    tell(f"{summary}")
    restarted.report()


def is_replaced(running: Demo, name: str, victim: psutil.Process) -> bool:
    return running.look().get(name, victim).pid != victim.pid


def test_ctrl_c_stops_everything_and_the_next_start_goes_on(tmp_path) -> None:
    with demo(tmp_path / "data") as first:
        until(first.is_up)
        until(lambda: rows_logged(first.data_dir) > 20)
        seconds = first.interrupt()
        assert first.survivors() == []
    tell(f"demo: stopped {seconds:.1f} s after Ctrl-C (target {STOP_TARGET_S:.0f} s)")
    assert seconds < STOP_LIMIT_S
    before = rows_logged(first.data_dir)
    url = (first.data_dir / "log").as_uri()
    rows_before = sum(len(rows) for kind in (TRADE, QUOTE) for rows in ticks(url, kind).values())
    with demo(tmp_path / "data", "--duration", "4") as second:
        until(lambda: rows_logged(second.data_dir) > before)
        assert second.finish() == 0, second.said
        summary = json.loads(second.said[-1])
    assert summary["rows_in"] == summary["rows_out"] + summary["late"] + summary["rejected"] + summary["conflated"]
    assert summary["rows_in"] > rows_before > 0
    tell(f"{summary}")


def test_ctrl_c_while_it_starts(tmp_path) -> None:
    with demo(tmp_path / "data") as running:
        until(lambda: len(running.look()) > 0)
        running.process.send_signal(signal.SIGINT)
        running.finish()
        assert running.survivors() == []
        assert not any("Traceback" in line for line in running.said)
