"""A flow that was down, whose recovery store is lost, old, damaged or cannot be written, that crashes again and again.

Every bar is the oracle's, and nothing is late.
"""

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from arrivals import batch
from reference import SECOND, Oracle, Row

from connectors.log import open_reader
from market import topics
from market.records import TopicPartition
from market.schemas import TICKS
from pipelines.bars import SAMPLE_NS, BarsConfig, build
from pipelines.engine.recovery import RecoveryStoreFailed, run_flow
from sinks.log import open_writer
from tests.chaos.harness import DERIVED
from tests.chaos.logs import records_of
from tests.chaos.test_two_crashes import ITEMS, REST, TOTALS, make_store, refusing, run

T0 = 1_790_000_040 * SECOND
LATE = TopicPartition(topics.LATE, topics.FROM_ANALYTICS)
A_SECOND = 10
"""Rows."""


def ticks(first: int, count: int) -> list[Row]:
    def at(number: int) -> int:
        return T0 + number * SECOND // A_SECOND

    return [
        Row("trade", "XCEC", "XCEC:GC:202612", at(n), at(n), 26_000 * SECOND + n % 7, SECOND, n, n)
        for n in range(first, first + count)
    ]


class Flow:
    """The bars flow over an embedded log that a test lets grow; it runs in this process until it has read all."""

    def __init__(self, directory: Path) -> None:
        self.url, self.directory = (directory / "log").as_uri(), directory / "bars"
        self.oracle = Oracle()
        self.rows = 0

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def grow(self, count: int, records: int = 5) -> None:
        rows = ticks(self.rows, count)
        writer = open_writer(self.url)
        for at in range(0, count, -(-count // records)):
            part = rows[at : at + -(-count // records)]
            writer.append(topics.prices("gold"), "ticks", batch(part).select(TICKS.names), key="gold")
        writer.close()
        for row in rows:
            self.oracle.feed(row)
        self.rows += count

    def run(self, now_ns: int = T0) -> None:
        stop = threading.Event()
        stop.set()  # a flow that is told to stop drains what is there
        config = BarsConfig(
            open_reader=partial(open_reader, self.url),
            open_writer=partial(open_writer, self.url),
            now=lambda: now_ns,
            stop=stop,
            sample_ns=SAMPLE_NS,
        )
        run_flow("bars", partial(build, config), self.directory)

    def check(self) -> None:
        """Published is what the oracle says; what was published again is the same."""
        found: dict[tuple, tuple] = {}
        for row in rows_of(self.url, DERIVED):
            if row["final"]:
                key = row["instrument"], row["interval"], row["ts_open"], row["revision"]
                values = tuple(row[name] for name in ("open", "high", "low", "close", "trades"))
                assert found.setdefault(key, values) == values
        expected = {bar[1:5]: (*bar[5:9], bar[11]) for bar in self.oracle.published}
        assert found == expected
        assert rows_of(self.url, LATE) == []


def rows_of(url: str, tp: TopicPartition) -> list[dict]:
    reader = open_reader(url)
    found = [row for record in records_of(reader, tp) if record.batch is not None for row in record.batch.to_pylist()]
    reader.close()
    return found


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    return Flow(tmp_path)


@pytest.mark.parametrize("seconds", [0, 3, 8, 60, 600])
def test_downtime_within_a_bar_makes_no_row_late(seconds: int, flow: Flow) -> None:
    """The market goes on meanwhile, and so does the wall clock. Of stock Bytewax: tests/pipelines/test_recovery.py."""
    flow.grow(30 * A_SECOND + 5)
    flow.run()
    flow.grow(seconds * A_SECOND + 90 * A_SECOND)
    flow.run(T0 + (seconds + 120) * SECOND)
    flow.check()


def delete(store: Path) -> None:
    shutil.rmtree(store)


def delete_the_partition(store: Path) -> None:
    next(store.glob("*.sqlite3")).unlink()


def damage_a_page(store: Path) -> None:
    part = next(store.glob("*.sqlite3"))
    for beside in store.glob("*-wal"):
        beside.unlink()
    whole = bytearray(part.read_bytes())
    whole[4096 + 100 :] = b"\xa5" * (len(whole) - 4096 - 100)
    part.write_bytes(whole)


@pytest.mark.parametrize("harm", [delete, delete_the_partition, damage_a_page])
def test_a_lost_or_damaged_store_is_made_anew_from_the_log(harm: Callable[[Path], None], flow: Flow) -> None:
    flow.grow(300)
    flow.run()
    harm(flow.store)
    flow.grow(900)
    flow.run()
    flow.check()


def test_an_older_backup_of_the_store_goes_on_from_there(flow: Flow, tmp_path: Path) -> None:
    flow.grow(300)
    flow.run()
    shutil.copytree(flow.store, tmp_path / "backup")
    flow.grow(900)
    flow.run()
    shutil.rmtree(flow.store)
    shutil.copytree(tmp_path / "backup", flow.store)
    flow.grow(900)
    flow.run()
    flow.check()


def test_twenty_crashes_before_the_first_epoch_counts(tmp_path: Path) -> None:
    """Nothing is counted, nothing piles up, and then it gets on."""
    make_store(tmp_path / "steady")
    run(tmp_path / "steady", [*ITEMS, *REST], 2, scrubbing=True)
    make_store(tmp_path / "loop")
    with refusing(tmp_path / "loop", ("fronts", 0)):
        for _ in range(20):
            with pytest.raises(RecoveryStoreFailed, match="the crash of this test"):
                run(tmp_path / "loop", ITEMS, 3, scrubbing=True)
    assert size(tmp_path / "loop") <= 2 * size(tmp_path / "steady")
    assert run(tmp_path / "loop", [*ITEMS, *REST], 2, scrubbing=True) == TOTALS


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / "store").iterdir())


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
def test_a_full_disk_ends_the_flow_with_a_reason_and_space_brings_it_back(small_disk: Path) -> None:
    make_store(small_disk / "sums")
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(4 << 20))
    with pytest.raises(RecoveryStoreFailed, match=r"cannot be written \(.*disk"):
        run(small_disk / "sums", ITEMS, 3, scrubbing=True)
    ballast.unlink()
    assert run(small_disk / "sums", [*ITEMS, *REST], 2, scrubbing=True) == TOTALS
