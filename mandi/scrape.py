"""Reads the metrics of our own processes, for the progress display and the doctor."""

import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass(slots=True)
class Metrics:
    """Samples of several processes; absent ones count as 0."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of a name whose labels include these."""
        wanted = set(labels.items())
        return sum(value for (found, its), value in self.samples.items() if found == name and wanted <= its)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        return {dict(its)[label]: value for (found, its), value in self.samples.items() if found == name}

    def by_labels(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The same of several labels."""
        samples = ((dict(its), value) for (found, its), value in self.samples.items() if found == name)
        return {tuple(its[label] for label in labels): value for its, value in samples}


def scrape(urls: Iterable[str], timeout_s: float = 0.5) -> Metrics:
    """Read /metrics of every URL that answers."""
    metrics = Metrics()
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            continue  # it is starting, or restarting: its numbers are back in a moment
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                metrics.samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return metrics
