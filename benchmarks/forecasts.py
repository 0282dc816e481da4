"""Score forecasts where they can be compared: M4 Hourly, and daily closes of commodities.

M4: the last 48 hours of each series of the training part are held back, as the competition did with its own test part.
MASE is the error over the in-sample error of "as m hours ago" (m = 24), the mean over series.
Commodities: from 500 closes on, every tenth origin is forecast from all closes before it, one after the other; and
live, as the stream does: a day is a bar, every one of them forecast from those before it.
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
from market.forecasters.online import HORIZONS
from market.forecasters.outlook import ENSEMBLE, Outlook
from market.forecasters.series import forecast

_HOURS: Final = 48
_DAY: Final = 24
_FIRST: Final = 500
_EVERY: Final = 10
_YEARS: Final = ("2010", "2023")
_QUARTER: Final = 63
_WEEK: Final = 5  # as the command takes weekdays


def bench_forecasts(_directory: Path) -> Mapping[str, object]:
    """Score what the environment names: MANDI_HOURLY (Hourly-train.csv[.gz]) and MANDI_COMMODITIES (a CSV)."""
    figures: dict[str, object] = {}
    if where := os.environ.get("MANDI_HOURLY"):
        figures |= _m4(Path(where))
    if where := os.environ.get("MANDI_COMMODITIES"):
        figures |= _commodities(Path(where)) | _live(Path(where))
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
    for at, horizon in enumerate(HORIZONS):
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


def closes(path: Path, since: str = _YEARS[0]) -> dict[str, Floats]:
    """Return the closes of each series of a CSV of dates and columns, without empty ones, of the years scored."""
    with path.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if since <= row["Date"] < _YEARS[1]]
    names = [name for name in rows[0] if name != "Date"]
    found = {name: np.array([float(row[name]) for row in rows if row[name]]) for name in names}
    return {name: values for name, values in found.items() if len(values) > _FIRST + max(HORIZONS)}


def _live(path: Path) -> dict[str, object]:
    by_series = {name: _lived(values, after) for name, (values, after) in _whole(path).items()}
    figures: dict[str, object] = {}
    for at, horizon in enumerate(HORIZONS):
        found = {name: each[at] for name, each in by_series.items()}
        ratios, covers, quarters = ({name: each[n] for name, each in found.items()} for n in (0, 1, 3))
        figures[f"live_horizon_{horizon}"] = {
            "error_to_best_member_worst": round(max(ratios.values()), 4),
            "coverage_90": round(float(np.mean(list(covers.values()))), 4),
            "coverage_90_range": [round(min(covers.values()), 4), round(max(covers.values()), 4)],
            "coverage_80": round(float(np.mean([each[2] for each in found.values()])), 4),
            "worst_63_days": round(min(quarters.values()), 3),
        }
    return figures


def _whole(path: Path) -> dict[str, tuple[Floats, int]]:
    """All closes of a series, and how many of them only warm up."""
    scored = closes(path)
    whole = closes(path, since="")
    return {name: (whole[name], max(_FIRST, len(whole[name]) - len(values))) for name, values in scored.items()}


def _lived(values: Floats, first: int) -> list[tuple[float, float, float, float]]:
    """By horizon: error of the ensemble to its best member's, hits at 90 and 80 %, and at 90 % in the worst quarter."""
    outlook, errors, hits = Outlook(1e-9), [list[Floats]() for _ in HORIZONS], [list[Floats]() for _ in HORIZONS]
    for now, price in enumerate(values.tolist()):
        for score in outlook.due(now, price):
            promise, came = score.promise, score.actual - score.promise.price
            if promise.made_ns >= first:
                missed = [np.nan if move is None else abs(came - move) for move in promise.moves]
                errors[score.horizon].append(np.array(missed))
                hits[score.horizon].append(np.array(score.held[promise.served == ENSEMBLE], np.float64))
        seen = outlook.see(price, 0.0, 1.0, (0.0, 0.0, 0.0))
        if outlook.ready:
            outlook.promise(seen, now, [now + bars for bars in HORIZONS])
    found = []
    for missed_of, hits_of in zip(errors, hits, strict=True):
        awake = [mean for mean in np.mean(missed_of, axis=0) if not np.isnan(mean)]
        held = np.array(hits_of)
        quarters = np.convolve(held[:, 0], np.full(_QUARTER, 1 / _QUARTER), "valid")
        found.append((float(awake[-1] / min(awake[:-1])), *held.mean(axis=0).tolist(), float(quarters.min())))
    return found


def _rolling(values: Floats) -> list[tuple[float, float]]:
    """Error to naive's, and coverage, by horizon."""
    errors, naive, held = (np.zeros((0, len(HORIZONS))) for _ in range(3))
    at_steps = np.array(HORIZONS) - 1
    for origin in range(_FIRST, len(values) - max(HORIZONS), _EVERY):
        found = forecast(values[:origin].tolist(), max(HORIZONS), _WEEK)
        actual = values[origin + at_steps]
        errors = np.vstack([errors, np.abs(found.mean[at_steps] - actual)])
        naive = np.vstack([naive, np.abs(values[origin - 1] - actual)])
        held = np.vstack([held, (found.lo[at_steps] <= actual) & (actual <= found.hi[at_steps])])
    return list(zip((errors.sum(0) / naive.sum(0)).tolist(), held.mean(0).tolist(), strict=True))
