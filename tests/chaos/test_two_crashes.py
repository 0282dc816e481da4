"""Two crashes in a row at every commit of the recovery store: nothing shows them; without the scrub, rows count twice.

The crash is Bytewax's own: a trigger refuses the write of a table from an epoch on, and Bytewax ends there, with what
it had committed before. The second run covers less in an epoch than the first, as a source that finds less to read.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import init_db_dir
from bytewax.testing import TestingSink

from pipelines.engine.recovery import PARTITIONS, RecoveryStoreFailed, run_flow

EPOCH_OF = {"snaps": "snap_epoch", "fronts": "worker_frontier", "commits": "commit_epoch"}
"""The tables Bytewax commits in an epoch, in this order, and where each has its number."""

ITEMS = [("a", 1), ("b", 2), ("a", 4), ("b", 8), ("c", 16), ("a", 32), ("c", 64), ("b", 128)]
REST = [("a", 256), ("b", 256), ("c", 256)]
"""What only the last run finds: it makes every key say its total."""

TOTALS = {"a": 37 + 256, "b": 138 + 256, "c": 80 + 256}

Point = tuple[str, int]


class Items(FixedPartitionedSource):
    """So many items an epoch."""

    def __init__(self, items: Sequence[tuple[str, int]], an_epoch: int) -> None:
        self.items, self.an_epoch = items, an_epoch

    def list_parts(self) -> list[str]:
        return ["items"]

    def build_part(self, step_id, for_part, resume_state):  # noqa: ARG002
        return _ItemsPart(self.items, self.an_epoch, resume_state or 0)


class _ItemsPart(StatefulSourcePartition):
    def __init__(self, items: Sequence[tuple[str, int]], an_epoch: int, position: int) -> None:
        self.items, self.an_epoch, self.position = items, an_epoch, position

    def next_batch(self):
        items = self.items[self.position : self.position + self.an_epoch]
        if not items:
            raise StopIteration
        self.position += len(items)
        return items

    def snapshot(self) -> int:
        return self.position


class Sum(StatefulBatchLogic):
    def __init__(self, resume: int | None) -> None:
        self.total = resume or 0

    def on_batch(self, values):
        self.total += sum(values)
        return [self.total], self.RETAIN

    def snapshot(self) -> int:
        return self.total


def run(directory: Path, items: Sequence[tuple[str, int]], an_epoch: int, *, scrubbing: bool) -> dict[str, int]:
    """Run to the end; return the last total of each key that was put out."""
    out: list[tuple[str, int]] = []

    def build() -> Dataflow:
        flow = Dataflow("sums")
        op.output("out", op.stateful_batch("sum", op.input("in", flow, Items(items, an_epoch)), Sum), TestingSink(out))
        return flow

    run_flow("sums", build, directory, epoch=timedelta(0), scrubbing=scrubbing)
    return dict(out)


@contextmanager
def refusing(directory: Path, point: Point) -> Iterator[None]:
    """While inside, no row of the table goes in from that epoch on."""
    table, epoch = point
    [store] = (directory / "store").glob("*.sqlite3")
    with closing(sqlite3.connect(store)) as db:
        db.execute(
            f"CREATE TRIGGER crash BEFORE INSERT ON {table} WHEN NEW.{EPOCH_OF[table]} >= {epoch}"
            " BEGIN SELECT RAISE(ABORT, 'the crash of this test'); END"
        )
        db.commit()
    yield
    with closing(sqlite3.connect(store)) as db:
        db.execute("DROP TRIGGER crash")
        db.commit()


def totals_after(directory: Path, crashes: Sequence[Point], *, scrubbing: bool) -> dict[str, int]:
    """Totals of a run that goes to the end after these crashes."""
    make_store(directory)
    for point, an_epoch in zip(crashes, (3, 1), strict=True):
        with refusing(directory, point), pytest.raises(RecoveryStoreFailed, match="the crash of this test"):
            run(directory, ITEMS, an_epoch, scrubbing=scrubbing)
    return run(directory, [*ITEMS, *REST], 2, scrubbing=scrubbing)


def make_store(directory: Path) -> None:
    store = directory / "store"
    store.mkdir(parents=True)
    init_db_dir(store, PARTITIONS)


POINTS = [(table, epoch) for epoch in (1, 2, 3) for table in EPOCH_OF if (table, epoch) != ("fronts", 1)]
"""There is no frontier of epoch 1: the first one written is 2, the end of epoch 1."""


@pytest.mark.parametrize("first", POINTS, ids=str)
def test_two_crashes_at_any_commits_change_nothing(first: Point, tmp_path: Path) -> None:
    for number, second in enumerate(POINTS):
        assert totals_after(tmp_path / f"{number}", (first, second), scrubbing=True) == TOTALS, second


def test_without_the_scrub_the_sweep_fails(tmp_path: Path) -> None:
    """It is able to: stock Bytewax loads what the first crash left behind, and counts it twice."""
    found = totals_after(tmp_path / "stock", [("fronts", 2), ("fronts", 3)], scrubbing=False)
    assert sum(found.values()) > sum(TOTALS.values())
