"""A venue by hand, and desks that are connected to it, that end with their test."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.connectors.cme.peer import Desk, Peer, Start


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def start(peer: Peer) -> Iterator[Start]:
    desks: list[Desk] = []

    def build(*arguments: Any, **options: Any) -> Desk:
        desks.append(Desk(peer.port, *arguments, **options))
        return desks[-1]

    yield build
    peer.close()
    for desk in desks:
        desk.feed.stop()
