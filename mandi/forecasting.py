"""`mandi forecast`: what comes next in every series of a CSV of `unique_id,ds,y`, with a 90 % interval."""

import csv
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mandi.errors import MandiError
from mandi.progress import counting
from mandi.stamps import following, season_of, times
from mandi.tables import number, tell_lines, written
from market.forecasters.season import season_in
from market.forecasters.series import forecast as forecast_series

HEADER: Final = ("unique_id", "ds", "mean", "lo-90", "hi-90")
LEVEL: Final = 0.9
_COLUMNS: Final = ("unique_id", "ds", "y")


@dataclass(slots=True)
class _Series:
    stamps: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Untold:
    """What of a file is not in its forecast: lines, and names of series."""

    without_number: list[int] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def forecast(source: Path, horizon: int, season: int | None, out: Path | None) -> int:
    """Forecast every series of a file into another, or to standard output; say which are served naive.

    Raises: MandiError if the file cannot be read or is not a CSV with the columns `unique_id`, `ds` and `y`.
    """
    try:
        series, untold = _read(source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MandiError(f"{source} cannot be read: {error}") from error
    naive = 0
    with written(out) as target, counting("series forecast") as advance:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(HEADER)
        for name, one in series.items():
            found = forecast_series(one.values, horizon, season or _season(one), LEVEL)
            naive += found.is_naive
            stamps = following(one.stamps, horizon)
            for row in zip(stamps, found.mean.tolist(), found.lo.tolist(), found.hi.tolist(), strict=True):
                writer.writerow([name, *row])
            advance(1)
    tell_lines(untold.without_number, "without a number left out")
    tell_lines(untold.replaced, "left out for a later one of the same series and stamp")
    if untold.empty:
        print(f"mandi: no number in {', '.join(untold.empty)}: not forecast", file=sys.stderr)
    if naive:
        told = f"{naive} of {len(series)} series forecast as their last value"
        print(f"mandi: {told}: no model did clearly better on their past", file=sys.stderr)
    return 0


def _season(one: _Series) -> int:
    return season_of(one.stamps) or season_in(one.values)


def _read(source: Path) -> tuple[dict[str, _Series], _Untold]:
    """The series in order of appearance, each in the order of its stamps; and what was left out."""
    series: dict[str, _Series] = {}
    untold = _Untold()
    with source.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or [])]
        if missing:
            names = " and no column ".join(missing)
            raise MandiError(f"{source} has no column {names}; its first line is {rows.fieldnames or []}")
        for row in rows:
            one = series.setdefault(row["unique_id"] or "", _Series())  # None where a line is too short
            value = number(row["y"])
            if value is None:
                untold.without_number.append(rows.line_num)
                continue
            one.stamps.append(row["ds"] or "")
            one.values.append(value)
            one.lines.append(rows.line_num)
    untold.empty = [name for name, one in series.items() if not one.values]
    found = {name: _ordered(name, one, untold) for name, one in series.items() if one.values}
    if not found:
        raise MandiError(f"{source} has no row with a number")
    return found, untold


def _ordered(name: str, one: _Series, untold: _Untold) -> _Series:
    """A series by its stamps, the last of several rows of one stamp."""
    try:
        known = times(one.stamps)
    except MandiError as error:
        raise MandiError(f"series {name} cannot be put in order: {error}") from error
    keys = one.stamps if known is None else known
    newest = {key: at for at, key in enumerate(keys)}
    order = list(newest.values()) if known is None else [newest[key] for key in sorted(newest)]
    untold.replaced += sorted({*one.lines} - {one.lines[at] for at in order})
    return _Series(
        stamps=[one.stamps[at] for at in order],
        values=[one.values[at] for at in order],
    )
