"""Runs the flows as processes on a growing log, kills them, and compares what is left with an undisturbed run."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil
from conftest import empty_clickhouse, empty_timescale

from connectors.log import open_reader
from mandi.clock import FileClock
from market import topics
from market.clock import Anchor, MarketClock
from market.records import LogWriter, TopicPartition
from sinks.canonical import canonical_hash
from sinks.embedded.processes import free_port
from sinks.log import open_writer
from tests.acceptance.command import CRASHED, REPOSITORY, environment
from tests.acceptance.files import FileOracle
from tests.acceptance.stores import BothStores
from tests.chaos.forked import Forked
from tests.chaos.logs import records_of

FLOWS = ("bars", "timescale", "clickhouse")
DERIVED = TopicPartition(topics.BARS, topics.FROM_ANALYTICS)

DEADLINE_S = 240.0
"""A start costs two seconds of processor, and the machine may be shared; what is measured is reported."""

RESUME_TARGET_S = 5.0
RESUME_LIMIT_S = 30.0


def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S, every_s: float = 0.05) -> None:
    """Poll until `condition` holds; fail at the deadline. Gentle: what is waited for needs the processor."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "the deadline passed"
        time.sleep(every_s)


class Growing(Protocol):
    """What a log grows by: tests.chaos.market.Market, tests.chaos.real_day.RealDay."""

    oracles: dict[str, FileOracle]

    def append_to(self, writer: LogWriter) -> None: ...

    def expected_counts(self) -> dict[str, int]: ...


class Flows:
    """The flows of a data directory as processes. Leaving the `with` block kills what still runs.

    `settings` go into their environment; `commands` are the words of those that are not `mandi run NAME`. `forked`:
    with short epochs, and started in a tenth of the time (tests.chaos.forked).
    """

    def __init__(
        self,
        data_dir: Path,
        settings: Mapping[str, str],
        *,
        short_epochs: bool = False,
        forked: bool = False,
        commands: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.data_dir, self.settings = data_dir, settings
        self.url = settings.get("MANDI_LOG") or (data_dir / "log").as_uri()
        self.kills: Counter[str] = Counter()
        self.metrics: list[str] = []
        self._module = "tests.chaos.short_epochs" if short_epochs else "mandi"
        self._environment = {**settings, "MANDI_DATA_DIR": str(data_dir)}
        self._commands = commands or {}
        self._forked = forked
        self._running: dict[str, subprocess.Popen[bytes] | Forked] = {}
        data_dir.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Flows":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def start(self, *names: str, crash_at: str = "", words: Sequence[str] = (), metrics: bool = False) -> None:
        """Start flows, with these further words; with `crash_at` (point:n) they die there.

        `metrics`: they export them, at addresses that are added to `metrics`.
        """
        for name in names:
            changes = {**self._environment, **({"MANDI_CRASH_AT": crash_at} if crash_at else {})}
            if metrics:
                port = free_port()
                changes["MANDI_METRICS_PORT"] = str(port)
                self.metrics.append(f"http://127.0.0.1:{port}/metrics")
            command = [*self._commands.get(name, ("run", name)), *words]
            self._running[name] = self._spawn(command, environment(changes), self.data_dir / f"{name}.out")

    def _spawn(self, words: list[str], settings: dict[str, str], path: Path) -> "subprocess.Popen[bytes] | Forked":
        if self._forked:
            return Forked(words, settings, path)
        with path.open("ab") as out:
            command = [sys.executable, "-m", self._module, *words]
            return subprocess.Popen(command, cwd=REPOSITORY, env=settings, stdout=out, stderr=out)

    def kill(self, name: str) -> None:
        """kill -9, at once."""
        process = self._running.pop(name)
        assert process.poll() is None, self.said(name)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        self.kills[name] += 1

    def crash(self, points: Mapping[str, str]) -> None:
        """Start flows that die, each at its crash point, and wait until all have."""
        for name, point in points.items():
            self.start(name, crash_at=point)
        for name, point in points.items():
            process = self._running[name]
            until(lambda: process.poll() is not None)  # noqa: B023 (used up here)
            assert process.returncode == CRASHED, f"{name} at {point}: {process.returncode}: {self.said(name)}"
            del self._running[name]
            self.kills[name] += 1

    def ended(self, name: str) -> int | None:
        """Wait until a command ends by itself; return its exit code."""
        return self._running.pop(name).wait(DEADLINE_S)

    def stop(self, *names: str) -> None:
        """Ask flows to end; they must end well."""
        for name in names:
            self._running[name].send_signal(signal.SIGTERM)
        for name in names:
            assert self._running.pop(name).wait(DEADLINE_S) == 0, self.said(name)

    def members(self, name: str) -> list[psutil.Process]:
        """The processes of the group that a flow's launcher has started."""
        return psutil.Process(self._running[name].pid).children()

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self._running[name].pid)

    def is_running(self, name: str) -> bool:
        return self._running[name].poll() is None

    def said(self, name: str) -> str:
        return (self.data_dir / f"{name}.out").read_text(errors="replace")[-3_000:]

    def end_of(self, tp: TopicPartition = DERIVED) -> int:
        reader = open_reader(self.url)
        try:
            return reader.end_offset(tp) if tp in reader.partitions(tp.topic) else 0
        finally:
            reader.close()


