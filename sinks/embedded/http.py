"""ClickHouse's HTTP interface in front of the engine: what clickhouse-connect, curl and Grafana speak.

    GET  /ping                       "Ok."
    GET  /?query=...                 read-only statements
    POST /?query=...&setting=value   the body is the query, or goes on with it, or is the data of its INSERT

Understood: `database default_format query_id session_id session_timeout session_check wait_end_of_query
enable_http_compression param_*` and every setting of the engine as URL parameter; X-ClickHouse-Database,
-Format; Content-Encoding and Accept-Encoding gzip, deflate, lz4, zstd. User and key are accepted and not
checked: the port is on loopback, and requests that come by way of a web page (a foreign Origin or Host) are
refused. Not there: `compress=1` (ClickHouse's own framing), external tables in multipart forms.

Source: https://clickhouse.com/docs/interfaces/http; status codes from exceptionCodeToHTTPStatus.cpp.
"""

import json
import secrets
import socket
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import BinaryIO, Final, cast

from sinks.embedded.bodies import (
    BadBody,
    can_stream,
    choose_encoding,
    compressed,
    decompressed,
    joined,
    read_raw,
)
from sinks.embedded.engine import Engine, EngineError, Stats
from sinks.embedded.guard import Refused, SeveralStatements, check, check_values
from sinks.embedded.sessions import DEFAULT_TIMEOUT_S, Session, Sessions
from sinks.embedded.sqltext import Insert, UnreadableSql, find_insert, quote, split_format, tokens

MAX_QUERY_BYTES: Final = 64 << 20
MAX_RUNNING: Final = 32
"""Statements at a time; more wait. Each may take two threads of the engine."""

_FIRST_READ_BYTES: Final = 1 << 16

_TRANSPORT_PARAMETERS: Final = frozenset(
    {
        *("query", "database", "default_format", "user", "password", "query_id", "quota_key", "role", "stacktrace"),
        *("session_id", "session_timeout", "session_check", "compress", "decompress", "wait_end_of_query"),
        *("buffer_size", "client_protocol_version", "enable_http_compression", "http_zlib_compression_level"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header", "readonly"),
        *("cancel_http_readonly_queries_on_client_close", "http_response_buffer_size", "close_session"),
    }
)
_RESULT_WORDS: Final = frozenset(
    {"select", "with", "show", "describe", "desc", "explain", "exists", "check", "from", "values", "kill", "("}
)
_LOCAL_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})

# exceptionCodeToHTTPStatus.cpp; everything else is 500.
_BAD_REQUEST: Final = frozenset({6, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 70, 72, 117, 130, 131, 321, 441, 456})
_NOT_FOUND: Final = frozenset({46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 371, 372, 511})
_STATUS: Final = {497: 403, 164: 403, 48: 501, 62: 400, 159: 408, 202: 503, 223: 503, 241: 500, 373: 500}


