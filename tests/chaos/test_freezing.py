"""SIGSTOP of every process of a demo: noticed, and replaced in time.

The targets are of a machine that has nothing else to do. What is asserted leaves room for one that is shared; without
the watch nothing is noticed at all, and no room helps.
"""

import json
import random
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil
import pytest

from mandi.scrape import scrape
from sinks.embedded.postgres import EmbeddedPostgres
from tests.acceptance.stores import BothStores
from tests.chaos.harness import FLOWS, Flows, append, growing, tell, until, verify
from tests.chaos.market import Market
from tests.chaos.test_demo import Demo, demo, rows_logged

pytestmark = pytest.mark.timeout(900)

NOTICED_TARGET_S, NOTICED_LIMIT_S = 5.0, 20.0
REPLACED_TARGET_S, REPLACED_LIMIT_S = 15.0, 90.0
"""The first limit is below what a supervisor waits for one that is silent and not stopped (`mandi.pulse.HUNG_S`)."""

SERVER: Final = "PostgreSQL"
EMBEDDED: Final = {"postgres": "sinks.embedded.postgres", "chdb": "sinks.embedded.clickhouse"}
SHORT: Final = [["ingest"], ["gateway"], ["chdb"], [SERVER], ["bars", "timescale", "clickhouse", "joins", "postgres"]]
"""Who is frozen together: five that do not answer must not keep the supervisor from looking."""


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


@pytest.mark.parametrize(
    "rounds", [pytest.param(SHORT, id="short"), pytest.param([], id="each", marks=pytest.mark.chaos)]
)
def test_every_frozen_process_of_a_demo_is_replaced_in_time(rounds: list[list[str]], data_dir: Path) -> None:
    with demo(data_dir, "--rate", "100") as running:
        until(running.is_up)
        until(lambda: rows_logged(running.data_dir) > 20)
        for together in rounds or [[name] for name in (*children(running), SERVER)]:
            freeze(running, together)
        running.interrupt()
        assert running.survivors() == []
    with demo(data_dir, "--duration", "1") as last:
        assert last.finish() == 0, last.said
    summary = json.loads(last.said[-1])
    assert summary["rows_in"] == summary["rows_out"] + summary["late"] + summary["rejected"] + summary["conflated"]
    assert summary["bars"] > 0


def freeze(running: Demo, together: Iterable[str]) -> None:
    """Stop these processes at once; each is noticed, and another one does its work."""
    victims = {name: process_of(running, name) for name in together}
    before, began_s = len(running.said), time.monotonic()
    for victim in victims.values():
        victim.send_signal(signal.SIGSTOP)

    def noticed(name: str) -> bool:
        if name == SERVER:
            return f"process {victims[name].pid} of the server did not move" in log_of(running, "postgres")
        return any(line.startswith(f"{name} does not move; killed") for line in running.said[before - 1 :])

    for name in victims:
        until(lambda: noticed(name), NOTICED_LIMIT_S)  # noqa: B023 (used up here)
    noticed_s = time.monotonic() - began_s
    for name, victim in victims.items():
        until(lambda: works(running, name, victim.pid), REPLACED_LIMIT_S)  # noqa: B023 (used up here)
    replaced_s = time.monotonic() - began_s
    late = noticed_s > NOTICED_TARGET_S or replaced_s > REPLACED_TARGET_S
    tell(
        f"frozen: {', '.join(victims)}: noticed after {noticed_s:.1f} s, others work after {replaced_s:.1f} s"
        + (" (over the target)" if late else "")
    )


def children(running: Demo) -> dict[str, psutil.Process]:
    """The demo's processes by name; one that is just being started may be missing."""
    names = {urls["targets"][0].rpartition(":")[2]: urls["labels"]["service"] for urls in targets(running)}
    found = {}
    for process in psutil.Process(running.process.pid).children():
        try:
            words, port = " ".join(process.cmdline()), process.environ().get("MANDI_METRICS_PORT", "")
        except psutil.Error:
            continue
        embedded = [name for name, module in EMBEDDED.items() if module in words]
        name = embedded[0] if embedded else "gateway" if "mandi serve" in words else names.get(port)
        if name is not None:
            found[name] = process
    return found


def process_of(running: Demo, name: str) -> psutil.Process:
    if name == SERVER:
        return psutil.Process(EmbeddedPostgres(running.data_dir).pid)
    until(lambda: name in children(running))
    return children(running)[name]


def works(running: Demo, name: str, before: int) -> bool:
    """Whether another process than `before` answers in its place."""
    if name == SERVER:
        return EmbeddedPostgres(running.data_dir).pid not in (None, before)
    found = children(running).get(name)
    if found is None or found.pid == before:
        return False
    urls = [f"http://{each['targets'][0]}/metrics" for each in targets(running) if each["labels"]["service"] == name]
    return not urls or bool(scrape(urls).samples)


def targets(running: Demo) -> list[dict]:
    return json.loads((running.data_dir / "targets.json").read_text())


def log_of(running: Demo, name: str) -> str:
    return (running.data_dir / "logs" / f"{name}.log").read_text()


def test_flows_that_freeze_again_and_again_change_nothing(stores: BothStores, tmp_path: Path) -> None:
    """All flows below one supervisor: one after the other freezes, and no table shows it."""
    market, chance, log = Market(seed=12), random.Random(12), tmp_path / "victim" / "both.out"
    with Flows(tmp_path / "victim", stores.environment, commands={"both": ("run", *FLOWS)}) as flows:
        append(flows.url, market, 20)
        with growing(flows.url, market, pause_s=0.2):
            flows.start("both")
            until(lambda: flows.end_of() > 0 and len(flows.members("both")) == len(FLOWS))
            for count in (1, 2):
                victim = chance.choice(flows.members("both"))
                victim.send_signal(signal.SIGSTOP)
                until(lambda: log.read_text().count("does not move; killed") == count)  # noqa: B023 (used up here)
                before = flows.end_of()
                until(lambda: flows.end_of() > before)  # noqa: B023 (used up here)
            flows.stop("both")
        flows.start(*FLOWS)
        verify(flows, stores, market, tmp_path / "undisturbed")
