"""The quality flow: the log in, `market.status` out, once; silence is told by time when nothing waits to be read."""

from functools import partial
from pathlib import Path
from threading import Event

import pytest
from prometheus_client import REGISTRY
from quality_oracle import Tick, batch
from reference import SECOND

from connectors.log import open_reader
from market import topics
from market.quality import QualityKernel
from market.records import LogWriter, TopicPartition
from market.schemas import TICKS
from market.watermark import Lateness
from pipelines import quality
from pipelines.engine.live import Reading
from pipelines.engine.recovery import run_flow
from sinks.log import open_writer

GOLD = topics.prices("gold")
STATUS = TopicPartition(topics.STATUS, topics.FROM_ANALYTICS)
KEY = "XCEC:GC:202612"
FRIDAY = 1_795_176_000 * SECOND  # 2026-11-20 12:00 UTC


def quotes(first: int, n: int) -> list[Tick]:
    times = [FRIDAY + (first + i) * SECOND for i in range(n)]
    return [Tick("quote", "XCEC", KEY, at, at + 1_000_000) for at in times]


@pytest.fixture
def log(tmp_path: Path) -> str:
    return (tmp_path / "log").as_uri()


def append(log: str, ticks: list[Tick]) -> None:
    with_log: LogWriter = open_writer(log)
    with_log.append(GOLD, "ticks", batch(ticks).select(TICKS.names), key="gold")
    with_log.flush()
    with_log.close()


def run(log: str, directory: Path) -> None:
    """Read the log to its end."""
    stop = Event()
    stop.set()
    config = quality.QualityConfig(
        open_reader=partial(open_reader, log), open_writer=partial(open_writer, log), now=lambda: 0, stop=stop
    )
    run_flow("quality", partial(quality.build, config), directory)


def said(log: str) -> list[tuple]:
    reader = open_reader(log)
    records = reader.read(STATUS, reader.begin_offset(STATUS), 1 << 20)
    reader.close()
    return [tuple(row.values()) for record in records for row in record.batch.to_pylist()]


def test_status_rows_go_out_once_and_are_those_of_the_kernel(log: str, tmp_path: Path) -> None:
    first, second = quotes(0, 10), [*quotes(60, 5), Tick("state", "XCEC", KEY, FRIDAY, FRIDAY + 66 * SECOND, state=5)]
    append(log, first)
    run(log, tmp_path / "recovery")
    append(log, second)
    run(log, tmp_path / "recovery")
    run(log, tmp_path / "recovery")
    whole = QualityKernel().on_batch(batch([*first, *second]))["status"]
    assert said(log) == [tuple(row.values()) for row in whole.to_pylist()]
    assert [row[3] for row in said(log)] == ["LIVE", "STALE", "LIVE", "HALTED"]


def test_instruments_and_skew_are_counted(log: str, tmp_path: Path) -> None:
    ticks = quotes(0, 30)
    for tick in ticks:
        tick.ts -= 600 * SECOND
    append(log, ticks)
    run(log, tmp_path / "recovery")
    assert REGISTRY.get_sample_value("mandi_instruments", {"venue": "XCEC", "quality": "DELAYED"}) == 1
    assert REGISTRY.get_sample_value("mandi_clock_skew_seconds", {"venue": "XCEC"}) == pytest.approx(600.001)


class Behind(Reading):
    def __init__(self) -> None:
        self.behind = True

    def caught_up(self) -> bool:
        return not self.behind


def test_a_flow_that_is_behind_takes_no_delay_for_silence() -> None:
    reading = Behind()
    kernel = quality.live(Lateness(), reading, quality.Tally())
    kernel.on_batch(batch(quotes(0, 10)))
    due = kernel.next_wake_ns()
    assert due == FRIDAY + 31 * SECOND
    assert kernel.on_time(due) == {}
    assert kernel.next_wake_ns() == due + SECOND  # asked again, but not at once
    reading.behind = False
    assert kernel.on_time(due + SECOND)["status"].column("quality").to_pylist() == ["STALE"]


def test_caught_up_is_having_read_to_the_end(log: str) -> None:
    append(log, quotes(0, 1))
    reading = Reading(lambda *_: None, partial(open_reader, log), _began_s=-1e9, fresh_s=0.0)
    assert not reading.caught_up()  # however long ago it began: the source has not looked yet
    reading(open_reader(log), GOLD, 0)
    assert not reading.caught_up()
    reading(open_reader(log), GOLD, 1)
    assert reading.caught_up()
    append(log, quotes(1, 1))
    assert not reading.caught_up()
    begun = Reading(lambda *_: None, partial(open_reader, log))
    begun(open_reader(log), GOLD, 2)
    assert not begun.caught_up()  # just now
