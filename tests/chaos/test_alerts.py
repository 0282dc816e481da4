"""Every alert from its true condition in a running demo to whoever is on call, and its end.

A real Prometheus scrapes all processes of a demo and judges by the rules of the repository; a real Alertmanager tells a
webhook by its configuration. Thresholds are as they stand; every duration, of windows, waits and groups, is TIMES
shorter, so what has to come within five minutes has to come within half a minute. What goes wrong does so in the
processes themselves (tests/chaos/conditions.py) or at the simulated venues; MandiLogAway, which is only there with a
broker, has a test of its own. `make scenarios`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Final

import pytest
import yaml

from mandi.alerting import scrape_targets, write_json
from mandi.clock import FileClock
from sinks.embedded.processes import free_port
from tests.chaos import conditions
from tests.chaos.broker import Broker
from tests.chaos.conditions import process_of
from tests.chaos.harness import Flows, append, stand_still, tell, until
from tests.chaos.market import Market
from tests.chaos.test_demo import Demo, demo
from tests.chaos.test_scenarios import acts_of, url_of
from tests.services.on_call import RULES, Receiver, Told, watched
from tests.sinks.webhook_receiver import WebhookReceiver, registered

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

TIMES: Final = 10.0
PATIENCE_S: Final = 300.0
WEBHOOK_KEY: Final = b"k" * 24
RATE: Final = "150"
SCENARIOS: Final = "venue_down,clock_skew,gap,slow_line"
SEVERITY: Final = {
    rule["alert"]: rule["labels"]["severity"]
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}

APART: Final = {"MandiLogAway", "MandiForecastCoverage", "MandiAnomalySurge", "MandiDiskFull"}

Labels = Mapping[str, str]
Alerts = Mapping[str, Labels]
"""Labels that an alert must have, by its name."""

DEAD: Final[Alerts] = {"MandiWebhooksDead": {"endpoint": "desk"}}
REBUILT: Final[Alerts] = {"MandiFlowRebuilt": {"flow": "book"}}
SURGE: Final[Alerts] = {"MandiAnomalySurge": {"kind": "return_spike"}}
SLOW: Final[Alerts] = {"MandiLatencyOverTarget": {"channel": "quotes"}}
BY_THE_VENUES: Final[Mapping[str, Alerts]] = {
    "gap": {"MandiGapStorm": {"venue": "ICE"}},
    "clock_skew": {"MandiClockSkew": {"venue": "XIMC"}},
    "slow_line": {"MandiWatermarkLag": {"venue": "XIMC"}},
}
"""By scenario."""


class OnCall:
    """Who is told: whether it is the right one, how soon after the condition began, and how soon it was over."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.cleared: set[str] = set()

    def sees(self, alerts: Alerts, *wrong: AbstractContextManager[None]) -> None:
        """None of these alerts fires; each does while these things are wrong, and not when they are right again."""
        until(lambda: all(self._is_quiet(each, alerts[each]) for each in alerts), PATIENCE_S)
        began_s = time.monotonic()
        with ExitStack() as stack:
            for condition in wrong:
                stack.enter_context(condition)
            self.fires(alerts, began_s)
            ended_s = time.monotonic()
        self.clears(alerts, ended_s)

    def fires(self, alerts: Alerts, began_s: float) -> None:
        self._wait(alerts, "firing", began_s)

    def clears(self, alerts: Alerts, ended_s: float) -> None:
        self._wait(alerts, "resolved", ended_s)
        self.cleared |= alerts.keys()

    def _wait(self, alerts: Alerts, status: str, since_s: float) -> None:
        def missing() -> list[str]:
            return [each for each in alerts if not self._told(each, alerts[each], status, since_s)]

        try:
            until(lambda: not missing(), PATIENCE_S)
        except AssertionError:
            pytest.fail(f"not {status}: {missing()}")
        for alert, labels in alerts.items():
            told = self._told(alert, labels, status, since_s)[0]
            assert told.receiver == ("page" if SEVERITY[alert] == "critical" else "desk")
            tell(f"{alert} {status} after {told.at_s - since_s:.0f} s: {told.description}")

    def _is_quiet(self, alert: str, labels: Labels) -> bool:
        return all(each.status == "resolved" for each in self.receiver.told(alert, **labels)[-1:])

    def _told(self, alert: str, labels: Labels, status: str, since_s: float) -> list[Told]:
        told = self.receiver.told(alert, **labels)
        return [each for each in told if each.status == status and each.at_s >= since_s]


@pytest.fixture
def on_call() -> Iterator[OnCall]:
    receiver = Receiver()
    yield OnCall(receiver)
    receiver.close()


