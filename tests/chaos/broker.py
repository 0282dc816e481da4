"""A broker that a test kills and starts again, at the same address."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.services import kafka
from tests.services.base import Missing, Server


@dataclass
class Broker:
    """The broker; each `url` is a log of its own there."""

    command: list[str]
    directory: Path
    port: int
    server: Server

    @property
    def url(self) -> str:
        return f"{self.server.url}/{uuid4().hex}"

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server = kafka.run(self.command, self.directory, self.port)


@contextmanager
def broker_in(directory: Path) -> Iterator[Broker]:
    """A running broker, stopped in the end. Skips the test where it cannot be had."""
    directory.mkdir()
    try:
        command, port = kafka.prepare(directory)
        found = Broker(command, directory, port, kafka.run(command, directory, port))
    except Missing as error:
        pytest.skip(f"no kafka: {error}")
    try:
        yield found
    finally:
        found.server.stop()
