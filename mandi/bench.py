"""`mandi bench`: run a benchmark of `benchmarks/` and print its figures with what they were measured on."""

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from mandi import __version__
from mandi.errors import UsageError
from mandi.settings import Settings


def bench(settings: Settings, name: str | None) -> int:
    """Run the named benchmark, or list them. Raises: UsageError for an unknown name."""
    from benchmarks import SUITE

    if name is None:
        for known, (_, what) in SUITE.items():
            print(f"{known:10} {what}")
        return 0
    if name not in SUITE:
        raise UsageError(f"there is no benchmark '{name}'; there are {', '.join(SUITE)}")
    run: Callable[[Path], Mapping[str, object]] = SUITE[name][0]()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=settings.data_dir) as directory:
        figures = run(Path(directory))
    report = {"benchmark": name, **figures, **_machine()}
    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    return 0


def _machine() -> dict[str, object]:
    return {
        "version": __version__,
        "commit": _commit(),
        "cpus": os.cpu_count(),
        "machine": platform.platform(),
        "python": platform.python_version(),
    }


def _commit() -> str:
    """The commit of the checkout; `-dirty` where the tree differs from it."""
    here = Path(__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, cwd=here, capture_output=True, text=True)
    except FileNotFoundError:  # there is no git in the image
        return "not a checkout"
    return found.stdout.strip() if found.returncode == 0 else "not a checkout"
