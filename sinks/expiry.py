"""Delete the raw rows (trades, quotes, books) that are too old from both stores: the same rows, in whole pieces.

Both cut at the beginning of a month: a partition of ClickHouse and of plain PostgreSQL is a month, and a chunk of
TimescaleDB ends with one. So stores that held the same rows hold the same rows afterwards. All other tables are kept.

One that is killed half way has deleted from whole tables (PostgreSQL) or whole months (ClickHouse); the next one
deletes the rest.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import clickhouse_connect
import psycopg

from sinks.failures import clickhouse_failures, timescale_failures
from sinks.faults import crash_point
from sinks.timescale import RAW_TABLES

_SECOND_NS: Final = 10**9

# One at a time, and none while a piece is made (make_room takes the same lock): each counts rows first and then wants
# the table for itself, so two would wait for each other. The other may be the statement of one that was killed, for a
# server goes on with that.
_DROP: Final = "SELECT market.drop_before(%s, %s) FROM pg_advisory_xact_lock(hashtext('market.make_room'))"


def cut_before(now_ns: int, keep: timedelta) -> datetime:
    """The beginning of the month (UTC) that is at least `keep` ago.

    Example:
        >>> cut_before(1_795_231_397_000_000_000, timedelta(days=90)).isoformat()
        '2026-08-01T00:00:00+00:00'
    """
    oldest = datetime.fromtimestamp(now_ns // _SECOND_NS, UTC) - keep
    return oldest.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def expire_timescale(dsn: str, cut: datetime) -> dict[str, int]:
    """Delete raw rows before `cut`; return how many by table. Raises: StoreUnavailable, StoreRejected."""
    with timescale_failures(), psycopg.connect(dsn, autocommit=True) as connection:
        gone = {}
        for name in RAW_TABLES:
            [(rows,)] = connection.execute(_DROP, [name, cut]).fetchall()
            gone[name] = int(rows)
            crash_point("timescale.expire.after")
        return gone


def expire_clickhouse(url: str, cut: datetime) -> dict[str, int]:
    """As `expire_timescale`: partitions of the months before `cut`."""
    with clickhouse_failures():
        client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
        try:
            gone = {}
            for name in RAW_TABLES:
                partitions = client.query(
                    "SELECT partition_id, sum(rows) FROM system.parts WHERE active AND database = 'market' "
                    "AND table = {table:String} AND toUInt32(partition_id) < {month:UInt32} GROUP BY partition_id",
                    {"table": name, "month": cut.year * 100 + cut.month},
                ).result_rows
                for partition, _ in partitions:
                    client.command(f"ALTER TABLE market.{name} DROP PARTITION ID '{int(partition)}'")
                    crash_point("clickhouse.expire.after")
                gone[name] = sum(int(rows) for _, rows in partitions)
            return gone
        finally:
            client.close()
