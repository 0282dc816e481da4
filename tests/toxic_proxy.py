"""A TCP proxy that does to a connection what networks do: nothing comes back, or the answer is lost."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_CHUNK: Final = 1 << 16


class ToxicProxy:
    """Listens on a port of 127.0.0.1 (0: a free one) and talks to another one.

    `silent`: what is sent is taken, and nothing is passed on. `lose_answer_to`: the server gets everything; a client
    that sends these bytes gets the end of the connection in place of an answer. Both may be changed at any moment.
    """

    def __init__(self, port: int, at: int = 0) -> None:
        self.silent = False
        self.lose_answer_to = b""
        self.lost = 0  # answers
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        losing = False
        with suppress(OSError, ValueError), selectors.DefaultSelector() as ready, client, server:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    data = key.fileobj.recv(_CHUNK)  # type: ignore[union-attr]
                    if not data:
                        return
                    losing |= key.fileobj is client and bool(self.lose_answer_to) and self.lose_answer_to in data
                    if losing and key.fileobj is server:
                        self.lost += 1
                        return
                    if not self.silent:
                        key.data.sendall(data)


@contextmanager
def toxic_proxy(port: int, at: int = 0) -> Iterator[ToxicProxy]:
    proxy = ToxicProxy(port, at)
    try:
        yield proxy
    finally:
        proxy.close()
