"""ClickHouse out of the `chdb` wheel: one process that owns the engine and speaks HTTP on loopback.

    <data_dir>/clickhouse        the engine's data
    <data_dir>/clickhouse.json   port, and pid of the process that serves it
    <data_dir>/clickhouse.lock   held for as long as that process lives; a killed one leaves nothing to clean up
    <data_dir>/clickhouse.log    what the process says

The engine allows one process per directory, so every other process, `mandi sql` included, goes through HTTP. Run
in the foreground, for a supervisor:

    python -m sinks.embedded.clickhouse --data-dir DIR [--port N]
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Final

import psutil

from sinks.embedded.processes import (
    LOOPBACK,
    POLL_S,
    Started,
    Watch,
    alive,
    free_port,
    port_is_free,
    run_until_signal,
    signal_quietly,
    wait_until,
    write_private,
)
from sinks.embedded.shared import used
from sinks.errors import EmbeddedServerError
from sinks.locks import locked, try_lock

DEFAULT_PORT: Final = 8123
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 5.0
FINISH_S: Final = 1.5  # running statements get this long to end when the server is told to stop
OWN_PATIENCE_S: Final = 1.0
_SERVER: Final = "ClickHouse"


class EmbeddedClickHouse:
    """The ClickHouse process of a data directory, as seen from outside.

    Example:
        server = EmbeddedClickHouse(Path("data"))
        url = server.start()      # adopts the process if it runs already
        server.stop()
    """

    name: Final = "chdb"

    def __init__(self, data_dir: Path, port: int = DEFAULT_PORT) -> None:
        self.data_dir = data_dir.resolve()
        self._port = port
        self._log_file = self.data_dir / "clickhouse.log"
        self._started = Started()

    @property
    def url(self) -> str:
        """Address of the running or last server."""
        return f"http://{LOOPBACK}:{_read_run_file(self.data_dir).get('port', self._port)}"

    @property
    def pid(self) -> int | None:
        """Process id of the live server, whoever started it."""
        self._started.look()
        pid = _read_run_file(self.data_dir).get("pid")
        return pid if pid is not None and alive(pid) and _is_owned(self.data_dir) else None

    @property
    def is_child(self) -> bool:
        """Whether the live server is one that this object started."""
        return self._started.look() is not None

    @property
    def damage(self) -> EmbeddedServerError | None:
        """Why it cannot be reached, before something is done about it."""
        file = self.data_dir / "clickhouse.json"
        if _read_run_file(self.data_dir) or not file.exists() or not _is_owned(self.data_dir):
            return None  # else the next start writes it
        reason = f"{file} is damaged, and so nobody knows at which port it is served"
        pids = ", ".join(map(str, _serving(self.data_dir))) or "the one that holds clickhouse.lock"
        return EmbeddedServerError(_SERVER, reason, f"end its process ({pids}): the next start writes the file anew")

    def start(self) -> str:
        """Start the server, or adopt the one that serves this data directory; return its URL.

        Raises: EmbeddedServerError with what to do about it.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with locked(self.data_dir / ".clickhouse.start.lock"):
            damage = self.damage
            if damage is not None:
                raise damage
            # Owned and silent: it is starting, or dead with threads that have not let go of the lock yet.
            wait_until(lambda: self._answers() or not _is_owned(self.data_dir), START_TIMEOUT_S)
            if not self._answers():
                self._started.wait(STOP_TIMEOUT_S)
                self._launch()
                wait_until(lambda: self._answers() or not self.is_child, START_TIMEOUT_S)
            if not self._answers():
                raise EmbeddedServerError(_SERVER, f"did not start: {self._last_log()}", f"see {self._log_file}")
        return self.url

    def stop(self) -> None:
        """Stop the server; statements that do not end within FINISH_S are cut off."""
        pid = self.pid
        for number in (signal.SIGTERM, signal.SIGKILL):
            if pid is not None and not self._gone(pid):
                signal_quietly(pid, number)
                wait_until(lambda: self._gone(pid), STOP_TIMEOUT_S)
        self._started.wait(STOP_TIMEOUT_S)

    def _gone(self, pid: int | None) -> bool:
        return pid is None or not (alive(pid) or _is_owned(self.data_dir))

    def _launch(self) -> None:
        command = [sys.executable, "-m", "sinks.embedded.clickhouse", "--data-dir", str(self.data_dir)]
        self._started.begin([*command, "--port", str(self._port)], self._log_file)

    def _answers(self) -> bool:
        pid = self.pid
        if pid is None or self._started.look() not in (None, pid):
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _last_log(self) -> str:
        if not self._log_file.exists():
            return "no output"
        return " / ".join(self._log_file.read_text(errors="replace").splitlines()[-3:])


