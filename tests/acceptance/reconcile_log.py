"""Reconcile scenarios without the stores: what the simulated venues said against what the log holds, judged.

`python -m tests.acceptance.reconcile_log --scenario NAME ... [--rate R] [--seconds S] [--speed X]` runs `mandi
simulate` and `mandi ingest` for each (`all`: every one by name), lets the venues repeat what they owe, and gives the
log to the admission kernel, as the flow of a store does. Two processes instead of sixteen: `reconcile` is the whole.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from connectors.log import open_reader
from feeds_simulator.scenarios import SCENARIOS
from mandi.clock import FileClock
from mandi.opening import open_market
from mandi.settings import load
from market import topics
from market.admission import AdmissionKernel
from market.records import LogReader, Record, TopicPartition
from market.schemas import PRICE_SCALE, QUOTE
from pipelines.engine.log_source import ticks_of
from sinks.embedded.processes import free_port
from tests.acceptance.command import environment, start
from tests.acceptance.reconcile import NO_EFFECT, NO_SCENARIO, REFUSED_BY, REJECTED_TRADES, SETTLE_S, printed, reconcile

_START_S: Final = 60.0


class LogTables:
    """What the stores would hold, from the log; asked as `BothStores` is."""

    def __init__(self, url: str) -> None:
        reader = open_reader(url)
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("trades", "late", "rejected", "gaps")}
        for tp in reader.partitions(topics.PRICES_PATTERN):
            kernel = AdmissionKernel()
            for _, chunk in ticks_of(tp, _all(reader, tp), True):
                self._add(kernel.on_batch(chunk.arrivals))
            self._add(kernel.on_eof())
        for topic, name in ((topics.REJECTED, "rejected"), (topics.STATUS, "gaps")):
            for record in (one for tp in reader.partitions(topic) for one in _all(reader, tp)):
                if record.kind == name and record.batch is not None:
                    self._rows[name] += record.batch.to_pylist()
        newest = {row["gap_id"]: row for row in self._rows["gaps"]}
        self._rows["gaps"] = [newest[name] for name in sorted(newest)]
        reader.close()

    def _add(self, outputs: Any) -> None:
        for name in ("trades", "late", "rejected"):
            if name in outputs:
                self._rows[name] += outputs[name].to_pylist()

    def grouped(self, table: str, by: str, where: str = "1 = 1") -> list[tuple[str, int]]:
        rows = self._rows[table]
        if where == REJECTED_TRADES:
            rows = [row for row in rows if _is_of_a_trade(row["source"], row["raw"])]
        elif where == NO_EFFECT:
            rows = [row for row in rows if row["reason"] == "no_effect"]
        elif table == "late":
            rows = [row for row in rows if row["kind"] != QUOTE]
        return sorted(Counter(row[by] for row in rows if row[by] is not None).items())

    def count(self, table: str) -> int:
        return len(self._rows[table])

    def lots(self) -> list[tuple[str, Decimal]]:
        lots: Counter[str] = Counter()
        for row in self._rows["trades"]:
            lots[row["instrument"]] += row["size"] or 0
        return sorted((name, Decimal(size) / PRICE_SCALE) for name, size in lots.items())

    def gaps(self) -> list[tuple[Any, ...]]:
        names = ("venue", "channel", "seq_from", "seq_to", "resolution", "recovered_rows", "reason")
        return [tuple(row[name] for name in names) for row in self._rows["gaps"]]


def _is_of_a_trade(source: str, raw: str) -> bool:
    of_log = source.startswith("market.prices.") and f"'kind': {QUOTE}," not in raw
    return of_log or source.startswith(REFUSED_BY)


def _all(reader: LogReader, tp: TopicPartition) -> list[Record]:
    found: list[Record] = []
    offset = reader.begin_offset(tp)
    while records := reader.read(tp, offset):
        found += records
        offset = records[-1].offset + 1
    return found


@contextmanager
def _running(*words: str, env: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    process = start(*words, env=env)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()


def run(data_dir: Path, scenario: str, *, rate: float, seconds: float, settle_s: float, speed: float) -> None:
    """Run the venues and ingest, for so many seconds after the first gap or status was logged."""
    settings = load(data_dir, {})
    data_dir.mkdir(parents=True, exist_ok=True)
    open_market(FileClock(settings.clock_file), speed, lambda _: None)
    ice, cme, mcx, bloomberg = (free_port() for _ in range(4))
    env = {
        "MANDI_DATA_DIR": str(data_dir),
        "MANDI_LOG": settings.log,
        "MANDI_ICE_URL": f"ws://127.0.0.1:{ice}/v1/feed",
        "MANDI_CME": f"127.0.0.1:{cme}",
        "MANDI_MCX_URL": f"ws://127.0.0.1:{mcx}/",
        "MANDI_BLOOMBERG": f"127.0.0.1:{bloomberg}",
        "MANDI_METRICS_PORT": "0",
    }
    words = ["simulate", "--port", str(ice), "--rate", f"{rate:g}"]
    if scenario != NO_SCENARIO:
        words += ["--scenario", scenario]
    with _running(*words, env=environment(env)) as venues, _running("ingest", env=environment(env)):
        deadline = time.monotonic() + _START_S
        while not list((data_dir / "log").glob("market.prices.*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(seconds)
        venues.send_signal(signal.SIGUSR1)
        time.sleep(settle_s)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="*", default=[NO_SCENARIO], help="names, `none`, or `all`")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds")
    parser.add_argument("--speed", type=float, default=6.0, help="market seconds a second; --rate is in market seconds")
    parser.add_argument("--verbose", action="store_true", help="every instrument, not only those that differ")
    options = parser.parse_args(words)
    names = [NO_SCENARIO, *SCENARIOS] if options.scenario == ["all"] else options.scenario
    print("scenario           said     held    aside  missing   gaps own  unexplained", flush=True)
    good = True
    for name in names:
        with tempfile.TemporaryDirectory(prefix="reconcile-log-") as scratch:
            data_dir = Path(scratch)
            run(
                data_dir,
                name,
                rate=options.rate,
                seconds=options.seconds,
                settle_s=options.settle,
                speed=options.speed,
            )
            found = reconcile(data_dir, LogTables(load(data_dir, {}).log))
        printed(name, found, options.verbose)
        good = good and not found.unexplained()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
