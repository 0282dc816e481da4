"""The backend's flow: an event is in the log once, whichever way and however often it comes, over any restart."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from backend_events import insert, ledger, logged, outbox, payload
from backend_flow import Process, flow
from log_support import until
from prometheus_client import REGISTRY
from psycopg import sql

from connectors.backend.config import OutboxConfig
from connectors.backend.feed import BackendConfig, BackendFeed, open_feed
from connectors.backend.source import Message, Messages, Positions, SourceUnavailable
from connectors.errors import FeedFailed
from connectors.log import open_reader
from market import topics
from pipelines import backend
from pipelines.engine.positions import saved_positions
from sinks.log import WriterLocked


class Channel:
    """Stands for a source: a list of payloads, read from a position on, a few at a time."""

    def __init__(self, name: str, payloads: Sequence[bytes], resume: Positions, *, step: int = 3) -> None:
        self.name, self._payloads, self._step = name, payloads, step
        self._channel = f"backend/{name}/0"
        self._next = int(resume.get(self._channel, 0))
        self.failures: list[Exception] = []
        self.forgotten: Positions = {}

    def read(self, timeout_s: float) -> Messages:  # noqa: ARG002
        if self.failures:
            raise self.failures.pop()
        found = self._payloads[self._next : self._next + self._step]
        if not found:
            time.sleep(0.001)
            return Messages()
        first, self._next = self._next, self._next + len(found)
        return Messages(
            messages=[Message(channel=self._channel, offset=first + n, raw=raw) for n, raw in enumerate(found)],
            positions={self._channel: str(self._next)},
        )

    def forget(self, positions: Positions) -> None:
        self.forgotten = positions

    def close(self) -> None:
        pass


@contextmanager
def running(url: str, **channels: Sequence[bytes]) -> Iterator[list[Channel]]:
    """The flow over channels, from where the last one stopped."""
    sources: list[Channel] = []

    def build(now: Any, resume: Positions) -> BackendFeed:
        sources.extend(Channel(name, payloads, resume) for name, payloads in channels.items())
        return BackendFeed(sources, now)

    with flow(url, build):
        until(lambda: len(sources) == len(channels))
        yield sources


@pytest.fixture
def url(tmp_path: Path) -> str:
    return tmp_path.as_uri()


def ids(numbers: Sequence[int]) -> list[str]:
    return [f"e-{number}" for number in numbers]


def test_events_are_in_the_log_in_order(url: str) -> None:
    with running(url, kafka=[payload(n) for n in range(10)]):
        until(lambda: len(logged(url)) == 10)
    assert logged(url) == ids(range(10))


def test_a_restart_goes_on_where_the_last_run_stopped(url: str) -> None:
    payloads = [payload(n) for n in range(6)]
    with running(url, kafka=payloads[:4]):
        until(lambda: len(logged(url)) == 4)
    with running(url, kafka=payloads) as (source,):
        assert source._next >= 4
        until(lambda: len(logged(url)) == 6)
    assert logged(url) == ids(range(6))


def test_an_event_that_comes_by_both_ways_is_written_once(url: str) -> None:
    payloads = [payload(n) for n in range(50)]
    with running(url, kafka=payloads, outbox=payloads[::-1]):
        until(lambda: saved_positions(open_reader(url), backend.POSITIONS).keys() >= {"backend/kafka/0"})
        until(lambda: len(logged(url)) >= 50)
    assert sorted(logged(url)) == sorted(ids(range(50)))


def test_an_event_that_comes_again_after_a_restart_is_not_written_again(url: str) -> None:
    payloads = [payload(n) for n in range(20)]
    with running(url, kafka=payloads):
        until(lambda: len(logged(url)) == 20)
    with running(url, outbox=[*payloads[::-1], payload(20)]):
        until(lambda: "e-20" in logged(url))
    assert logged(url) == ids(range(21))


def test_lost_positions_write_nothing_twice(url: str) -> None:
    payloads = [payload(n) for n in range(20)]
    with running(url, kafka=payloads):
        until(lambda: len(logged(url)) == 20)
    with flow(url, lambda now, _: BackendFeed([Channel("kafka", [*payloads, payload(20)], {})], now)):
        until(lambda: "e-20" in logged(url))
    assert logged(url) == ids(range(21))


def test_an_id_used_for_another_event_is_refused_and_the_first_stands(url: str) -> None:
    payloads = [payload(1), payload(1, price=70), payload(1), payload(2)]
    with running(url, kafka=payloads):
        until(lambda: len(logged(url)) == 2)
    with running(url, outbox=[payload(2, user="ravi"), payload(3)]):
        until(lambda: len(logged(url)) == 3)
    assert logged(url) == ids([1, 2, 3])
    rows = ledger(url)
    assert [(row["source"], row["source_offset"], row["reason"]) for row in rows] == [
        ("backend/kafka/0", 1, "conflicting_event"),
        ("backend/outbox/0", 0, "conflicting_event"),
    ]
    assert rows[0]["raw"] == payload(1, price=70).decode()


def test_what_is_no_event_is_in_the_ledger_and_stops_nothing(url: str) -> None:
    with running(
        url, kafka=[payload(1), b"\xff{", payload(2, version=9), payload(3, instrument="X:Y:202612"), payload(4)]
    ):
        until(lambda: len(logged(url)) == 2)
    rows = ledger(url)
    assert [(row["reason"], row["source_offset"], row["venue"]) for row in rows] == [
        ("malformed_frame", 1, "backend"),
        ("unknown_version", 2, "backend"),
        ("unknown_instrument", 3, "backend"),
    ]
    assert rows[0]["raw"] == "\N{REPLACEMENT CHARACTER}{"


def test_the_memory_of_ids_is_bounded(url: str) -> None:
    payloads = [payload(n) for n in [*range(10), 9, 8, 0]]
    with flow(url, lambda now, resume: BackendFeed([Channel("kafka", payloads, resume)], now), memory_events=4):
        until(lambda: len(logged(url)) == 11)
    assert logged(url) == ids([*range(10), 0])  # the store's key is what still tells event 0 apart


def test_a_source_is_told_what_is_on_disk(url: str) -> None:
    with running(url, kafka=[payload(n) for n in range(5)]) as (source,):
        until(lambda: source.forgotten == {"backend/kafka/0": "5"})
    assert saved_positions(open_reader(url), backend.POSITIONS) == {"backend/kafka/0": "5"}


def test_a_source_that_is_away_is_read_when_it_is_back(url: str) -> None:
    source = Channel("kafka", [payload(1)], {})
    source.failures = [SourceUnavailable("kafka", "away")] * 2
    with flow(url, lambda now, _: BackendFeed([source], now)):
        until(lambda: logged(url) == ["e-1"])


def test_a_source_that_is_mute_is_not_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, thawed = threading.Event(), threading.Event()

    class Mute(Channel):
        def read(self, timeout_s: float) -> Messages:
            if frozen.is_set():
                thawed.wait()
            return super().read(timeout_s)

    monkeypatch.setattr("connectors.backend.feed.MUTE_S", 0.2)
    up = partial(REGISTRY.get_sample_value, "mandi_backend_up", {"source": "mute"})
    with flow(url, lambda now, _: BackendFeed([Mute("mute", [payload(1)], {})], now)):
        until(lambda: logged(url) == ["e-1"] and up() == 1)
        frozen.set()
        until(lambda: up() == 0)
        thawed.set()
        until(lambda: up() == 1)


def test_an_error_nobody_knows_ends_the_flow(url: str) -> None:
    source = Channel("kafka", [payload(1)], {})
    source.failures = [ZeroDivisionError()]
    process = Process(url, lambda now, _: BackendFeed([source], now))
    until(lambda: process.failure is not None)
    with pytest.raises(FeedFailed) as failed:
        process.stop()
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_two_at_a_time_are_refused(url: str) -> None:
    with running(url, kafka=[payload(1)]):
        until(lambda: logged(url) == ["e-1"])
        second = Process(url, lambda now, _: BackendFeed([], now))
        until(lambda: second.failure is not None)
        with pytest.raises(WriterLocked):
            second.stop()


def test_a_lost_range_is_a_gap(url: str) -> None:
    class Lossy(Channel):
        def read(self, timeout_s: float) -> Messages:
            if self._next:
                return super().read(timeout_s)
            self._next = 2
            gap = {"channel": self._channel, "seq_from": 0, "seq_to": 1, "reason": "deleted"}
            return Messages(gaps=[gap], positions={self._channel: "2"})

    with flow(url, lambda now, _: BackendFeed([Lossy("kafka", [payload(n) for n in range(4)], {})], now)):
        until(lambda: logged(url) == ["e-2", "e-3"])
    (row,) = ledger(url, topics.STATUS)
    assert (row["gap_id"], row["venue"], row["seq_to"], row["resolution"]) == (
        "backend/kafka/0/0",
        "backend",
        1,
        "snapshot",
    )


def test_the_outbox_all_the_way(url: str, postgres_dsn: str) -> None:
    with outbox(postgres_dsn) as table:
        config = BackendConfig(outbox=OutboxConfig(dsn=postgres_dsn, table=table, keep_s=0.001))
        with flow(url, partial(open_feed, config)):
            with psycopg.connect(postgres_dsn) as connection:
                insert(connection, table, payload(1), b"{}", payload(2))
            until(lambda: logged(url) == ["e-1", "e-2"])
        with psycopg.connect(postgres_dsn) as connection:
            insert(connection, table, payload(2), payload(3))
        with flow(url, partial(open_feed, config)):
            until(lambda: logged(url) == ["e-1", "e-2", "e-3"])
        with psycopg.connect(postgres_dsn) as connection:
            name = sql.Identifier(*table.split("."))
            assert connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone() == (5,)
    assert [row["source_offset"] for row in ledger(url)] == [2]
