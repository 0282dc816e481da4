"""Progress on standard error for long work; silent when that is not a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to be told of every further `n` of `what`; shows the count and the rate."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"0 {what}")
        began, total = time.monotonic(), 0

        def advance(n: int) -> None:
            nonlocal total
            total += n
            rate = total / max(time.monotonic() - began, 1e-3)
            progress.update(task, description=f"{total:,} {what}, {rate:,.0f}/s")

        yield advance
