"""What both embedded servers need of the operating system: ports, liveness, the foreground mode."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from sinks.embedded.frozen import Frozen

LOOPBACK: Final = "127.0.0.1"
POLL_S: Final = 0.01
_FAMILY_EVERY_S: Final = 0.5  # to list the processes of a machine takes milliseconds

_PORTS: Final = range(20_000, 32_768)
"""Below what systems give to outgoing connections (Linux from 32768, macOS from 49152): one of those, also for a minute
after its end, would keep a server that starts again from its port."""

_given: Final = set[int]()
_chance: Final = random.SystemRandom()  # whatever seed a test, or two processes, may have


def alive(pid: int) -> bool:
    """Whether `pid` runs. A zombie is dead: it serves nobody, it only waits to be collected."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition` until it holds; False when it still does not after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def signal_quietly(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set it too: without it a port in TIME_WAIT looks taken after a restart.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of the loopback that nobody listens on; never one that this process was given before."""
    while True:
        port = _chance.choice(_PORTS)
        if port not in _given and port_is_free(port):
            _given.add(port)
            return port


def write_private(path: Path, text: str) -> None:
    """Write a small file that only its owner may read, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    part.replace(path)


def run_until_signal(still_running: Callable[[], bool], poll_s: float = 0.1) -> bool:
    """Block until SIGTERM or SIGINT (True), or until `still_running` says no (False)."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(poll_s):
        if not still_running():
            return False
    return True


class Started:
    """The server process that its holder started last, if it did."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, command: Sequence[str], log_file: Path, **options: Any) -> int:
        """Start it, what it says appended to `log_file`; `options` are those of Popen. Return its process id."""
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which stops us in order
                **options,
            )
        return self._process.pid

    def look(self) -> int | None:
        """Return its id while it runs. One that has ended stays a zombie until somebody looks."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def wait(self, patience_s: float) -> None:
        """Wait for its end: it was told to, or stopped by somebody else, maybe this instant. Kill it if it goes on."""
        if self._process is None:
            return
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()  # a killed one ends, however busy the machine is


class Watch:
    """Kills what is stopped of a server that somebody else started, or that has several processes."""

    def __init__(self, server: Callable[[], int | None]) -> None:
        """`server` gives the id of its first process, or None when that is gone."""
        self._server, self._frozen = server, Frozen()
        self._next_s = 0.0

    def is_running(self) -> bool:
        """Whether the server is there. Ask a few times a second."""
        pid = self._server()
        if pid is not None and time.monotonic() >= self._next_s:
            for frozen in self._frozen.among(_family(pid)):
                sys.stderr.write(f"process {frozen} of the server did not move; killed\n")
                signal_quietly(frozen, signal.SIGKILL)
            self._next_s = time.monotonic() + _FAMILY_EVERY_S
        return pid is not None


def _family(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children())]
    except psutil.NoSuchProcess:
        return []
