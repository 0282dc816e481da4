"""Which processes of ours run on a data directory, and where their metrics are: a small file each, locked for life.

    <data_dir>/running/<name>.<host>.<pid>.json   its name, process, command, supervisor and addresses of metrics

A file whose lock is free is of a process that did not take it away: it was killed, or it failed. The next one of that
name does, and so does its supervisor at the end.
"""

import fcntl
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import orjson

from mandi.errors import UsageError
from mandi.supervisor import PARENT
from sinks.locks import try_lock

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What a process says of itself. `supervisor` is the process id of who starts it again, or 0."""

    name: str
    host: str
    pid: int
    supervisor: int
    command: str
    metrics: tuple[str, ...]
    file: Path
    is_alive: bool

    @property
    def is_here(self) -> bool:
        """Whether its addresses mean anything on this host."""
        return self.host == socket.gethostname()


class Entry:
    """The file of this process."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self._directory, self._name = data_dir / "running", name
        self._host, self._metrics = socket.gethostname(), list[str]()
        self._held: IO[bytes] | None = None

    def add(self, url: str) -> None:
        """Tell of an address of metrics. Without the file everything works, and the doctor does not know of us."""
        self._metrics.append(url)
        try:
            self._write()
        except OSError as error:
            _log.warning("`mandi doctor` will not know of this process: %s", error)

    def remove(self) -> None:
        """Take the file away, and those that others left: of the same name, or that we supervise."""
        for other in processes(self._directory.parent):
            if not other.is_alive and (other.name == self._name or (other.is_here and other.supervisor == os.getpid())):
                other.file.unlink(missing_ok=True)
        if self._held is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the lock go."""
        if self._held is not None:
            self._held.close()

    @property
    def _path(self) -> Path:
        return self._directory / f"{self._name}.{self._host}.{os.getpid()}.json"

    def _write(self) -> None:
        # Locked before it has its name: nobody takes a new one for one that was left.
        self._directory.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        file = open(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")  # noqa: SIM115 (held for life)
        fcntl.flock(file, fcntl.LOCK_EX)
        said = {
            "name": self._name,
            "host": self._host,
            "pid": os.getpid(),
            "supervisor": int(os.environ.get(PARENT, 0)),
            "command": shlex.join(["mandi", *sys.argv[1:]]),
            "metrics": self._metrics,
        }
        file.write(orjson.dumps(said))
        file.flush()
        fresh.replace(self._path)
        self.close()
        self._held = file


@contextmanager
def registered(data_dir: Path, name: str, metrics: str) -> Iterator[Entry]:
    """While inside, this process is known. One that fails stays known, as one that has ended.

    Wrong usage is no failure, nor is it one to be interrupted.
    """
    entry = Entry(data_dir, name)
    with suppress(OSError):
        entry.remove()  # what was left by the last one
    entry.add(metrics)
    try:
        yield entry
    except (UsageError, KeyboardInterrupt, SystemExit):
        entry.remove()
        raise
    else:
        entry.remove()
    finally:
        entry.close()


def processes(data_dir: Path) -> Sequence[Process]:
    """All that are known, by name. Those that have ended without a word are there until the next of their name."""
    found = (_read(path) for path in sorted((data_dir / "running").glob("*.json")))
    return [process for process in found if process is not None]


def _read(path: Path) -> Process | None:
    try:
        with path.open("rb") as file:
            alive = not try_lock(file, fcntl.LOCK_SH)  # shared: others may look at the same moment
            said = orjson.loads(file.read())
        return Process(
            name=str(said["name"]),
            host=str(said["host"]),
            pid=int(said["pid"]),
            supervisor=int(said["supervisor"]),
            command=str(said["command"]),
            metrics=tuple(map(str, said["metrics"])),
            file=path,
            is_alive=alive,
        )
    except (OSError, ValueError, KeyError, TypeError):  # it has gone this moment, or a power failure emptied it
        return None