def http_status(code: int) -> int:
    """The HTTP status of a ClickHouse error number."""
    if code in _BAD_REQUEST:
        return 400
    return 404 if code in _NOT_FOUND else _STATUS.get(code, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One request, ready to run: `insert` with its `data`, or a query with the `fmt` of its result."""

    sql: str
    fmt: str
    has_result: bool
    insert: Insert | None
    data: Iterator[bytes]


def _error(code: int, message: str, name: str) -> EngineError:
    return EngineError(f"Code: {code}. DB::Exception: {message}. ({name})", code)


def parse_statement(url_query: str, body: Iterator[bytes], default_format: str) -> Statement:
    """Put the statement together from the URL and the body; the data of an INSERT is left unread.

    Raises: UnreadableSql; EngineError if the query is longer than MAX_QUERY_BYTES.
    """
    head = url_query.encode()
    if head:
        head += b"\n"
    for chunk in body:
        head += chunk
        if len(head) >= _FIRST_READ_BYTES:
            break
    while True:
        text = head.decode("latin-1")
        try:
            insert = find_insert(text)
        except UnreadableSql:
            insert = None
        if insert is not None and insert.data_start < len(text):
            break
        more = next(body, b"")
        if not more:
            break
        head += more
        if len(head) > MAX_QUERY_BYTES:
            raise _error(62, f"Max query size exceeded ({MAX_QUERY_BYTES} bytes)", "SYNTAX_ERROR")
    if insert is None:
        return _query_statement(text, default_format)
    sql = insert.sql.encode("latin-1").decode()
    data = chain([head[insert.data_start :]], body)
    return Statement(sql=sql, fmt=insert.format, has_result=False, insert=insert, data=data)


def _query_statement(text: str, default_format: str) -> Statement:
    rest, fmt = split_format(text)
    first = next(tokens(rest), None)
    has_result = first is not None and first.text.lower() in _RESULT_WORDS
    sql = (rest if has_result else text).encode("latin-1").decode()
    return Statement(sql=sql, fmt=fmt or default_format, has_result=has_result, insert=None, data=iter(()))


class ClickHouseHttpServer(ThreadingHTTPServer):
    """The listening server; one thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], engine: Engine) -> None:
        super().__init__(address, _Handler)
        self.engine = engine
        self.sessions = Sessions(engine)
        self.running = threading.BoundedSemaphore(MAX_RUNNING)

    def finish(self, timeout_s: float) -> bool:
        """Wait until no statement runs; False if some still do after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        taken = 0
        while taken < MAX_RUNNING and self.running.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            taken += 1
        return taken == MAX_RUNNING

    def server_bind(self) -> None:
        # The parent looks up the host's name, which may ask a name server.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: ClickHouseHttpServer
    protocol_version = "HTTP/1.1"
    server_version = "ClickHouse"
    sys_version = ""
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    _broken = False  # an error came when the answer had begun: the connection ends

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (name of the parent)
        """Queries are not logged: they may hold what the user types."""

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        parameters = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and not parameters.get("query")):
            self._send_text(200, "Ok.\n")
        else:
            self._serve(url.path, parameters, may_write=False)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        parameters = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self._serve(url.path, parameters, may_write=True)

    do_PUT = do_POST  # noqa: N815

    def _serve(self, path: str, parameters: Mapping[str, str], may_write: bool) -> None:
        body = self._body()
        try:
            self._refuse_strangers(path)
            self._check_transport(parameters)
            with self.server.running:
                self._execute(parameters, decompressed(body, self._content_encoding()), may_write)
        except (EngineError, Refused, SeveralStatements, UnreadableSql, BadBody, UnicodeDecodeError) as error:
            self._send_error(_as_engine_error(error), body)
        except ConnectionError:
            self.close_connection = True  # the client went away

    def _body(self) -> Iterator[bytes]:
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        length = self.headers.get("Content-Length", "0")
        return read_raw(cast(BinaryIO, self.rfile), int(length) if length.isdigit() else 0, chunked)

    def _content_encoding(self) -> str:
        return str(self.headers.get("Content-Encoding", "")).strip().lower()

    def _refuse_strangers(self, path: str) -> None:
        # A page in the user's browser can send requests to loopback; nothing it can forge names us.
        for header in ("Host", "Origin"):
            value = self.headers.get(header)
            if value and urllib.parse.urlsplit(value if "//" in value else f"//{value}").hostname not in _LOCAL_NAMES:
                raise _error(497, f"{header} {value} is not this machine", "ACCESS_DENIED")
        if path not in ("/", "/query"):
            raise _error(404, f"There is no handle {path}", "NOT_FOUND")

    def _check_transport(self, parameters: Mapping[str, str]) -> None:
        for name in ("compress", "decompress"):
            if parameters.get(name, "0") not in ("0", "false"):
                raise _error(48, f"{name}=1 is not supported, use Content-Encoding", "NOT_IMPLEMENTED")
        if self.headers.get("Content-Type", "").startswith("multipart/"):
            raise _error(48, "External tables in a form are not supported", "NOT_IMPLEMENTED")
        if self._content_encoding() not in ("", "identity", "gzip", "deflate", "lz4", "zstd"):
            raise _error(48, f"Content-Encoding {self._content_encoding()} is not supported", "NOT_IMPLEMENTED")

    def _execute(self, parameters: Mapping[str, str], body: Iterator[bytes], may_write: bool) -> None:
        fmt = parameters.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        statement = parse_statement(parameters.get("query", ""), body, fmt)
        if not statement.sql.strip():
            raise _error(62, "Syntax error: Empty query", "SYNTAX_ERROR")
        check(statement.sql.encode().decode("latin-1"), self.server.engine.refused)
        settings = {
            name: quote(value)
            for name, value in parameters.items()
            if name not in _TRANSPORT_PARAMETERS and not name.startswith("param_")
        }
        if not all(name.replace("_", "").isalnum() for name in settings):
            raise _error(115, "Unknown setting", "UNKNOWN_SETTING")
        timeout = parameters.get("session_timeout", "")
        lent = self.server.sessions.session(
            parameters.get("session_id") or None,
            float(timeout) if timeout.isdigit() else DEFAULT_TIMEOUT_S,
            parameters.get("session_check") == "1",
        )
        with ExitStack() as stack:
            session = stack.enter_context(lent)
            if not may_write or parameters.get("readonly", "0") != "0":
                _require_read_only(session, statement)
            database = parameters.get("database") or self.headers.get("X-ClickHouse-Database")
            if database:
                session.handle.use(database)
            stack.enter_context(session.with_settings(settings))
            self._run(session, statement, parameters)

    def _run(self, session: Session, statement: Statement, parameters: Mapping[str, str]) -> None:
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        if statement.insert is not None:
            data = statement.data
            if statement.fmt.lower() == "values":
                data = self._checked_values(data)
            stats = session.handle.insert(statement.sql, statement.fmt, data)
            self._send_result(query_id, None, stats, [b""])
            return
        bound = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
        wants_all = parameters.get("wait_end_of_query") == "1"
        first = next(tokens(statement.sql), None)
        streams = first is not None and first.text.lower() in ("select", "with", "(")
        if statement.has_result and streams and can_stream(statement.fmt) and not wants_all:
            # Closed before anything else happens on the handle, also when the client went away.
            with closing(session.handle.stream(statement.sql, statement.fmt, bound)) as stream:
                try:
                    blocks: Iterable[bytes] = joined(chain([next(stream)], stream), statement.fmt)
                except StopIteration as end:
                    blocks = [end.value]
                self._send_result(query_id, statement.fmt, Stats(), blocks)
            return
        document, stats = session.handle.query(statement.sql, statement.fmt, bound)
        session.remember(statement.sql)
        self._send_result(query_id, statement.fmt if statement.has_result else None, stats, [document])

    def _checked_values(self, data: Iterator[bytes]) -> Iterator[bytes]:
        whole = b""
        for chunk in data:
            whole += chunk
            if len(whole) > MAX_QUERY_BYTES:
                raise _error(62, "VALUES are too long, use another format", "SYNTAX_ERROR")
        check_values(whole.decode("latin-1"), self.server.engine.refused)
        return iter([whole])

    def _send_result(self, query_id: str, fmt: str | None, stats: Stats, chunks: Iterable[bytes]) -> None:
        encoding = choose_encoding(self.headers.get("Accept-Encoding", ""))
        self.send_response(200)
        self.send_header("Content-Type", _content_type(fmt))
        self.send_header("X-ClickHouse-Query-Id", query_id)
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("X-ClickHouse-Server-Display-Name", "mandi")
        self.send_header("X-ClickHouse-Summary", json.dumps({k: str(v) for k, v in asdict(stats).items()}))
        if fmt is not None:
            self.send_header("X-ClickHouse-Format", fmt)
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        if isinstance(chunks, list):
            self._send_whole(b"".join(compressed(chunks, encoding)))
            return
        tag = secrets.token_hex(8)
        self.send_header("X-ClickHouse-Exception-Tag", tag)
        self._send_chunked(compressed(self._with_error(chunks, tag), encoding))

    def _with_error(self, chunks: Iterable[bytes], tag: str) -> Iterator[bytes]:
        # The status is sent already. As a server does since 25.11: the error goes into the stream between tags,
        # and the stream ends without its last chunk.
        try:
            yield from chunks
        except EngineError as error:
            self.close_connection = self._broken = True
            text = error.text.rstrip().encode() + b"\n"
            mark = tag.encode()
            yield b"\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n" % (mark, text, len(text), mark)

    def _send_whole(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_chunked(self, chunks: Iterator[bytes]) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        for chunk in chunks:
            self.wfile.write(b"%x\r\n" % len(chunk))
            self.wfile.write(chunk)
            self.wfile.write(b"\r\n")
        if not self._broken:
            self.wfile.write(b"0\r\n\r\n")

    def _send_text(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=UTF-8")
        self._send_whole(data)

    def _send_error(self, error: EngineError, body: Iterator[bytes]) -> None:
        self._drain(body)
        data = error.text.rstrip().encode() + b"\n"
        self.send_response(http_status(error.code))
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("X-ClickHouse-Exception-Code", str(error.code))
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self._send_whole(data)

    def _drain(self, body: Iterator[bytes]) -> None:
        # A client that still sends would not see the answer.
        try:
            for _ in body:
                pass
        except BadBody:
            self.close_connection = True


def _require_read_only(session: Session, statement: Statement) -> None:
    if statement.insert is None and session.handle.is_read_only(statement.sql):
        return
    raise _error(
        164,
        "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
        "You should use method POST for modifying queries",
        "READONLY",
    )


def _as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, Refused):
        return _error(497, str(error), "ACCESS_DENIED")
    if isinstance(error, BadBody):
        return _error(33, str(error), "CANNOT_READ_ALL_DATA")
    return _error(62, f"Syntax error: {error}", "SYNTAX_ERROR")


def _content_type(fmt: str | None) -> str:
    name = (fmt or "").lower()
    if name.startswith("json"):
        each_row = "eachrow" in name
        return "application/x-ndjson; charset=UTF-8" if each_row else "application/json; charset=UTF-8"
    if name.startswith(("csv", "tabseparated", "tsv")):
        kind = "csv" if name.startswith("csv") else "tab-separated-values"
        return f"text/{kind}; charset=UTF-8"
    return "application/octet-stream" if name in ("native", "rowbinary", "arrowstream") else "text/plain; charset=UTF-8"
