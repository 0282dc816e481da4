"""Whoever is on call knows within half a minute that the log's broker is away, by the rules and times as they stand."""

import time
from pathlib import Path

import pytest

from mandi.alerting import scrape_targets, write_json
from tests.chaos.broker import Broker
from tests.chaos.harness import Flows, append, tell, until
from tests.chaos.market import Market
from tests.services.on_call import Receiver, watched

pytestmark = pytest.mark.timeout(300)

ALERT, PROMISED_S = "MandiLogAway", 30.0


def test_it_is_told_within_half_a_minute_that_the_broker_is_away(broker: Broker, tmp_path: Path) -> None:
    receiver = Receiver()
    with Flows(tmp_path / "data", {"MANDI_LOG": (url := broker.url)}) as flows:
        append(url, Market(seed=41), 10)
        flows.start("bars", metrics=True)
        address = flows.metrics[0].removeprefix("http://").removesuffix("/metrics")
        write_json(tmp_path / "targets.json", scrape_targets({"bars": address}))
        until(lambda: flows.end_of() > 0)
        with watched(tmp_path / "watched", receiver, tmp_path / "targets.json", times=1.0):
            time.sleep(15)  # it has been scraped, and is well
            assert receiver.told(ALERT) == []
            began_s = time.monotonic()
            broker.kill()
            until(lambda: receiver.told(ALERT, service="bars"), 4 * PROMISED_S)
            seconds = receiver.told(ALERT)[0].at_s - began_s
            tell(f"the broker was killed: {ALERT} was told after {seconds:.1f} s")
            assert seconds <= PROMISED_S
    receiver.close()
