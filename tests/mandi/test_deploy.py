"""deploy/ as far as it goes without a container engine: commands, settings, ports, images, secrets, targets."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_pages import ROOT, read, rows, ticked

import mandi
from benchmarks import SUITE
from mandi import demo
from mandi.cli import _parser
from mandi.flow_names import FLOWS, NAMED

COMPOSE: dict[str, Any] = yaml.safe_load(read("deploy/compose.yaml"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = read("Dockerfile")
_ENV = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)


def env_file(path: str) -> dict[str, str]:
    return dict(_ENV.findall(read(f"deploy/{path}")))


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deploy/secrets.sh makes, elsewhere."""
    place = tmp_path_factory.mktemp("deploy")
    (place / "secrets.sh").write_text(read("deploy/secrets.sh"))
    for _ in range(2):  # the second time changes nothing
        before = {path.name: path.read_text() for path in place.glob("secrets/*")}
        subprocess.run(["bash", place / "secrets.sh"], check=True, capture_output=True)
        assert before.items() <= {path.name: path.read_text() for path in place.glob("secrets/*")}.items()
    return place / "secrets"


def test_containers_can_read_them_whatever_the_umask_and_nobody_else_here(tmp_path: Path) -> None:
    (tmp_path / "secrets.sh").write_text(read("deploy/secrets.sh"))
    made = tmp_path / "secrets"
    for _ in range(2):  # what is there is repaired: an earlier run may have had another umask
        subprocess.run(["bash", "-c", f"umask 077; bash {tmp_path / 'secrets.sh'}"], check=True, capture_output=True)
        assert {path.name: path.stat().st_mode & 0o777 for path in made.iterdir()} == dict.fromkeys(
            os.listdir(made), 0o644
        )
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "postgres").chmod(0o600)


@pytest.mark.parametrize("name", OURS)
def test_a_command_parses(name: str) -> None:
    assert all(isinstance(word, str) for word in OURS[name]["command"])
    _parser().parse_args(OURS[name]["command"])


def command_of(service: dict[str, Any]) -> str:
    return " ".join(["mandi", *itertools.takewhile(lambda word: not word.startswith("-"), service["command"])])


def documented() -> dict[str, str]:
    """Commands of what the design says that runs, by process."""
    found = {}
    for row in rows(read("docs/design.md"), "process"):
        for name in ticked(row["process"]):
            found[name] = re.sub(r" -.*", "", ticked(row["command"])[0].replace("NAME", name))
    return {name: command for name, command in found.items() if command.startswith("mandi ")}


def test_every_process_is_there() -> None:
    """What the design names is what can run, what the demo starts, and what is deployed."""
    named = documented()
    assert {name for name, command in named.items() if command == f"mandi run {name}"} == {*FLOWS, *NAMED}
    started = re.findall(r"_start\(\s*\"(\w+)\"", read("mandi/demo.py"))
    assert {"simulate", "ingest", "trading", "backend", "gateway"} <= {*started} <= named.keys()
    assert {*demo._FLOWS} == set(FLOWS)
    assert {command_of(service) for service in OURS.values()} == {*named.values(), "mandi migrate"}
    assert {
        "kafka",
        "timescale",
        "clickhouse",
        "prometheus",
        "alertmanager",
        "grafana",
    } == SERVICES.keys() - OURS.keys()


def test_variables_are_settings(secrets: Path) -> None:
    page = read("docs/settings.md")
    known = {ticked(row["variable"])[0] for heading in ("mandi.toml", "variable") for row in rows(page, heading)}
    named = env_file("venues.env") | dict(_ENV.findall((secrets / "mandi.env").read_text()))
    named |= dict(_ENV.findall((secrets / "backend.env").read_text()))
    named |= {name: value for service in OURS.values() for name, value in service["environment"].items()}
    named |= dict(re.findall(r"(MANDI_\w+)=(\S+)", DOCKERFILE))
    assert named.keys() <= known


def test_the_stores_are_reached_with_the_passwords_they_have(secrets: Path) -> None:
    ours = dict(_ENV.findall((secrets / "mandi.env").read_text()))
    assert (secrets / "postgres").read_text() in ours["MANDI_TIMESCALE"]
    assert (secrets / "clickhouse").read_text() in ours["MANDI_CLICKHOUSE"]
    assert (secrets / "clickhouse").read_text() in (secrets / "clickhouse.env").read_text()
    assert len((secrets / "jwt").read_bytes()) >= 32
    assert secrets.stat().st_mode & 0o077 == 0
    assert {secret["file"].removeprefix("secrets/") for secret in COMPOSE["secrets"].values()} <= {
        path.name for path in secrets.iterdir()
    }
    for address, service in (("MANDI_TIMESCALE", "timescale:5432"), ("MANDI_CLICKHOUSE", "clickhouse:8123")):
        assert f"@{service}" in ours[address]
        assert service.partition(":")[0] in SERVICES


