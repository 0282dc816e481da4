"""Sort the drivers' errors into two: the store is not there (repeat), or it refuses (repeating cannot help).

By class and number, never by text.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import urllib3.exceptions
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from sinks.errors import StoreRejected, StoreUnavailable

TIMESCALE: Final = "timescale"
CLICKHOUSE: Final = "clickhouse"

_PING_TIMEOUT_S: Final = 3

logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it repeats what its errors say

# SQLSTATE classes that psycopg files under OperationalError but that no waiting cures.
_HOPELESS_CLASSES: Final = ("28", "3D")  # wrong role or password, no such database
_READ_ONLY_TRANSACTION: Final = "25006"  # a standby during a failover

_UNAVAILABLE_CODES: Final = frozenset(
    {
        *(159, 160, 394),  # timeout, too slow, query cancelled
        *(164, 242),  # readonly, table is read only (replica without keeper)
        *(202, 203, 209, 210, 225, 236, 999),  # too many queries, no free connection, network, keeper, aborted
        *(241, 243, 252),  # memory limit, no space, too many parts: they pass
        *(319, 341, 373, 425),  # unknown status of insert, unfinished, session locked, system error
    }
)


@contextmanager
def timescale_failures() -> Iterator[None]:
    """Turn psycopg's errors inside into StoreUnavailable or StoreRejected."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if error.sqlstate is not None and error.sqlstate[:2] in _HOPELESS_CLASSES:
            raise StoreRejected(TIMESCALE, _one_line(error), error.sqlstate) from error
        raise StoreUnavailable(TIMESCALE, _one_line(error)) from error
    except psycopg.DatabaseError as error:
        if error.sqlstate == _READ_ONLY_TRANSACTION:
            raise StoreUnavailable(TIMESCALE, _one_line(error)) from error
        raise StoreRejected(TIMESCALE, _one_line(error), error.sqlstate or "") from error


@contextmanager
def clickhouse_failures() -> Iterator[None]:
    """Turn clickhouse-connect's errors inside into StoreUnavailable or StoreRejected."""
    try:
        yield
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        # An OperationalError without a number is a broken or refused connection.
        if code in _UNAVAILABLE_CODES or (isinstance(error, OperationalError) and not code):
            raise StoreUnavailable(CLICKHOUSE, _one_line(error) if code else _innermost(error)) from error
        raise StoreRejected(CLICKHOUSE, _one_line(error), str(code or "")) from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise StoreUnavailable(CLICKHOUSE, _innermost(error)) from error


def timescale_refuses(dsn: str) -> bool:
    """Whether a server that could not be connected to is there, and will not let us in, or `dsn` can be nobody's.

    libpq keeps the SQLSTATE of a failed log-in to itself, so that a wrong password looks like a server that is down;
    but it tells whether one answers. One that has no connection left refuses, too.
    Source: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-PQPING (2026-11-22)
    """
    answer = PGconn.ping(make_conninfo(dsn, connect_timeout=_PING_TIMEOUT_S).encode())
    if answer != Ping.OK:
        return answer == Ping.NO_ATTEMPT
    try:
        psycopg.connect(dsn, connect_timeout=_PING_TIMEOUT_S).close()
    except psycopg.OperationalError:
        return True
    return False  # it has come up meanwhile


def _innermost(error: BaseException) -> str:
    """What has happened to a connection, and where: the text of the outermost error quotes all that are in it."""
    where = ""
    while error.__cause__ is not None:
        error = error.__cause__
        if isinstance(error, urllib3.exceptions.PoolError):
            where = f"{error.pool.scheme}://{error.pool.host}:{error.pool.port}: "
    return where + (getattr(error, "strerror", None) or _one_line(error) or type(error).__name__)


def _one_line(error: BaseException) -> str:
    told = (line for line in str(error).splitlines() if not line.startswith("\t"))  # so begins advice of libpq
    return " ".join(" ".join(told).split())
