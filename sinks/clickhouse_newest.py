"""What of a batch is newer than all that the store has of it, so that nobody has to look whether it is there.

A group is what stands before the time in the natural key: an instrument; of bars, an instrument and an interval. No row
of a group that is newer than the newest of its group can be there already. Live rows, and those of a replay of what
the store does not have, are nearly all such rows, and to look for their keys takes longer than to write few of them.

This knows how far each group reaches without asking for it, since nobody else inserts while a session is ours
(`sinks.clickhouse_fence`): what was there when the session began is not newer than the newest row of the whole table
then, and all that came since came through here. So it is good for one session, and has to be made anew with it.
"""

from typing import Final

import polars as pl
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from sinks.columns import TableSpec
from sinks.embedded.sqltext import quote_name

TIMES: Final = {"bars": "ts_open", "books": "ts_event", "quotes": "ts_event", "trades": "ts_event"}
"""Tables partitioned by a time of their key. The server knows its maximum of each part, and reads no rows for it."""


class Newest:
    """How far the groups of each table reach.

    State: one row per group that was written; groups are as many as instruments (times intervals).
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._at_first_ns: dict[str, int] = {}
        self._since: dict[str, pl.DataFrame] = {}

    def not_newer(self, spec: TableSpec, table: pa.Table, spans: pl.DataFrame | None) -> pa.Table:
        """The rows of `table`, of which `spans` are, that may be there. Raises: ClickHouseError."""
        if spans is None:
            return table
        groups, time = _groups(spec), pl.col(TIMES[spec.name])
        known = self._known(spec, spans).filter(pl.col("first") <= pl.col("newest"))
        if known.is_empty():
            return table.slice(0, 0)
        rows = pl.from_arrow(table.select([*groups, TIMES[spec.name]]))
        assert isinstance(rows, pl.DataFrame)
        numbered = rows.with_row_index("row").join(known, on=groups, maintain_order="left")
        return table.take(pa.array(numbered.filter(time <= pl.col("newest"))["row"].to_numpy()))

    def add(self, spec: TableSpec, spans: pl.DataFrame | None) -> None:
        """Note that the rows of which `spans` are there now. Raises: ClickHouseError."""
        if spans is None:
            return
        reached = self._known(spec, spans).select(*_groups(spec), pl.max_horizontal("newest", "last").alias("newest"))
        others = self._since.get(spec.name, reached.clear()).join(reached, on=_groups(spec), how="anti")
        self._since[spec.name] = pl.concat([others, reached])

    def _known(self, spec: TableSpec, spans: pl.DataFrame) -> pl.DataFrame:
        """`spans` with `newest`: no row of the group is newer."""
        if spec.name not in self._at_first_ns:
            time = quote_name(TIMES[spec.name])
            query = f"SELECT toUnixTimestamp64Nano(max({time})) FROM market.{spec.name}"  # 0 without rows
            self._at_first_ns[spec.name] = int(self._client.query(query).result_rows[0][0])
        at_first = pl.lit(self._at_first_ns[spec.name], pl.Int64)
        since = self._since.get(spec.name)
        if since is None:
            return spans.with_columns(at_first.alias("newest"))
        return spans.join(since, on=_groups(spec), how="left").with_columns(pl.col("newest").fill_null(at_first))


def spans_of(spec: TableSpec, table: pa.Table) -> pl.DataFrame | None:
    """From when to when each group of `table` has rows; None if nothing is known of tables like it.

    Shape: rows of `sinks.columns.to_table` -> the columns of a group, `first`, `last`.
    """
    if spec.name not in TIMES:
        return None
    groups, time = _groups(spec), TIMES[spec.name]
    found = table.group_by(groups).aggregate([(time, "min"), (time, "max")])
    frame = pl.from_arrow(found.rename_columns([*groups, "first", "last"]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _groups(spec: TableSpec) -> list[str]:
    return list(spec.key[: spec.key.index(TIMES[spec.name])])
