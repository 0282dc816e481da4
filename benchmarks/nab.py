"""Score the series detector as the Numenta Anomaly Benchmark does: one threshold for all files, earliness counts.

Per labelled window only the best detection counts, by how early it is; a window without one costs, and so does each row
above the threshold outside all windows, less the sooner after a window it is. The first 15 % of a file (at most 750
rows) are not scored. The threshold is the one that is best over all files, as in the published tables.
Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (2015), and the scorer's description.
"""

import csv
import json
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from market.detectors.series import SeriesDetector

PROFILES: Final = {"standard": (1.0, 0.11, 1.0), "low FP": (1.0, 0.22, 1.0), "low FN": (1.0, 0.11, 2.0)}
"""Weights of a detected window, of a false alarm, and of a missed window."""

_PROBATION_SHARE: Final = 0.15
_PROBATION_ROWS: Final = 5_000
_STALE: Final = 3.0  # windows' widths after a window, from where a false alarm costs all of its weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One file: its values, and the labelled windows as row numbers, first and last."""

    values: Sequence[float]
    windows: Sequence[tuple[int, int]]


def load(directory: Path) -> dict[str, Series]:
    """Read the corpus, `data/*/*.csv` and `labels/combined_windows.json`, or the part of it that is there."""
    labels = json.loads((directory / "labels" / "combined_windows.json").read_text())
    found = {}
    for path in sorted((directory / "data").glob("*/*.csv")):
        name = f"{path.parent.name}/{path.name}"
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        times = [datetime.fromisoformat(row["timestamp"]) for row in rows]
        found[name] = Series(values=[float(row["value"]) for row in rows], windows=_windows(times, labels[name]))
    return found


def _windows(times: Sequence[datetime], labels: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    windows = []
    for begin, end in labels:
        first, last = (datetime.fromisoformat(text[:19]) for text in (begin, end))
        inside = [at for at, time in enumerate(times) if first <= time <= last]
        windows.append((inside[0], inside[-1]))
    return windows


def detect(series: Series) -> list[float]:
    """Return the detector's score of every row."""
    detector = SeriesDetector()
    return [detector.score(value) for value in series.values]


def benchmark_score(corpus: Mapping[str, Series], scores: Mapping[str, Sequence[float]], profile: str) -> float:
    """Return the normalised score: 0 for silence, 100 for every window at its first row and no other alarm."""
    hit, false, missed = PROFILES[profile]
    windows = sum(len(series.windows) for series in corpus.values())
    alarms = [
        (score, name, window, worth)
        for name, series in corpus.items()
        for score, (window, worth) in zip(scores[name], _worth(series), strict=True)
        if worth is not None
    ]
    alarms.sort(key=lambda alarm: -alarm[0])
    total = best = -missed * windows
    detected: dict[tuple[str, int], float] = {}
    for number, (score, name, window, worth) in enumerate(alarms):
        if window is None:
            total += false * worth
        elif worth > detected.get((name, window), -math.inf):
            total += hit * worth - detected.get((name, window), -missed / hit) * hit
            detected[name, window] = worth
        is_last_of_score = number + 1 == len(alarms) or alarms[number + 1][0] != score
        if is_last_of_score:
            best = max(best, total)
    nothing = -missed * windows
    return 100 * (best - nothing) / (hit * windows - nothing)


def _worth(series: Series) -> list[tuple[int | None, float | None]]:
    """For every row: the window it is in, and what an alarm there is worth; no worth within probation."""
    found: list[tuple[int | None, float | None]] = [(None, -1.0)] * len(series.values)
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        following = series.windows[number + 1][0] if number + 1 < len(series.windows) else len(found)
        for at in range(first, last + 1):
            found[at] = number, _sigmoid(-(last - at + 1) / width) / _sigmoid(-1.0)
        for at in range(last + 1, following):
            found[at] = None, _sigmoid((at - last) / (last - first))
    probation = int(_PROBATION_SHARE * min(len(found), _PROBATION_ROWS))
    return [(None, None)] * probation + found[probation:]


def _sigmoid(position: float) -> float:
    return -1.0 if position > _STALE else 2 / (1 + math.exp(5 * position)) - 1


def bench_detect(_directory: Path) -> Mapping[str, object]:
    """Return cost a value and, where the environment names the corpus (MANDI_NAB), its scores."""
    where = os.environ.get("MANDI_NAB")
    draw = random.Random(7)
    values = [math.sin(n / 50) + draw.gauss(0, 0.1) for n in range(10_000)]
    began = time.process_time()
    detect(Series(values=values, windows=[]))
    figures: dict[str, object] = {"us_per_value": round((time.process_time() - began) / len(values) * 1e6, 1)}
    if where:
        corpus = load(Path(where))
        scores = {name: detect(series) for name, series in corpus.items()}
        figures["files"] = len(corpus)
        figures |= {profile: round(benchmark_score(corpus, scores, profile), 2) for profile in PROFILES}
    return figures
