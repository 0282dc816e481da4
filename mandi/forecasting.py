"""`mandi forecast`: what comes next in every series of a CSV of `unique_id,ds,y`, with a 90 % interval."""

import csv
import sys
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any, Final

from mandi.errors import MandiError
from mandi.progress import counting
from mandi.tables import number, tell_lines, written
from market.forecasters.series import forecast as forecast_series

HEADER: Final = ("unique_id", "ds", "mean", "lo-90", "hi-90")
LEVEL: Final = 0.9
_COLUMNS: Final = ("unique_id", "ds", "y")
_DAY: Final = timedelta(days=1)


@dataclass(slots=True)
class _Series:
    stamps: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def forecast(source: Path, horizon: int, season: int | None, out: Path | None) -> int:
    """Forecast every series of a file into another, or to standard output; say which are served naive.

    Raises: MandiError if the file cannot be read or is not a CSV with the columns `unique_id`, `ds` and `y`.
    """
    try:
        series, skipped = _read(source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MandiError(f"{source} cannot be read: {error}") from error
    naive = 0
    with written(out) as target, counting("series forecast") as advance:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(HEADER)
        for name, one in series.items():
            found = forecast_series(one.values, horizon, season or season_of(one.stamps), LEVEL)
            naive += found.is_naive
            stamps = following(one.stamps, horizon)
            for row in zip(stamps, found.mean.tolist(), found.lo.tolist(), found.hi.tolist(), strict=True):
                writer.writerow([name, *row])
            advance(1)
    tell_lines(skipped, "left out")
    if naive:
        told = f"mandi: {naive} of {len(series)} series are served as they stand: no model did better on their own past"
        print(told, file=sys.stderr)
    return 0


def _read(source: Path) -> tuple[dict[str, _Series], list[int]]:
    """The series in order of appearance, each in the order of its stamps; and the lines whose `y` is no number."""
    series: dict[str, _Series] = {}
    skipped = []
    with source.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or [])]
        if missing:
            raise MandiError(f"{source} has no column {' and no column '.join(missing)}: {rows.fieldnames}")
        for row in rows:
            value = number(row["y"])
            if value is None:
                skipped.append(rows.line_num)
                continue
            one = series.setdefault(row["unique_id"], _Series())
            one.stamps.append(row["ds"])
            one.values.append(value)
    if not series:
        raise MandiError(f"{source} has no row with a number")
    for one in series.values():
        _sort(one)
    return series, skipped


def _sort(one: _Series) -> None:
    times = _times(one.stamps)
    if times is not None and any(later < sooner for sooner, later in pairwise(times)):
        order = sorted(range(len(times)), key=times.__getitem__)
        one.stamps, one.values = [one.stamps[at] for at in order], [one.values[at] for at in order]


def _times(stamps: Sequence[str]) -> list[Any] | None:
    """Stamps as numbers or times, whichever all of them are; None if neither."""
    for parse in (int, datetime.fromisoformat):
        try:
            return [parse(stamp) for stamp in stamps]
        except ValueError:
            continue
    return None


def season_of(stamps: Sequence[str]) -> int:
    """Return how many steps a season has, by how far apart the stamps are; 1 where they say nothing."""
    times = _times(stamps)
    if times is None or len(times) < 3 or isinstance(times[0], int):
        return 1
    step = median_low([later - sooner for sooner, later in pairwise(times)])
    if step == _DAY:
        return 5 if all(time.weekday() < 5 for time in times) else 7
    if _is_month(step):
        return 12
    return _DAY // step if timedelta(minutes=5) <= step < _DAY and _DAY % step == timedelta(0) else 1


def _is_month(step: timedelta) -> bool:
    return timedelta(days=28) <= step <= timedelta(days=31)


def following(stamps: Sequence[str], horizon: int) -> list[str]:
    """Return the stamps after the last one, in its own form: numbers go on by their step, times by theirs.

    Days without a weekend go on without one, months from month to month. What is neither a number
    nor ISO 8601 is continued as +1, +2 ...

    Example:
        >>> following(["2026-11-19", "2026-11-20"], 2), following(["7", "8"], 1)
        (['2026-11-23', '2026-11-24'], ['9'])
    """
    times = _times(stamps)
    if times is None:
        return [f"{stamps[-1]}+{step}" for step in range(1, horizon + 1)]
    step = median_low([later - sooner for sooner, later in pairwise(times)]) if len(times) > 1 else None
    last = times[-1]
    if isinstance(last, int):
        return [str(last + (step or 1) * n) for n in range(1, horizon + 1)]
    shown = _form_of(stamps[-1])
    return [shown(time) for time in _ahead(times, step or _DAY, horizon)]


def _ahead(times: Sequence[datetime], step: timedelta, horizon: int) -> Iterator[datetime]:
    last = times[-1]
    if _is_month(step):
        at_end = all(time.day == monthrange(time.year, time.month)[1] for time in times)
        for n in range(1, horizon + 1):
            year, month = divmod(last.year * 12 + last.month - 1 + n, 12)
            days = monthrange(year, month + 1)[1]
            yield last.replace(year=year, month=month + 1, day=days if at_end else min(last.day, days))
        return
    skips_weekends = step == _DAY and len(times) > 1 and all(time.weekday() < 5 for time in times)
    found = 0
    while found < horizon:
        last += step
        if not (skips_weekends and last.weekday() >= 5):
            found += 1
            yield last


def _form_of(stamp: str) -> Any:
    if len(stamp) == len("2026-11-21"):
        return lambda time: date.isoformat(time)
    separator = "T" if "T" in stamp else " "
    return lambda time: time.isoformat(sep=separator)
