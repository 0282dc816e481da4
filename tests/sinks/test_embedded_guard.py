"""The corpus of the guard: what reaches out is refused however it is written, what does not is let through."""

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from sinks.embedded.guard import Refused, SeveralStatements, check
from sinks.embedded.sqltext import UnreadableSql, find_insert, quote, split_format, statements, tokens

REACHING_OUT = [
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM /* '; */ file /**/ ('/etc/passwd', 'LineAsString')",
    "SELECT * FROM `file`('/etc/passwd', 'LineAsString')",
    "SELECT * FROM \"file\"('/etc/passwd', 'LineAsString')",
    r"SELECT * FROM `fil\x65`('/etc/passwd', 'LineAsString')",
    "SELECT * FROM FILE('/etc/passwd', 'LineAsString')",
    "SELECT file('/etc/passwd')",
    "SELECT 1 -- '\nFROM file('/etc/passwd', 'LineAsString') -- '",
    "SELECT 1 // '\nFROM file('/etc/passwd', 'LineAsString') // '",
    "SELECT 1 # '\n FROM file('/etc/passwd', 'LineAsString') # '",
    "SELECT 'it''s', * FROM file('/etc/passwd', 'LineAsString')",
    r"SELECT 'it\'s', * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT $a$'$a$, * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM \u201cfile\u201d('/etc/passwd', 'LineAsString')",
    "SELECT \u2018--\u2019, * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM\u00a0file\u00a0('/etc/passwd', 'LineAsString')",
    "WITH (SELECT count() FROM file('/etc/passwd', 'LineAsString')) AS n SELECT n",
    "SELECT 1 UNION ALL SELECT count() FROM file('/etc/passwd', 'LineAsString')",
    "EXPLAIN SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "DESCRIBE file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:9/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:9/x', 'CSV')",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM executable('x.sh', 'CSV', 'a Int8')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM Python(x)",
    "SELECT * FROM icebergLocal('/x')",
    "INSERT INTO FUNCTION file('/tmp/out.csv', 'CSV', 'a Int8') SELECT 1",
    "INSERT INTO TABLE FUNCTION url('http://127.0.0.1:9/', 'CSV', 'a Int8') VALUES (1)",
    "INSERT INTO market.trades FROM INFILE '/etc/passwd' FORMAT LineAsString",
    "INSERT INTO market.trades (trade_id) VALUES (file('/etc/passwd'))",
    "SELECT 1 INTO OUTFILE '/tmp/out.csv'",
    "SELECT 1 into/**/outfile '/tmp/out.csv' FORMAT CSV",
    "CREATE TABLE default.t (a String) ENGINE = File(CSV, '/etc/passwd')",
    "CREATE TABLE default.t (a String) ENGINE URL('http://127.0.0.1:9/', CSV)",
    "CREATE DATABASE d ENGINE = Filesystem('/etc')",
    "CREATE DATABASE d ENGINE = `SQLite`('/x.db')",
    "CREATE TABLE default.t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/tmp/')",
    "CREATE TABLE default.t AS file('/etc/passwd', 'LineAsString')",
    "CREATE VIEW default.v AS SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "CREATE DICTIONARY default.d (a Int8) PRIMARY KEY a SOURCE(FILE(path '/x' format 'CSV')) LAYOUT(FLAT())",
    "ATTACH TABLE default.t FROM '/tmp/x' (a Int8) ENGINE = MergeTree ORDER BY a",
    "BACKUP DATABASE market TO File('/tmp/b')",
    "RESTORE DATABASE market FROM File('/tmp/b')",
    "SYSTEM SHUTDOWN",
    "system kill",
]

HARMLESS = [
    "SELECT 'file(' AS x, \"file\" FROM (SELECT 1 AS file) -- url('http://...')",
    "SELECT /* file('/etc/passwd') */ 1",
    "SELECT file FROM (SELECT 1 AS file) WHERE (file) = 1",
    "SELECT sum(number) FROM numbers(10)",
    "SELECT * FROM generateRandom('a Int8') LIMIT 1",
    "SELECT * FROM merge('market', 'trades')",
    "SELECT engine FROM system.tables WHERE engine = 'File'",
    "SELECT 1 FORMAT JSON SETTINGS max_threads = 1;",
    "SELECT $$ file('/etc/passwd') $$",
    "CREATE TABLE IF NOT EXISTS default.guarded (a Int8) ENGINE = MergeTree ORDER BY a",
    "CREATE OR REPLACE VIEW default.guarded_view AS SELECT engine FROM system.tables",
    "SHOW TABLES FROM market",
    "DESCRIBE TABLE market.trades",
    "EXPLAIN SELECT 1",
]


