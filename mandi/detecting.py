"""`mandi detect`: a score for every row of a CSV of `timestamp,value`, strictly online."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from mandi.errors import MandiError
from mandi.progress import counting
from mandi.tables import number, tell_lines, written
from market.detectors.series import SeriesDetector

SCORE: Final = "anomaly_score"
_COLUMNS: Final = ("timestamp", "value")
_TOLD_EVERY: Final = 100


def detect(source: Path, out: Path | None) -> int:
    """Score a file into another, or to standard output; a row is written before the next one is read.

    Raises: MandiError if the file cannot be read or is not a CSV with the columns `timestamp` and `value`.
    """
    try:
        with (
            source.open(newline="", encoding="utf-8-sig") as lines,
            written(out) as target,
            counting("values scored") as advance,
        ):
            skipped = _score(source, lines, target, advance)
    except BrokenPipeError:
        raise  # its reader has seen enough: nothing is wrong with the file
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MandiError(f"{source} cannot be scored: {error}") from error
    tell_lines(skipped, "without a number kept with the score 0")
    return 0


def _score(source: Path, lines: TextIO, target: TextIO, advance: Callable[[int], None]) -> list[int]:
    """Write every row with its score. Returns the lines whose value is no number."""
    rows = csv.reader(lines)
    header = next(rows, [])
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise MandiError(f"{source} has no column {' and no column '.join(missing)}; its first line is {header}")
    if SCORE in header:
        raise MandiError(f"{source} has a column {SCORE} already")
    writer, detector, at = csv.writer(target, lineterminator="\n"), SeriesDetector(), header.index("value")
    writer.writerow([*header, SCORE])
    skipped = []
    for count, found in enumerate(filter(None, rows), start=1):
        row = _of_width(len(header), found, source, rows.line_num)
        value = number(row[at])
        if value is None:
            skipped.append(rows.line_num)
        writer.writerow([*row, "0.0" if value is None else repr(detector.score(value))])
        if count % _TOLD_EVERY == 0:
            advance(_TOLD_EVERY)
    return skipped


def _of_width(columns: int, row: list[str], source: Path, line: int) -> list[str]:
    """A row as long as the header: the score of a shorter one would stand in another column."""
    if any(row[columns:]):
        raise MandiError(f"{source} has {len(row)} fields in line {line} and {columns} columns")
    return [*row, *[""] * (columns - len(row))][:columns]
