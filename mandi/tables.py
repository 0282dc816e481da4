"""What the commands that read and write CSV files share."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Final, TextIO

_LINES_NAMED: Final = 5


@contextmanager
def written(out: Path | None) -> Iterator[TextIO]:
    """Yield what to write to: standard output, or a file that is under its name only when it is whole."""
    if out is None:
        yield sys.stdout
        return
    partial = out.with_name(out.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as target:
        yield target
    partial.replace(out)


def number(text: str | None) -> float | None:
    """Return a finite number, or None if the text is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) else None


def tell_lines(lines: Sequence[int], what: str) -> None:
    """Say on standard error how many lines met a fate, and name the first few."""
    if lines:
        named = ", ".join(map(str, lines[:_LINES_NAMED])) + (" and so on" if len(lines) > _LINES_NAMED else "")
        print(f"mandi: {len(lines)} rows without a number were {what}: lines {named}", file=sys.stderr)
