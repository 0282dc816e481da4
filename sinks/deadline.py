"""Give up on a peer that takes what is sent and never answers: no keep-alive notices that, and libpq waits for ever."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg


@contextmanager
def answers_within(connection: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Shut the connection's socket down if the block takes longer; what waits in it then raises OperationalError."""
    descriptor = os.dup(connection.fileno())  # ours stays that socket's, whatever becomes of the connection
    timer = threading.Timer(seconds, _shut_down, [descriptor])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(descriptor)


def _shut_down(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as ours:
        ours.shutdown(socket.SHUT_RDWR)
