"""The two faults of stock Bytewax that pipelines.engine closes, each shown on the stock behaviour first."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import bytewax.operators as op
import bytewax.operators.windowing as win
import pytest
from arrivals import batch
from bytewax.dataflow import Dataflow
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink
from prometheus_client import REGISTRY
from reference import SECOND, Oracle, Row

from connectors.log import open_reader
from market import topics
from market.bars import BarsKernel
from market.schemas import TICKS
from pipelines.bars import BarsConfig, build
from pipelines.engine import recovery, steps
from pipelines.engine.recovery import FlowLocked, StateMismatch, run_flow, scrub
from sinks.log import open_writer

T0 = 1_700_000_000 * SECOND


class Scripted(FixedPartitionedSource):
    """Plays batches of (key, value), one an epoch; None dies there, like a kill -9 before the epoch commits."""

    def __init__(self, *batches: list | None) -> None:
        self.batches = batches

    def list_parts(self) -> list[str]:
        return ["script"]

    def build_part(self, step_id, for_part, resume_state):  # noqa: ARG002
        return _ScriptedPart(self.batches, resume_state or 0)


class _ScriptedPart(StatefulSourcePartition):
    def __init__(self, batches, position) -> None:
        self.position = position
        self.pending = _from(batches, position)

    def next_batch(self):
        items = next(self.pending)
        if items is None:
            raise AbortExecution
        self.position += len(items)
        return items

    def snapshot(self):
        return self.position


def _from(batches, position) -> Iterator:
    for items in batches:
        if items is None:
            yield None
        elif position < len(items):
            yield items[position:]
            position = 0
        else:
            position -= len(items)


class Counting(StatefulBatchLogic):
    def __init__(self, resume) -> None:
        self.total = resume or 0

    def on_batch(self, values):
        self.total += sum(values)
        return [self.total], self.RETAIN

    def snapshot(self):
        return self.total


def count(source: Scripted, out: list) -> Dataflow:
    flow = Dataflow("count")
    totals = op.stateful_batch("sum", op.input("in", flow, source), Counting)
    op.output("out", totals, TestingSink(out))
    return flow


def crash_before_frontier(store: Path) -> None:
    """Undo the last frontier row: what a crash between the commit of snapshots and that of the frontier leaves."""
    for part in store.glob("*.sqlite3"):
        with closing(sqlite3.connect(part)) as db, db:
            db.execute("UPDATE fronts SET worker_frontier = 1")


@pytest.mark.parametrize(("scrubbing", "total_of_b"), [(False, 2), (True, 1)])
def test_two_crashes_count_twice_unless_phantoms_are_scrubbed(tmp_path, scrubbing, total_of_b) -> None:
    a, b = ("a", 1), ("b", 1)
    run = partial(run_flow, "count", directory=tmp_path, epoch=timedelta(0), scrubbing=scrubbing)
    run(lambda: count(Scripted([a, b], None), []))  # dies; the snapshots of epoch 1 are there ...
    crash_before_frontier(tmp_path / "store")  # ... but epoch 1 does not count
    run(lambda: count(Scripted([a], None), []))  # epoch 1 again, with less in it, and it dies again
    out: list = []
    run(lambda: count(Scripted([a], [b]), out))
    assert dict(out)["b"] == total_of_b


def test_scrub_leaves_what_the_next_run_needs(tmp_path) -> None:
    run_flow("count", lambda: count(Scripted([("a", 1)], [("a", 1)]), []), tmp_path, epoch=timedelta(0))
    assert scrub(tmp_path / "store").phantoms == 0
    out: list = []
    run_flow("count", lambda: count(Scripted([("a", 1)], [("a", 1)], [("a", 5)]), out), tmp_path, epoch=timedelta(0))
    assert out == [("a", 7)]


def test_a_flow_runs_once_per_data_directory(tmp_path) -> None:
    with recovery.locked("count", tmp_path), pytest.raises(FlowLocked, match="already running here"):
        run_flow("count", lambda: count(Scripted(), []), tmp_path)


def test_a_half_made_store_is_made_again(tmp_path) -> None:
    (tmp_path / "store").mkdir()
    out: list = []
    run_flow("count", lambda: count(Scripted([("a", 1)]), out), tmp_path)
    assert out == [("a", 1)]


# ---- the restart-watermark fault


def rows(first: int, n: int) -> list[Row]:
    """In-order ticks, ten a second."""
    return [
        Row("trade", "XCEC", "XCEC:GC:202612", T0 + i * SECOND // 10, T0 + i * SECOND // 10, 5, SECOND, i)
        for i in range(first, first + n)
    ]


def test_stock_event_clock_loses_ticks_over_a_restart() -> None:
    """Why bars do not use it: its watermark goes on with the wall while the process is down."""
    wall = [datetime(2026, 1, 1, tzinfo=UTC)]
    clock = win.EventClock(
        ts_getter=lambda row: datetime.fromtimestamp(row.ts / 1e9, UTC),
        wait_for_system_duration=timedelta(seconds=1),
        now_getter=lambda: wall[0],
    )
    before = clock.build(None)
    for row in rows(0, 100):
        before.before_batch()
        before.on_item(row)
    state = before.snapshot()
    wall[0] += timedelta(seconds=8)  # down for 8 s; the next tick is 0.1 s of event time later
    after = clock.build(state)
    late = 0
    for row in rows(100, 100):
        after.before_batch()
        ts, watermark = after.on_item(row)
        late += ts < watermark
    assert late > 0


def test_bars_do_not_know_how_long_they_were_down() -> None:
    kernel = BarsKernel(intervals=("1m",))
    kernel.on_batch(batch(rows(0, 100)))
    resumed = BarsKernel(intervals=("1m",))
    resumed.restore(kernel.snapshot())  # whenever that is
    resumed.on_batch(batch(rows(100, 100)))
    trades = resumed.on_eof()["bars"].column("trades").to_pylist()
    assert sum(trades) == 200


# ---- the bars flow over the log


def fill(url: str, arrivals: list[Row], records: int) -> None:
    writer = open_writer(url)
    size = -(-len(arrivals) // records)
    for start in range(0, len(arrivals), size):
        ticks = batch(arrivals[start : start + size]).select(TICKS.names)
        writer.append(topics.prices("gold"), "ticks", ticks)
    writer.close()


def config(url: str, stop: threading.Event, **changes) -> BarsConfig:
    return BarsConfig(
        open_reader=changes.get("open_reader", partial(open_reader, url)),
        open_writer=partial(open_writer, url),
        now=lambda: 0,
        stop=stop,
        sample_ns=None,
    )


def run_until_read(url: str, directory: Path, **changes) -> None:
    """Run the flow until it has read the whole log; a set `stop` drains."""
    stop = threading.Event()
    stop.set()
    run_flow("bars", lambda: build(config(url, stop, **changes)), directory, scrubbing=changes.get("scrubbing", True))


def published(url: str) -> dict[tuple, tuple]:
    found: dict[tuple, tuple] = {}
    with closing(open_reader(url)) as reader:
        for tp in reader.partitions(topics.BARS):
            offset = 0
            while records := reader.read(tp, offset):
                for row in (row for record in records for row in record.batch.to_pylist()):
                    key = row["instrument"], row["interval"], row["ts_open"], row["revision"]
                    assert found.setdefault(key, tuple(row.values())) == tuple(row.values())
                offset = records[-1].offset + 1
    return found


def test_a_stopped_flow_goes_on_where_it_was(log_url, tmp_path) -> None:
    url = log_url
    arrivals = rows(0, 3000)
    fill(url, arrivals[:1500], 10)
    run_until_read(url, tmp_path / "bars")
    fill(url, arrivals[1500:], 10)
    run_until_read(url, tmp_path / "bars")
    oracle = Oracle()
    for row in arrivals:
        oracle.feed(row)
    assert len(published(url)) == len(oracle.published)


def rebuilds() -> float:
    return REGISTRY.get_sample_value("mandi_flow_rebuilds_total", {"flow": "bars"}) or 0.0


def test_a_state_that_does_not_fit_the_log_is_refused_and_rebuilt(log_url, tmp_path, caplog) -> None:
    url = log_url
    fill(url, rows(0, 500), 5)
    run_until_read(url, tmp_path / "bars")
    before = published(url)
    with closing(sqlite3.connect(tmp_path / "bars" / "store" / "part-0.sqlite3")) as db, db:
        db.execute("DELETE FROM snaps WHERE step_id = 'bars.prices'")  # the source forgets, the states do not
    counted = rebuilds()
    run_until_read(url, tmp_path / "bars")
    assert "rebuilt from the log" in caplog.text
    assert rebuilds() == counted + 1
    assert published(url) == before


def test_a_log_that_lost_its_tail_in_a_power_failure_and_grew_another_is_noticed(tmp_path, caplog) -> None:
    lost, url = f"file://{tmp_path}/lost", f"file://{tmp_path}/log"
    arrivals = rows(0, 600)
    fill(url, arrivals[:300], 5)
    shutil.copytree(tmp_path / "log", tmp_path / "lost")  # what is on disk when the power goes
    fill(url, arrivals[300:], 5)
    run_until_read(url, tmp_path / "bars")
    fill(lost, [replace(row, price=row.price + 1) for row in arrivals[300:]], 5)  # the same offsets, other rows
    run_until_read(lost, tmp_path / "bars")
    assert "rebuilt from the log" in caplog.text
    fill(lost, rows(600, 3000), 5)
    run_until_read(lost, tmp_path / "bars")
    closes = {key[2]: values for key, values in published(lost).items() if key[1] == "1s"}
    assert all(5 in bar[7:11] or 6 in bar[7:11] for bar in closes.values())


def test_a_state_of_another_version_is_rebuilt(tmp_path, caplog, monkeypatch) -> None:
    url = f"file://{tmp_path}/log"
    fill(url, rows(0, 500), 5)
    run_until_read(url, tmp_path / "bars")
    before = published(url)
    monkeypatch.setattr(steps, "STATE_VERSION", steps.STATE_VERSION + 1)
    run_until_read(url, tmp_path / "bars")
    assert "rebuilt from the log" in caplog.text
    assert published(url) == before


def test_without_scrubbing_a_misfit_stops_the_flow(tmp_path) -> None:
    url = f"file://{tmp_path}/log"
    fill(url, rows(0, 500), 5)
    run_until_read(url, tmp_path / "bars")
    with closing(sqlite3.connect(tmp_path / "bars" / "store" / "part-0.sqlite3")) as db, db:
        db.execute("DELETE FROM snaps WHERE step_id = 'bars.prices'")
    with pytest.raises(StateMismatch, match=r"expects market\.prices\.gold/0 at offset 5"):
        run_until_read(url, tmp_path / "bars", scrubbing=False)
