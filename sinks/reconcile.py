"""Compare both stores where they are: a count and a sum of row hashes per table, instrument and UTC day.

A row's hash is the first 64 bits of the MD5 of its canonical line (sinks/canonical.py), computed by each store itself,
so that only sums travel. The rows of the first part that differs are then read from both, to name the row.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

import clickhouse_connect
import psycopg
from clickhouse_connect.driver.client import Client
from psycopg import sql

from sinks.canonical import clickhouse_texts, compared_columns, timescale_texts
from sinks.columns import Column, TableSpec, table_names, table_spec
from sinks.embedded.sqltext import quote_name
from sinks.failures import clickhouse_failures, timescale_failures

_Line: TypeAlias = tuple[str, ...]
_Lines: TypeAlias = defaultdict[_Line, Counter[_Line]]
"""Rows by their key, and how often each is there: once, if nobody else writes into the store."""

_DAY_NS: Final = 86_400 * 10**9
_TIMES: Final = ("ts_event", "ts_open", "ts_made", "ts_detected", "ts_recv")
"""What tells the day of a row, the first of them that the table has."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """The rows of a table of one instrument ('' where there is none) and UTC day (None where no time is known)."""

    table: str
    instrument: str
    day: int | None

    @property
    def date(self) -> date | None:
        return None if self.day is None else date(1970, 1, 1) + timedelta(days=self.day)

    def __str__(self) -> str:
        return f"{self.table}, instrument '{self.instrument}', day {self.date or 'unknown'}"


@dataclass(frozen=True, slots=True)
class Digest:
    """What a part comes to, whatever the order of its rows."""

    rows: int
    sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first difference. A line is None where a store does not have the row; `columns` names the fields of both.

    Both lines are the same where a store has one of them more often: `*_times` is how often. Both are None where the
    rows that were read are the same: they came after they were counted.
    """

    part: Part
    timescale: Digest
    clickhouse: Digest
    columns: tuple[str, ...]
    timescale_line: tuple[str, ...] | None
    clickhouse_line: tuple[str, ...] | None
    timescale_times: int
    clickhouse_times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """`rows` and `parts` that were compared, and the first difference by table, instrument and day, if any."""

    rows: int
    parts: int
    differing: int
    first: Difference | None


def reconcile(dsn: str, url: str, *, wall_clock: bool = False) -> Reconciled:
    """Compare the stores at two addresses. `wall_clock` compares the columns that differ between two runs, too.

    Raises: StoreUnavailable, StoreRejected (not migrated).
    """
    with timescale_failures(), psycopg.connect(dsn) as connection, clickhouse_failures():
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False, compress=False)
        try:
            return _reconcile(connection, client, wall_clock)
        finally:
            client.close()


def _reconcile(connection: psycopg.Connection, client: Client, wall_clock: bool) -> Reconciled:
    rows = parts = differing = 0
    first: Difference | None = None
    for name in table_names():
        spec = table_spec(name)
        ours, theirs = _timescale_digests(connection, spec, wall_clock), _clickhouse_digests(client, spec, wall_clock)
        found = sorted(_unequal(ours, theirs), key=lambda part: (part.instrument, part.day is None, part.day or 0))
        rows += sum(digest.rows for digest in ours.values())
        parts += len(ours.keys() | theirs.keys())
        differing += len(found)
        if found and first is None:
            nothing = Digest(0, 0)
            a, b = ours.get(found[0], nothing), theirs.get(found[0], nothing)
            first = _first_row(connection, client, spec, wall_clock, found[0], a, b)
    return Reconciled(rows=rows, parts=parts, differing=differing, first=first)


def _unequal(ours: Mapping[Part, Digest], theirs: Mapping[Part, Digest]) -> Iterator[Part]:
    return (part for part in ours.keys() | theirs.keys() if ours.get(part) != theirs.get(part))


def _time_of(spec: TableSpec) -> str | None:
    names = {column.name for column in spec.columns}
    return next((name for name in _TIMES if name in names), None)


def _has_instrument(spec: TableSpec) -> bool:
    return any(column.name == "instrument" for column in spec.columns)


# In PostgreSQL. Days are rounded down before 1970, too, in integers only.


def _timescale_part(spec: TableSpec) -> tuple[sql.Composable, sql.Composable]:
    instrument = sql.SQL("coalesce(instrument, '')") if _has_instrument(spec) else sql.SQL("''")
    time = _time_of(spec)
    if time is None:
        return instrument, sql.SQL("NULL::bigint")
    ns, day = sql.Identifier(f"{time}_ns"), sql.Literal(_DAY_NS)
    return instrument, sql.SQL("({ns} - mod(mod({ns}, {day}) + {day}, {day})) / {day}").format(ns=ns, day=day)


def _timescale_fields(spec: TableSpec, wall_clock: bool) -> list[sql.Composed]:
    texts = timescale_texts(compared_columns(spec, wall_clock))
    return [sql.SQL("coalesce(({})::text, '\\N')").format(text) for text in texts]


def _timescale_digests(connection: psycopg.Connection, spec: TableSpec, wall_clock: bool) -> dict[Part, Digest]:
    instrument, day = _timescale_part(spec)
    line = sql.SQL("concat_ws(E'\\t', {})").format(sql.SQL(", ").join(_timescale_fields(spec, wall_clock)))
    query = sql.SQL(
        "SELECT {} AS i, {} AS d, count(*), sum(('x' || left(md5({}), 16))::bit(64)::bigint) FROM {} GROUP BY i, d"
    ).format(instrument, day, line, sql.Identifier("market", spec.name))
    return {Part(spec.name, row[0], row[1]): Digest(row[2], int(row[3])) for row in connection.execute(query)}