@contextmanager
def growing(url: str, market: Growing, pause_s: float = 0.04) -> Iterator[None]:
    """While inside, records of the market are appended to the log."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        writer = open_writer(url)
        try:
            while not stop.wait(pause_s):
                market.append_to(writer)
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            writer.close()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures


def append(url: str, market: Growing, records: int) -> None:
    writer = open_writer(url)
    for _ in range(records):
        market.append_to(writer)
    writer.close()


def until_stored(stores: BothStores, flows: Flows, market: Growing) -> None:
    """Wait until both stores hold as many bars, late and rejected rows as the oracle says, and all ticks."""
    expected = market.expected_counts()
    expected["trades"] = sum(_accepted(market, kind) for kind in ("trade", "bust", "correction"))
    expected["quotes"] = _accepted(market, "quote")

    def complete() -> bool:
        for name in FLOWS:
            assert flows.is_running(name), flows.said(name)
        return all(counts == expected for counts in _counts(stores, expected))

    try:
        until(complete, every_s=0.25)
    except AssertionError as error:
        found = {
            at: dict(counts) for at, counts in zip(("timescale", "clickhouse"), _counts(stores, expected), strict=True)
        }
        raise AssertionError(f"expected {expected}, the stores have {found}") from error


def _accepted(market: Growing, kind: str) -> int:
    return sum(oracle.accepted_kinds[kind] for oracle in market.oracles.values())


def _counts(stores: BothStores, tables: Mapping[str, int]) -> Iterator[dict[str, int]]:
    yield {table: stores.count_in("timescale", table) for table in tables}
    yield {table: stores.count_in("clickhouse", table) for table in tables}


def hashes(stores: BothStores) -> dict[str, str]:
    """The hash of each table; both stores must have the same rows."""
    ours, theirs = canonical_hash(stores.timescale), canonical_hash(stores.clickhouse)
    assert ours == theirs
    return ours


def undisturbed_hashes(flows: Flows, stores: BothStores, market: Growing, directory: Path) -> dict[str, str]:
    """Hashes after a run over a copy of the log that nobody disturbs. Empties the stores first."""
    shutil.rmtree(directory, ignore_errors=True)
    copy_inputs(flows.url, (directory / "log").as_uri())
    empty_timescale(stores.timescale)
    empty_clickhouse(stores.clickhouse)
    with Flows(directory, stores.environment) as alone:
        alone.start(*FLOWS)
        until_stored(stores, alone, market)
        alone.stop(*FLOWS)
    return hashes(stores)


def copy_inputs(url: str, copy_url: str, more: Sequence[TopicPartition] = ()) -> None:
    """Copy what ingest wrote, and `more`, record by record, so that each has the same offset in the copy."""
    reader, writer = open_reader(url), open_writer(copy_url)
    ledgers = [TopicPartition(topic, topics.FROM_INGEST) for topic in (topics.STATUS, topics.REJECTED, topics.NEWS)]
    there = [tp for tp in (*ledgers, *more) if tp in reader.partitions(tp.topic)]
    for tp in [*reader.partitions(topics.PRICES_PATTERN), *there]:
        for record in records_of(reader, tp):
            assert writer.append(tp, record.kind, record.payload, key=record.key, meta=record.meta) == record.offset
    writer.close()
    reader.close()


def verify(flows: Flows, stores: BothStores, market: Growing, directory: Path) -> None:
    """All flows run: wait until they are done, and compare every row with an undisturbed run."""
    until_stored(stores, flows, market)
    flows.stop("bars")
    flows.stop("timescale", "clickhouse")
    disturbed = hashes(stores)
    counts = market.expected_counts()
    assert min(counts.values()) > 0, f"the market had no {counts}: nothing was tested"
    assert disturbed == undisturbed_hashes(flows, stores, market, directory)


def tell(line: str) -> None:
    """Say something for the report (pytest -rP shows it)."""
    sys.stdout.write(f"{line}\n")


class Stopwatch:
    """Resume times of a test, for the report."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.seconds: list[float] = []

    @contextmanager
    def measure(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds.append(time.monotonic() - began)

    def report(self) -> None:
        """Print, and fail only where no load of the machine explains it."""
        found = sorted(self.seconds)
        slow = sum(seconds > RESUME_TARGET_S for seconds in found)
        tell(
            f"{self.what}: {len(found)} times, p50 {found[len(found) // 2]:.2f} s, max {found[-1]:.2f} s, "
            f"{slow} over the target of {RESUME_TARGET_S:.0f} s"
        )
        assert found[-1] < RESUME_LIMIT_S


def stand_still(data_dir: Path, market_ns: int) -> None:
    """Let the market clock of a data directory stand: what a flow is told of is not judged by this machine's time."""
    FileClock(data_dir / "clock.json").set(MarketClock((Anchor(0, market_ns, 0.0),)))
