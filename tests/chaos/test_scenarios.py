"""A demo plays a scenario, and a client of its stream hears what the simulator's record says that it did; and the page.

Each runs every process for two to three minutes of market time: `make scenarios`. The quick one of tests/gateway has no
processes.
"""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scenario_truth import CHECKS, Heard, Row
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.acceptance.command import REPOSITORY
from tests.chaos.harness import tell, until
from tests.chaos.test_demo import Demo, demo
from tests.services.on_call import prometheus
from tests.sinks.webhook_receiver import WebhookReceiver, registered

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

PATIENCE_S = 300.0
"""The longest scenario takes two minutes from its demo's start; the machine may be shared."""

PANES_WITHIN_S = 120
WEB = REPOSITORY / "dashboards" / "web"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def url_of(running: Demo) -> str:
    """The address of a demo, once it answers."""
    until(running.is_up)
    (line,) = [line for line in running.said if line.startswith("dashboard: ")]
    return line.removeprefix("dashboard: ").rstrip("/")


class Listener:
    """A client of the stream in a thread. `heard.until` is the market time of the newest message."""

    def __init__(self, url: str) -> None:
        self.heard = Heard()
        self._open = ExitStack()
        self._client = self._open.enter_context(connect(f"{url.replace('http', 'ws', 1)}/v1/stream", max_size=None))
        for number, channel in enumerate(("anomalies", "arbitrage", "status")):
            self._client.send(json.dumps({"op": "subscribe", "id": number, "channel": channel, "instruments": ["*"]}))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for text in self._client:
                message = json.loads(text)
                self.heard.take(message)
                self.heard.until = max(self.heard.until, int(message.get("ts_out", 0)))
        except ConnectionClosed:
            return  # the demo ends

    def close(self) -> None:
        self._open.close()
        self._thread.join()


class Alerts:
    """Real Prometheus over the rules of the repository and every process of a demo; it only waits less."""

    def __init__(self, directory: Path, data_dir: Path) -> None:
        self._open = ExitStack()
        self._server = self._open.enter_context(prometheus(directory, data_dir / "targets.json"))

    def fired(self) -> set[tuple[str, str]]:
        """Name and venue of the alerts that fire now."""
        try:
            with urllib.request.urlopen(f"{self._server.url}/api/v1/alerts", timeout=5) as answer:
                found = json.loads(answer.read())["data"]["alerts"]
        except urllib.error.URLError:
            return set()  # it reads its own log before it answers
        return {
            (each["labels"]["alertname"], each["labels"].get("venue", ""))
            for each in found
            if each["state"] == "firing"
        }

    def stop(self) -> None:
        self._open.close()


@dataclass(frozen=True)
class Desk:
    """A receiver of webhooks, and the settings that register it."""

    receiver: WebhookReceiver
    environment: Mapping[str, str]

    def anomalies(self) -> set[str]:
        """Ids of those that were delivered with a good signature."""
        return {json.loads(body)["data"]["anomaly_id"] for _, body in self.receiver.taken}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    key = b"k" * 24
    receiver = WebhookReceiver(key)
    yield Desk(receiver, registered(tmp_path, receiver.url, key, "market.anomalies"))
    receiver.close()


def acts_of(data_dir: Path) -> list[Row]:
    file = data_dir / "truth" / "acts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("scenario", CHECKS)
def test_the_stream_says_what_the_simulator_did(tmp_path: Path, scenario: str, desk: Desk) -> None:
    began = time.monotonic()
    with demo(tmp_path / "data", "--scenario", scenario, env=desk.environment) as running:
        url, data_dir = url_of(running), running.data_dir
        alerts, listener = Alerts(tmp_path / "prometheus", data_dir), Listener(url)
        last: AssertionError | None = AssertionError("nothing was checked")
        try:
            while last is not None and time.monotonic() < began + PATIENCE_S:
                time.sleep(2.0)
                listener.heard.alerts |= alerts.fired()
                last = _judge(scenario, acts_of(data_dir), listener.heard)
            heard = {row["anomaly_id"] for row in listener.heard.anomalies}
            until(lambda: heard <= desk.anomalies())
        finally:
            listener.close()
            alerts.stop()
    if last is not None:
        raise last
    tell(f"{scenario}: {time.monotonic() - began:.0f} s, {len(listener.heard.anomalies)} rows of anomalies")


def _judge(scenario: str, acts: list[Row], heard: Heard) -> AssertionError | None:
    if not any(act["what"] == scenario for act in acts) or not heard.arbitrage:
        return AssertionError(f"{scenario} has not begun, or no pair was heard of")
    try:
        CHECKS[scenario](acts, heard)
    except AssertionError as error:
        return error
    return None


def test_within_two_minutes_every_pane_has_live_content_of_every_venue(tmp_path: Path) -> None:
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None or not (WEB / "node_modules" / "playwright-core").exists():
        pytest.skip("no Chromium, or no node_modules: `make setup` brings these, CHROMIUM names a browser")
    with demo(tmp_path / "data", "--scenario", "spike") as running:
        done = _watch(url_of(running), chromium)
    tell(done.stdout)
    assert done.returncode == 0, done.stdout


def _watch(url: str, chromium: str) -> "subprocess.CompletedProcess[str]":
    search = os.pathsep.join((str(REPOSITORY / ".venv" / "bin"), os.environ.get("PATH", "")))
    environment: dict[str, Any] = os.environ | {"PATH": search, "CHROMIUM": chromium}
    command = ["node", "tests/live.mjs", url, str(PANES_WITHIN_S)]
    return subprocess.run(
        command, cwd=WEB, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
