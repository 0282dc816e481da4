"""`mandi run FLOW --processes N --workers M`: one dataflow on several workers, watched and restarted as a group.

A Bytewax cluster shares its fate: when one process dies the others panic, and when one is frozen the others wait for
ever. So this process holds the flow's lock, makes the recovery store fit, starts all, and watches: that each lives,
that each moves, and that epochs pass. If not, it kills all of them and begins again. The lock is inherited by every
process of the group: as long as one of them is left, no other group can start. Ports are of loopback: peers exchange
pickles, and whoever could connect could run code.
"""

import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mandi.errors import MandiError, UsageError
from mandi.process import say, service
from mandi.pulse import PULSE, Pulse
from mandi.settings import Settings
from mandi.supervisor import FIRST_DELAY_S, LAST_DELAY_S, PARENT, mandi_command
from pipelines import metrics
from pipelines.engine.cluster import SEAT, Seat
from pipelines.engine.recovery import REFUSED, FlowLocked, locked, prepare, resume_epoch
from sinks.embedded.processes import free_port

CLUSTERED: Final = ("bars", "book", "timescale", "clickhouse", "mirror")
"""The others tell silence by what they have read themselves, so one process must read it all."""

LOOPBACK: Final = "127.0.0.1"
_STALLED_S: Final = 60.0  # an epoch is 2 s at most, and a large one may take some
_STEADY_S: Final = 30.0
_STOP_S: Final = 10.0
_LOOK_S: Final = 0.1
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """Processes, and worker threads in each: they share an interpreter, so it is processes that make it faster."""

    processes: int = 1
    workers: int = 1

    @property
    def lanes(self) -> int:
        return self.processes * self.workers

    def words(self, flow: str) -> list[str]:
        """Options of `mandi run` that say so, as far as the flow can be divided."""
        if self == ALONE or flow not in CLUSTERED:
            return []
        return ["--processes", str(self.processes), "--workers", str(self.workers)]


ALONE: Final = ClusterSize()


def run_cluster(settings: Settings, flow: str, size: ClusterSize, words: Sequence[str]) -> None:
    """Run a flow on several workers until told to stop. `words` are options of `mandi run` for every process.

    Raises: UsageError for a flow that cannot be divided; MandiError if it already runs here.
    """
    if flow not in CLUSTERED:
        raise UsageError(f"the flow {flow} runs in one process; several workers: {', '.join(CLUSTERED)}")
    from mandi.stores import STORES, open_stores

    written = tuple(name for name in STORES if name == flow)
    stop = threading.Event()
    directory = settings.recovery_dir / flow
    directory.mkdir(parents=True, exist_ok=True)
    with service(settings, flow, stop):
        try:
            with locked(flow, directory) as lock_fd:
                group = _Group(settings, flow, size, words, lock_fd)
                with open_stores(settings, only=written, may_be_away=True):
                    group.run(stop)
        except FlowLocked as error:
            raise MandiError(str(error)) from error


def die_with_launcher() -> None:
    """In a process of a group: die with the launcher, at once and even while stopped."""
    if SEAT not in os.environ:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != int(os.environ[PARENT]):  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(slots=True)
class _Member:
    process: subprocess.Popen[bytes]
    pulse: Pulse