@pytest.mark.parametrize("statement", REACHING_OUT)
def test_what_reaches_out_is_refused(statement: str) -> None:
    with pytest.raises(Refused):
        check(statement.encode().decode("latin-1"))


@pytest.mark.parametrize("statement", HARMLESS)
def test_what_does_not_is_let_through(statement: str) -> None:
    check(statement)


def test_the_server_refuses_the_corpus_and_runs_the_rest(clickhouse_url: str) -> None:
    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    for statement in REACHING_OUT:
        with pytest.raises(DatabaseError) as caught:
            client.command(statement)
        assert caught.value.code == 497, statement
    for statement in HARMLESS:
        client.command(statement)
    client.close()


@pytest.mark.parametrize(
    "name", ["'/etc/hostname'", "`/etc/hostname`", "default.`/etc/hostname`", "market.`/etc/hostname`"]
)
def test_a_file_is_no_table(clickhouse_url: str, name: str) -> None:
    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    with pytest.raises(DatabaseError) as caught:
        client.command(f"SELECT * FROM {name}")
    assert caught.value.code == 60  # UNKNOWN_TABLE, said by the engine
    client.close()


def test_several_statements_are_refused() -> None:
    with pytest.raises(SeveralStatements):
        check("SELECT 1; SELECT 2")
    check("SELECT ';' ; -- ; \n ;")


@pytest.mark.parametrize("text", ["SELECT 'open", "SELECT `open", "SELECT /* open", "SELECT a$$b$$", "SELECT $a$ open"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UnreadableSql):
        check(text)


@given(st.text())
def test_any_string_is_one_token(text: str) -> None:
    found = list(tokens(f"SELECT {quote(text)} x".encode().decode("latin-1")))
    assert [token.kind for token in found] == ["word", "string", "word"]


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        check(data.decode("latin-1"))
    except (Refused, SeveralStatements, UnreadableSql):
        return


@pytest.mark.parametrize(
    ("text", "statement", "fmt", "data"),
    [
        ("INSERT INTO t FORMAT CSV\n1;'\n", "INSERT INTO t ", "CSV", "1;'\n"),
        ("insert into t(a) format Native \r\n\n", "insert into t(a) ", "Native", "\n"),
        ("INSERT INTO t VALUES (1)", "INSERT INTO t ", "Values", " (1)"),
        ("INSERT INTO t SETTINGS x = 1 FORMAT TSV\nq", "INSERT INTO t SETTINGS x = 1 ", "TSV", "q"),
        ("INSERT INTO t (format, values) FORMAT CSV\nq", "INSERT INTO t (format, values) ", "CSV", "q"),
        ("INSERT INTO t", "INSERT INTO t", "Values", ""),
    ],
)
def test_the_data_of_an_insert_is_found(text: str, statement: str, fmt: str, data: str) -> None:
    found = find_insert(text)
    assert found is not None
    assert (found.sql, found.format, text[found.data_start :]) == (statement, fmt, data)


@pytest.mark.parametrize("text", ["SELECT 1", "INSERT INTO t SELECT 1", "INSERT INTO t WITH 1 AS x SELECT x", ""])
def test_other_statements_carry_no_data(text: str) -> None:
    assert find_insert(text) is None


def test_the_outermost_format_is_cut_out() -> None:
    assert split_format("SELECT 1 FORMAT JSON SETTINGS a = 1;") == ("SELECT 1   SETTINGS a = 1", "JSON")
    assert split_format("SELECT format('x') FROM (SELECT 1) -- FORMAT CSV") == (
        "SELECT format('x') FROM (SELECT 1)",
        None,
    )


def test_scripts_are_split_at_semicolons() -> None:
    assert statements("-- a;\nSELECT ';' ; \n\n/* b; */ SELECT 2") == ["SELECT ';'", "SELECT 2"]
