"""Shut out the INSERTs of writers before this one, also those that are still on their way.

An INSERT whose answer did not come may be running, or be in a buffer of the network or of a frozen server and run at
any later time, also after its process has died. Whoever reads then which keys are there does not see its rows, inserts
them, and they are there twice. So every INSERT goes through a session of the server (HTTP `session_id`,
`session_check`), and a writer that begins, or does not know what became of an INSERT,

1. opens a new session,
2. writes its name into `market.writers`,
3. makes all other sessions in `market.writers` read-only, one after the other, and only then reads keys.

A session serves one request at a time. While an INSERT runs in it the server refuses the third step, which is tried
again until that INSERT has ended; an INSERT that comes after it is refused. An INSERT that comes when the session is
forgotten (some time after its last use, or by a restart) is refused, too. Of two writers who begin at once, whoever
is the later one to read the names sees the other's, and what has a name is open and can be shut: at most one of them
is left. (A name before its session would be found by nobody, counted as shut, and opened then.) A session whose owner
died before the second step has no name and no INSERT. A writer that was shut out begins again, and reads keys again.

Sessions belong to a user of one server: all writers log in as the same user, and not by way of a balancer.

Source: ClickHouse src/Interpreters/Session.cpp (acquireSession), src/Server/HTTPHandler.cpp (processQuery: the session
    is taken before the statement is read and released when it has ended), read 2026-11-22.
"""

import time
from typing import Final
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.errors import StoreUnavailable
from sinks.failures import CLICKHOUSE

# For an INSERT that runs; after it the write is repeated, as with a store that is away. It is not cut off (KILL QUERY,
# max_execution_time): on a slow server the next one would be, too, while its rows need not be sent again when it ends.
PATIENCE_S: Final = 5.0
POLL_S: Final = 0.05
SESSION_S: Final = 600  # longer than a question which keys are there; a server's own limit is an hour

_READONLY: Final = 164
_SESSION_NOT_FOUND: Final = 372
_SESSION_IS_LOCKED: Final = 373

_ANNOUNCE: Final = "INSERT INTO market.writers (session, shut) SELECT {session:String}, 0"
_OTHERS: Final = "SELECT session FROM market.writers FINAL WHERE shut = 0 AND session != {session:String}"
_STRIKE: Final = "INSERT INTO market.writers (session, shut) SELECT arrayJoin({sessions:Array(String)}), 1"


def take_over(client: Client) -> dict[str, str]:
    """Shut out all writers before this one; return the settings by which an INSERT is this one's.

    Raises: StoreUnavailable if an INSERT of one of them still runs after PATIENCE_S; ClickHouseError.
    """
    session = uuid4().hex
    client.command("SELECT 1", settings=_through(session, check="0"))
    client.command(_ANNOUNCE, parameters={"session": session})
    others = [row[0] for row in client.query(_OTHERS, parameters={"session": session}).result_rows]
    deadline_s = time.monotonic() + PATIENCE_S
    for other in others:
        while not _shut(client, other):
            if time.monotonic() > deadline_s:
                raise StoreUnavailable(CLICKHOUSE, "an INSERT of the writer before this one still runs")
            time.sleep(POLL_S)
    if others:
        client.command(_STRIKE, parameters={"sessions": others})
    return _through(session)


def is_shut_out(error: ClickHouseError) -> bool:
    """Whether `error` is the answer to an INSERT that was refused, whole, since its session was shut or is gone."""
    return _code(error) in (_READONLY, _SESSION_NOT_FOUND, _SESSION_IS_LOCKED)


def _shut(client: Client, session: str) -> bool:
    """Let nobody insert through `session` any more; False while an INSERT runs."""
    try:
        client.command("SET readonly = 1", settings=_through(session))
    except ClickHouseError as error:
        if not is_shut_out(error):
            raise
        return _code(error) != _SESSION_IS_LOCKED
    return True


def _through(session: str, check: str = "1") -> dict[str, str]:
    return {"session_id": session, "session_check": check, "session_timeout": str(SESSION_S)}


def _code(error: ClickHouseError) -> int | None:
    return getattr(error, "code", None)
