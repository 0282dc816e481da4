"""A TCP proxy that does to a connection what networks do: nothing comes back, the answer is lost, a request is late."""

import queue
import re
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
    that sends these bytes gets the end of the connection in place of an answer. `keep_back`: so does one that sends
    these bytes at the head of an HTTP request, of which the server gets `pass_on` bytes, and the others by `let_go`.
    All may be changed at any moment.
    """

    def __init__(self, port: int, at: int = 0) -> None:
        self.silent = False
        self.lose_answer_to = b""
        self.lost = 0  # answers
        self.keep_back = b""
        self.pass_on = 0
        self._let_go = threading.Event()
        self._late: queue.SimpleQueue[bytes] = queue.SimpleQueue()
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

    def let_go(self) -> bytes:
        """Let the server have what was kept back; return the answer."""
        self._let_go.set()
        return self._late.get(timeout=60)

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
                    if key.fileobj is client and self.keep_back and self.keep_back in data:
                        self._keep(data, client, server)
                        return
                    losing |= key.fileobj is client and bool(self.lose_answer_to) and self.lose_answer_to in data
                    if losing and key.fileobj is server:
                        self.lost += 1
                        return
                    if not self.silent:
                        key.data.sendall(data)

    def _keep(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        passed, request = self.pass_on, bytearray(data)
        while b"\r\n\r\n" not in request:
            request += _more(client)
        length = re.search(rb"(?i)content-length: *(\d+)", request)
        assert length is not None
        whole = request.index(b"\r\n\r\n") + 4 + int(length[1])
        while len(request) < whole:
            request += _more(client)
        server.sendall(request[:passed])
        client.shutdown(socket.SHUT_RDWR)
        self._let_go.wait()
        server.sendall(request[passed:])
        self._late.put(server.recv(_CHUNK))


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(_CHUNK)
    if not data:
        raise ConnectionError("ended within a request")
    return data


@contextmanager
def toxic_proxy(port: int, at: int = 0) -> Iterator[ToxicProxy]:
    proxy = ToxicProxy(port, at)
    try:
        yield proxy
    finally:
        proxy.close()
