"""Replay files and what they must come to: rows, shuffles, and the row-by-row oracle over a file of any length."""

import csv
import gzip
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from reference import SECOND, Oracle, Row

COLUMNS = ("ts_event", "instrument", "price", "size", "seq")
YEAR = 365 * 86_400 * SECOND
PRUNE_EVERY = 200


@dataclass(frozen=True)
class Line:
    """A data line of a replay file."""

    ts: int
    instrument: str
    price: str
    size: str
    seq: str

    @property
    def is_good(self) -> bool:
        return Decimal(self.size) > 0


def read_lines(path: Path) -> list[Line]:
    with gzip.open(path, "rt", newline="") as file:
        return [Line(int(row[0]), *row[1:]) for row in list(csv.reader(file))[1:]]


def write_lines(path: Path, lines: Iterable[Line]) -> Path:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        out.writerows((line.ts, line.instrument, line.price, line.size, line.seq) for line in lines)
    return path


def shuffled(lines: Sequence[Line], displacement_s: float, seed: int = 1) -> list[Line]:
    """Another order of arrival: each line for itself comes up to `displacement_s` later than it happened."""
    chance = random.Random(seed)
    arrives = [line.ts + chance.random() * displacement_s * SECOND for line in lines]
    return [lines[at] for at in sorted(range(len(lines)), key=arrives.__getitem__)]


def straggling(lines: Sequence[Line], count: int, by_s: float, seed: int = 2) -> list[Line]:
    """`count` lines come `by_s` seconds too late, the others on time."""
    chance = random.Random(seed)
    slow = set(chance.sample(range(len(lines)), count))
    arrives = [line.ts + (by_s * SECOND if at in slow else 0) for at, line in enumerate(lines)]
    return [lines[at] for at in sorted(range(len(lines)), key=arrives.__getitem__)]


def with_future_stamp(lines: Sequence[Line], at: int) -> list[Line]:
    """A copy with one more line, a year ahead of its neighbours and at an absurd price, before line `at`."""
    near = lines[min(at, len(lines) - 1)]
    wrong = replace(near, ts=near.ts + YEAR, price="9999.9", size="7", seq="777777")
    return [*lines[:at], wrong, *lines[at:]]


def with_copies(lines: Sequence[Line], share: float, seed: int = 3) -> tuple[list[Line], list[int]]:
    """A share of the lines once to four times more, at once or up to the end of the file; and where those lines are."""
    chance = random.Random(seed)
    placed = [(float(at), False, line) for at, line in enumerate(lines)]
    for at in chance.sample(range(len(lines)), int(share * len(lines))):
        for _ in range(chance.randint(1, 4)):
            behind = chance.choice([at, at + 30, len(lines) - 1])
            placed.append((chance.uniform(at, max(at, min(behind, len(lines) - 1))) + 0.5, True, lines[at]))
    placed.sort(key=lambda one: one[:2])
    return [line for *_, line in placed], [row for row, (_, is_copy, _) in enumerate(placed) if is_copy]


class FileOracle(Oracle):
    """The oracle, which forgets bars that no row can reach any more: an hour of market takes seconds, not hours."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self._fed = 0
        self.accepted_kinds: Counter[str] = Counter()

    def feed(self, row: Row) -> None:
        before = len(self.accepted)
        super().feed(row)
        # Counts the right kind only where rows have ts_recv: then none is held back.
        self.accepted_kinds[row.kind] += len(self.accepted) - before
        self._fed += 1
        if self._fed % PRUNE_EVERY == 0:
            self.bars = {key: bar for key, bar in self.bars.items() if not bar.final or self._may_change(key)}
            self.trades = [trade for trade in self.trades if self._may_be_named(trade.row)]

    def _may_be_named(self, row: Row) -> bool:
        high = self.venues[row.venue].high
        return high is None or row.ts >= high - self.delay - self.allowed

    def _may_change(self, key: tuple) -> bool:
        high = self.venues[key[0]].high
        return high is None or self._end(key) > high - self.delay - self.allowed


def oracle_of(lines: Sequence[Line], *, allowed_s: int = 60) -> FileOracle:
    """What a replay of the lines must come to. A row's name is its number in the file."""
    oracle = FileOracle(allowed=allowed_s * SECOND)
    for number, line in enumerate(lines):
        if line.is_good:
            price, size = (int(Decimal(text).scaleb(9)) for text in (line.price, line.size))
            venue = line.instrument.split(":")[0]
            oracle.feed(Row("trade", venue, line.instrument, line.ts, None, price, size, number, int(line.seq)))
    oracle.end()
    return oracle


BarKey = tuple[str, str, int, int]
BarValues = tuple[str, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal, int, int]


def bars_of(oracle: Oracle) -> dict[BarKey, BarValues]:
    """Every published bar as the stores should have it: by instrument, interval, ts_open and revision."""
    found: dict[BarKey, BarValues] = {}
    for venue, instrument, interval, ts_open, revision, *scaled, trades, known_at, _ in oracle.published:
        values = tuple(Decimal(value).scaleb(-9) for value in scaled)
        found[instrument, interval, ts_open, revision] = (venue, *values, trades, known_at)  # type: ignore[assignment]
    return found


def latest(bars: Mapping[BarKey, BarValues]) -> dict[tuple[str, str, int], tuple]:
    """The final values: of each bar the highest revision, without the time at which it was known."""
    found = {}
    for key in sorted(bars, key=lambda key: key[3]):
        found[key[:3]] = bars[key][:-1]
    return found
