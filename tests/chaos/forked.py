"""The `mandi` command in processes that are forked from one that has imported everything, once.

Imports are two seconds of processor of every start of a flow, and these tests start some fifty. Nothing else differs
from a process of its own: it has its own environment, output and exit code, and dies by a signal alone.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tests.acceptance.command import REPOSITORY

EPOCH: Final = timedelta(milliseconds=100)
_FLOWS: Final = (
    "bars",
    "quality",
    "book",
    "anomalies",
    "arbitrage",
    "joins",
    "forecasts",
    "fits",
    "store",
    "webhooks",
    "mirror",
)
_IMPORTED: Final = (
    *(
        "pytest",
        "pandas",
        "psycopg",
        "clickhouse_connect",
        "mandi.cli",
        "mandi.flows",
        "mandi.stores",
        "mandi.webhooks",
    ),
    *("sinks.timescale", "sinks.clickhouse", "sinks.kafka_json", "market.forecasters.fitting"),
    *(f"pipelines.{flow}" for flow in _FLOWS),
)

_context: Final = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.forked", *_IMPORTED])


class Forked:
    """One run of the command, with what `subprocess.Popen` has of these names."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], out: Path) -> None:
        # Daemonic: it does not outlive the tests, whatever becomes of them.
        self._process = _context.Process(target=_run, args=(list(words), dict(environment), str(out)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _run(words: list[str], environment: dict[str, str], out: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(REPOSITORY)
    file = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the server that forks leaves it to its client
    from mandi import flows
    from mandi.cli import main
    from pipelines.engine import live
    from pipelines.engine.recovery import run_flow

    def with_short_epochs(*arguments: Any, **options: Any) -> None:
        run_flow(*arguments, **{**options, "epoch": EPOCH})

    flows.run_flow = with_short_epochs
    live._RESUMED_S = 0.0  # type: ignore[misc]  # the log has a writer before they start
    sys.exit(main(words))
