"""An alert from its cause to a receiver, through real Prometheus and Alertmanager, and its end; and who gets what."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from docs_pages import ROOT

from mandi.alerting import DEFAULT_WEBHOOK, alertmanager_config, scrape_targets, write_json
from mandi.supervisor import Child, Supervisor
from sinks.embedded.processes import free_port
from tests.services import monitoring
from tests.services.base import LOOPBACK, Missing, Server
from tests.services.monitoring import hasty

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


@contextmanager
def watched(directory: Path, receiver: Receiver, metrics_port: int) -> Iterator[tuple[Server, Server]]:
    """Prometheus and Alertmanager over the files of the repository, scraping one process."""
    for part in ("alertmanager", "prometheus"):
        (directory / part).mkdir()
    config = directory / "alertmanager.yml"
    config.write_text(hasty(alertmanager_config(receiver.url)))
    with running(lambda: monitoring.start_alertmanager(directory / "alertmanager", config)) as alertmanager:
        write_json(directory / "targets.json", scrape_targets({"demo": f"{LOOPBACK}:{metrics_port}"}))
        (directory / "alerts.yml").write_text(hasty((PROMETHEUS / "alerts.yml").read_text()))
        text = hasty((PROMETHEUS / "prometheus.yml").read_text()).replace("../../.mandi/", "")
        (directory / "prometheus.yml").write_text(text.replace("127.0.0.1:9093", f"{LOOPBACK}:{alertmanager.port}"))
        start = lambda: monitoring.start_prometheus(directory / "prometheus", directory / "prometheus.yml")  # noqa: E731
        with running(start) as prometheus:
            yield prometheus, alertmanager


def test_a_process_that_does_not_stay_up_reaches_whoever_is_on_call_and_clears(
    tmp_path: Path, receiver: Receiver
) -> None:
    port = free_port()
    server, thread = prometheus_client.start_http_server(port, addr=LOOPBACK)
    supervisor = Supervisor(tmp_path / "logs", lambda _: None)
    try:
        with watched(tmp_path, receiver, port) as (prometheus, _):
            healthy = f"{prometheus.url}/api/v1/query?query=up%7Bservice%3D%22demo%22%7D"
            until(lambda: scraped(healthy), "Prometheus does not scrape the process")
            supervisor.start(Child(name="flapping", command=[sys.executable, "-S", "-c", "raise SystemExit(1)"]))
            until(lambda: supervisor.poll() or receiver.told("MandiProcessFlapping"), "the alert did not arrive")
            assert receiver.told("MandiProcessFlapping") == [("page", "firing")]
            (alert,) = [each for post in receiver.posts for each in post["alerts"] if "process" in each["labels"]]
            assert re.match(r"flapping was restarted \d+ times", alert["annotations"]["description"])
            supervisor.stop()
            over = ("page", "resolved")
            until(lambda: receiver.told("MandiProcessFlapping")[-1] == over, "it did not clear")
            assert not receiver.told("MandiProcessDown")
    finally:
        supervisor.stop()
        server.shutdown()
        server.server_close()
        thread.join()


def scraped(query: str) -> bool:
    try:
        return bool(read(query)["data"]["result"])
    except urllib.error.HTTPError as error:
        if error.code != 503:  # it reads its own log before it answers
            raise
        return False


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
