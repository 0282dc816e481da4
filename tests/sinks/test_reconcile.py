"""Reconciling finds equal stores equal, and names the first row of any difference."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import clickhouse_connect
import psycopg
import pytest
from store_rows import TABLES, batch_of, rows_of

from sinks.clickhouse import ClickHouseSink, stored_table
from sinks.columns import table_spec
from sinks.reconcile import Digest, Part, reconcile
from sinks.timescale import TimescaleSink

DAY_NS = 86_400 * 10**9


@pytest.fixture
def filled(empty_stores: tuple[str, str]) -> tuple[str, str]:
    """Both stores with the same rows of every table, over many days, in another order and other cuts."""
    dsn, url = empty_stores
    rows = {table: _over_days(table, rows_of(table, 60)) for table in TABLES}
    ours, theirs = TimescaleSink(dsn), ClickHouseSink(url)
    ours.write({table: [batch_of(table, found)] for table, found in rows.items()})
    theirs.write({table: [batch_of(table, found[40:]), batch_of(table, found[:40])] for table, found in rows.items()})
    ours.close()
    theirs.close()
    return dsn, url


def _over_days(table: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    name = "ts_open" if table == "bars" else "ts_event"
    return [row | {name: row[name] + (at % 7 - 3) * DAY_NS} if name in row else row for at, row in enumerate(rows)]


@pytest.mark.parametrize("wall_clock", [False, True])
def test_equal_stores_are_equal(filled: tuple[str, str], wall_clock: bool) -> None:
    found = reconcile(*filled, wall_clock=wall_clock)
    assert (found.rows, found.differing, found.first) == (60 * len(TABLES), 0, None)
    assert found.parts > 7 * 3


def test_empty_stores_are_equal(empty_stores: tuple[str, str]) -> None:
    assert reconcile(*empty_stores).rows == 0


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_row_of_any_table_is_named(filled: tuple[str, str], table: str) -> None:
    dsn, url = filled
    with psycopg.connect(dsn) as connection:
        # The text is one of two dozen constants of ours.
        connection.execute(f"DELETE FROM market.{table} WHERE ctid = (SELECT ctid FROM market.{table} LIMIT 1)")  # type: ignore[arg-type]
    found = reconcile(dsn, url)
    assert found.differing == 1
    assert found.first is not None
    assert found.first.part.table == table
    assert found.first.clickhouse.rows - found.first.timescale.rows == 1
    assert found.first.timescale_line is None
    assert found.first.clickhouse_line is not None


def test_the_first_of_several_is_named_with_both_values(filled: tuple[str, str]) -> None:
    dsn, url = filled
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE market.quotes SET bid_size = 1")
        row = connection.execute(
            "UPDATE market.trades SET price = 12.5, size = NULL"
            " WHERE ts_event_ns = (SELECT max(ts_event_ns) FROM market.trades)"
            " RETURNING instrument, ts_event_ns"
        ).fetchone()
    found = reconcile(dsn, url)
    assert row is not None
    assert found.first is not None
    assert found.first.part == Part("trades", row[0], row[1] // DAY_NS)
    assert found.first.timescale.rows == found.first.clickhouse.rows
    columns = found.first.columns
    assert found.first.timescale_line is not None
    assert found.first.clickhouse_line is not None
    ours, theirs = (
        dict(zip(columns, line, strict=True)) for line in (found.first.timescale_line, found.first.clickhouse_line)
    )
    assert (ours["price"], ours["size"]) == ("12.5", "null")
    assert {name for name in columns if ours[name] != theirs[name]} <= {"price", "size"}
    assert found.differing > 1


@pytest.mark.parametrize("table", ["trades", "bars", "rejected"])  # views show a row once
def test_a_row_that_is_twice_in_clickhouse_is_named_and_can_be_merged(filled: tuple[str, str], table: str) -> None:
    dsn, url = filled
    stored = stored_table(table_spec(table))
    with closing(clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)) as client:
        client.command(f"SYSTEM STOP MERGES {stored}")
        client.command(f"INSERT INTO {stored} SELECT * FROM {stored} LIMIT 1 OFFSET 7")
        found = reconcile(dsn, url).first
        client.command(f"SYSTEM START MERGES {stored}")
        assert found is not None
        assert found.part.table == table
        assert found.clickhouse.rows == found.timescale.rows + 1
        assert (found.timescale_times, found.clickhouse_times) == (1, 2)
        assert found.timescale_line == found.clickhouse_line is not None
        client.command(f"OPTIMIZE TABLE {stored} FINAL")  # what docs/runbook.md says
    assert reconcile(dsn, url).first is None


def test_a_second_row_of_a_key_is_named_beside_the_first(filled: tuple[str, str]) -> None:
    dsn, url = filled
    with closing(clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)) as client:
        client.command("SYSTEM STOP MERGES market.trades")
        client.command(
            "INSERT INTO market.trades SELECT * REPLACE (toDecimal64(1, 9) AS price) FROM market.trades LIMIT 1"
        )
        found = reconcile(dsn, url).first
        client.command("SYSTEM START MERGES market.trades")
    assert found is not None
    assert found.timescale_line is None
    assert found.clickhouse_line is not None
    assert dict(zip(found.columns, found.clickhouse_line, strict=True))["price"] == "1"


def test_wall_clock_columns_are_compared_when_asked(filled: tuple[str, str]) -> None:
    dsn, url = filled
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE market.bars SET as_known_at_ns = as_known_at_ns + 1")
    assert reconcile(dsn, url).first is None
    found = reconcile(dsn, url, wall_clock=True).first
    assert found is not None
    assert found.part.table == "bars"


def test_days_before_1970_round_down() -> None:
    part = Part("trades", "X", -1)
    assert str(part) == "trades, instrument 'X', day 1969-12-31"
    assert replace(part, day=None).date is None
    assert Digest(1, 2) != Digest(2, 1)
