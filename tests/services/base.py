"""What the services share: where their packages are kept, and processes that outlive the one that started them.

Packages are fetched once into CACHE (`MANDI_SERVICES_DIR`, else `mandi/services` in the user's cache directory); what a
running server writes is in a directory of its own. A service that cannot be had on this machine raises `Missing`, whose
text is the reason of a skip.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

HERE: Final = Path(__file__).parent
CACHE: Final = Path(
    os.environ.get("MANDI_SERVICES_DIR")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mandi" / "services"
)
LOOPBACK: Final = "127.0.0.1"
FETCH_S: Final = 600.0
START_S: Final = 180.0  # a broker beside a busy test run took 60
STOP_S: Final = 20.0


class Missing(RuntimeError):
    """The service cannot be had here; the text, one line, says why and what would help."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))


class NotStarted(RuntimeError):
    """The service is installed and does not start: no reason to skip a test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. `created` tells its process from a later one with the same id. `url` is what clients use."""

    name: str
    pid: int
    created: float
    url: str
    port: int
    directory: str

    def is_running(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the server, and wait for its end if that is what the signal means."""
        if self.is_running():
            os.kill(self.pid, number)
            if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
                self._wait(STOP_S)

    def stop(self) -> None:
        """End the server in order, or by force, and remove what it wrote."""
        self.kill(signal.SIGINT if self.name == "timescale" else signal.SIGTERM)
        self.kill()
        data = Path(self.directory) / "data"
        if data.is_symlink():  # of a server that writes inside its root folder
            shutil.rmtree(data.resolve(), ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait(self, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        # A process counts as dead before its last thread, and the port that it holds, is gone.
        while (self.is_running() or answers(self.port)) and time.monotonic() < end_s:
            with suppress(ChildProcessError):  # another process started it
                os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.02)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def launch(
    name: str, command: Sequence[str], directory: Path, *, port: int, url: str, ready: Callable[[], bool]
) -> Server:
    """Start a server in a session of its own, with its output in `directory`, and wait until it is ready.

    Raises: NotStarted, with its last words, if it does not get there.
    """
    output = directory / f"{name}.out"
    with output.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    end_s = time.monotonic() + START_S
    while not ready():
        ended = process.poll()
        if ended is not None or time.monotonic() > end_s:
            process.kill()
            what = f"is not ready after {START_S:.0f} s" if ended is None else f"ended with code {ended}"
            raise NotStarted(f"{name} {what}: {output.read_text(errors='replace')[-600:].strip()}")
        time.sleep(0.05)
    created = psutil.Process(process.pid).create_time()
    process.returncode = 0  # it is not ours to wait for: it may outlive us
    return Server(name=name, pid=process.pid, created=created, url=url, port=port, directory=str(directory))


def tool(name: str, advice: str) -> str:
    """Return the path of a program. Raises: Missing."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed: {advice}")
    return found


def fetch(what: str, command: Sequence[str], cwd: Path) -> None:
    """Run a package client. Raises: Missing with what it said."""
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{what}: no answer from the package registry within {FETCH_S:.0f} s") from None
    if done.returncode != 0:
        raise Missing(f"{what}: {(done.stderr or done.stdout)[-400:]}")


@contextmanager
def package(name: str) -> Iterator[tuple[Path, Path | None]]:
    """The cache directory of a package, and an empty one to fill if it is not there yet; kept if nothing is raised.

    One process at a time fills it; the others wait and find it whole.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    target, part = CACHE / name, CACHE / f".{name}.part"
    with (CACHE / f".{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            yield target, None
            return
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield target, part
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found
