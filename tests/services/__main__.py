"""`make services` and `make services-stop`: start and stop the real servers, and say where they are.

Idempotent: what runs goes on, what died is started again. Their addresses are in `.services/endpoints.json`, which the
tests use when it is there. What cannot be had is named with its reason; then the exit code is 1 only if nothing runs.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from tests.services import STARTERS, endpoints_file, running
from tests.services.base import Missing, NotStarted, Server


def up() -> int:
    path = endpoints_file()
    path.parent.mkdir(exist_ok=True)
    servers = {name: server for name in STARTERS if (server := running(name)) is not None}
    for name, start in STARTERS.items():
        began_s = time.monotonic()
        known = name in servers
        try:
            if not known:
                servers[name] = start(_directory(path, name))
                _save(path, servers)
        except Missing as error:
            print(f"{name:13} cannot be had: {error}")
        except NotStarted as error:
            print(f"{name:13} does not start: {error}")
        else:
            how = "runs" if known else f"started in {time.monotonic() - began_s:.1f} s"
            print(f"{name:13} {how}: {servers[name].url}")
    print(f"addresses: {path}")
    return 0 if servers else 1


def down() -> int:
    path = endpoints_file()
    for name in STARTERS:
        server = running(name)
        if server is not None:
            server.stop()
            print(f"{name:13} stopped")
    path.unlink(missing_ok=True)
    return 0


def _directory(path: Path, name: str) -> Path:
    directory = path.parent / name
    data = directory / "data"
    if data.is_symlink():  # of one that was killed, in its root folder
        shutil.rmtree(data.resolve(), ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _save(path: Path, servers: dict[str, Server]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({name: server.as_dict() for name, server in servers.items()}, indent=2) + "\n")
    part.replace(path)


_COMMANDS: Final = {"up": up, "down": down}

if __name__ == "__main__":
    sys.exit(_COMMANDS[sys.argv[1]]())