def test_no_secret_is_in_the_file() -> None:
    text = read("deploy/compose.yaml") + DOCKERFILE
    assert not re.search(r"://[^\s/@]+:[^\s/@]+@", text)
    assert not re.findall(r"(?im)^\s*\w*(?:password|secret|token)\w*(?<!_file)(?<!secrets)\s*[:=]\s*\S+$", text)
    assert "deploy/secrets/" in read(".gitignore").split()
    assert "deploy" not in read(".dockerignore")  # nothing but what it names goes into the image
    assert read(".dockerignore").startswith("*\n")


def test_ports_are_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)


def test_images_have_versions_and_no_host() -> None:
    images = {service["image"] for service in SERVICES.values()} | set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    for image in images:
        path, _, tag = image.partition(":")
        assert re.search(r"\d", tag), image
        assert "." not in path, image
    assert {service["image"] for service in OURS.values()} == {f"mandi:{mandi.__version__}"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_what_all_have(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] in ("unless-stopped", "on-failure")
    assert service["healthcheck"].get("test") or service["healthcheck"]["disable"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "max-size" in service["logging"]["options"]
    assert set(service.get("depends_on", {})) <= SERVICES.keys()
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("."):
            assert (ROOT / "deploy" / source).exists(), volume
            assert volume.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"], volume


def test_what_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]
            if condition["condition"] == "service_completed_successfully":
                assert SERVICES[name]["restart"] == "on-failure"


def test_every_process_is_scraped() -> None:
    targets = {entry["labels"]["service"]: entry["targets"] for entry in json.loads(read("deploy/targets.json"))}
    always = {command_of(service) for service in OURS.values() if "profiles" not in service} - {"mandi migrate"}
    assert targets.keys() == {name for name, command in documented().items() if command in always}
    for [target] in targets.values():
        host, _, port = target.partition(":")
        own = OURS[host]["environment"]["MANDI_METRICS_PORT"]
        assert port == ("8080" if host == "gateway" else own)


def copied() -> list[str]:
    """What goes into the image of this repository."""
    lines = re.findall(r"^COPY (?!--from)(\S+(?: \S+)*) \S+$", DOCKERFILE, re.MULTILINE)
    return " ".join(lines).split()


BENCHMARKS = """
import sys
sys.modules |= dict.fromkeys(sys.argv[1].split(","))  # cannot be imported: they are not in the image
import benchmarks, os
from benchmarks import SUITE
from mandi.bench import _commit
from mandi.cli import main
assert benchmarks.__file__.startswith(os.getcwd())
assert main(["bench"]) == 0
print([run().__name__ for run, _ in SUITE.values()], _commit())
"""


def test_the_image_can_run_the_benchmarks(tmp_path: Path) -> None:
    for path in copied():
        if (ROOT / path).is_dir() and not path.startswith("dashboards"):
            (tmp_path / path).symlink_to(ROOT / path)
    extra = "confluent_kafka,exchange_calendars,hypothesis,kiteconnect,pytest,yaml,tests"
    done = subprocess.run(
        [sys.executable, "-P", "-c", BENCHMARKS, extra],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},  # there is no git, either
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    listed, said = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    assert [line.split()[0] for line in listed] == [*SUITE]
    assert said.endswith("not a checkout")


def test_the_image_holds_the_packages_and_the_versions_of_the_lock_file() -> None:
    for path in copied():
        assert (ROOT / path).exists(), path
        assert any(
            path == kept or path.startswith(f"{kept}/") for kept in re.findall(r"^!(.+)$", read(".dockerignore"), re.M)
        )
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= set(copied())
    pins = re.compile(r"^([\w.-]+==\S+)", re.MULTILINE)
    run, dev = (set(pins.findall(read(f"requirements/{name}.txt"))) for name in ("run", "dev"))
    assert run < dev
    wanted = re.findall(r'^  "([\w.-]+)', read("pyproject.toml").partition("[project.optional")[0], re.MULTILINE)
    assert {name.lower().replace(".", "-") for name in wanted} <= {pin.partition("==")[0] for pin in run}
    assert "USER mandi" in DOCKERFILE
