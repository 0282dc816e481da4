"""A client's socket, on the loop that the simulator runs on."""

import asyncio
import socket
from typing import cast

import uvloop

from feeds_simulator.link import Link


def test_nothing_can_be_written_to_a_socket_that_was_cut_in_the_same_turn() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        link = Link(cast(asyncio.Transport, transport))  # uvloop's is none by class
        assert link.can_write
        assert link.write(b"said", 100)
        link.abort()
        assert not link.can_write
        theirs.close()

    uvloop.run(scenario())
