"""The outbox against a real PostgreSQL: no row is passed over, whatever order transactions end in."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from backend_events import event, insert, outbox, payload
from psycopg import sql

from connectors.backend.config import BadAddress, OutboxConfig
from connectors.backend.outbox import OutboxSource
from connectors.backend.source import Positions, SourceUnavailable

START: Positions = {}


class Table:
    """An outbox and readers of it."""

    def __init__(self, dsn: str, name: str) -> None:
        self.dsn, self.name, self._sources = dsn, name, list[OutboxSource]()

    def source(self, resume: Positions = START, **settings: Any) -> OutboxSource:
        config = OutboxConfig(dsn=self.dsn, table=self.name, **{"poll_s": 0.0, "blocked_s": 0.0, **settings})
        self._sources.append(OutboxSource(config, resume))
        return self._sources[-1]

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn)

    def insert(self, *payloads: bytes) -> None:
        with self.connect() as connection:
            insert(connection, self.name, *payloads)

    def rows(self) -> int:
        with self.connect() as connection:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*self.name.split(".")))
            found = connection.execute(query).fetchone()
        assert found is not None
        return int(found[0])

    def close(self) -> None:
        for source in self._sources:
            source.close()


@pytest.fixture
def table(postgres_dsn: str) -> Iterator[Table]:
    with outbox(postgres_dsn) as name:
        found = Table(postgres_dsn, name)
        yield found
        found.close()


def raws(source: OutboxSource) -> list[bytes]:
    return [message.raw for message in source.read(0.0).messages]


def test_rows_come_once_in_order(table: Table) -> None:
    source = table.source()
    table.insert(payload(1), payload(2))
    table.insert(payload(3))
    assert raws(source) == [payload(1), payload(2), payload(3)]
    assert raws(source) == []


def test_a_reader_goes_on_at_its_position(table: Table) -> None:
    table.insert(*map(payload, range(5)))
    first = table.source(batch_rows=2).read(0.0)
    assert [message.raw for message in first.messages] == [payload(0), payload(1)]
    assert raws(table.source(first.positions)) == [payload(2), payload(3), payload(4)]


def test_a_lower_id_that_commits_later_is_not_passed_over(table: Table) -> None:
    source = table.source()
    with table.connect() as slow, table.connect() as fast:
        insert(slow, table.name, payload(1))
        insert(fast, table.name, payload(2))
        fast.commit()
        assert raws(source) == []  # 2 waits for the transaction of 1, which may still appear before it
        slow.commit()
    assert raws(source) == [payload(1), payload(2)]


def test_a_lower_id_that_is_rolled_back_holds_nobody_up_for_ever(table: Table) -> None:
    source = table.source()
    with table.connect() as failing:
        insert(failing, table.name, payload(1))
        table.insert(payload(2))
        assert raws(source) == []
        failing.rollback()
    assert raws(source) == [payload(2)]


def test_an_id_taken_before_its_transaction_has_a_number_is_not_passed_over(table: Table) -> None:
    # Why the order is (xid, id): by id alone the row 1 would be behind the reader, and no look at the transactions
    # in flight could have told, since this one was not among them yet.
    source = table.source()
    with table.connect() as slow:
        taken = slow.execute("SELECT nextval(%s), nextval(%s)", [f"{table.name}_id_seq"] * 2).fetchone()
        assert taken is not None
        slow.commit()  # the sequence has written its log record: the next nextval needs no transaction number
        (number,) = slow.execute("SELECT nextval(%s)", [f"{table.name}_id_seq"]).fetchone() or (0,)
        (assigned,) = slow.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() or (0,)
        assert assigned is None
        table.insert(payload(2))
        first = source.read(0.0)
        assert [message.raw for message in first.messages] == [payload(2)]
        assert first.messages[0].offset > number
        name = sql.Identifier(*table.name.split("."))
        insert_as = sql.SQL("INSERT INTO {} (id, payload) VALUES (%s, %s)").format(name)
        slow.execute(insert_as, [number, payload(1).decode()])
    assert raws(source) == [payload(1)]


def test_many_transactions_in_any_order_give_every_row_once(table: Table) -> None:
    chance, source, expected, found = random.Random(7), table.source(batch_rows=3), set[bytes](), list[bytes]()
    connections = [table.connect() for _ in range(5)]
    for number in range(150):
        connection = chance.choice(connections)
        insert(connection, table.name, payload(number))
        if chance.random() < 0.4:
            connection.commit()
        elif chance.random() < 0.1:
            connection.rollback()
        if chance.random() < 0.3:
            found += raws(source)
    for connection in connections:
        connection.commit()
        connection.close()
    with table.connect() as connection:
        name = sql.Identifier(*table.name.split("."))
        expected = {row[0].encode() for row in connection.execute(sql.SQL("SELECT payload FROM {}").format(name))}
    while more := raws(source):
        found += more
    assert len(found) == len(set(found)) > 50
    assert set(found) == expected


def test_a_notification_ends_the_wait(table: Table) -> None:
    source = table.source(poll_s=60.0)
    assert raws(source) == []  # it listens now
    began = time.monotonic()
    writer = threading.Timer(0.2, table.insert, [payload(1)])
    writer.start()
    found: list[bytes] = []
    while not found:
        found = [message.raw for message in source.read(60.0).messages]
    writer.join()
    assert found == [payload(1)]
    assert time.monotonic() < began + 30


def test_a_payload_of_any_type_is_text(table: Table) -> None:
    with table.connect() as connection:
        name = sql.Identifier(*table.name.split("."))
        connection.execute(sql.SQL("ALTER TABLE {} ALTER payload TYPE jsonb USING payload::jsonb").format(name))
    table.insert(payload(1))
    table.insert(b"null")
    with table.connect() as connection:
        connection.execute(sql.SQL("INSERT INTO {} (payload) VALUES (NULL)").format(name))
    found = raws(table.source())
    assert found[1:] == [b"null", b""]
    assert event(1)["event_id"].encode() in found[0]


def test_a_table_that_is_not_there_yet_is_waited_for(postgres_dsn: str) -> None:
    table = Table(postgres_dsn, "nowhere.outbox")
    with pytest.raises(SourceUnavailable, match=r"nowhere\.outbox"):
        table.source().read(0.0)


def test_a_server_that_went_away_is_connected_to_again(table: Table) -> None:
    source = table.source()
    table.insert(payload(1))
    assert raws(source) == [payload(1)]
    with table.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'mandi backend'"
        )
    table.insert(payload(2))
    with pytest.raises(SourceUnavailable):
        source.read(0.0)
    assert raws(source) == [payload(2)]


def test_another_cluster_is_read_from_its_beginning(table: Table) -> None:
    table.insert(payload(1))
    (position,) = table.source().read(0.0).positions.items()
    restored = {position[0]: "another/" + position[1].partition("/")[2]}
    assert raws(table.source(dict([position]))) == []
    assert raws(table.source(restored)) == [payload(1)]


def test_only_what_is_on_disk_is_deleted(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.backend.outbox._FORGET_EVERY_S", 0.0)
    table.insert(*map(payload, range(3)))
    source = table.source(batch_rows=2, keep_s=0.0)
    on_disk = source.read(0.0).positions
    source.read(0.0)
    source.forget(START)
    assert table.rows() == 3
    source.forget(on_disk)
    assert table.rows() == 1


def test_nothing_is_deleted_without_being_asked_or_before_its_time(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.backend.outbox._FORGET_EVERY_S", 0.0)
    table.insert(payload(1))
    for settings in ({}, {"keep_s": 3600.0}):
        source = table.source(**settings)
        source.forget(source.read(0.0).positions)
    assert table.rows() == 1


@pytest.mark.parametrize("name", ["", "a.b.c", "Outbox", "x; DROP TABLE y", "a."])
def test_a_name_that_is_no_table_is_refused(name: str) -> None:
    with pytest.raises(BadAddress):
        OutboxConfig(dsn="postgresql://nowhere", table=name)
