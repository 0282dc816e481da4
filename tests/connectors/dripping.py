"""A TCP relay that passes on byte by byte what a venue sends."""

import socket
import threading

DEADLINE_S = 20.0


class Dripping:
    """Serves one client on `port`; ends with its connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener:
            client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._port)) as venue:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._pass, args=(client, venue), daemon=True)
            back.start()
            while data := venue.recv(65_536):
                for at in range(len(data)):
                    client.send(data[at : at + 1])
            client.shutdown(socket.SHUT_RDWR)
            back.join(DEADLINE_S)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._thread.join(DEADLINE_S)
