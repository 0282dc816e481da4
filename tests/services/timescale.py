"""A real TimescaleDB: Debian's PostgreSQL 17 with the extension (Apache edition), in a root folder of its own.

The folder is made once with mmdebstrap from the machine's own Debian mirror and entered with chroot, so both need root.
MANDI_TEST_TIMESCALE_ROOT names another such folder, for instance one with Timescale's own edition, built from source.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import psycopg

from sinks.embedded.processes import free_port
from tests.services.base import LOOPBACK, Missing, Server, fetch, launch, package, tool

_SUITE: Final = "trixie"
_PACKAGES: Final = "postgresql-17,postgresql-17-timescaledb"
_BIN: Final = "/usr/lib/postgresql/17/bin"
_USER: Final = "--userspec=postgres:postgres"


def root_folder() -> Path:
    """Return the root folder with the server in it, made by the first call. Raises: Missing."""
    if os.geteuid() != 0:
        raise Missing("TimescaleDB for tests runs in a root folder of its own, which needs root (mmdebstrap, chroot)")
    if given := os.environ.get("MANDI_TEST_TIMESCALE_ROOT"):
        return Path(given)
    with package(f"timescale-{_SUITE}") as (target, part):
        if part is not None:
            _install_mmdebstrap()
            part.chmod(0o755)  # the server runs as a user of its own
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(part)]
            fetch("TimescaleDB's packages", [*command, *_mirror()], part.parent)
    return target


def _install_mmdebstrap() -> None:
    if shutil.which("mmdebstrap") is None:
        apt = tool("apt-get", "TimescaleDB for tests comes from Debian's packages")
        fetch("the package lists", [apt, "update", "-qq"], Path("/"))
        fetch("mmdebstrap", [apt, "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"], Path("/"))


def _mirror() -> list[str]:
    """The address from which this machine has its own Debian packages; none: mmdebstrap's default."""
    command = ["apt-get", "indextargets", "--format", "$(LABEL) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line.split()[-1] for line in found.splitlines() if line.startswith("Debian main ")][:1]


def start(directory: Path) -> Server:
    """Start a server with an empty database `mandi`, owned by `mandi`. Raises: Missing."""
    root, port = root_folder(), free_port()
    data = Path("srv") / f"mandi-{port}"
    home = root / data
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    owner = (root / "var/lib/postgresql").stat()
    os.chown(home, owner.st_uid, owner.st_gid)
    enter = [tool("chroot", "it is part of coreutils"), _USER, str(root)]
    # initdb without syncing: what a test's server writes need not survive the machine.
    form = [f"{_BIN}/initdb", "-D", f"/{data}", "-U", "mandi", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    done = subprocess.run([*enter, *form], cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"TimescaleDB's initdb failed: {done.stderr[-400:]}")
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "dynamic_shared_memory_type": "mmap",  # there is no /dev/shm in the folder
        "shared_buffers": "128MB",
        "max_connections": "50",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    dsn = f"postgresql://mandi@{LOOPBACK}:{port}/mandi"
    server = launch(
        "timescale",
        [*enter, f"{_BIN}/postgres", "-D", f"/{data}", *words],
        directory,
        port=port,
        url=dsn,
        ready=lambda: _create_database(port),
    )
    (directory / "data").symlink_to(home)
    return server


def _create_database(port: int) -> bool:
    try:
        with psycopg.connect(f"postgresql://mandi@{LOOPBACK}:{port}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE mandi")
    except psycopg.errors.DuplicateDatabase:
        return True
    except psycopg.OperationalError:
        return False
    return True
