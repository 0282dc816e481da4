"""Use an embedded server together: who needs it first starts it, all keep it running, the last to go stops it.

    <data_dir>/.<name>.users   locked by every process that uses the server; holds its process id, if one of them
                               started it. One that a supervisor started is left to the supervisor

The kernel lets go of the lock of a process that dies, so a killed one is no user any more.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from sinks.base import delay_s
from sinks.embedded.processes import Watch, wait_until
from sinks.errors import EmbeddedServerError
from sinks.locks import try_lock

LOOK_S: Final = 0.5
STEADY_S: Final = 30.0
"""A server that ran this long was well: the next start of it is not delayed for those before."""

_ASKING_S: Final = 0.1  # whoever asks `is_used` holds the lock for a moment: one refusal means nothing
_log: Final = logging.getLogger(__name__)


class Server(Protocol):
    """A server of a data directory: EmbeddedPostgres, EmbeddedClickHouse."""

    data_dir: Path

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int | None:
        """Process id of the live server, whoever started it."""

    @property
    def is_child(self) -> bool:
        """Whether the live server is one that this object started."""

    @property
    def damage(self) -> EmbeddedServerError | None:
        """Why it cannot be started, or reached, before something is done about it."""

    def start(self) -> str: ...

    def stop(self) -> None: ...


@contextmanager
def shared(server: Server, on_restart: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Yield the address of a running server, which is started again when it dies; stop it if nobody else uses it.

    Several processes that find it dead start one: `Server.start` is under a lock. `on_restart` is called, in a
    thread, by the one that did. It may have another address then.
    Raises: EmbeddedServerError if it cannot be started now; later that is logged, and tried again.
    """
    with used(server.data_dir, server.name) as users:
        try:
            address = server.start()
            _note(users, server)
            with _kept(server, users, on_restart):
                yield address
        finally:
            pid = server.pid
            ours = server.is_child or (pid is not None and pid == _noted(users))
            if ours and wait_until(lambda: try_lock(users), _ASKING_S):  # nobody else has a lock on it
                server.stop()


@contextmanager
def used(data_dir: Path, name: str) -> Iterator[IO[str]]:
    """Be one of those that use a server: nobody else stops it for want of users."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / f".{name}.users").open("a+") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield users


def is_used(data_dir: Path, name: str) -> bool:
    """Whether a live process uses a server, which should run then."""
    try:
        users = (data_dir / f".{name}.users").open("r")
    except FileNotFoundError:
        return False
    with users:
        return not try_lock(users)


def _note(users: IO[str], server: Server) -> None:
    pid = server.pid
    if pid is not None and server.is_child:
        users.truncate(0)
        users.write(str(pid))
        users.flush()


def _noted(users: IO[str]) -> int | None:
    users.seek(0)
    text = users.read()
    return int(text) if text.isdigit() else None


@contextmanager
def _kept(server: Server, users: IO[str], on_restart: Callable[[], None]) -> Iterator[None]:
    """Look after the server in a thread."""
    stop = threading.Event()

    def tell() -> None:
        _log.warning("the embedded %s was gone and has been started again, as process %s", server.name, server.pid)
        on_restart()
        _note(users, server)

    keeper = _Keeper(server, tell, stop)
    thread = threading.Thread(target=keeper.run, name=f"keeper-{server.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class _Keeper:
    """Starts a server again that is gone: after a moment, in which its supervisor may, then ever more seldom.

    What is frozen of it is killed.
    """

    def __init__(self, server: Server, on_restart: Callable[[], object], stop: threading.Event) -> None:
        self._server, self._on_restart, self._stop = server, on_restart, stop
        self._watch = Watch(lambda: server.pid)
        self._attempts, self._began_s = 0, time.monotonic()

    def run(self) -> None:
        while not self._stop.wait(LOOK_S):
            if not self._watch.is_running():
                self._revive()
            elif time.monotonic() > self._began_s + STEADY_S:
                self._attempts = 0

    def _revive(self) -> None:
        self._attempts += 1
        if self._stop.wait(delay_s(self._attempts)) or self._server.pid is not None:
            return
        try:
            self._server.start()
            self._began_s = time.monotonic()
            if self._server.is_child:
                self._on_restart()
        except Exception as error:  # this thread is the supervisor of the server
            _log.warning("%s; it is tried again (attempt %d)", error, self._attempts)
