"""Flows on several processes over a real broker: killed, frozen, rescaled, and the broker itself killed.

The market has a topic for each of the four lanes, so that every process of a group has rows to read. The undisturbed
run that all is compared with is of one process a flow, over an embedded copy of the same records.
"""

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from market import topics
from pipelines.engine.cluster import lane_names, lane_of
from tests.acceptance.stores import BothStores
from tests.chaos.broker import Broker
from tests.chaos.harness import Flows, append, growing, tell, until, verify
from tests.chaos.market import WIDE, Market
from tests.chaos.test_cluster import strike, until_more

pytestmark = pytest.mark.timeout(900)

Sizes = Sequence[tuple[int, int, signal.Signals | None]]
"""Processes, worker threads of each, and what happens to one of the processes."""

SHORT: Sizes = [(1, 1, None), (2, 1, signal.SIGKILL), (2, 2, signal.SIGSTOP)]
GROUPS = ((2, 1), (4, 1), (2, 2), (1, 2))
LONG: Sizes = [(1, 1, None), *((*group, blow) for blow in (signal.SIGKILL, signal.SIGSTOP, None) for group in GROUPS)]


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def test_every_process_of_a_group_has_a_topic_to_read() -> None:
    for lanes in (2, 4):
        assert {lane_of(topics.prices(shard).topic, lanes) for shard in WIDE} == set(lane_names(lanes))


@pytest.mark.timeout(1800)  # the long one starts groups of up to four processes two dozen times
@pytest.mark.parametrize(
    ("sizes", "outages"),
    [pytest.param(SHORT, 0, id="short"), pytest.param(LONG, 3, id="long", marks=pytest.mark.chaos)],
)
def test_groups_over_a_broker_that_are_killed_frozen_and_rescaled_change_nothing(
    sizes: Sizes, outages: int, stores: BothStores, broker: Broker, tmp_path: Path
) -> None:
    market, chance, url = Market(seed=41, shards=WIDE), random.Random(41), f"{broker.url}?partitions=4"
    with Flows(tmp_path / "victim", {**stores.environment, "MANDI_LOG": url}, short_epochs=True) as flows:
        append(url, market, 30)
        with growing(url, market, pause_s=0.3):
            flows.start("timescale", words=("--processes", "2"))
            flows.start("clickhouse")
            for processes, workers, blow in sizes:
                flows.start("bars", words=("--processes", str(processes), "--workers", str(workers)))
                until_more(flows)
                if blow is not None:
                    strike(flows, blow, chance)
                time.sleep(chance.uniform(0, 1))  # a random moment of its work is what the test is about
                flows.stop("bars")
            for _ in range(outages):
                flows.start("bars", words=("--processes", "2"))
                until_more(flows)
                outage(broker, flows, chance)
                flows.stop("bars")
        flows.start("bars")  # and in the end as one process
        verify(flows, stores, market, tmp_path / "undisturbed")


def outage(broker: Broker, flows: Flows, chance: random.Random) -> None:
    """The broker is killed under all groups; one process of one of them is killed while it is away."""
    broker.kill()
    until(lambda: "cannot be reached" in flows.said("bars"))
    group = flows.members("bars")
    chance.choice(group).kill()
    until(lambda: not any(process.is_running() for process in group))
    broker.start()
    began_s = time.monotonic()
    until_more(flows)
    tell(f"the group goes on {time.monotonic() - began_s:.1f} s after the broker is back")
