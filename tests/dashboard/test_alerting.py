"""An alert from its cause to a receiver, through real Prometheus and Alertmanager, and its end; and who gets what."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from docs_pages import ROOT

from mandi.alerting import DEFAULT_WEBHOOK, alertmanager_config, scrape_targets, write_json
from mandi.supervisor import Child, Supervisor
from sinks.embedded.processes import free_port
from tests.services import monitoring
from tests.services.base import LOOPBACK, Missing
from tests.services.on_call import Receiver, running, watched

PROMETHEUS = ROOT / "dashboards" / "prometheus"
PATIENCE_S = 40.0
Labels = dict[str, str]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def until(ready: Callable[[], object], what: object) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end_s, str(what)
        time.sleep(0.05)


def test_a_process_that_does_not_stay_up_reaches_whoever_is_on_call_and_clears(
    tmp_path: Path, receiver: Receiver
) -> None:
    port = free_port()
    server, thread = prometheus_client.start_http_server(port, addr=LOOPBACK)
    supervisor = Supervisor(tmp_path / "logs", lambda _: None)
    try:
        targets = tmp_path / "targets.json"
        write_json(targets, scrape_targets({"demo": f"{LOOPBACK}:{port}"}))
        with watched(tmp_path, receiver, targets) as prometheus:
            healthy = f"{prometheus.url}/api/v1/query?query=up%7Bservice%3D%22demo%22%7D"
            until(lambda: scraped(healthy), "Prometheus does not scrape the process")
            supervisor.start(Child(name="flapping", command=[sys.executable, "-S", "-c", "raise SystemExit(1)"]))
            until(lambda: supervisor.poll() or receiver.told("MandiProcessFlapping"), "the alert did not arrive")
            (told,) = receiver.told("MandiProcessFlapping", process="flapping")
            assert (told.receiver, told.status) == ("page", "firing")
            assert re.match(r"flapping was restarted \d+ times", told.description)
            supervisor.stop()
            until(lambda: receiver.told("MandiProcessFlapping")[-1].status == "resolved", "it did not clear")
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


CRITICAL, WARNING = {"severity": "critical"}, {"severity": "warning"}
CAUSES_AND_EFFECTS = [
    (
        [
            {"alertname": "MandiSinkFailing", **CRITICAL, "sink": "timescale"},
            {"alertname": "MandiProcessDown", **CRITICAL, "service": "ingest"},
        ],
        [
            {"alertname": "MandiSinkRetrying", **WARNING, "sink": "timescale"},
            {"alertname": "MandiFeedStale", **CRITICAL, "venue": "XCEC"},
        ],
        [
            {"alertname": "MandiSinkRetrying", **WARNING, "sink": "clickhouse"},
            {"alertname": "MandiGapStorm", **WARNING, "venue": "XCEC"},
        ],
    ),
    (
        [
            {"alertname": "MandiFeedStale", **CRITICAL, "venue": "XCEC"},
            {"alertname": "MandiClockSkew", **WARNING, "venue": "IFUS"},
        ],
        [{"alertname": "MandiWatermarkLag", **WARNING, "venue": "XCEC"}],
        [{"alertname": "MandiWatermarkLag", **WARNING, "venue": "IFUS"}],  # a queue, that looks like a clock
    ),
]


@pytest.mark.parametrize(("causes", "effects", "others"), CAUSES_AND_EFFECTS)
def test_a_cause_silences_its_effects_and_nothing_else(
    causes: list[Labels], effects: list[Labels], others: list[Labels], tmp_path: Path, receiver: Receiver
) -> None:
    (tmp_path / "own").mkdir()
    config = tmp_path / "alertmanager.yml"
    config.write_text(alertmanager_config(receiver.url))
    alerts = [*causes, *effects, *others]
    (page,) = [each["alertname"] for each in causes if each["severity"] == "critical"][-1:]
    with running(lambda: monitoring.start_alertmanager(tmp_path / "own", config)) as server:
        found = f"{server.url}/api/v2/alerts"
        # The causes first, as it happens: Alertmanager may tell of what comes before it has looked for its cause.
        read(found, [{"labels": labels} for labels in causes])
        until(lambda: len(receiver.told(page)) == 1, "critical alerts wait for nothing")
        read(found, [{"labels": labels} for labels in alerts])
        until(lambda: len(read(found)) == len(alerts), "all are there")
        until(lambda: all(each["status"]["state"] != "unprocessed" for each in read(found)), "not yet judged")
        silent = [each["labels"] for each in read(found) if each["status"]["inhibitedBy"]]
    assert sorted(silent, key=str) == sorted(effects, key=str)
    assert not any(receiver.told(each["alertname"], **each) for each in effects)


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
