"""docs/stores.md against schemas and migrations; every query of it is run against the real, empty stores."""

import re

import clickhouse_connect
import psycopg
import pytest
from docs_pages import ROOT, blocks, prose, read, rows, ticked

from market.schemas import NATURAL_KEYS, REJECT_REASONS, SCHEMAS

PAGE = read("docs/stores.md")
QUERIES = [block.partition("\n") for block in blocks(PAGE, "sql")]


def migrated(store: str, what: str) -> set[str]:
    text = "".join(path.read_text() for path in (ROOT / "sql" / store).glob("*.sql"))
    return set(re.findall(rf"CREATE (?:OR REPLACE )?{what} (?:IF NOT EXISTS )?market\.(\w+)", text))


def documented(heading: str, column: str) -> dict[str, list[str]]:
    return {ticked(row[heading])[0]: ticked(row[column]) for row in rows(PAGE, heading) if column in row}


def test_tables_are_those_of_the_migrations() -> None:
    tables = set(documented("table", "natural key"))
    assert tables == migrated("timescale", "TABLE")
    assert tables == {name.removesuffix("_log") for name in migrated("clickhouse", "TABLE")}


def test_views_are_those_of_the_migrations() -> None:
    views = set(documented("view", "is"))
    assert views == migrated("timescale", "VIEW")
    assert views | {"gaps", "status", "trade_events", "anomalies"} == migrated("clickhouse", "VIEW")


def test_keys_are_the_natural_keys() -> None:
    assert {name: tuple(key) for name, key in documented("table", "natural key").items()} == NATURAL_KEYS


def test_columns_are_those_of_the_schemas() -> None:
    assert documented("table", "columns") == {name: SCHEMAS[name].names for name in NATURAL_KEYS}


def test_columns_are_those_of_the_stores(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        for table, columns in documented("table", "columns").items():
            cursor = connection.execute(f"SELECT * FROM market.{table} LIMIT 0")
            assert cursor.description is not None
            found = [column.name for column in cursor.description if not column.name.endswith("_ns")]
            assert found == columns, table


def test_reasons_are_all_named() -> None:
    assert set(REJECT_REASONS) <= set(ticked(prose(PAGE)))


def test_there_are_queries_of_both_stores() -> None:
    assert {head for head, _, _ in QUERIES} == {"-- clickhouse", "-- timescale"}


@pytest.mark.parametrize("query", [body for head, _, body in QUERIES if head == "-- timescale"])
def test_a_query_runs_on_timescale(postgres_dsn: str, query: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute(query).fetchall() == []


@pytest.mark.parametrize("query", [body for head, _, body in QUERIES if head == "-- clickhouse"])
def test_a_query_runs_on_clickhouse(clickhouse_url: str, query: str) -> None:
    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    try:
        assert client.query(query).result_rows == []
    finally:
        client.close()
