"""The `mandi` command with epochs so short that most kills fall into a commit.

python -m tests.chaos.short_epochs run bars
"""

import sys
from datetime import timedelta
from typing import Any

from mandi import cluster, flows
from mandi.cli import main
from pipelines.engine.recovery import run_flow

EPOCH = timedelta(milliseconds=40)


def _run_flow(*arguments: Any, **options: Any) -> None:
    run_flow(*arguments, **{**options, "epoch": EPOCH})


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.chaos.short_epochs", *words]


if __name__ == "__main__":
    flows.run_flow = _run_flow
    cluster.mandi_command = _command
    sys.exit(main())
