"""kill -9 of every flow that computes and of both that store, over a market of every kind: no table shows it."""

import itertools
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import empty_clickhouse, empty_timescale

from connectors.log import open_reader
from market import topics
from market.records import TopicPartition
from market.schemas import INTERVALS_NS
from pipelines.backend import EVENTS
from sinks.columns import table_names
from tests.acceptance.stores import BothStores
from tests.chaos.harness import Flows, append, copy_inputs, growing, hashes, stand_still, tell, until
from tests.chaos.logs import records_of
from tests.chaos.simulated import QUIET_NS, START_NS, S, Simulated
from tests.chaos.test_flows import POINTS

pytestmark = pytest.mark.timeout(900)

STORES = ("timescale", "clickhouse")
FIRST = ("bars", "quality", "book", "anomalies", "arbitrage", "joins", *STORES)
LAST = ("forecasts", "fits")
ALL = (*FIRST, *LAST)
STEPS = TopicPartition(topics.FORECAST_STEPS, topics.FROM_ANALYTICS)
SETTINGS = {"MANDI_FORECAST_INTERVAL": "1s"}
STEADY_LOOKS = 12

STEPS_AT_FIRST = 240
"""After two minutes of it every flow has had something to say."""


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


@pytest.mark.parametrize(
    ("seconds", "crashes", "kills"),
    [pytest.param(160, 1, 5, id="short"), pytest.param(900, 24, 120, id="long", marks=pytest.mark.chaos)],
)
def test_kills_of_any_flow_change_no_table(seconds, crashes, kills, stores, tmp_path) -> None:
    """At their commits, twice in a row and at random; the last time when there is nothing to say but by the clock."""
    market, chance, victim = Simulated(seconds, seconds), random.Random(seconds), tmp_path / "victim"
    with Flows(victim, stores.environment | SETTINGS, forked=True) as flows:
        stand_still(victim, START_NS - 3_600 * S)
        append(flows.url, market, STEPS_AT_FIRST)
        crash_at_commits(flows, chance, crashes, FIRST)
        with growing(flows.url, market):
            for name in LAST:  # each has something to write when the one before it has
                crash_at_commits(flows, chance, min(crashes, 5), [name])
            kill_at_random(flows, chance, kills)
            until(lambda: market.is_over)
        stand_still(victim, market.end_ns + QUIET_NS + 90 * S)
        kill_at_random(flows, chance, len(ALL))
        until_steady(flows, stores)
        flows.stop(*ALL)
        tell(f"kills: {dict(flows.kills)}")
        disturbed = hashes(stores)
        counts = stores.counts_in("timescale", table_names())
        tell(f"rows: {counts}")
        assert min(counts.values()) > 0, counts
        assert_every_bar_became_a_step(flows.url, stores)
        expected = undisturbed(flows.url, stores, tmp_path / "undisturbed", market)
    assert differing(disturbed, expected) == []


def crash_at_commits(flows: Flows, chance: random.Random, crashes: int, names: Sequence[str]) -> None:
    """Each flow at commit points, one crash right after the other, before any epoch counts; other points each round."""
    shift = chance.randrange(6)
    for nth in range(crashes):
        points = {name: points_of(name) for name in names}
        flows.crash(
            {name: f"{found[(nth + at + shift) % len(found)]}:1" for at, (name, found) in enumerate(points.items())}
        )
    flows.start(*names)


def points_of(name: str) -> Sequence[str]:
    """The commit points that a flow passes; between two topics only who writes to several in one flush."""
    points = POINTS[name if name in STORES else "bars"]
    return points if name == "bars" else [point for point in points if point != "log.flush.mid"]


def kill_at_random(flows: Flows, chance: random.Random, kills: int) -> None:
    """Each in turn, in an order that changes; some twice in a row."""
    names = (name for _ in itertools.count() for name in chance.sample(ALL, len(ALL)))
    for name in itertools.islice(names, kills):
        time.sleep(chance.uniform(0, 0.3))
        flows.kill(name)
        flows.start(name)
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0, 0.5))
            flows.kill(name)
            flows.start(name)


def until_steady(flows: Flows, stores: BothStores) -> None:
    """Wait until neither the log nor a store has grown at STEADY_LOOKS looks in a row."""
    seen: list[object] = []

    def look() -> bool:
        for name in ALL:
            assert flows.is_running(name), flows.said(name)
        found = (ends(flows.url), [stores.counts_in(store, table_names()) for store in STORES])
        seen[:] = [*seen, found] if seen and seen[-1] == found else [found]
        return len(seen) >= STEADY_LOOKS

    until(look, every_s=0.25)


def ends(url: str) -> dict[TopicPartition, int]:
    reader = open_reader(url)
    try:
        return {tp: reader.end_offset(tp) for name in ("market.*", "user.*") for tp in reader.partitions(name)}
    finally:
        reader.close()


def undisturbed(url: str, stores: BothStores, directory: Path, market: Simulated) -> dict[str, str]:
    """Hashes after a run over a copy of the log that nobody disturbs. Empties the stores first."""
    # Which book a bar met, and when a fit came, is not repeated: it was written down, and is an input of both runs.
    copy_inputs(url, (directory / "log").as_uri(), more=[EVENTS, STEPS])
    stand_still(directory, market.end_ns + QUIET_NS + 90 * S)
    empty_timescale(stores.timescale)
    empty_clickhouse(stores.clickhouse)
    with Flows(directory, stores.environment | SETTINGS, forked=True) as alone:
        alone.start(*ALL)
        until_steady(alone, stores)
        alone.stop(*ALL)
    return hashes(stores)


def assert_every_bar_became_a_step(url: str, stores: BothStores) -> None:
    """Forecasts are made of steps: those must have every bar, whatever was killed while they were written."""
    reader = open_reader(url)
    steps = {
        (row["instrument"], row["ts_close"])
        for record in records_of(reader, STEPS)
        for row in record.batch.to_pylist()
        if row["fit"] is None
    }
    reader.close()
    width = SETTINGS["MANDI_FORECAST_INTERVAL"]
    ns = INTERVALS_NS[width]
    assert steps == {(bar[0], bar[2] + ns) for bar in stores.bars() if bar[1] == width}


def differing(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    return [table for table in table_names() if found[table] != expected[table]]
