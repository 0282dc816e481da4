"""Read the backend's transactional outbox: a table it writes in the same transaction as its trades.

    CREATE TABLE trading.outbox (
        id bigserial PRIMARY KEY,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        payload text NOT NULL,                             -- or json, jsonb
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX ON trading.outbox (xid, id);

A serial number says when a row was begun, not when it was committed: the transaction with id 7 may commit seconds
after the one with id 8, and a reader that has gone on from 8 never sees 7. Not even a look at the transactions in
flight helps a reader that goes by id: `nextval` gives out 7 before its transaction has a number of its own.
So rows are read in the order (xid, id), and only those whose xid is below `pg_snapshot_xmin`: every transaction
with a lower number has ended, and a later one gets a higher number. Behind a row that was read nothing can appear.

The price: a transaction that writes anywhere on the server holds the rows of later ones back until it ends.

Delivery: every committed row once, in this order, from the position given; a position is `cluster/xid/id`. Another
    cluster (a restored dump) has other transaction numbers: then the table is read from its beginning.
Source: PostgreSQL 18, 9.28.10 "Transaction ID and Snapshot Information Functions"; 5.4 "Transactions and Identifiers".
"""

import logging
import time
from typing import Final

import psycopg
from psycopg import sql

from connectors.backend.config import OutboxConfig
from connectors.backend.source import Message, Messages, Positions, SourceUnavailable

CHANNEL: Final = "mandi_outbox"
"""Where the backend notifies: `NOTIFY mandi_outbox` in a trigger. Without it the table is looked at twice a second."""

CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_MS: Final = 30_000
_FORGET_EVERY_S: Final = 10.0
_FORGET_ROWS: Final = 20_000
_START: Final = ("", 0, 0)

_log = logging.getLogger(__name__)


class OutboxSource:
    """The table, from a position on.

    State: one connection.
    """

    name = "outbox"

    def __init__(self, config: OutboxConfig, resume: Positions) -> None:
        self._config = config
        self._channel = f"backend/outbox/{config.table}"
        cluster, _, rest = resume.get(self._channel, "").partition("/")
        xid, _, row = rest.partition("/")
        self._at = (cluster, int(xid), int(row)) if row else _START
        self._connection: psycopg.Connection | None = None
        self._forgot_at = time.monotonic()
        table = sql.Identifier(*config.table.split("."))
        self._select = sql.SQL(
            "SELECT xid::text::bigint, id, payload::text, xid < pg_snapshot_xmin(pg_current_snapshot()) FROM {}"
            " WHERE (xid, id) > (%s::text::xid8, %s) ORDER BY xid, id LIMIT %s"
        ).format(table)
        self._delete = sql.SQL(
            "DELETE FROM {} WHERE id IN (SELECT id FROM {} WHERE (xid, id) <= (%s::text::xid8, %s)"
            " AND created_at < now() - make_interval(secs => %s) ORDER BY xid, id LIMIT %s)"
        ).format(table, table)

    def read(self, timeout_s: float) -> Messages:
        """Return the next rows whose place is certain; without any, wait for a notification. As Source.read."""
        try:
            connection = self._connected()
            cluster, xid, row = self._at
            rows = connection.execute(self._select, [str(xid), row, self._config.batch_rows]).fetchall()
            settled = [found for found in rows if found[3]]  # a beginning of them: they are in the order of xid
            if not settled:
                self._wait(connection, timeout_s, blocked=bool(rows))
                return Messages()
        except psycopg.Error as error:
            self.close()
            raise SourceUnavailable(self.name, error) from error
        self._at = cluster, settled[-1][0], settled[-1][1]
        return Messages(
            messages=[
                Message(channel=self._channel, offset=number, raw=(payload or "").encode())
                for _, number, payload, _ in settled
            ],
            positions={self._channel: "/".join(map(str, self._at))},
        )

    def forget(self, positions: Positions) -> None:
        """Delete what is on disk in the log and older than `keep_s`; nothing without that setting. As Source.forget."""
        keep_s, at = self._config.keep_s, positions.get(self._channel)
        if keep_s is None or at is None or time.monotonic() < self._forgot_at + _FORGET_EVERY_S:
            return
        self._forgot_at = time.monotonic()
        cluster, xid, row = at.split("/")
        try:
            connection = self._connected()
            if cluster == self._at[0]:
                connection.execute(self._delete, [xid, int(row), keep_s, _FORGET_ROWS])
        except psycopg.Error as error:
            self.close()
            raise SourceUnavailable(self.name, error) from error

    def close(self) -> None:
        """Close the connection; the next read opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _wait(self, connection: psycopg.Connection, timeout_s: float, *, blocked: bool) -> None:
        wait_s = self._config.blocked_s if blocked else self._config.poll_s
        for _ in connection.notifies(timeout=min(wait_s, timeout_s), stop_after=1):
            pass  # what it says does not matter: the table does

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            connection = psycopg.connect(
                self._config.dsn,
                autocommit=True,  # each look is a snapshot of its own
                connect_timeout=CONNECT_TIMEOUT_S,
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
                application_name="mandi backend",
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
            self._connection = connection
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            self._identify(connection)
        return self._connection

    def _identify(self, connection: psycopg.Connection) -> None:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
        cluster = str(row[0]) if row else ""
        known = self._at[0]
        if known != cluster:
            if known:
                _log.warning("the outbox is on another server than before: it is read from its beginning")
            self._at = (cluster, 0, 0)
