"""kill -9 of the dataflows at every commit point, twice in a row and at random: the stores do not show it."""

import itertools
import random
import time
from collections.abc import Sequence

import pytest

from tests.acceptance.stores import BothStores
from tests.chaos.harness import FLOWS, Flows, Stopwatch, append, growing, tell, until, verify
from tests.chaos.market import Market

pytestmark = pytest.mark.timeout(900)

POINTS = {
    "bars": (
        "log.flush.before",
        "log.flush.mid",
        "log.flush.after",
        "log.sync.after",
        "topic.sync.before",
        "topic.sync.after",
    ),
    "timescale": ("timescale.write.before", "timescale.write.before_commit", "timescale.write.after"),
    "clickhouse": ("clickhouse.write.before", "clickhouse.write.between_tables", "clickhouse.write.after"),
}

STORES = ("timescale", "clickhouse")


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def test_crashes_at_commit_points_change_nothing(stores, tmp_path) -> None:
    """The short version of the sweep: every point, one crash right after the other, all flows at a time."""
    market = Market(seed=1)
    with Flows(tmp_path / "victim", stores.environment, short_epochs=True) as flows:
        append(flows.url, market, 50)
        with growing(flows.url, market):
            for nth, point in enumerate(POINTS["bars"]):
                store_points = {flow: f"{POINTS[flow][nth % 3]}:2" for flow in STORES} if nth < 3 else {}
                flows.crash({"bars": f"{point}:2"} | store_points)
            flows.start(*FLOWS)
        verify(flows, stores, market, tmp_path / "undisturbed")


@pytest.mark.chaos
def test_every_ordered_pair_of_crashes_changes_nothing(stores, tmp_path) -> None:
    """Every point after every point of its flow, also after itself, at its first to fourth passing."""
    market, chance = Market(seed=2), random.Random(2)
    tours = {flow: every_pair(points) for flow, points in POINTS.items()}
    with Flows(tmp_path / "victim", stores.environment, short_epochs=True) as flows:
        append(flows.url, market, 50)
        with growing(flows.url, market, pause_s=0.1):
            for points in itertools.zip_longest(*tours.values()):
                now = {flow: point for flow, point in zip(tours, points, strict=True) if point is not None}
                flows.crash({flow: f"{point}:{chance.randint(1, 4)}" for flow, point in now.items()})
            flows.start(*FLOWS)
        tell(f"crashes: {dict(flows.kills)}")
        verify(flows, stores, market, tmp_path / "undisturbed")


def every_pair(points: Sequence[str]) -> list[str]:
    """A tour in which every point follows every point once (de Bruijn): n * n + 1 stops."""
    left = {point: list(points) for point in points}
    path, tour = [points[0]], []
    while path:
        if left[path[-1]]:
            path.append(left[path[-1]].pop())
        else:
            tour.append(path.pop())
    return tour[::-1]


def test_the_tour_has_every_pair() -> None:
    tour = every_pair("abcd")
    assert sorted(itertools.pairwise(tour)) == sorted(itertools.product("abcd", repeat=2))


@pytest.mark.parametrize("rounds", [pytest.param(3, id="short"), pytest.param(40, id="long", marks=pytest.mark.chaos)])
def test_kills_at_random_moments_change_nothing(rounds, stores, tmp_path) -> None:
    """While the log grows; epochs are short, so that kills fall between the two commits of an epoch too."""
    market, chance = Market(seed=rounds), random.Random(rounds)
    resumed = {flow: Stopwatch(f"{flow}: from its start after a kill to its next output") for flow in FLOWS}
    with Flows(tmp_path / "victim", stores.environment, short_epochs=True) as flows:
        append(flows.url, market, 50)
        with growing(flows.url, market):
            flows.start(*FLOWS)
            until(lambda: all(output_of(flow, flows, stores) for flow in FLOWS))
            for nth in range(rounds):
                flow = FLOWS[nth % 3]
                kill_at_random(flow, flows, chance)
                before = output_of(flow, flows, stores)
                with resumed[flow].measure():
                    flows.start(flow)
                    until(lambda: output_of(flow, flows, stores) > before)  # noqa: B023 (used up here)
        tell(f"kills: {dict(flows.kills)}")
        verify(flows, stores, market, tmp_path / "undisturbed")
    for stopwatch in resumed.values():
        stopwatch.report()


def kill_at_random(flow: str, flows: Flows, chance: random.Random) -> None:
    """Once, or twice in a row: the second time while it starts, resumes, or has just gone on."""
    time.sleep(chance.uniform(0, 1.5))
    flows.kill(flow)
    if chance.random() < 0.5:
        flows.start(flow)
        time.sleep(chance.uniform(0, 4))
        flows.kill(flow)


def output_of(flow: str, flows: Flows, stores: BothStores) -> int:
    """How much a flow has put out: records of bars, or stored trades."""
    return flows.end_of() if flow == "bars" else stores.count_in(flow, "trades")
