"""Exchanges and desks that end with their test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.connectors.mcx.desk import NOON_NS, Clock, Desk, Exchange


@pytest.fixture
def exchange() -> Iterator[Callable[..., Exchange]]:
    opened: list[Exchange] = []

    def open_exchange(at_ns: int = NOON_NS, **options: Any) -> Exchange:
        opened.append(Exchange(Clock(at_ns), **options))
        return opened[-1]

    yield open_exchange
    for one in opened:
        one.close()


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def open_desk(*arguments: Any, **options: Any) -> Desk:
        opened.append(Desk(*arguments, **options))
        return opened[-1]

    yield open_desk
    for one in opened:
        one.feed.stop()


@pytest.fixture
def mcx(exchange: Callable[..., Exchange]) -> Exchange:
    """An exchange in session, with a book of each contract."""
    opened = exchange()
    opened.open()
    return opened
