"""What the commands that read and write CSV files share."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from mandi.errors import MandiError

_LINES_NAMED: Final = 5
_GREATEST: Final = 1e100  # beyond it: what a program writes where it has no number


@contextmanager
def written(out: Path | None) -> Iterator[TextIO]:
    """Yield what to write to: standard output, or a file that is under its name only when it is whole."""
    if out is None:
        yield sys.stdout
        return
    partial = out.with_name(out.name + ".partial")
    with _writing(out):
        target = partial.open("w", newline="", encoding="utf-8")
    try:
        with target:
            yield target
        with _writing(out):
            partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MandiError(f"{out} cannot be written: {error.strerror}") from error


def number(text: str | None) -> float | None:
    """Return a number, or None if the text is none, not finite, or beyond what anything measures."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < _GREATEST and "_" not in str(text) else None


def tell_lines(lines: Sequence[int], what: str) -> None:
    """Say on standard error how many rows met a fate, and name the lines of the first few."""
    if lines:
        rows, line = ("row", "line") if len(lines) == 1 else ("rows", "lines")
        named = ", ".join(map(str, lines[:_LINES_NAMED])) + (" and so on" if len(lines) > _LINES_NAMED else "")
        print(f"mandi: {len(lines)} {rows} {what}: {line} {named}", file=sys.stderr)