def test_every_alert_of_a_demo(data_dir: Path, tmp_path: Path, on_call: OnCall) -> None:
    port = free_port()
    webhooks = registered(tmp_path, f"http://127.0.0.1:{port}/hook", WEBHOOK_KEY, "market.books")
    settings = {**webhooks, **conditions.inside_settings(tmp_path)}
    with (
        demo(data_dir, "--rate", RATE, "--scenario", SCENARIOS, env=settings) as running,
        conditions.subscribed(url_of(running)),
        watched(tmp_path / "watched", on_call.receiver, data_dir / "targets.json", TIMES),
    ):
        began_s = time.monotonic()
        of_an_absent_venue(running, on_call)
        on_call.fires(DEAD, began_s)
        with closing(WebhookReceiver(WEBHOOK_KEY, port)):  # until now nobody listened there
            on_call.clears(DEAD, time.monotonic())
            on_call.sees(SLOW, conditions.paused(process_of(running, "serve")))
            damaged_s = time.monotonic()
            conditions.damage_state(running, "book")
            on_call.fires(REBUILT, damaged_s)
            of_the_stores_and_flows(running, tmp_path, on_call)
            on_call.clears(REBUILT, damaged_s)  # it passes by itself
            for scenario, alerts in BY_THE_VENUES.items():
                began_s, ended_s = span_of(running.data_dir, scenario)
                on_call.fires(alerts, began_s)
                on_call.clears(alerts, ended_s)
    assert on_call.cleared == SEVERITY.keys() - APART


def of_an_absent_venue(running: Demo, on_call: OnCall) -> None:
    """CME cuts everybody off, and an ingest that starts meanwhile cannot log on."""
    until(lambda: acts_of(running.data_dir), every_s=0.5)
    began_s, ended_s = span_of(running.data_dir, "venue_down")
    stale, missing = {"MandiFeedStale": {"venue": "XCEC"}}, {"MandiFeedMissing": {"venue": "XCEC"}}
    on_call.fires(stale, began_s)
    process_of(running, "ingest").kill()
    killed_s = time.monotonic()
    on_call.fires(missing, killed_s)
    on_call.clears(stale, killed_s)
    on_call.clears(missing, ended_s)


def span_of(data_dir: Path, scenario: str) -> tuple[float, float]:
    """When a scenario was first played, from and to, as monotonic seconds."""
    act = next(act for act in acts_of(data_dir) if act["what"] == scenario)
    ago_ns = time.monotonic_ns() - FileClock(data_dir / "clock.json")()
    return (int(act["from"]) + ago_ns) / 1e9, (int(act["to"]) + ago_ns) / 1e9


def of_the_stores_and_flows(running: Demo, directory: Path, on_call: OnCall) -> None:
    """PostgreSQL takes no connection, a flow cannot start again, another one has a defect."""
    on_call.sees(
        {
            "MandiBackendSilent": {"source": "outbox"},
            "MandiSinkRetrying": {"sink": "timescale"},
            "MandiSinkFailing": {"sink": "timescale"},
            "MandiLogLag": {"consumer": "timescale"},
            "MandiProcessDown": {"service": "joins"},
            "MandiProcessFlapping": {"process": "joins"},
            "MandiConservationBroken": {"consumer": "bars"},
        },
        conditions.refusing(running.data_dir),
        conditions.locked_out(running, "joins"),
        conditions.losing_a_row(running, directory),
    )


@pytest.mark.parametrize("small_disk", ["64m"], indirect=True)
def test_alerts_of_flows_alone(tmp_path: Path, small_disk: Path, broker: Broker, on_call: OnCall) -> None:
    """What no demo of a few minutes comes to: other manners of the market, a surge, a broker's end, a full disk."""
    logs = {"bars": broker.url, "forecasts": (small_disk / "f").as_uri(), "anomalies": (tmp_path / "a").as_uri()}
    append(logs["bars"], Market(seed=31), 20)
    odd, rough = conditions.Moves(logs["anomalies"]), conditions.Rough(logs["forecasts"])
    with ExitStack() as stack:
        addresses = {}
        for flow, url in logs.items():
            settings = {"MANDI_LOG": url, "MANDI_FORECAST_INTERVAL": "5s"}
            flows = stack.enter_context(Flows(tmp_path / f"{flow} data", settings))
            stand_still(flows.data_dir, 0)
            flows.start(flow, metrics=True)
            addresses[flow] = flows.metrics[0].removeprefix("http://").removesuffix("/metrics")
        write_json(tmp_path / "targets.json", scrape_targets(addresses))
        stack.enter_context(watched(tmp_path / "watched", on_call.receiver, tmp_path / "targets.json", TIMES))
        began_s = time.monotonic()
        on_call.sees(
            {
                "MandiLogAway": {"service": "bars"},
                "MandiForecastCoverage": {"level": "0.9", "horizon": "100s"},
                "MandiDiskFull": {"place": "log"},
            },
            conditions.away(broker),
            conditions.nearly_full(small_disk),
            rough.market(),
            odd.market(),
        )
        on_call.fires(SURGE, began_s)
        on_call.clears(SURGE, began_s)  # it passes by itself
    assert on_call.cleared == APART
