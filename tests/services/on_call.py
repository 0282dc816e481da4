"""Whoever is on call, and real Prometheus and Alertmanager that watch over processes and tell them."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from mandi.alerting import alertmanager_config
from tests.services import monitoring
from tests.services.base import LOOPBACK, Missing, Server
from tests.services.monitoring import hasty

RULES: Final = Path(__file__).parents[2] / "dashboards" / "prometheus"
_TARGETS: Final = "../../.mandi/targets.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One alert of a post: who was told (`page`, `desk`), `firing` or `resolved`, when (monotonic)."""

    receiver: str
    status: str
    labels: dict[str, str]
    description: str
    at_s: float


class Receiver:
    """Whoever is on call: keeps what Alertmanager posts."""

    def __init__(self) -> None:
        kept: list[Told] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.extend(_told(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._kept = kept
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server.server_port}/on-call"

    def told(self, alert: str, **labels: str) -> list[Told]:
        """What was told of this alert, with these labels, in order."""
        wanted = {"alertname": alert, **labels}
        return [each for each in self._kept if wanted.items() <= each.labels.items()]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _told(post: dict[str, Any]) -> list[Told]:
    return [
        Told(
            receiver=post["receiver"],
            status=each["status"],
            labels=each["labels"],
            description=each["annotations"].get("description", ""),
            at_s=time.monotonic(),
        )
        for each in post["alerts"]
    ]


@contextmanager
def running(start: Callable[[], Server]) -> Iterator[Server]:
    """A server that is stopped in the end. Skips the test where it cannot be had."""
    try:
        server = start()
    except Missing as error:
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def prometheus(directory: Path, targets: Path, times: float = 30.0, alertmanager_port: int = 9093) -> Iterator[Server]:
    """Prometheus over the rules of the repository, scraping the processes of a `targets.json`, `times` as fast."""
    place = directory / "prometheus"
    place.mkdir(parents=True)
    (directory / "alerts.yml").write_text(hasty((RULES / "alerts.yml").read_text(), times))
    text = hasty((RULES / "prometheus.yml").read_text(), times)
    assert _TARGETS in text
    config = directory / "prometheus.yml"
    config.write_text(text.replace(_TARGETS, str(targets)).replace(":9093", f":{alertmanager_port}"))
    with running(lambda: monitoring.start_prometheus(place, config)) as server:
        yield server


@contextmanager
def watched(directory: Path, receiver: Receiver, targets: Path, times: float = 30.0) -> Iterator[Server]:
    """Prometheus as above, and Alertmanager by the file of the repository; the receiver is told."""
    place, config = directory / "alertmanager", directory / "alertmanager.yml"
    place.mkdir(parents=True)
    config.write_text(hasty(alertmanager_config(receiver.url), times))
    with (
        running(lambda: monitoring.start_alertmanager(place, config)) as alertmanager,
        prometheus(directory, targets, times, alertmanager.port) as server,
    ):
        yield server
