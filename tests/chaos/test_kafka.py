"""kill -9 of flows, of ingest, and of the broker itself, with the log on Kafka: the stores are as on the embedded log.

The undisturbed run that all is compared with reads an embedded copy of the same records.
"""

import random
from pathlib import Path

import pytest

from pipelines.ingest import POSITIONS
from tests.acceptance.stores import BothStores
from tests.chaos.broker import Broker
from tests.chaos.harness import FLOWS, Flows, Stopwatch, append, growing, tell, until, verify
from tests.chaos.market import Market
from tests.chaos.test_flows import output_of
from tests.chaos.test_ingest import client, compare, start_again, venue, written

pytestmark = pytest.mark.timeout(900)

FLOW_POINTS = ("log.flush.after", "topic.sync.after", "log.flush.before", "topic.sync.before")
INGEST_POINTS = ("log.flush.after", "ingest.positions.before", "log.flush.before", "ingest.flush.after")
SHORT_AND_LONG = [pytest.param(1, id="short"), pytest.param(4, id="long", marks=pytest.mark.chaos)]
"""How many of the points."""


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


@pytest.mark.parametrize("points", SHORT_AND_LONG)
def test_killed_flows_and_a_killed_broker_change_nothing(
    points: int, stores: BothStores, broker: Broker, tmp_path: Path
) -> None:
    market, url = Market(seed=31), broker.url
    settings = {**stores.environment, "MANDI_LOG": url}
    with Flows(tmp_path / "victim", settings, short_epochs=True) as flows:
        append(url, market, 50)
        with growing(url, market, pause_s=0.1):
            for point in FLOW_POINTS[:points]:
                flows.crash({"bars": f"{point}:2"})
            flows.start(*FLOWS)
            until(lambda: all(output_of(flow, flows, stores) for flow in FLOWS))
            broker.kill()
            for flow in ("bars", "clickhouse"):  # also who dies and starts while there is no broker
                flows.kill(flow)
                flows.start(flow)
            until(lambda: "cannot be reached" in flows.said("timescale"))
            flows.stop("timescale")  # and who is told to end meanwhile
            flows.start("timescale")
            broker.start()
            before = flows.end_of()
            until(lambda: flows.end_of() > before)
        verify(flows, stores, market, tmp_path / "undisturbed")


@pytest.mark.parametrize("points", SHORT_AND_LONG)
def test_ingest_that_is_killed_and_loses_its_broker_has_every_row_once(
    points: int, broker: Broker, tmp_path: Path
) -> None:
    """Next to an ingest with an embedded log that nobody disturbs."""
    chance, resumed = random.Random(5), Stopwatch("ingest on Kafka: from its start after a kill to its next record")
    with (
        venue(tmp_path) as (simulator, settings),
        client(tmp_path, "reference", settings) as reference,
        client(tmp_path, "victim", {**settings, "MANDI_LOG": broker.url}) as victim,
    ):
        reference.start("ingest")
        victim.start("ingest")
        until(lambda: written(reference) and victim.end_of(POSITIONS))
        for point in INGEST_POINTS[:points]:
            victim.kill("ingest")
            victim.crash({"ingest": f"{point}:{chance.randint(1, 10 if 'flush' in point else 2)}"})
            start_again(victim, resumed)
        broker.kill()
        if points > 1:
            until(lambda: "cannot be reached" in victim.said("ingest"))
            victim.stop("ingest")  # what it had in hand comes again from the venue
            victim.start("ingest")
        broker.start()
        before = written(victim)
        until(lambda: written(victim) > before)
        assert victim.is_running("ingest"), victim.said("ingest")
        until(lambda: "can be reached again" in victim.said("ingest") or points > 1)
        simulator.stop("simulate")
        reference.stop("ingest")
        victim.stop("ingest")
        tell(f"kills: {dict(victim.kills)}")
        compare(reference.url, victim.url)
    resumed.report()