def _read_run_file(data_dir: Path) -> dict[str, int]:
    """Port and pid; nothing where they were never written, or are damaged: the next start writes them anew."""
    try:
        found = json.loads((data_dir / "clickhouse.json").read_text())
        port, pid = found["port"], found["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    whole = isinstance(port, int) and isinstance(pid, int) and 0 < port < 65_536 and pid > 0
    return {"port": port, "pid": pid} if whole else {}


def _serving(data_dir: Path) -> list[int]:
    """Processes that were started to serve the directory."""
    words = {"sinks.embedded.clickhouse", str(data_dir)}
    return [found.pid for found in psutil.process_iter(["cmdline"]) if words <= set(found.info["cmdline"] or ())]


def _is_owned(data_dir: Path) -> bool:
    """Whether a live process holds the directory."""
    owner = _try_own(data_dir)
    if owner is None:
        return True
    owner.close()
    return False


def _try_own(data_dir: Path) -> IO[str] | None:
    """Take the directory for this process, for as long as the returned file is open; None if it is taken."""
    file = (data_dir / "clickhouse.lock").open("a")
    if try_lock(file):
        return file
    file.close()
    return None


def _own(data_dir: Path) -> IO[str] | None:
    # Whoever asks `_is_owned` holds the lock for a moment: one refusal means nothing.
    deadline_s = time.monotonic() + OWN_PATIENCE_S
    while (owner := _try_own(data_dir)) is None and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    return owner


def _choose_port(data_dir: Path, wanted: int) -> int:
    """The port of the last start, else the asked one, else any free one.

    The last one first: clients hold its address, and look for a killed server where it was.
    """
    last = _read_run_file(data_dir).get("port", 0)
    return next((port for port in (last, wanted) if port and port_is_free(port)), 0) or free_port()


def serve(data_dir: Path, wanted_port: int) -> int:
    """Own the engine of `data_dir` and serve it until SIGTERM or SIGINT. Returns the exit code."""
    # Imported here, so that clients of this module do not load the engine (120 MB).
    from sinks.embedded.engine import Engine
    from sinks.embedded.http import ClickHouseHttpServer

    engine = Engine(data_dir / "clickhouse")
    server = ClickHouseHttpServer((LOOPBACK, _choose_port(data_dir, wanted_port)), engine)
    write_private(data_dir / "clickhouse.json", json.dumps({"pid": os.getpid(), "port": server.server_port}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    run_until_signal(lambda: True)
    server.shutdown()
    server.server_close()
    if server.finish(FINISH_S):
        engine.close()
    # Statements still running hold threads of the engine, whose destructors would wait for them.
    os._exit(0)


def main() -> int:
    """Serve a data directory in the foreground. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sinks.embedded.clickhouse", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="of the first start; 0 or taken: a free one")
    arguments = parser.parse_args()
    data_dir = arguments.data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    os.environ["TZ"] = "UTC"  # the engine takes its time zone from the process
    owner = _own(data_dir)
    if owner is None:
        return _watch_over(EmbeddedClickHouse(data_dir))
    with owner:
        return serve(data_dir, arguments.port)


def _watch_over(server: EmbeddedClickHouse) -> int:
    """Stand in for a live server that outlived whoever started it: end when it ends, and end it when told to."""
    with used(server.data_dir, server.name):
        pid = server.pid
        if pid is None:
            sys.stderr.write(f"another process holds {server.data_dir}/clickhouse and does not serve it\n")
            return 1
        asked = run_until_signal(Watch(lambda: pid if server.pid == pid else None).is_running)
        if asked:
            server.stop()
    return 0 if asked else 1


if __name__ == "__main__":
    sys.exit(main())
