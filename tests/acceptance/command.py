"""Runs the `mandi` command as a user does: a process, its exit code, its last line."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240.0
CRASHED = 9


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any setting of ours, and with `changes`."""
    # Children may keep their bytecode: compiling everything anew doubles the time of a start.
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MANDI_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**plain, **(changes or {})}


def start(*words: object, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mandi", *map(str, words)],
        cwd=REPOSITORY,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: object, env: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Run to the end; return standard output."""
    process = start(*words, env=env)
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, err
    return out


def replay(path: Path, data_dir: Path, *options: object, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Replay a file; return its summary, which must balance."""
    out = run("replay", path, "--data-dir", data_dir, *options, env=env)
    summary: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    straight, aside = summary["rows_out"], summary["late"] + summary["rejected"] + summary["conflated"]
    assert summary["rows_in"] == straight + aside, summary
    return summary
