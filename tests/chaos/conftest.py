"""What several of these tests kill and start again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.broker import Broker, broker_in


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in(tmp_path / "broker") as found:
        yield found
