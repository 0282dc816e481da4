"""kill -9 of ingest: its log has every trade and every quote of the venue once, as one that was never killed.

Two sessions of one simulated venue, at the same time: a reference that runs through, and a victim.
"""

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.log import open_reader
from mandi.clock import FileClock
from mandi.opening import open_market
from market import topics
from market.schemas import QUOTE, TRADE
from pipelines.ingest import POSITIONS, last_positions
from sinks.embedded.processes import free_port
from tests.chaos.harness import Flows, Stopwatch, tell, until
from tests.chaos.logs import Rows, final_bars, open_gaps, ticks

pytestmark = pytest.mark.timeout(900)

POINTS = (
    "ingest.flush.before",
    "log.flush.before",
    "log.flush.mid",
    "log.flush.after",
    "ingest.flush.after",
    "ingest.positions.before",
    "log.sync.after",
    "ingest.positions.after",
)
RATE = 1_500
_OWN = ("as_known_at", "revision", "quality")
"""What differs rightly: a killed ingest was away, knew later, and says so in the quality."""

SETTLE_S = 8.0  # enough seconds of market that a hundred bars can be compared


@contextmanager
def venue(directory: Path, rate: int = RATE) -> Iterator[tuple[Flows, dict[str, str]]]:
    """A running venue with open markets, and the settings of its clients."""
    port = free_port()
    open_market(FileClock(directory / "venue" / "clock.json"), 1.0, tell)
    settings = {"MANDI_ICE_SECRET": "a secret of this test", "MANDI_ICE_URL": f"ws://127.0.0.1:{port}/v1/feed"}
    command = ("simulate", "--port", str(port), "--rate", str(rate))
    with Flows(directory / "venue", settings, commands={"simulate": command}) as process:
        process.start("simulate")
        until(lambda: listens(port))
        yield process, settings


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def client(directory: Path, name: str, settings: dict[str, str]) -> Flows:
    """A data directory with the venue's clock, whose `ingest` and `bars` can be started."""
    flows = Flows(directory / name, settings, commands={"ingest": ("ingest",)})
    clock = (directory / "venue" / "clock.json").read_text()
    (flows.data_dir / "clock.json").write_text(clock)
    return flows


def written(flows: Flows) -> int:
    """Records of all price topics."""
    reader = open_reader(flows.url)
    try:
        return sum(reader.end_offset(tp) for tp in reader.partitions(topics.PRICES_PATTERN))
    finally:
        reader.close()


SHORT = ("ingest.flush.after", "log.flush.mid", "ingest.positions.before")


@pytest.mark.parametrize(
    "points", [pytest.param(SHORT, id="short"), pytest.param(POINTS * 3, id="long", marks=pytest.mark.chaos)]
)
def test_a_killed_ingest_has_every_row_once(points, tmp_path) -> None:
    chance, resumed = random.Random(len(points)), Stopwatch("ingest: from its start after a kill to its next record")
    with (
        venue(tmp_path) as (simulator, settings),
        client(tmp_path, "reference", settings) as reference,
        client(tmp_path, "victim", settings) as victim,
    ):
        reference.start("ingest")
        victim.start("ingest")
        # Before that the venue's session is not known on disk, and a kill begins another one.
        until(lambda: written(reference) and victim.end_of(POSITIONS))
        for nth, point in enumerate(points):
            if nth % 3 == 0:
                # Killed again and again before it repaired its books, it would miss more than the venue keeps.
                until(lambda: caught_up(victim))
                kill_at_random(victim, chance, resumed)
            victim.kill("ingest")
            victim.crash({"ingest": f"{point}:{chance.randint(1, 20 if 'flush' in point else 2)}"})
            start_again(victim, resumed)
        time.sleep(SETTLE_S)  # of live market: both follow it
        simulator.stop("simulate")
        reference.stop("ingest")
        victim.stop("ingest")
        tell(f"kills: {dict(victim.kills)}, rows: {sum(map(len, ticks(victim.url, TRADE).values()))} trades")
        compare(reference.url, victim.url)
        compare_bars(reference, victim)
    resumed.report()


def kill_at_random(victim: Flows, chance: random.Random, resumed: Stopwatch) -> None:
    time.sleep(chance.uniform(0, 1))
    victim.kill("ingest")
    start_again(victim, resumed)


def start_again(victim: Flows, resumed: Stopwatch) -> None:
    before = written(victim)
    with resumed.measure():
        victim.start("ingest")
        until(lambda: written(victim) > before)


def caught_up(victim: Flows) -> bool:
    """Whether the positions on disk know of no hole that is still to be repaired."""
    reader = open_reader(victim.url)
    try:
        return all("gaps" not in positions for positions in last_positions(reader).values())
    finally:
        reader.close()


def compare(reference: str, victim: str) -> None:
    for kind in (TRADE, QUOTE):
        ours, theirs = ticks(reference, kind), ticks(victim, kind)
        assert sum(map(len, ours.values())) > 1_000
        starts = {name: max(ours[name][0][0], theirs[name][0][0]) for name in ours.keys() & theirs.keys()}
        assert len(starts) > 3
        assert since(ours, starts) == since(theirs, starts)
    assert open_gaps(reference) == open_gaps(victim) == []


def since(rows: Rows, starts: dict[str, int]) -> Rows:
    """Rows after the first time that both sessions have seen of an instrument."""
    return {name: [row for row in rows[name] if row[0] > start] for name, start in starts.items()}


def compare_bars(reference: Flows, victim: Flows) -> None:
    for flows in (reference, victim):
        flows.start("bars")
    for flows in (reference, victim):
        until_quiet(flows)
        flows.stop("bars")
    ours, theirs = final_bars(reference.url), final_bars(victim.url)
    # Of trades: the first quotes are images, stamped before the session that they open.
    firsts = [min(row[0] for rows in ticks(flows.url, TRADE).values() for row in rows) for flows in (reference, victim)]
    last = min(max(bar["ts_close"] for bar in bars.values()) for bars in (ours, theirs))
    both = [
        {
            key: {name: value for name, value in bar.items() if name not in _OWN}
            for key, bar in bars.items()
            if key[2] > max(firsts) and bar["ts_close"] <= last
        }
        for bars in (ours, theirs)
    ]
    assert len(both[0]) > 100
    assert both[0] == both[1]


def until_quiet(flows: Flows, quiet_s: float = 3.0) -> None:
    """Wait until bars were written, and no more come."""
    seen = [0, time.monotonic()]

    def quiet() -> bool:
        end = flows.end_of()
        if end != seen[0]:
            seen[:] = [end, time.monotonic()]
        return end > 0 and time.monotonic() > seen[1] + quiet_s

    until(quiet)
