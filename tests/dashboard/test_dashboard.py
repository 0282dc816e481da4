"""The dashboard's own tests, run with its own tools: types, unit tests, and the built page in headless Chromium."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "dashboards" / "web"
# The development extras bring a Node beside this Python; a system one will do as well.
SEARCH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def run(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=WEB,
        env=os.environ | {"PATH": SEARCH} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
    return done.stdout


@pytest.fixture(scope="module")
def npm() -> str:
    found = shutil.which("npm", path=SEARCH)
    if found is None:
        pytest.skip("no npm: neither the development extras nor the system has Node")
    if not (WEB / "node_modules" / ".package-lock.json").exists():
        run(found, "ci", "--no-audit", "--no-fund")
    return found


def test_lock_file_names_no_registry() -> None:
    lock = (WEB / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_types(npm: str) -> None:
    run(npm, "run", "check")


def test_units(npm: str) -> None:
    assert "passed" in run(npm, "test")


def test_page_in_chromium(npm: str) -> None:
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: set CHROMIUM to its path")
    run(npm, "run", "build")
    assert ", 0 failed" in run(npm, "run", "e2e", CHROMIUM=chromium)
