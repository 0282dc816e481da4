"""`mandi detect`: a score for every row of a CSV of `timestamp,value`, strictly online."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, Final, TextIO

from mandi.errors import MandiError
from mandi.progress import counting
from market.detectors.series import SeriesDetector

SCORE: Final = "anomaly_score"
_COLUMNS: Final = ("timestamp", "value")
_LINES_NAMED: Final = 5
_TOLD_EVERY: Final = 100


def detect(source: Path, out: Path | None) -> int:
    """Score a file into another, or to standard output; a row is written before the next one is read.

    Raises: MandiError if the file cannot be read or is not a CSV with the columns `timestamp` and `value`.
    """
    try:
        with (
            source.open(newline="", encoding="utf-8-sig") as lines,
            _target(out) as target,
            counting("values scored") as advance,
        ):
            skipped = _score(source, lines, target, advance)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MandiError(f"{source} cannot be scored: {error}") from error
    if skipped:
        named = ", ".join(map(str, skipped[:_LINES_NAMED])) + (" and so on" if len(skipped) > _LINES_NAMED else "")
        told = f"mandi: {len(skipped)} rows without a number were kept with the score 0: lines {named}"
        print(told, file=sys.stderr)
    return 0


def _score(source: Path, lines: TextIO, target: TextIO, advance: Callable[[int], None]) -> list[int]:
    """Write every row with its score. Returns the lines whose value is no number."""
    rows = csv.reader(lines)
    header = next(rows, [])
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise MandiError(f"{source} has no column {' and no column '.join(missing)}; its first line is {header}")
    writer, detector, at = csv.writer(target, lineterminator="\n"), SeriesDetector(), header.index("value")
    writer.writerow([*header, SCORE])
    skipped = []
    for number, row in enumerate(rows, start=1):
        value = _number(row, at)
        if value is None:
            skipped.append(rows.line_num)
        writer.writerow([*row, "0.0" if value is None else repr(detector.score(value))])
        if number % _TOLD_EVERY == 0:
            advance(_TOLD_EVERY)
    return skipped


def _number(row: list[str], at: int) -> float | None:
    try:
        value = float(row[at])
    except (ValueError, IndexError):
        return None
    return value if isfinite(value) else None


@contextmanager
def _target(out: Path | None) -> Iterator[Any]:
    if out is None:
        yield sys.stdout
        return
    fresh = out.with_name(out.name + ".partial")
    with fresh.open("w", newline="", encoding="utf-8") as target:
        yield target
    fresh.replace(out)  # what is there under its name is whole
