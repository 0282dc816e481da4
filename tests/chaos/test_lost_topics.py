"""A topic of a real broker is deleted, made anew, or given partitions, while Mandi runs and while it is stopped.

Nothing is passed over: every bar of the rows that are then in the log is published, ingest has every row of the venue
from there on, and no process ends in a traceback, or never.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from kafka_support import OwnLog

from market import topics
from market.schemas import QUOTE, TRADE
from tests.chaos.harness import Flows, append, until
from tests.chaos.logs import open_gaps, ticks
from tests.chaos.market import SHARDS, Market
from tests.chaos.test_cluster import bars_in, keys_of
from tests.chaos.test_ingest import client, since, venue, written

pytestmark = pytest.mark.timeout(600)

GOLD = topics.prices("gold").topic


def bars_of(market: Market) -> set[tuple]:
    return {values for oracle in market.oracles.values() for values in keys_of(oracle)}


class Strike:
    """What is done to the topic of gold while 40 records of it were read; and the rows that come afterwards."""

    def __init__(self, log: OwnLog, before: Market) -> None:
        self.log, self.before = log, before
        self.after = Market(seed=52, shards={"gold": SHARDS["gold"]})

    def deleted(self) -> None:
        self.log.delete(GOLD)

    def made_anew(self) -> None:
        """By a writer that makes it, as ingest does; and longer than it was."""
        self.log.delete(GOLD)
        append(self.log.url, self.after, 60)

    def given_partitions(self) -> None:
        self.log.grow(GOLD, 6)

    def more(self) -> set[tuple]:
        """Append more; return every bar that must then have been published."""
        append(self.log.url, self.after if self.log_was_lost else self.before, 20)
        return bars_of(self.before) | bars_of(self.after)

    @property
    def log_was_lost(self) -> bool:
        return not self.log.has(GOLD) or bool(self.after.records)


FATES = [Strike.deleted, Strike.made_anew, Strike.given_partitions]


@pytest.mark.parametrize("stopped", [False, True], ids=["while it runs", "while it is stopped"])
@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__)
def test_a_flow_publishes_every_bar_of_what_is_then_in_the_log(
    fate: Callable[[Strike], None], stopped: bool, own_log: OwnLog, tmp_path: Path
) -> None:
    market = Market(seed=51)
    with Flows(tmp_path, {"MANDI_LOG": own_log.url}, forked=True) as flows:
        strike_at(flows, Strike(own_log, market), fate, stopped=stopped, words=())


def test_a_group_publishes_every_bar_of_a_topic_that_was_made_anew(own_log: OwnLog, tmp_path: Path) -> None:
    with Flows(tmp_path, {"MANDI_LOG": own_log.url}, short_epochs=True) as flows:
        words = ("--processes", "2")
        strike_at(flows, Strike(own_log, Market(seed=51)), Strike.made_anew, stopped=False, words=words)


def strike_at(
    flows: Flows, strike: Strike, fate: Callable[[Strike], None], *, stopped: bool, words: tuple[str, ...]
) -> None:
    append(flows.url, strike.before, 40)
    flows.start("bars", words=words)
    published = bars_of(strike.before)
    assert published
    until(lambda: set(bars_in(flows.url)) == published)
    if stopped:
        flows.stop("bars")
    fate(strike)
    if stopped:
        flows.start("bars", words=words)
    if fate is not Strike.given_partitions:
        until(lambda: "dropped and rebuilt from the log" in output(flows))
    expected = strike.more()
    assert len(expected) > len(published)
    until(lambda: set(bars_in(flows.url)) >= expected)
    assert flows.is_running("bars"), flows.said("bars")
    flows.stop("bars")
    assert set(bars_in(flows.url)) == expected
    assert "Traceback" not in output(flows)


def output(flows: Flows, name: str = "bars") -> str:
    """All that a flow has said."""
    return (flows.data_dir / f"{name}.out").read_text(errors="replace")


@pytest.mark.parametrize("stopped", [False, True], ids=["while it runs", "while it is stopped"])
def test_ingest_goes_on_with_every_row_after_a_topic_was_deleted(
    stopped: bool, own_log: OwnLog, tmp_path: Path
) -> None:
    """Next to an ingest with an embedded log that nobody disturbs; and then the topic is given partitions."""
    with (
        venue(tmp_path) as (simulator, settings),
        client(tmp_path, "reference", settings) as reference,
        client(tmp_path, "victim", {**settings, "MANDI_LOG": own_log.url}) as victim,
    ):
        reference.start("ingest")
        victim.start("ingest")
        until(lambda: written(reference) > 200 and written(victim) > 200)
        lost = topics.prices("cotton")
        if stopped:
            victim.stop("ingest")
        own_log.delete(lost.topic)
        if not stopped:
            assert victim.ended("ingest") == 1
            assert "was a topic deleted" in victim.said("ingest").splitlines()[-1]
        victim.start("ingest")
        until(lambda: victim.end_of(lost) > 50)
        own_log.grow(lost.topic, 6)
        before = victim.end_of(lost)
        until(lambda: victim.end_of(lost) > before + 50)
        assert victim.is_running("ingest"), victim.said("ingest")
        simulator.stop("simulate")
        reference.stop("ingest")
        victim.stop("ingest")
        compare(reference.url, victim.url, lost="IFUS:CT:")
        assert "Traceback" not in output(victim, "ingest")


def compare(reference: str, victim: str, lost: str) -> None:
    """All rows are there; those of the deleted topic from some row on, without a hole."""
    for kind in (TRADE, QUOTE):
        ours, theirs = ticks(reference, kind), ticks(victim, kind)
        starts = {name: max(ours[name][0][0], theirs[name][0][0]) for name in ours.keys() & theirs.keys()}
        assert any(name.startswith(lost) for name in starts)
        assert len(starts) > 3
        assert since(ours, starts) == since(theirs, starts)
    assert open_gaps(reference) == open_gaps(victim) == []
