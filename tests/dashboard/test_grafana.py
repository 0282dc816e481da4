"""Grafana's boards: every query is PromQL over metrics and labels of docs/metrics.md; every panel has its place."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_pages import ROOT, read, rows, ticked

from tests.services import monitoring
from tests.services.base import Missing

GRAFANA = ROOT / "dashboards" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}
LABELS = {ticked(row["metric"])[0]: set(ticked(row["labels"])) for row in rows(read("docs/metrics.md"), "metric")}
LABELS["up"] = set()
OF_THE_SCRAPE = {"job", "instance", "service"}
QUERIES = [
    (name, target["expr"], target["legendFormat"])
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]


def stem(name: str) -> str:
    return name if name in LABELS else re.sub(r"_(bucket|sum|count)$", "", name)


def test_the_boards_there_are() -> None:
    assert set(BOARDS) == {"overview", "feeds", "log", "stores", "gateway"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize(("board", "query", "legend"), QUERIES)
def test_a_query_asks_for_what_there_is(board: str, query: str, legend: str) -> None:
    names = {stem(name) for name in re.findall(r"\bmandi_\w+|\bup\b", query)}
    assert names, board
    assert names <= LABELS.keys()
    allowed = OF_THE_SCRAPE.union({"le"}, *(LABELS[name] for name in names))
    by = {label for group in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", query) for label in group.split(", ")}
    matched = {label for group in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)(?:=|!)", group)}
    assert by | matched <= allowed
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert shown <= (by or OF_THE_SCRAPE) - {"le"}, "a legend names labels that the query keeps"


def test_every_metric_that_matters_is_on_a_board() -> None:
    shown = {stem(name) for _, query, _ in QUERIES for name in re.findall(r"\bmandi_\w+", query)}
    assert {"mandi_rows_total", "mandi_unaccounted_rows", "mandi_log_lag_rows", "mandi_gaps_total"} <= shown
    assert {name for name in LABELS if name.startswith(("mandi_sink_", "mandi_gateway_clients"))} <= shown


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": query} for n, (_, query, _) in enumerate(QUERIES)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    try:
        done = monitoring.promtool("check", "rules", file)
    except Missing as error:
        pytest.skip(f"no promtool: {error}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board["uid"])
def test_panels_have_places_of_their_own_and_a_source_that_is_provisioned(board: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    cells: list[tuple[int, int]] = []
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells += [(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])]
        assert at["x"] + at["w"] <= 24
        assert panel["datasource"]["uid"] == source["uid"]
    assert len(cells) == len(set(cells))
