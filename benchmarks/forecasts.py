"""Score `mandi forecast`'s ensemble where it can be compared: M4 Hourly, and daily closes of commodities.

M4: the last 48 hours of each series of the training part are held back, as the competition did with its own test part.
MASE is the error over the in-sample error of "as m hours ago" (m = 24), the mean over series.
Commodities: from 500 closes on, every tenth origin is forecast from all closes before it, one after the other.
"""

import csv
import gzip
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from market.forecasters.members import Floats
from market.forecasters.series import forecast

_HOURS: Final = 48
_DAY: Final = 24
_HORIZONS: Final = (1, 5, 20)
_FIRST: Final = 500
_EVERY: Final = 10
_YEARS: Final = ("2010", "2023")  # the years of MODELS' table and those around them


def bench_forecasts(_directory: Path) -> Mapping[str, object]:
    """Score what the environment names: MANDI_HOURLY (Hourly-train.csv[.gz]) and MANDI_COMMODITIES (a CSV)."""
    figures: dict[str, object] = {}
    if where := os.environ.get("MANDI_HOURLY"):
        figures |= _m4(Path(where))
    if where := os.environ.get("MANDI_COMMODITIES"):
        figures |= _commodities(Path(where))
    return figures or {"nothing": "set MANDI_HOURLY and MANDI_COMMODITIES to the files to score"}


def _m4(path: Path) -> dict[str, object]:
    errors, seasonal, covered, began = [], [], [], time.process_time()
    for values in _hourly(path):
        past, actual = values[:-_HOURS], values[-_HOURS:]
        scale = float(np.abs(past[_DAY:] - past[:-_DAY]).mean())
        found = forecast(past.tolist(), _HOURS, _DAY)
        errors.append(float(np.abs(found.mean - actual).mean()) / scale)
        seasonal.append(float(np.abs(np.tile(past[-_DAY:], 2) - actual).mean()) / scale)
        covered.append(float(((found.lo <= actual) & (actual <= found.hi)).mean()))
    return {
        "m4_series": len(errors),
        "m4_mase": round(float(np.mean(errors)), 4),
        "m4_mase_seasonal_naive": round(float(np.mean(seasonal)), 4),
        "m4_coverage_90": round(float(np.mean(covered)), 4),
        "m4_cpu_ms_per_series": round((time.process_time() - began) / len(errors) * 1000, 1),
    }


def _hourly(path: Path) -> Iterator[Floats]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    for row in list(csv.reader(text.splitlines()))[1:]:
        yield np.array([float(value) for value in row[1:] if value])


def _commodities(path: Path) -> dict[str, object]:
    by_series = {name: _rolling(values) for name, values in closes(path).items()}
    figures: dict[str, object] = {"commodities": len(by_series)}
    for at, horizon in enumerate(_HORIZONS):
        ratios = {name: found[at][0] for name, found in by_series.items()}
        covers = {name: found[at][1] for name, found in by_series.items()}
        worst, least = max(ratios, key=ratios.__getitem__), min(covers, key=covers.__getitem__)
        figures[f"horizon_{horizon}"] = {
            "error_to_naive": round(float(np.mean(list(ratios.values()))), 4),
            "worst": {worst: round(ratios[worst], 4)},
            "coverage_90": round(float(np.mean(list(covers.values()))), 4),
            "least": {least: round(covers[least], 4)},
        }
    return figures


def closes(path: Path) -> dict[str, Floats]:
    """Return the closes of each series of a CSV of dates and columns, without empty ones, of the years scored."""
    with path.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if _YEARS[0] <= row["Date"] < _YEARS[1]]
    names = [name for name in rows[0] if name != "Date"]
    found = {name: np.array([float(row[name]) for row in rows if row[name]]) for name in names}
    return {name: values for name, values in found.items() if len(values) > _FIRST + max(_HORIZONS)}


def _rolling(values: Floats) -> list[tuple[float, float]]:
    """Error to naive's, and coverage, by horizon."""
    errors, naive, held = (np.zeros((0, len(_HORIZONS))) for _ in range(3))
    at_steps = np.array(_HORIZONS) - 1
    for origin in range(_FIRST, len(values) - max(_HORIZONS), _EVERY):
        found = forecast(values[:origin].tolist(), max(_HORIZONS))
        actual = values[origin + at_steps]
        errors = np.vstack([errors, np.abs(found.mean[at_steps] - actual)])
        naive = np.vstack([naive, np.abs(values[origin - 1] - actual)])
        held = np.vstack([held, (found.lo[at_steps] <= actual) & (actual <= found.hi[at_steps])])
    return list(zip((errors.sum(0) / naive.sum(0)).tolist(), held.mean(0).tolist(), strict=True))