def _timescale_lines(connection: psycopg.Connection, spec: TableSpec, wall_clock: bool, part: Part) -> _Lines:
    instrument, day = _timescale_part(spec)
    fields = sql.SQL(", ").join(_timescale_fields(spec, wall_clock))
    query = sql.SQL("SELECT {} FROM {} WHERE {} = %s AND {} IS NOT DISTINCT FROM %s").format(
        fields, sql.Identifier("market", spec.name), instrument, day
    )
    return _by_key(spec, wall_clock, connection.execute(query, [part.instrument, part.day]))


# In ClickHouse.


def _clickhouse_part(spec: TableSpec) -> tuple[str, str]:
    instrument = "ifNull(toString(t.instrument), '')" if _has_instrument(spec) else "''"
    time = _time_of(spec)
    if time is None:
        return instrument, "CAST(NULL AS Nullable(Int64))"
    ns = f"toUnixTimestamp64Nano(t.{time})"
    return instrument, f"intDiv({ns} - positiveModulo({ns}, {_DAY_NS}), {_DAY_NS})"


def _clickhouse_fields(spec: TableSpec, wall_clock: bool) -> list[str]:
    return [f"ifNull(toString({text}), '\\\\N')" for text in clickhouse_texts(compared_columns(spec, wall_clock))]


def _clickhouse_digests(client: Client, spec: TableSpec, wall_clock: bool) -> dict[Part, Digest]:
    instrument, day = _clickhouse_part(spec)
    line = f"concatWithSeparator('\\t', {', '.join(_clickhouse_fields(spec, wall_clock))})"
    row_hash = f"reinterpretAsInt64(reverse(substring(MD5({line}), 1, 8)))"
    query = (
        f"SELECT {instrument} AS i, {day} AS d, count(), toString(sum(toInt128({row_hash})))"
        f" FROM market.{quote_name(spec.name)} AS t GROUP BY i, d"
    )
    return {Part(spec.name, row[0], row[1]): Digest(row[2], int(row[3])) for row in client.query(query).result_rows}


def _clickhouse_lines(client: Client, spec: TableSpec, wall_clock: bool, part: Part) -> _Lines:
    instrument, day = _clickhouse_part(spec)
    fields = ", ".join(f"{field} AS c{at}" for at, field in enumerate(_clickhouse_fields(spec, wall_clock)))
    # A Nullable parameter compares as nothing at all: the day is asked for by two conditions.
    wanted = f"{day} IS NULL" if part.day is None else f"{day} = {{day:Int64}}"
    table = quote_name(spec.name)
    query = f"SELECT {fields} FROM market.{table} AS t WHERE {instrument} = {{instrument:String}} AND {wanted}"
    found = client.query(query, parameters={"instrument": part.instrument, "day": part.day or 0})
    return _by_key(spec, wall_clock, found.result_rows)


# The row.


def _by_key(spec: TableSpec, wall_clock: bool, rows: Iterable[Sequence[str]]) -> _Lines:
    names = [column.name for column in compared_columns(spec, wall_clock)]
    places = [names.index(name) for name in spec.key]
    lines: _Lines = defaultdict(Counter)
    for row in rows:
        lines[tuple(row[at] for at in places)][tuple(row)] += 1
    return lines


def _first_row(
    connection: psycopg.Connection,
    client: Client,
    spec: TableSpec,
    wall_clock: bool,
    part: Part,
    ours: Digest,
    theirs: Digest,
) -> Difference:
    mine = _timescale_lines(connection, spec, wall_clock, part)
    yours = _clickhouse_lines(client, spec, wall_clock, part)
    columns = compared_columns(spec, wall_clock)
    kinds = {column.name: column.kind for column in columns}
    numbers = [kinds[name] in ("time", "integer") for name in spec.key]

    def in_order(key: tuple[str, ...]) -> tuple[int | str, ...]:
        return tuple(int(text) if number else text for text, number in zip(key, numbers, strict=True))

    unequal = [key for key in mine.keys() | yours.keys() if mine[key] != yours[key]]
    key = min(unequal, key=in_order, default=())
    line, other = _unequal_lines(mine[key], yours[key])
    return Difference(
        part=part,
        timescale=ours,
        clickhouse=theirs,
        columns=tuple(column.name for column in columns),
        timescale_line=_shown(columns, line),
        clickhouse_line=_shown(columns, other),
        timescale_times=0 if line is None else mine[key][line],
        clickhouse_times=0 if other is None else yours[key][other],
    )


def _unequal_lines(mine: Counter[_Line], yours: Counter[_Line]) -> tuple[_Line | None, _Line | None]:
    """Of the rows of one key: a line that is only, or more often, in one store, and what the other has instead."""
    line, other = (min(more, default=None) for more in (mine - yours, yours - mine))
    if other is None and line in yours:
        other = line
    if line is None and other in mine:
        line = other
    return line, other


def _shown(columns: list[Column], line: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The line for a reader: text as text, times in UTC to the ns, decimals with their point."""
    return None if line is None else tuple(_show(column, text) for column, text in zip(columns, line, strict=True))


def _show(column: Column, text: str) -> str:
    if text == "\\N":
        return "null"
    if column.kind == "text":
        return bytes.fromhex(text).decode()
    if column.kind == "time":
        seconds, ns = divmod(int(text), 10**9)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09}Z"
    if column.kind in ("decimal", "volume"):
        sign, units = ("-" if text.startswith("-") else ""), text.lstrip("-").rjust(10, "0")
        return f"{sign}{units[:-9]}.{units[-9:]}".rstrip("0").rstrip(".")
    return text