@dataclass(slots=True)
class _Group:
    """The processes of one flow. Every start is one of the whole group, on a store made fit for it."""

    settings: Settings
    flow: str
    size: ClusterSize
    words: Sequence[str]
    lock_fd: int
    members: list[_Member] = field(default_factory=list)
    _began_s: float = 0.0
    _epoch: int | None = None
    _epoch_at_s: float = 0.0

    @property
    def directory(self) -> Path:
        return self.settings.recovery_dir / self.flow

    def run(self, stop: threading.Event) -> None:
        failures = 0
        metrics.PROCESS_RESTARTS.labels(self.flow)
        metrics.FLOW_REBUILDS.labels(self.flow)
        while not stop.is_set():
            self.start()
            reason = self.watch(stop)
            if reason is None:
                self.end()
                return
            self.kill()
            failures = 1 if time.monotonic() > self._began_s + _STEADY_S else failures + 1
            delay_s = min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** (failures - 1))
            say(f"{self.flow}: {reason}; the group of {self.size.processes} starts again in {delay_s:.1f} s")
            metrics.PROCESS_RESTARTS.labels(self.flow).inc()
            stop.wait(delay_s)

    def start(self) -> None:
        """Make the store fit and start every process. Nothing of the last group is left."""
        store, refused = self.directory / "store", self.directory / REFUSED
        if refused.exists():
            self._drop(store, refused.read_text())
            refused.unlink()
        try:
            prepare(store, self.size.lanes)
        except sqlite3.DatabaseError as error:
            self._drop(store, str(error))
            prepare(store, self.size.lanes)
        peers = [f"{LOOPBACK}:{free_port()}" for _ in range(self.size.processes)]
        for number in range(self.size.processes):
            seat = Seat(process=number, workers=self.size.workers, addresses=peers if len(peers) > 1 else ())
            self.members.append(self._launch(number, seat))
        self._began_s = self._epoch_at_s = time.monotonic()

    def _drop(self, store: Path, reason: str) -> None:
        say(f"{self.flow}: {reason}; its recovery store is dropped and rebuilt from the log")
        metrics.FLOW_REBUILDS.labels(self.flow).inc()
        shutil.rmtree(store, ignore_errors=True)

    def watch(self, stop: threading.Event) -> str | None:
        """Return why the group has to start again, or None when told to stop."""
        looked_s = time.monotonic()
        while not stop.wait(_LOOK_S):
            for number, member in enumerate(self.members):
                code = member.process.poll()
                if code is not None:
                    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                    return f"process {number} {how}"
                if member.pulse.is_lost(member.process.pid):
                    return f"process {number} does not move"
            if time.monotonic() > looked_s + 1.0:
                if time.monotonic() > looked_s + 3.0 or any(member.pulse.waits for member in self.members):
                    self._epoch_at_s = time.monotonic()  # we slept ourselves, or they wait for something outside
                looked_s = time.monotonic()
                if self._stalled():
                    return f"no epoch has passed for {_STALLED_S:.0f} s"
        return None

    def end(self) -> None:
        """Let every process drain what is in the log and keep its state; kill who does not."""
        for member in self.members:
            member.process.terminate()
        deadline_s = time.monotonic() + _STOP_S
        for member in self.members:
            try:
                member.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{self.flow}: a process did not stop within {_STOP_S:.0f} s; the group is killed")
                break
        self.kill()

    def kill(self) -> None:
        for member in self.members:
            member.process.kill()
        for member in self.members:
            member.process.wait()
            member.pulse.close()
        self.members.clear()

    def _stalled(self) -> bool:
        try:
            epoch = resume_epoch(self.directory / "store")
        except sqlite3.OperationalError:  # it is being written to
            return False
        if epoch != self._epoch:
            self._epoch, self._epoch_at_s = epoch, time.monotonic()
        return time.monotonic() > self._epoch_at_s + _STALLED_S

    def _launch(self, number: int, seat: Seat) -> _Member:
        pulse = Pulse()
        environment = {
            **os.environ,
            "MANDI_DATA_DIR": str(self.settings.data_dir),
            "MANDI_TIMESCALE": self.settings.timescale,
            "MANDI_CLICKHOUSE": self.settings.clickhouse,
            SEAT: seat.to_text(),
            PARENT: str(os.getpid()),
            PULSE: str(pulse.write_fd),
        }
        if self.settings.metrics_port:
            environment["MANDI_METRICS_PORT"] = str(self.settings.metrics_port + 1 + number)
        process = subprocess.Popen(
            mandi_command("run", self.flow, *self.words),
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(pulse.write_fd, self.lock_fd),
            start_new_session=True,
        )
        pulse.started()
        return _Member(process, pulse)
