"""What a demo shows while it runs: a live panel on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

_NEWEST_LINES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One second's view of the pipeline."""

    market_ns: int
    rows: int
    rows_per_s: float
    bars: int
    late: int
    gaps: int
    lag_records: int
    clients: int
    pids: Mapping[str, int | None]


@dataclass(slots=True)
class Display:
    """Lines stay on the screen; the panel below them is redrawn."""

    url: str = ""
    _live: Live | None = None
    _lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(Text(line))
        else:
            print(line, flush=True)

    def show(self, vitals: Vitals) -> None:
        if self._live is not None:
            self._live.update(self._panel(vitals), refresh=True)

    def _panel(self, vitals: Vitals) -> Group:
        clock = datetime.fromtimestamp(vitals.market_ns // 10**9, UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC")
        table = Table.grid(padding=(0, 3))
        table.add_row("market time", clock)
        table.add_row("ingested", f"{vitals.rows:,} rows, {vitals.rows_per_s:,.0f}/s")
        table.add_row("final bars", f"{vitals.bars:,}")
        table.add_row("late / gaps", f"{vitals.late:,} / {vitals.gaps:,}")
        table.add_row("log lag", f"{vitals.lag_records:,} records")
        table.add_row("clients", f"{vitals.clients:,}")
        processes = Text()
        for name, pid in vitals.pids.items():
            processes.append(f"{name} ", style="green" if pid else "red")
        table.add_row("processes", processes)
        hint = Text(f"dashboard {self.url}   Ctrl-C stops", style="bold")
        return Group(hint, table)


@contextmanager
def display() -> Iterator[Display]:
    """A live panel if standard output is a terminal."""
    shown = Display()
    if not sys.stdout.isatty():
        yield shown
        return
    with Live(Text("starting"), console=Console(), auto_refresh=False, transient=True) as live:
        shown._live = live
        yield shown
