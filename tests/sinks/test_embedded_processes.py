"""What the embedded servers and the demo share."""

import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import psutil

from sinks.embedded.processes import LOOPBACK, Started, alive, free_port, port_is_free, wait_until

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(1_500)]  # of some 12,000: looked up one by one, about ninety would be doubles
    assert len(set(ports)) == len(ports)
    assert port_is_free(ports[-1])


def test_no_connection_keeps_a_server_that_starts_again_from_its_port() -> None:
    """Not even for the minute after its end in which the system keeps its own port."""
    with closing(socket.create_server((LOOPBACK, 0))) as server:
        ports_of_clients = set()
        for _ in range(300):
            with closing(socket.create_connection(server.getsockname())) as client:
                ports_of_clients.add(client.getsockname()[1])
            server.accept()[0].close()
    assert not all(map(port_is_free, ports_of_clients)), "the system keeps them"
    assert max(free_port() for _ in range(1_500)) < min(ports_of_clients)


def test_a_child_that_does_not_end_in_time_is_killed_and_waited_for(tmp_path: Path) -> None:
    child, said = Started(), tmp_path / "log"
    assert child.look() is None
    pid = child.begin([sys.executable, "-c", DEAF], said)
    assert wait_until(lambda: said.read_text() == "deaf\n", 30)
    os.kill(pid, signal.SIGTERM)
    assert child.look() == pid
    child.wait(0.1)
    assert child.look() is None
    assert not psutil.pid_exists(pid), "not even as a zombie"


def test_a_child_that_has_ended_is_a_zombie_until_somebody_looks(tmp_path: Path) -> None:
    child = Started()
    pid = child.begin([sys.executable, "-c", ""], tmp_path / "log")
    assert wait_until(lambda: not alive(pid), 30)
    assert psutil.pid_exists(pid)
    assert child.look() is None
    assert not psutil.pid_exists(pid)
