"""docs/stores.md against schemas and migrations; every query of it is run against the real, empty stores."""

import re

import clickhouse_connect
import psycopg
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError
from docs_pages import ROOT, blocks, prose, read, rows, ticked

from market.schemas import NATURAL_KEYS, REJECT_REASONS, SCHEMAS
from sinks.embedded.sqltext import statements

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
    in_clickhouse = {name.removesuffix("_log").removesuffix("_rows") for name in migrated("clickhouse", "TABLE")}
    assert tables | {"writers"} == in_clickhouse
    assert "writers" in ticked(prose(PAGE))


def test_views_are_those_of_the_migrations() -> None:
    views = set(documented("view", "is"))
    assert views == migrated("timescale", "VIEW")
    for_analysts = {ticked(row["view"])[0] for row in rows(read("docs/analytics.md"), "view")}
    assert views | for_analysts | {"gaps", "status", "trade_events", "anomalies"} == migrated("clickhouse", "VIEW")


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
    assert {head for head, _, _ in QUERIES} == {"-- clickhouse", "-- timescale", "-- cluster"}


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


@pytest.mark.parametrize(
    "statement", [each for head, _, body in QUERIES if head == "-- cluster" for each in statements(body)]
)
def test_a_statement_for_a_cluster_is_of_the_grammar(clickhouse_url: str, statement: str) -> None:
    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    try:
        [(shown,)] = client.query("SELECT formatQuerySingleLine({text:String})", {"text": statement}).result_rows
        with pytest.raises(ClickHouseError, match="Syntax error"):
            client.query("SELECT formatQuery({text:String})", {"text": statement.replace("CLUSTER", "CLUSTR")})
    finally:
        client.close()
    assert "CLUSTER" in shown


def test_the_table_for_a_cluster_is_that_of_the_migrations(clickhouse_url: str) -> None:
    [made] = [
        text for head, _, body in QUERIES if head == "-- cluster" for text in statements(body) if "_local" in text
    ][:1]
    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    try:
        [(ours,)] = client.query("SELECT create_table_query FROM system.tables WHERE name = 'trades'").result_rows
        [(theirs,)] = client.query("SELECT formatQuerySingleLine({text:String})", {"text": made}).result_rows
    finally:
        client.close()
    columns = re.compile(r"\((`?venue`?.*?)\) ENGINE")
    assert bare(columns.findall(theirs)[0]) == bare(columns.findall(ours)[0])


def bare(columns: str) -> str:
    """Columns without what only the server adds: backticks, widths of codecs, spaces."""
    return re.sub(r"[`\s]|(?<=Delta)\(8\)", "", columns)
