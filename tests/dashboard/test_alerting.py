"""Who is told of what, by real Alertmanager over the configuration of the repository."""

import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docs_pages import ROOT

from mandi.alerting import DEFAULT_WEBHOOK, alertmanager_config
from tests.services import monitoring
from tests.services.base import LOOPBACK, Missing, Server

PROMETHEUS = ROOT / "dashboards" / "prometheus"
PATIENCE_S = 40.0


class Receiver:
    """Whoever is on call: keeps what Alertmanager posts."""

    def __init__(self) -> None:
        kept: list[dict[str, Any]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.posts = kept
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server.server_port}/on-call"

    def told(self, alert: str) -> list[tuple[str, str]]:
        """(receiver, status) of the posts that had this alert, in order."""
        return [
            (post["receiver"], each["status"])
            for post in self.posts
            for each in post["alerts"]
            if each["labels"]["alertname"] == alert
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def running(start: Callable[[], Server]) -> Iterator[Server]:
    try:
        server = start()
    except Missing as error:
        pytest.skip(str(error))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def until(ready: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)


def read(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def test_a_cause_silences_its_effects_and_nothing_else(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "own").mkdir()
    config = tmp_path / "alertmanager.yml"
    config.write_text(alertmanager_config(receiver.url))
    alerts = [
        {"alertname": "MandiSinkFailing", "severity": "critical", "sink": "timescale"},
        {"alertname": "MandiSinkRetrying", "severity": "warning", "sink": "timescale"},
        {"alertname": "MandiSinkRetrying", "severity": "warning", "sink": "clickhouse"},
        {"alertname": "MandiProcessDown", "severity": "critical", "service": "ingest"},
        {"alertname": "MandiFeedStale", "severity": "critical", "venue": "XCEC"},
        {"alertname": "MandiGapStorm", "severity": "warning", "venue": "XCEC"},
    ]
    with running(lambda: monitoring.start_alertmanager(tmp_path / "own", config)) as server:
        read(f"{server.url}/api/v2/alerts", [{"labels": labels} for labels in alerts])
        found = f"{server.url}/api/v2/alerts"
        until(lambda: len(receiver.told("MandiProcessDown")) == 1, "critical alerts wait for nothing")
        until(lambda: all(each["status"]["state"] != "unprocessed" for each in read(found)), "not yet judged")
        silent = [each["labels"] for each in read(found) if each["status"]["inhibitedBy"]]
    assert sorted(silent, key=str) == sorted([alerts[1], alerts[4]], key=str)
    assert not receiver.told("MandiFeedStale")


def amtool(*words: object) -> str:
    try:
        program = monitoring.programs() / "amtool"
    except Missing as error:
        pytest.skip(f"no amtool: {error}")
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_alertmanager_accepts_the_configuration_with_any_address(tmp_path: Path) -> None:
    amtool("check-config", PROMETHEUS / "alertmanager.yml")
    config = tmp_path / "alertmanager.yml"
    config.write_text(alertmanager_config('https://pager.example/h#"quoted": \\'))
    amtool("check-config", config)
    assert DEFAULT_WEBHOOK not in config.read_text()
    shutil.copy(config, tmp_path / "broken.yml")
    (tmp_path / "broken.yml").write_text(config.read_text().replace("receiver: page", "receiver: nobody"))
    with pytest.raises(AssertionError, match="nobody"):
        amtool("check-config", tmp_path / "broken.yml")


@pytest.mark.parametrize(("severity", "who"), [("critical", "page"), ("warning", "desk"), ("info", "desk")])
def test_who_is_told_goes_by_severity(severity: str, who: str) -> None:
    config = PROMETHEUS / "alertmanager.yml"
    assert amtool("config", "routes", "test", f"--config.file={config}", f"severity={severity}") == who
