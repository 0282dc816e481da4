"""Late rows and compressed chunks of TimescaleDB (Timescale's own licence; the Apache edition compresses nothing).

A compressed chunk holds up to 1,000 rows in a segment. For each row inserted there the server unpacks the segments
in which its key could be: 0.7 to 2.5 ms a row (2.19), so that 50,000 of them may take longer than a statement may.
Where many rows lie close together their segments are opened first, all of a stretch at once: 16 us for each row that is
in them (docs/performance.md). The server's own policy compresses the chunk again.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

COMPRESSED: Final = {
    "trades": (("instrument",), "ts_event"),
    "quotes": (("instrument",), "ts_event"),
    "books": (("instrument",), "ts_event"),
    "bars": (("instrument", "interval"), "ts_open"),
}
"""The compressed tables: the columns that a segment is of, and the one of its time (sql/timescale/0010_pieces.sql)."""

COMPRESSED_AFTER: Final = timedelta(days=6)  # the policy's are 7: what is younger need not be asked about
STRETCH_NS: Final = 15 * 60 * 10**9  # 1,000 rows a second for so long are opened in 15 s
OPENING_S: Final = 20.0  # rows that are scattered over many segments go faster one by one

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Range = tuple[datetime, datetime]
"""Of a chunk: from, and up to but without."""


class Stretch(NamedTuple):
    """Late rows that lie close together."""

    rows: int
    segment: tuple[str, ...]
    """Values of the segment's columns."""
    begins_ns: int
    ends_ns: int


def compresses(connection: psycopg.Connection) -> bool:
    """Whether the server compresses chunks."""
    row = connection.execute("SELECT current_setting('timescaledb.license', true)").fetchone()
    return row is not None and row[0] == "timescale"


def open_segments(connection: psycopg.Connection, name: str, table: pa.Table) -> bool:
    """Open the segments that rows about to be inserted lie in, the fullest stretches first, for OPENING_S at most.

    Call it within the transaction of the insert. Returns whether any row lies in a compressed chunk: then the insert
    may take long.
    """
    of_segment, at = COMPRESSED[name]
    times = pc.min_max(table.column(at))
    first, last = _time(times["min"].as_py()), _time(times["max"].as_py())
    if first > datetime.now(UTC) - COMPRESSED_AFTER:
        return False
    found = stretches(name, table, _compressed_chunks(connection, name, first, last))
    # An UPDATE of no row: the server opens each segment in which there could be one, and must not foresee that none is.
    # Its column is none of the key: one of those cannot be changed in a compressed chunk (2.29).
    opening = sql.SQL(
        "UPDATE {table} SET venue = venue WHERE {same} AND {at} BETWEEN %s AND %s AND random() < 0"
    ).format(
        table=sql.Identifier("market", name),
        same=sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(each)) for each in of_segment),
        at=sql.Identifier(at),
    )
    until = time.monotonic() + OPENING_S
    for stretch in found:
        if time.monotonic() > until:
            break
        connection.execute(opening, [*stretch.segment, _time(stretch.begins_ns), _time(stretch.ends_ns)])
    return bool(found)


def stretches(name: str, table: pa.Table, chunks: Sequence[Range]) -> list[Stretch]:
    """Group those rows of a table that lie in `chunks` by segment and stretch of time; the fullest first.

    Shape: table(columns of the segment, time, ...) -> one item per segment and STRETCH_NS in which there is a row.
    """
    of_segment, at = COMPRESSED[name]
    times, chosen = table.column(at), pa.chunked_array([pa.repeat(False, table.num_rows)])
    for begins, ends in chunks:
        within = pc.and_(pc.greater_equal(times, _ns(begins)), pc.less(times, _ns(ends)))
        chosen = pc.or_(chosen, within)
    late = table.select([*of_segment, at]).filter(chosen)
    numbered = late.append_column("stretch", pc.divide(late.column(at), STRETCH_NS))
    groups = numbered.group_by([*of_segment, "stretch"]).aggregate([(at, "count"), (at, "min"), (at, "max")])
    found = [
        Stretch(row[f"{at}_count"], tuple(row[each] for each in of_segment), row[f"{at}_min"], row[f"{at}_max"])
        for row in groups.to_pylist()
    ]
    return sorted(found, reverse=True)


def _compressed_chunks(connection: psycopg.Connection, name: str, first: datetime, last: datetime) -> list[Range]:
    found: list[Range] = connection.execute(
        "SELECT range_start, range_end FROM timescaledb_information.chunks WHERE hypertable_schema = 'market' "
        "AND hypertable_name = %s AND is_compressed AND range_end > %s AND range_start <= %s",
        [name, first, last],
    ).fetchall()
    return found


def _time(ns: int) -> datetime:
    # Rounded down to microseconds, as the column is.
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _ns(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(microseconds=1) * 1000
