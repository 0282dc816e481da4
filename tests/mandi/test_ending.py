"""SIGTERM ends a process in time, whoever outside it does not answer: a request that never ends holds nobody."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from market import topics
from market.records import JSON_KIND, TopicPartition
from sinks.embedded.processes import free_port
from sinks.log import open_writer
from tests.chaos.harness import Flows, tell
from tests.sinks.webhook_receiver import registered

PROMISED_S = 3.0
"""What a supervisor waits before it kills (`Child.stop_within_s`)."""

SHARED = 3.0
"""A machine that others use, too, may be slower by this factor."""

BARS = TopicPartition(topics.BARS, topics.FROM_ANALYTICS)


class Dripping:
    """Takes requests, and answers each for ever, a byte at a time: no time-out between two bytes ends it.

    With `mute` it says nothing at all.
    """

    def __init__(self) -> None:
        self.mute = False
        self.asked = threading.Event()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(client,), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(65_536)
            self.asked.set()
            if not self.mute:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not self._closed.wait(0.1):
                client.sendall(b"" if self.mute else b"x")

    def close(self) -> None:
        self._closed.set()
        self._listener.close()


@pytest.fixture
def outside() -> Iterator[Dripping]:
    found = Dripping()
    yield found
    found.close()


def ends_in_time(flows: Flows, name: str) -> None:
    """Told to stop, the process ends well, and as soon as its supervisor wants it."""
    process, began_s = flows.process(name), time.monotonic()
    process.terminate()
    with suppress(psutil.TimeoutExpired):
        process.wait(SHARED * PROMISED_S)
    assert not flows.is_running(name), f"it still runs: {flows.said(name)}"
    assert flows.ended(name) == 0, flows.said(name)
    tell(f"{name}: ended {time.monotonic() - began_s:.1f} s after SIGTERM (promised {PROMISED_S:.0f} s)")


def test_webhooks_end_in_time_while_a_receiver_never_answers(outside: Dripping, tmp_path: Path) -> None:
    settings = registered(tmp_path, f"http://127.0.0.1:{outside.port}/hook", b"k" * 24, topics.BARS)
    with Flows(tmp_path / "data", settings) as flows:
        writer = open_writer(flows.url)
        for number in range(20):
            writer.append(BARS, JSON_KIND, json.dumps({"n": number}).encode())
        writer.close()
        flows.start("webhooks")
        assert outside.asked.wait(60), flows.said("webhooks")
        ends_in_time(flows, "webhooks")


@pytest.mark.parametrize("broker", ["kite", "angel"])
def test_ingest_ends_in_time_while_a_rest_interface_never_answers(
    outside: Dripping, broker: str, tmp_path: Path
) -> None:
    settings = {
        "MANDI_MCX_URL": f"ws://127.0.0.1:{free_port()}/",
        "MANDI_MCX_REST_URL": f"http://127.0.0.1:{outside.port}",
        "MANDI_MCX_BROKER": broker,
    }
    with Flows(tmp_path, settings, commands={"ingest": ("ingest", "mcx")}) as flows:
        flows.start("ingest")
        assert outside.asked.wait(60), flows.said("ingest")
        ends_in_time(flows, "ingest")


def test_the_gateway_ends_in_time_while_a_process_never_tells_its_metrics(
    outside: Dripping, postgres_dsn: str, tmp_path: Path
) -> None:
    group = {"labels": {"service": "bars"}, "targets": [f"127.0.0.1:{outside.port}"]}
    (tmp_path / "targets.json").write_text(json.dumps([group]))
    port = free_port()
    commands = {"gateway": ("serve", "--port", str(port))}
    with Flows(tmp_path, {"MANDI_TIMESCALE": postgres_dsn}, commands=commands) as flows:
        flows.start("gateway")
        threading.Thread(target=ask_for_health, args=(port, outside.asked), daemon=True).start()
        assert outside.asked.wait(60), flows.said("gateway")
        ends_in_time(flows, "gateway")


def ask_for_health(port: int, asked: threading.Event) -> None:
    while not asked.wait(0.1):
        with suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health").close()


def test_ingest_of_the_backend_ends_in_time_while_its_outbox_is_mute(outside: Dripping, tmp_path: Path) -> None:
    outside.mute = True
    settings = {"MANDI_BACKEND_OUTBOX": f"postgresql://x@127.0.0.1:{outside.port}/x"}
    with Flows(tmp_path, settings, commands={"backend": ("ingest", "backend")}) as flows:
        flows.start("backend")
        assert outside.asked.wait(60), flows.said("backend")
        ends_in_time(flows, "backend")
