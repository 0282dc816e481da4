"""Reads the stores as a user would: through their own drivers and the contract's table names."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import clickhouse_connect
import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError

_BARS = "instrument, interval, {ts_open}, revision, venue, open, high, low, close, volume, vwap, trades, {known}"


@dataclass(frozen=True)
class BothStores:
    """Addresses of both stores. Every question is asked of both, and both must give the same answer."""

    timescale: str
    clickhouse: str

    @property
    def environment(self) -> dict[str, str]:
        return {"MANDI_TIMESCALE": self.timescale, "MANDI_CLICKHOUSE": self.clickhouse}

    def bars(self, table: str = "bars") -> dict[tuple, tuple]:
        """Rows of `bars` or `bars_latest` by instrument, interval, ts_open and revision."""
        ours = self._timescale(
            f"SELECT {_BARS.format(ts_open='ts_open_ns', known='as_known_at_ns')} FROM market.{table}"
        )
        theirs = self._clickhouse(
            f"SELECT {_BARS.format(ts_open=_ns('ts_open'), known=_ns('as_known_at'))} FROM market.{table}"
        )
        return same(*(_by_key(rows, key=4) for rows in (ours, theirs)))

    def latest(self) -> dict[tuple, tuple]:
        """Final values of all bars, from the view `bars_latest`."""
        return {key[:3]: values[:-1] for key, values in self.bars("bars_latest").items()}

    def ledger_rows(self, table: str, column: str) -> dict[int, Any]:
        """`column` of `late` or `rejected`, by the row of the file."""
        query = f"SELECT source_row, {column} FROM market.{table}"
        return same(dict(self._timescale(query)), dict(self._clickhouse(query)))

    def net_trades(self) -> list[tuple[str, Any]]:
        """Instrument and size of each trade as it now stands, from the view `trades_net`."""
        query = "SELECT instrument, size FROM market.trades_net"
        return same(sorted(map(tuple, self._timescale(query))), sorted(map(tuple, self._clickhouse(query))))

    def count(self, table: str) -> int:
        query = f"SELECT count(*) FROM market.{table}"
        return same(self._timescale(query)[0][0], self._clickhouse(query)[0][0])

    def grouped(self, table: str, by: str, where: str = "1 = 1") -> list[tuple[str, int]]:
        """Count the rows of a table by an expression; those where it is null are left out."""
        query = f"SELECT {by} AS name, count(*) FROM market.{table} WHERE {where} AND {by} IS NOT NULL GROUP BY {by}"
        return same(sorted(map(tuple, self._timescale(query))), sorted(map(tuple, self._clickhouse(query))))

    def lots(self) -> list[tuple[str, Decimal]]:
        """What the rows of `trades` are of each instrument, in lots."""
        query = "SELECT instrument, sum(size) FROM market.trades WHERE size IS NOT NULL GROUP BY instrument"
        return same(sorted(map(tuple, self._timescale(query))), sorted(map(tuple, self._clickhouse(query))))

    def gaps(self) -> list[tuple[Any, ...]]:
        """Venue, channel, first and last number, resolution, rows that came again and reason of every gap."""
        columns = "venue, channel, seq_from, seq_to, resolution, recovered_rows, reason"
        query = f"SELECT {columns} FROM market.gaps ORDER BY gap_id"
        return same(list(map(tuple, self._timescale(query))), list(map(tuple, self._clickhouse(query))))

    def count_in(self, store: str, table: str) -> int:
        """Rows that one of the stores, `timescale` or `clickhouse`, has by now."""
        query = f"SELECT count(*) FROM market.{table}"
        count: int = (self._timescale if store == "timescale" else self._clickhouse)(query)[0][0]
        return count

    def counts_in(self, store: str, tables: Sequence[str]) -> dict[str, int]:
        """The same of several tables, asked once."""
        query = " UNION ALL ".join(f"SELECT '{table}' AS name, count(*) FROM market.{table}" for table in tables)
        rows = (self._timescale if store == "timescale" else self._clickhouse)(query)
        return {str(name): int(count) for name, count in rows}

    def newest(self, store: str) -> int:
        """When the newest quote that one of the stores has was received; 0 without one, or without an answer."""
        try:
            if store == "timescale":
                return int(self._timescale("SELECT coalesce(max(ts_recv_ns), 0) FROM market.quotes")[0][0])
            query = "SELECT toUnixTimestamp64Nano(max(ts_recv)) FROM market.quotes"
            return int(self._clickhouse(query)[0][0] or 0)
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable, ClickHouseError):
            return 0

    def is_written_to(self) -> bool:
        """Whether a sink is connected by now."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mandi sink'"
        return bool(self._timescale(query)[0][0])

    def _timescale(self, query: str) -> list[tuple]:
        with psycopg.connect(self.timescale) as connection:
            return connection.execute(query).fetchall()

    def _clickhouse(self, query: str) -> Sequence[Sequence[Any]]:
        client = clickhouse_connect.get_client(dsn=self.clickhouse, autogenerate_session_id=False)
        try:
            return client.query(query).result_rows
        finally:
            client.close()


def same(timescale: Any, clickhouse: Any) -> Any:
    """The answer of both."""
    assert timescale == clickhouse
    return timescale


def _ns(column: str) -> str:
    return f"toUnixTimestamp64Nano({column})"


def _by_key(rows: Sequence[Sequence[Any]], key: int) -> dict[tuple, tuple]:
    found = {tuple(row[:key]): tuple(row[key:]) for row in rows}
    assert len(found) == len(rows), "a natural key is there twice"
    return found
