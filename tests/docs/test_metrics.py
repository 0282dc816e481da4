"""docs/metrics.md against the metrics that the processes register: names, types and labels."""

import re
from collections import Counter as Count
from collections.abc import Iterator

import prometheus_client
from docs_pages import ROOT, read, rows, ticked
from prometheus_client.metrics_core import Metric

import pipelines.metrics
from gateway.metrics import DISCONNECT_REASONS, Counts, GatewayCollector

PAGE = read("docs/metrics.md")
NAMES = {"counter": "{}_total", "gauge": "{}", "histogram": "{}"}


class Follower:
    def __init__(self) -> None:
        self.lag_rows = {"market.bars": 3}
        self.bad_records = 0
        self.failures = 0


def of_flows() -> Iterator[tuple[str, str, frozenset[str]]]:
    for value in vars(pipelines.metrics).values():
        if isinstance(value, prometheus_client.Counter | prometheus_client.Gauge | prometheus_client.Histogram):
            (family,) = value.describe()
            yield NAMES[family.type].format(family.name), family.type, frozenset(value._labelnames)


def of_gateway() -> Iterator[tuple[str, str, frozenset[str]]]:
    collector = GatewayCollector(Counts(), clients=lambda: 0, sent=Count[str], conflated=lambda: 0, follower=Follower())
    for family in collector.collect():
        yield NAMES[family.type].format(family.name), family.type, _labels(family)


def _labels(family: Metric) -> frozenset[str]:
    return frozenset(label for sample in family.samples for label in sample.labels) - {"le"}


def registered() -> set[tuple[str, str, frozenset[str]]]:
    return {*of_flows(), *of_gateway()}


def test_every_metric_is_documented_and_none_is_made_up() -> None:
    documented = {
        (ticked(row["metric"])[0], row["type"], frozenset(ticked(row["labels"]))) for row in rows(PAGE, "metric")
    }
    assert documented == registered()


def test_every_metric_of_the_default_registry_is_one_of_these() -> None:
    families = prometheus_client.REGISTRY.collect()
    found = {NAMES[f.type].format(f.name) for f in families if f.name.startswith("mandi_")}
    assert found <= {name for name, _, _ in registered()}


def test_reasons_of_a_disconnect_are_all_named() -> None:
    (row,) = [row for row in rows(PAGE, "metric") if "disconnects" in row["metric"]]
    assert set(DISCONNECT_REASONS) <= set(ticked(row["meaning"]))


def test_no_page_names_a_metric_that_is_not_there() -> None:
    names = {name for name, _, _ in registered()}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert set(re.findall(r"\bmandi_[a-z]+_[a-z_]+\b", path.read_text())) <= names, path.name
