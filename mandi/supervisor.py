"""Keep a set of processes running: start in order, restart with capped backoff and say so, stop in order.

Children run in sessions of their own, so that Ctrl-C reaches the supervisor alone and it can stop them in the order
in which data flows. One that does not move any more (mandi.pulse) is killed and restarted like one that died. A child
that outlives a killed supervisor notices and ends itself (`die_with_parent`).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mandi.disks import free_bytes
from mandi.pulse import PULSE, Pulse
from pipelines import metrics

FIRST_DELAY_S: Final = 0.2
LAST_DELAY_S: Final = 4.0  # a start takes a second: with it, back within the five that we promise
_STEADY_S: Final = 30.0  # a child that ran this long starts its backoff anew
PARENT: Final = "MANDI_PARENT_PID"
_LEAST_LOG_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep. `stop_within_s` is how long it may take to stop before it is killed.

    `nice` above 0 is for work that may wait, `urgent` above 0 for what others wait for, the more the sooner: it runs at
    once, whoever else wants to, if we may say so (as root, or with a limit of real-time priorities: `ulimit -r`).
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_within_s: float = 3.0
    nice: int = 0
    urgent: int = 0


@dataclass(slots=True)
class _Running:
    child: Child
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    pulse: Pulse | None = None

    def forget_pulse(self) -> None:
        if self.pulse is not None:
            self.pulse.close()
            self.pulse = None


class Supervisor:
    """Runs children until `stop`. Not thread-safe: one thread calls `poll` a few times a second.

    `say` gets one line for every start, death and restart.
    """

    def __init__(self, log_dir: Path, say: Callable[[str], None]) -> None:
        self._log_dir, self._say = log_dir, say
        self._running: dict[str, _Running] = {}
        self.least_stop_s = 0.0
        """However little time a child is given to stop, it gets this much: for when nobody waits."""
        log_dir.mkdir(parents=True, exist_ok=True)

    def start(self, child: Child) -> None:
        running = _Running(child)
        self._running[child.name] = running
        metrics.PROCESS_RESTARTS.labels(child.name)  # from 0: the first restart is then a rise
        self._launch(running)

    def poll(self) -> None:
        """Restart what has died, when its delay is over."""
        for running in self._running.values():
            if running.process is not None and running.process.poll() is not None:
                self._died(running)
            self._look_for_life(running)
            if running.process is None and time.monotonic() >= running.restart_at:
                self._launch(running)
                metrics.PROCESS_RESTARTS.labels(running.child.name).inc()

    def pids(self) -> dict[str, int | None]:
        """Process id by name; None while a child waits for its restart."""
        return {
            name: running.process.pid if running.process is not None else None
            for name, running in self._running.items()
        }

    def restarts(self, name: str) -> int:
        return self._running[name].failures

    def stop(self, names: Sequence[str] | None = None) -> None:
        """Stop children in the given order (default: in order of their start), each within its time."""
        for name in list(self._running) if names is None else names:
            running = self._running.pop(name, None)
            if running is not None:
                self._stop(running)

    def stop_together(self, names: Sequence[str]) -> None:
        """Stop children that need not wait for each other: all are asked at once."""
        for name in names:
            self.send(name, signal.SIGTERM)
        self.stop(names)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a child a signal, if it runs."""
        running = self._running.get(name)
        if running is not None and running.process is not None:
            running.process.send_signal(number)

    def last_words(self, name: str) -> str:
        """The last line a child wrote."""
        if free_bytes(self._log_dir) < _LEAST_LOG_BYTES:
            return f"the disk of {self._log_dir} is full: it could not write why"
        path = self._log_dir / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1] if lines else "it said nothing"

    def _launch(self, running: _Running) -> None:
        child, pulse = running.child, Pulse()
        with (self._log_dir / f"{child.name}.log").open("ab") as log:
            running.process = subprocess.Popen(
                [*(("nice", "-n", str(child.nice)) if child.nice else ()), *child.command],
                env={**os.environ, **child.environment, PARENT: str(os.getpid()), PULSE: str(pulse.write_fd)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(pulse.write_fd,),
                start_new_session=True,
            )
        pulse.started()
        running.pulse = pulse
        if child.nice:
            _nice_session(running.process.pid, child.nice)
        if child.urgent:
            run_at_once(running.process.pid, child.urgent)
        running.started_at = time.monotonic()

    def _look_for_life(self, running: _Running) -> None:
        if running.process is None or running.pulse is None or not running.pulse.is_lost(running.process.pid):
            return
        self._say(f"{running.child.name} does not move; killed")
        running.process.kill()
        running.process.wait()
        self._died(running)

    def _died(self, running: _Running) -> None:
        assert running.process is not None
        running.forget_pulse()
        code, name = running.process.returncode, running.child.name
        running.process = None
        if time.monotonic() - running.started_at >= _STEADY_S:
            running.failures = 0
        running.failures += 1
        delay_s = min(LAST_DELAY_S, FIRST_DELAY_S * 2.0 ** (running.failures - 1))
        running.restart_at = time.monotonic() + delay_s
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._say(f"{name} {how} ({self.last_words(name)}); restarting in {delay_s:.1f} s")

    def _stop(self, running: _Running) -> None:
        process = running.process
        running.forget_pulse()
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        within_s = max(running.child.stop_within_s, self.least_stop_s)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._say(f"{running.child.name} did not stop within {within_s:.0f} s; killed")
            process.kill()
            process.wait()


def _nice_session(pid: int, nice: int) -> None:
    """Make the scheduler's group of a session nice, where there are such groups.

    Linux gives each session an equal share of the processors (`autogroup`): niceness alone then ranks only the
    processes within one session, and each of our children has a session of its own.
    """
    with suppress(OSError):  # another system, or a kernel without these groups
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def run_at_once(pid: int, priority: int) -> None:
    """Put a process, and the threads that it will start, into the real-time class, where there is one and we may.

    Units: a priority from 1 to 99, the highest first.

    The fair class lets whoever runs finish its turn, however nice it is: of ten flows on two processors that makes tens
    of milliseconds. The kernel keeps 5 % of each processor for the others (sched_rt_runtime_us).
    """
    with suppress(OSError, AttributeError):  # no permission, or another system
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(priority))


def die_with_parent() -> None:
    """In a child: end cleanly when the supervisor is gone, so that a killed demo leaves nothing running."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def mandi_command(*words: str) -> list[str]:
    """The command line of this same installation."""
    return [sys.executable, "-m", "mandi", *words]
