"""What Prometheus is told of a demo: each process's address, and how often the supervisor started it again; and how
nice a child is."""

import json
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from mandi.alerting import scrape_targets, write_json
from mandi.supervisor import Child, Supervisor


def test_targets_are_what_file_sd_reads(tmp_path: Path) -> None:
    write_json(tmp_path / "targets.json", scrape_targets({"ingest": "127.0.0.1:1234", "gateway": "127.0.0.1:8080"}))
    assert json.loads((tmp_path / "targets.json").read_bytes()) == [
        {"targets": ["127.0.0.1:1234"], "labels": {"service": "ingest"}},
        {"targets": ["127.0.0.1:8080"], "labels": {"service": "gateway"}},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["targets.json"]


def restarts(name: str) -> float | None:
    return REGISTRY.get_sample_value("mandi_process_restarts_total", {"process": name})


def test_restarts_are_counted_from_zero(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    supervisor.start(Child(name="brittle", command=[sys.executable, "-S", "-c", "raise SystemExit(3)"]))
    assert restarts("brittle") == 0
    end_s = time.monotonic() + 30
    while (restarts("brittle") or 0) < 2 and time.monotonic() < end_s:
        supervisor.poll()
        time.sleep(0.01)
    supervisor.stop()
    assert restarts("brittle") == 2
    assert len([line for line in said if "ended with code 3" in line]) >= 2


def test_who_may_wait_is_nice_beyond_its_own_session(tmp_path: Path) -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this kernel has no groups of sessions: niceness ranks all processes")
    supervisor = Supervisor(tmp_path, print)
    supervisor.start(
        Child(name="patient", command=[sys.executable, "-S", "-c", "import time; time.sleep(60)"], nice=15)
    )
    try:
        pid = supervisor.pids()["patient"]
        assert Path(f"/proc/{pid}/autogroup").read_text().split()[1:] == ["nice", "15"]
    finally:
        supervisor.stop()
