"""The chDB engine behind typed calls: handles, results, streams, inserts, and its errors as values.

One process hosts one engine. A handle costs 0.1 ms and has its own settings, current database and temporary
tables, like a connection; calls on different handles run in parallel (the engine releases the GIL), calls on
one handle must not overlap.
"""

import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from chdb import _chdb as chdb_module

from sinks.embedded.guard import refused_functions
from sinks.embedded.sqltext import quote_name

DEFAULT_DATABASE_UUID: Final = "6d616e64-6900-4000-8000-000000000001"

_CHDB: Final[Any] = chdb_module  # its classes are made by C++
_CODE: Final = re.compile(r"Code: (\d+)\.")
_NAME: Final = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*$")


class EngineError(Exception):
    """The engine refused a statement. `code` is ClickHouse's error number, `text` its whole message."""

    def __init__(self, text: str, code: int | None = None) -> None:
        found = _CODE.search(text)
        self.code = code if code is not None else int(found[1]) if found else 1002  # UNKNOWN_EXCEPTION
        self.text = text[found.start() :].strip() if found else text.strip()
        super().__init__(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a statement did, as in the header X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


class Handle:
    """One connection to the engine. Not for several threads at once."""

    def __init__(self, uri: str) -> None:
        self._conn: Any = _CHDB.connect(uri)

    def set(self, settings: Mapping[str, str]) -> None:
        """Apply settings until they are set again. `DEFAULT` is the unquoted keyword, everything else a value."""
        if settings:
            pairs = (f"{name} = {value}" for name, value in settings.items())
            self.query("SET " + ", ".join(pairs))

    def use(self, database: str) -> None:
        self.query(f"USE {quote_name(database)}")

    def query(
        self, sql: str, fmt: str = "TabSeparated", params: Mapping[str, str] | None = None
    ) -> tuple[bytes, Stats]:
        """Run one statement to its end. Raises: EngineError."""
        try:
            result = self._conn.query(sql, fmt, params=dict(params or {}))
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        return result.bytes() or b"", _stats(result)

    def stream(self, sql: str, fmt: str, params: Mapping[str, str] | None = None) -> Generator[bytes, None, bytes]:
        """Yield the result of a SELECT block by block, each encoded on its own; without rows, return its document.

        Raises: EngineError.
        """
        try:
            result = self._conn.send_query(sql, fmt, params=dict(params or {}))
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        finished = False
        try:
            empty, chunk = self._fetch(result)
            if chunk is None:  # what comes first may have a header only
                _, chunk = self._fetch(result)
            while chunk is not None:
                yield chunk
                _, chunk = self._fetch(result)
            finished = True
            return empty
        except EngineError:
            finished = True
            raise
        finally:
            if not finished:  # the reader went away
                self._conn.streaming_cancel_query(result)

    def _fetch(self, result: Any) -> tuple[bytes, bytes | None]:
        """The next block; and once more, or None if it has no rows."""
        try:
            chunk = self._conn.streaming_fetch_result(result)
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        data: bytes = b"" if chunk is None else chunk.bytes() or b""
        return data, data if chunk is not None and chunk.rows_read() else None

    def insert(self, sql: str, fmt: str, chunks: Iterable[bytes]) -> Stats:
        """Feed `chunks`, encoded as `fmt`, to an INSERT without FORMAT clause. Raises: EngineError.

        Delivery: committed when it returns. If `chunks` raises, the insert is cancelled; whole blocks (of about
            a million rows) that were written before stay. If another insert fails in the same moment, this one may
            raise although it went in.
        """
        failed_before = self._failed_inserts()
        try:
            insert = self._conn.send_insert(sql, fmt)
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        finished = False
        try:
            for chunk in chunks:
                self._conn.insert_append(insert, chunk)
            result = self._conn.insert_done(insert)
            finished = True
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        finally:
            if not finished:
                self._conn.insert_cancel(insert)
        if self._failed_inserts() != failed_before:
            raise EngineError(self._newest_error())
        return Stats(
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            elapsed_ns=int(result.elapsed() * 1e9),
        )

    # chDB 26.9 says of an insert that failed at its end, on a full disk say, that all of its rows were written
    # (found 2026-11-21). The engine's own count of failures knows better.
    def _failed_inserts(self) -> bytes:
        return self.query("SELECT value FROM system.events WHERE event = 'FailedInsertQuery'")[0]

    def _newest_error(self) -> str:
        found, _ = self.query(
            "SELECT format('Code: {}. DB::Exception: {}. ({})', toString(code), last_error_message, name)"
            " FROM system.errors ORDER BY last_error_time DESC LIMIT 1",
            "TSVRaw",
        )
        return found.decode(errors="replace").strip()

    def is_read_only(self, sql: str) -> bool:
        kind = self._conn.classify_query(sql, "")["query_class"]
        return bool(kind == _CHDB.query_class.READ_ONLY)

    def close(self) -> None:
        self._conn.close()


def _stats(result: Any) -> Stats:
    return Stats(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


class Engine:
    """The engine of this process, on a directory it owns."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        memory_bytes = psutil.virtual_memory().total // 2
        # The engine shares the machine with the pipeline; its own default is nine tenths of the memory.
        self._uri = f"{directory}?max_server_memory_usage={memory_bytes}&mark_cache_size=268435456"
        _forget_empty_default(directory)
        _CHDB.set_signal_handlers_enabled(0)  # SIGTERM is ours
        self._root = self.open()
        self._close_file_overlay()
        names, _ = self._root.query("SELECT name FROM system.table_functions")
        self.refused = refused_functions(names.decode().split())

    def open(self) -> Handle:
        return Handle(self._uri)

    def close(self) -> None:
        self._root.close()

    # chDB's `default` is an overlay of the file system: SELECT * FROM '/etc/passwd' reads that file.
    def _close_file_overlay(self) -> None:
        """Replace the database `default`, where any file name reads as a table, by a plain one on the same data."""
        self._root.query("DETACH DATABASE default")
        self._root.query(f"ATTACH DATABASE default UUID '{DEFAULT_DATABASE_UUID}' ENGINE = Atomic")


def _forget_empty_default(directory: Path) -> None:
    # Found 2026-11-21, chDB 26.9: re-attaching a database without tables fails with "Cannot find UUID mapping",
    # while one that never was is attached gladly. So one without tables is made to never have been.
    uuid = DEFAULT_DATABASE_UUID
    if any((directory / "store" / uuid[:3] / uuid).glob("*.sql")):
        return
    for name in ("default.sql", "default.sql.tmp", "default"):
        (directory / "metadata" / name).unlink(missing_ok=True)
