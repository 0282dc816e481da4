"""The socket below a session: connect with the server's welcome, read frames, notice that the peer is gone."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from feeds_simulator.bloomberg.blpapi.options import SessionOptions
from feeds_simulator.bloomberg.framing import FramingError, Unframer, frame

_READ_BYTES: Final = 256 * 1024
_PING: Final = {"op": "ping"}


class LinkLost(Exception):
    """The connection is gone, or could not be made; the text says why."""


class Link:
    """One connection. `send` may be called from any thread, `receive` from one."""

    def __init__(self, address: tuple[str, int], options: SessionOptions) -> None:
        """Connect and shake hands. Raises: LinkLost."""
        self.server = f"{address[0]}:{address[1]}"
        self._sending = threading.Lock()
        self._unframer = Unframer()
        self._quiet_s = options.defaultKeepAliveInactivityTime() / 1e3 if options.keepAliveEnabled() else None
        self._answer_s = options.defaultKeepAliveResponseTimeout() / 1e3
        timeout_s = options.connectTimeout() / 1e3
        try:
            self._socket = socket.create_connection(address, timeout_s)
        except OSError as error:
            raise LinkLost(f"cannot connect to {self.server}: {error}") from error
        # Blocking from here on: a time-out is the socket's, and one thread sends while another one waits to read.
        self._socket.settimeout(None)
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send({"op": "hello", "version": 1, "name": options.sessionName()})
            self.welcome = self._first(timeout_s)
        except LinkLost:
            self.close()
            raise

    def _first(self, timeout_s: float) -> dict[str, Any]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            for body in self._read(max(0.001, deadline_s - time.monotonic())) or ():
                if "welcome" not in body:
                    raise LinkLost(str(body.get("refused", f"{self.server} is no such server")))
                welcome: dict[str, Any] = body["welcome"]
                return welcome
            if time.monotonic() >= deadline_s:
                raise LinkLost(f"{self.server} did not answer within {timeout_s:g} s")

    def send(self, body: dict[str, Any]) -> None:
        """Send one request. Raises: LinkLost."""
        with self._sending:
            try:
                self._socket.sendall(frame(body))
            except OSError as error:
                raise LinkLost(f"connection to {self.server} lost: {error}") from error

    def receive(self) -> Iterator[dict[str, Any]]:
        """Give what the server sends, until the connection is lost. Raises: LinkLost."""
        while True:
            bodies = self._read(self._quiet_s)
            if bodies is None:  # quiet for too long: is anybody there?
                self.send(_PING)
                bodies = self._read(self._answer_s)
                if bodies is None:
                    raise LinkLost(f"{self.server} did not answer for {self._answer_s:g} s")
            yield from bodies

    # What one read brings; None at the time-out.
    def _read(self, timeout_s: float | None) -> list[dict[str, Any]] | None:
        try:
            if not self._readable.poll(None if timeout_s is None else max(1, round(timeout_s * 1e3))):
                return None
            data = self._socket.recv(_READ_BYTES)
        except OSError as error:
            raise LinkLost(f"connection to {self.server} lost: {error}") from error
        if not data:
            raise LinkLost(f"{self.server} closed the connection")
        try:
            return list(self._unframer.feed(data))
        except FramingError as error:
            raise LinkLost(f"{self.server} sent {error}") from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
