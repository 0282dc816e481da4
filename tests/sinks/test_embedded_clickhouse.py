"""The embedded ClickHouse as clients see it: clickhouse-connect unmodified, plain HTTP, and its own life."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import lz4.frame  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from backports import zstd
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.processes import alive, wait_until
from sinks.errors import EmbeddedServerError

TABLE = "CREATE TABLE IF NOT EXISTS default.t (a Int64, b String) ENGINE = MergeTree ORDER BY a"


@pytest.fixture
def client(clickhouse_url: str) -> Iterator[Client]:
    found = clickhouse_connect.get_client(dsn=clickhouse_url)
    found.command(TABLE)
    found.command("TRUNCATE TABLE t")
    yield found
    found.close()


def ask(
    url: str,
    query: str = "",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    method: str = "POST",
    **more: str,
) -> tuple[int, dict[str, str], bytes]:
    address = f"{url}/?{urllib.parse.urlencode({'query': query, **more})}"
    request = urllib.request.Request(address, body if method == "POST" else None, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_query_insert_and_command(client: Client) -> None:
    client.insert("t", [[number, f"x{number}"] for number in range(1000)], column_names=["a", "b"])
    found = client.query("SELECT a, b FROM t WHERE a < {top:Int64} ORDER BY a", parameters={"top": 2})
    assert found.result_rows == [(0, "x0"), (1, "x1")]
    assert client.command("SELECT count() FROM t") == 1000
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 1}) == 1


def test_arrow_and_frames(client: Client) -> None:
    client.insert_arrow("t", pa.table({"a": [1, 2], "b": ["p", "q"]}))
    assert client.query_arrow("SELECT * FROM t ORDER BY a").to_pydict() == {"a": [1, 2], "b": ["p", "q"]}
    pytest.importorskip("pandas")
    assert client.query_df("SELECT * FROM t ORDER BY a")["b"].tolist() == ["p", "q"]


def test_a_select_without_rows_is_run_once_and_has_its_header(clickhouse_url: str, client: Client) -> None:
    query = "SELECT a, b FROM default.t WHERE a > 5"

    def selects() -> int:
        return int(client.command("SELECT value FROM system.events WHERE event = 'SelectQuery'"))

    before = selects()
    for _ in range(5):
        assert ask(clickhouse_url, query, default_format="CSVWithNames")[2] == b'"a","b"\n'
    assert selects() == before + 6
    for fmt in ("TabSeparated", "Native", "RowBinary", "TSVWithNamesAndTypes", "ArrowStream"):
        whole = ask(clickhouse_url, query, default_format=fmt, wait_end_of_query="1")[2]
        assert ask(clickhouse_url, query, default_format=fmt)[2] == whole


def test_streams_are_whole(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(300000)") as blocks:
        assert sum(row[0] for block in blocks for row in block) == 300_000 * 299_999 // 2
    with client.query_arrow_stream("SELECT number, toString(number) AS s FROM numbers(300000)") as batches:
        assert sum(batch.num_rows for batch in batches) == 300_000


@pytest.mark.parametrize(
    "fmt", ["CSVWithNames", "TSVWithNamesAndTypes", "JSONEachRow", "ArrowStream", "Parquet", "JSON"]
)
@pytest.mark.parametrize("rows", [0, 1, 200_000])
def test_a_streamed_result_equals_the_whole_one(client: Client, fmt: str, rows: int) -> None:
    query = f"SELECT number AS n, toString(number) AS s FROM numbers({rows}) ORDER BY n"
    streamed = client.raw_query(query, fmt=fmt)
    if fmt == "JSON":
        assert json.loads(streamed)["rows"] == rows
    elif fmt == "ArrowStream":
        assert pa.ipc.open_stream(streamed).read_all().column("n").to_pylist() == list(range(rows))
    elif fmt == "Parquet":
        assert streamed[:4] == streamed[-4:] == b"PAR1"
    else:
        head = {"CSVWithNames": 1, "TSVWithNamesAndTypes": 2, "JSONEachRow": 0}[fmt]
        assert streamed.count(b"\n") == rows + head


def test_errors_carry_the_number(client: Client) -> None:
    for statement, code in {
        "SELECT * FROM nosuch": 60,
        "SELECT nosuch": 47,
        "SELECT (": 62,
        "SELECT 1 SETTINGS nosuch = 1": 115,
    }.items():
        with pytest.raises(DatabaseError) as caught:
            client.query(statement)
        assert caught.value.code == code


def test_an_error_in_a_stream_is_not_an_end(client: Client) -> None:
    with (
        pytest.raises(Exception, match="non-zero"),
        client.query_row_block_stream(
            "SELECT throwIf(number = 2000000) FROM numbers(3000000)", settings={"max_threads": 1}
        ) as blocks,
    ):
        for _ in blocks:
            pass


def test_a_session_keeps_settings_and_temporary_tables(client: Client) -> None:
    client.command("SET max_block_size = 1234")
    client.command("CREATE TEMPORARY TABLE mine (a Int8)")
    assert client.command("SELECT getSetting('max_block_size')", settings={"max_block_size": 99}) == 99
    assert client.command("SELECT getSetting('max_block_size')") == 1234
    assert client.command("SELECT count() FROM mine") == 0


def test_sessions_are_apart_and_not_shared(clickhouse_url: str) -> None:
    ask(clickhouse_url, "CREATE TEMPORARY TABLE mine (a Int8)", session_id="one")
    assert ask(clickhouse_url, "SELECT count() FROM mine", session_id="one")[2] == b"0\n"
    assert ask(clickhouse_url, "SELECT count() FROM mine", session_id="two")[1]["X-ClickHouse-Exception-Code"] == "60"
    assert (
        ask(clickhouse_url, "SELECT 1", session_id="three", session_check="1")[1]["X-ClickHouse-Exception-Code"]
        == "372"
    )


def test_plain_http(clickhouse_url: str) -> None:
    status, headers, body = ask(clickhouse_url, "SELECT 1 AS a", default_format="JSONEachRow")
    assert (status, body, headers["X-ClickHouse-Format"]) == (200, b'{"a":1}\n', "JSONEachRow")
    assert ask(clickhouse_url, "", b"SELECT 1 + 1")[2] == b"2\n"
    assert ask(clickhouse_url, "SELECT 3", b"FORMAT CSV")[2] == b"3\n"
    assert ask(clickhouse_url, "SELECT {x:String}", param_x="a'b")[2] == b"a\\'b\n"
    assert ask(clickhouse_url, "SELECT currentDatabase()", database="market")[2] == b"market\n"
    assert ask(clickhouse_url, "SELECT 1", headers={"X-ClickHouse-User": "any", "X-ClickHouse-Key": "key"})[0] == 200
    assert ask(clickhouse_url, "SELECT 1", query_id="mine")[1]["X-ClickHouse-Query-Id"] == "mine"
    with urllib.request.urlopen(f"{clickhouse_url}/ping") as answer:
        assert answer.read() == b"Ok.\n"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("INSERT INTO t FORMAT CSV", b'1,"x;"\n2,y\n'),
        ("", b'INSERT INTO t FORMAT JSONEachRow\n{"a":1,"b":"x;"}{"a":2,"b":"y"}'),
        ("INSERT INTO t (a, b) VALUES (1, 'x;'), (2, 'y')", b""),
        ("", b"INSERT INTO t VALUES (1, concat('x', ';')), (2, 'y')"),
        ("INSERT INTO t SELECT 1, 'x;' UNION ALL SELECT 2, 'y'", b""),
        ("INSERT INTO t FORMAT Values", b"(1, 'x;'), (2, 'y')"),
    ],
)
def test_inserts_over_plain_http(client: Client, clickhouse_url: str, query: str, body: bytes) -> None:
    assert ask(clickhouse_url, query, body)[0] == 200
    assert client.query("SELECT * FROM t ORDER BY a").result_rows == [(1, "x;"), (2, "y")]


@pytest.mark.parametrize(
    ("encoding", "pack", "unpack"),
    [
        ("gzip", gzip.compress, gzip.decompress),
        ("lz4", lz4.frame.compress, lz4.frame.decompress),
        ("zstd", zstd.compress, zstd.decompress),
    ],
)
def test_compression_both_ways(client: Client, clickhouse_url: str, encoding: str, pack: Any, unpack: Any) -> None:
    rows = b"".join(b"%d,x\n" % number for number in range(100_000))
    # Two frames, as a client sends that compresses block by block.
    body = pack(rows[:50_000]) + pack(rows[50_000:])
    assert ask(clickhouse_url, "INSERT INTO t FORMAT CSV", body, {"Content-Encoding": encoding})[0] == 200
    assert client.command("SELECT count() FROM t") == 100_000
    _, headers, answer = ask(clickhouse_url, "SELECT a FROM t ORDER BY a", headers={"Accept-Encoding": encoding})
    assert headers["Content-Encoding"] == encoding
    assert unpack(answer).count(b"\n") == 100_000


def test_a_damaged_body_inserts_nothing(client: Client, clickhouse_url: str) -> None:
    status, headers, _ = ask(
        clickhouse_url, "INSERT INTO t FORMAT CSV", b"\x1f\x8bnonsense", {"Content-Encoding": "gzip"}
    )
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "33")
    assert ask(clickhouse_url, "INSERT INTO t FORMAT CSV", b"1,x\nnonsense")[0] == 400
    assert client.command("SELECT count() FROM t") == 0


def test_get_does_not_write(clickhouse_url: str) -> None:
    for statement in (
        "CREATE TABLE default.u (a Int8) ENGINE = Memory",
        "INSERT INTO t VALUES (1, '')",
        "DROP TABLE t",
    ):
        status, headers, _ = ask(clickhouse_url, statement, method="GET")
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "164")
    assert ask(clickhouse_url, "SELECT 1", method="GET")[2] == b"1\n"


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_web_pages_are_refused(clickhouse_url: str, headers: dict[str, str]) -> None:
    assert ask(clickhouse_url, "SELECT 1", headers=headers)[0] == 403


def test_queries_run_side_by_side(clickhouse_url: str) -> None:
    slow = threading.Thread(target=ask, args=(clickhouse_url, "SELECT sleep(2)"))
    slow.start()
    assert ask(clickhouse_url, "SELECT 1")[2] == b"1\n"
    assert slow.is_alive()
    slow.join()


def test_a_server_keeps_port_and_data_through_stop_and_kill(data_dir: Path) -> None:
    server = EmbeddedClickHouse(data_dir, port=0)
    url = server.start()
    assert EmbeddedClickHouse(data_dir, port=0).start() == url  # adopted
    ask(url, TABLE)
    for number in (signal.SIGTERM, signal.SIGKILL):
        ask(url, "INSERT INTO t VALUES (1, 'x')")
        pid = server.pid
        assert pid is not None
        os.kill(pid, number)
        assert wait_until(lambda: server.pid is None, 5)
        assert server.start() == url
    assert ask(url, "SELECT count() FROM t")[2] == b"2\n"
    server.stop()


def test_a_killed_server_comes_back_where_its_clients_look_for_it(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        wanted = stranger.getsockname()[1]
        server = EmbeddedClickHouse(data_dir, port=wanted)
        url = server.start()
        assert url != f"http://127.0.0.1:{wanted}"
    pid = server.pid  # by now the wanted port is free
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: server.pid is None, 5)
    assert server.start() == url
    server.stop()


def second_process(server: EmbeddedClickHouse) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sinks.embedded.clickhouse", "--data-dir", str(server.data_dir)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def test_a_second_process_stands_by_and_ends_with_the_first(data_dir: Path) -> None:
    server = EmbeddedClickHouse(data_dir, port=0)
    url = server.start()
    first, second = server.pid, second_process(server)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(3)  # it watches
    assert server.pid == first
    assert ask(url, "SELECT 1")[2] == b"1\n"
    server.stop()
    assert second.wait(20) == 1  # and says that what it watched is gone, so that a supervisor starts it anew


def test_a_second_process_that_is_told_to_stop_stops_the_first(data_dir: Path) -> None:
    server = EmbeddedClickHouse(data_dir, port=0)
    server.start()
    second = second_process(server)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(3)
    second.terminate()
    assert second.wait(20) == 0
    assert server.pid is None


def test_a_second_process_ends_the_first_if_it_is_frozen(data_dir: Path) -> None:
    server = EmbeddedClickHouse(data_dir, port=0)
    server.start()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    assert second_process(server).wait(30) == 1
    assert not alive(first)
    ask(server.start(), "SELECT 1")
    server.stop()


DAMAGED = ["", "{", "[]", "null", "\udcff", '{"port": "x", "pid": "y"}', '{"port": 99999, "pid": 1}', '{"pid": null}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_run_file_of_one_that_runs_is_told_with_what_to_do(
    clickhouse_server: EmbeddedClickHouse, text: str
) -> None:
    file, pid = clickhouse_server.data_dir / "clickhouse.json", clickhouse_server.pid
    right = file.read_text()
    file.write_bytes(text.encode(errors="surrogateescape"))
    try:
        with pytest.raises(EmbeddedServerError, match=r"clickhouse\.json is damaged") as caught:
            EmbeddedClickHouse(clickhouse_server.data_dir, port=0).start()
        assert f"end its process ({pid})" in str(caught.value)
    finally:
        file.write_text(right)
    assert clickhouse_server.damage is None


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_run_file_of_one_that_does_not_run_is_written_anew(data_dir: Path, text: str) -> None:
    data_dir.mkdir()
    (data_dir / "clickhouse.json").write_bytes(text.encode(errors="surrogateescape"))
    server = EmbeddedClickHouse(data_dir, port=0)
    assert (server.pid, server.damage) == (None, None)
    assert server.url == "http://127.0.0.1:0"
    if text == "[]":  # the others are read alike
        assert ask(server.start(), "SELECT 1")[2] == b"1\n"
        server.stop()


def test_stopping_does_not_wait_for_a_long_query(data_dir: Path) -> None:
    server = EmbeddedClickHouse(data_dir, port=0)
    url = server.start()
    long = threading.Thread(target=_ask_until_cut, args=(url,), daemon=True)
    long.start()
    assert wait_until(lambda: ask(url, "SELECT count() FROM system.processes")[2] != b"1\n", 10)
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: server.pid is None, 3)
    long.join(5)
    assert not long.is_alive()
    server.stop()


def _ask_until_cut(url: str) -> None:
    try:
        ask(url, "SELECT sum(sipHash64(number)) FROM numbers(100000000000)")
    except OSError:
        return
