"""Raw rows in pieces: made as rows come, whole tables become one, and old pieces go from both stores alike."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import new_database
from store_rows import NOW_NS, batch_of, expected, read_timescale, rows_of

from sinks.archive import dump_timescale, load_timescale
from sinks.base import Sink
from sinks.clickhouse import ClickHouseSink
from sinks.expiry import cut_before, expire_clickhouse, expire_timescale
from sinks.migrations import migrate_timescale, sql_directory
from sinks.timescale import RAW_TABLES, TimescaleSink

DAY_NS = 86_400 * 10**9
PIECES = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'market.trades'::regclass"


@pytest.fixture
def fresh(postgres_dsn: str) -> Iterator[str]:
    """A database without tables beside the shared one."""
    yield new_database(postgres_dsn, "pieces")
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("DROP DATABASE pieces WITH (FORCE)")


def write(sink: Sink, table: str, rows: list[dict[str, Any]]) -> int:
    with closing(sink):
        return sink.write({table: [batch_of(table, rows)]}).total_written


def aged(table: str, days: int, count: int = 12) -> list[dict[str, Any]]:
    return [row | {"ts_event": row["ts_event"] - days * DAY_NS} for row in rows_of(table, count)]


def pieces(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return sorted(name for (name,) in connection.execute(PIECES).fetchall())


def rest_rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        return len(connection.execute("SELECT FROM market.trades_rest").fetchall())


def test_pieces_are_made_as_rows_come(fresh: str) -> None:
    migrate_timescale(fresh)
    rows = rows_of("trades", 12)
    assert write(TimescaleSink(fresh), "trades", rows) == 12
    assert pieces(fresh) == ["trades_202611", "trades_rest"]
    late = [*aged("trades", 95), *aged("trades", 4_000)]
    assert write(TimescaleSink(fresh), "trades", late) == 24
    assert write(TimescaleSink(fresh), "trades", [*rows, *late]) == 0
    assert pieces(fresh) == ["trades_201512", "trades_202608", "trades_202611", "trades_rest"]
    assert read_timescale(fresh, "trades") == expected("trades", [*rows, *late])
    assert rest_rows(fresh) == 0


def test_rows_that_others_inserted_are_moved_into_their_piece(fresh: str) -> None:
    migrate_timescale(fresh)
    rows = rows_of("trades", 12)
    write(TimescaleSink(fresh), "trades", rows[:6])
    with psycopg.connect(fresh) as connection:
        connection.execute(
            "INSERT INTO market.trades (venue, instrument, ts_event, ts_event_ns, seq, flags) "
            "SELECT venue, instrument, ts_event - interval '90 days', ts_event_ns - 7776000000000000, seq, 0 "
            "FROM market.trades"
        )
    assert rest_rows(fresh) == 6
    write(TimescaleSink(fresh), "trades", aged("trades", 95))
    assert rest_rows(fresh) == 0
    assert "trades_202608" in pieces(fresh)


def test_a_table_with_rows_becomes_the_first_piece(fresh: str, tmp_path: Path) -> None:
    before = tmp_path / "timescale"
    before.mkdir()
    for file in sorted((sql_directory() / "timescale").glob("000*.sql")):
        (before / file.name).write_text(file.read_text())
    migrate_timescale(fresh, tmp_path)
    rows = rows_of("trades", 12)
    with psycopg.connect(fresh) as connection:  # the sink of that time knew no pieces
        connection.execute("CREATE FUNCTION market.make_room(text, date[]) RETURNS void LANGUAGE sql AS ''")
    for name in RAW_TABLES:
        write(TimescaleSink(fresh), name, rows_of(name, 12))
    with psycopg.connect(fresh) as connection:
        connection.execute("DROP FUNCTION market.make_room")
    was = read_timescale(fresh, "trades")

    migrate_timescale(fresh)
    assert pieces(fresh) == ["trades_before_202612", "trades_rest"]
    assert read_timescale(fresh, "trades") == was == expected("trades", rows)
    assert read_timescale(fresh, "trades_net") != []
    after = aged("trades", -20)
    assert write(TimescaleSink(fresh), "trades", [*rows, *aged("trades", 95), *after]) == 24
    assert pieces(fresh) == ["trades_202612", "trades_before_202612", "trades_rest"]


def test_old_pieces_go_from_both_stores_alike(empty_stores: tuple[str, str]) -> None:
    dsn, url = empty_stores
    for name in RAW_TABLES:
        for sink in (TimescaleSink(dsn), ClickHouseSink(url)):
            write(sink, name, [*rows_of(name, 12), *aged(name, 95), *aged(name, 130)])
    write(TimescaleSink(dsn), "bars", rows_of("bars", 12))
    write(ClickHouseSink(url), "bars", rows_of("bars", 12))
    cut = cut_before(NOW_NS, timedelta(days=90))
    assert expire_timescale(dsn, cut) == expire_clickhouse(url, cut) == dict.fromkeys(RAW_TABLES, 12)
    for name in RAW_TABLES:
        assert read_timescale(dsn, name) == expected(name, [*rows_of(name, 12), *aged(name, 95)])
    assert len(read_timescale(dsn, "bars")) == 12
    assert expire_timescale(dsn, cut) == expire_clickhouse(url, cut) == dict.fromkeys(RAW_TABLES, 0)
    # A row that is later than that still finds a place, until the next time.
    assert write(TimescaleSink(dsn), "trades", aged("trades", 130)) == 12
    assert expire_timescale(dsn, cut)["trades"] == 12


def test_a_backup_is_restored_into_pieces(fresh: str, empty_stores: tuple[str, str], tmp_path: Path) -> None:
    rows = [*rows_of("trades", 12), *aged("trades", 95)]
    write(TimescaleSink(empty_stores[0]), "trades", rows)
    dump_timescale(empty_stores[0], tmp_path / "kept")
    migrate_timescale(fresh)
    load_timescale(fresh, tmp_path / "kept")
    assert read_timescale(fresh, "trades") == expected("trades", rows)
    assert pieces(fresh) == ["trades_202608", "trades_202611", "trades_rest"]
    assert rest_rows(fresh) == 0
