"""The alert rules: each fires in its condition and only there, names what there is, and has an entry in the runbook."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_pages import ROOT, anchors, read, rows, ticked

from tests.services import monitoring
from tests.services.base import Missing

PROMETHEUS = ROOT / "dashboards" / "prometheus"
RUNBOOK = read("docs/runbook.md")
SEVERITIES = ("critical", "warning", "info")
OF_PROMETHEUS = {"up"}


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]:
        yield from group["rules"]


def names() -> set[str]:
    return {rule["alert"] for rule in rules()}


def promtool(*words: object) -> str:
    try:
        done = monitoring.promtool(*words)
    except Missing as error:
        pytest.skip(f"no promtool: {error}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_pass_their_unit_tests() -> None:
    promtool("check", "rules", PROMETHEUS / "alerts.yml")
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_a_rule_that_does_not_fire_fails_them(tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        text = (PROMETHEUS / name).read_text().replace("> 10000", "> 20000")
        (tmp_path / name).write_text(text)
    with pytest.raises(AssertionError, match="MandiLogLag"):
        promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_the_scrape_configuration_is_valid() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_every_alert_has_tests_of_both_kinds() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    found = {
        (each["alert_rule_test"][0]["alertname"], bool(each["alert_rule_test"][0]["exp_alerts"])) for each in tests
    }
    assert found == {(name, fires) for name in names() for fires in (True, False)}


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_whom_and_where_to_go_on(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert rule["labels"]["severity"] in SEVERITIES
    assert annotations["summary"]
    assert "$value" in annotations["description"]
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(read(page))


def test_every_entry_of_the_runbook_has_its_alert() -> None:
    assert set(re.findall(r"^### (Mandi\w+)$", RUNBOOK, re.MULTILINE)) == names()


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_and_labels_there_are(rule: dict[str, Any]) -> None:
    documented = {
        ticked(row["metric"])[0]: set(ticked(row["labels"])) for row in rows(read("docs/metrics.md"), "metric")
    }
    found = set(re.findall(r"\bmandi_\w+|\bup\b", re.sub(r"\{\{.*?\}\}", "", rule["expr"])))
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}
    assert stems
    assert stems <= documented.keys() | OF_PROMETHEUS
    labels = {"service", "instance", "le"}.union(*(documented.get(stem, set()) for stem in stems))
    grouped = re.findall(r"\b(?:by|on) \(([\w, ]+)\)", rule["expr"])
    assert {label for group in grouped for label in group.split(", ")} <= labels
