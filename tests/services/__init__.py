"""Real servers for tests and developers: Kafka, TimescaleDB, Prometheus, Alertmanager, from their packages.

`make services` starts them for as long as one likes; tests use those, or start their own and stop them at the end.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from tests.services import kafka, monitoring, timescale
from tests.services.base import HERE, Missing, Server, read_json

STARTERS: Final[Mapping[str, Callable[[Path], Server]]] = {
    "kafka": kafka.start,
    "timescale": timescale.start,
    "prometheus": monitoring.start_prometheus,
    "alertmanager": monitoring.start_alertmanager,
}


def endpoints_file() -> Path:
    """Where `make services` writes what it started: by name, with `url`, `port`, `pid` and `directory`."""
    return HERE.parents[1] / ".services" / "endpoints.json"


def running(name: str) -> Server | None:
    """Return the server that `make services` started, if it still runs."""
    known = read_json(endpoints_file()).get(name)
    server = None if known is None else Server(**known)
    return server if server is not None and server.is_running() else None


@contextmanager
def provided(name: str) -> Iterator[Server]:
    """The running service, or one for as long as the block lasts. Skips the test if it cannot be had, saying why."""
    server = running(name)
    if server is not None:
        yield server
        return
    with own(name) as server:
        yield server


@contextmanager
def own(name: str) -> Iterator[Server]:
    """A service of one's own, that a test may kill. Skips the test if it cannot be had, saying why."""
    with TemporaryDirectory(prefix="mandi-service-") as directory:
        Path(directory).chmod(0o755)
        try:
            server = STARTERS[name](Path(directory))
        except Missing as error:
            pytest.skip(f"no {name}: {error}")
        try:
            yield server
        finally:
            server.stop()
