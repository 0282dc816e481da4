"""The simulated backend as a service: paces its desk by the market clock and writes what happens to PostgreSQL.

Delivery: a change is committed within about 50 ms of its `ts_event`; while the database is away changes wait.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import psycopg

from feeds_simulator.backend.database import prepare, write
from feeds_simulator.backend.desk import Change, Desk, DeskConfig
from feeds_simulator.model.fair import NS_PER_S

MAX_LAG_NS: Final = 30 * NS_PER_S  # further behind (the machine slept, the clock jumped), nobody ordered meanwhile
_LOOK_EVERY_S: Final = 0.05
_RETRY_S: Final = 0.5
_CONNECT_TIMEOUT_S: Final = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """`rate` in events per second of market time."""

    dsn: str = field(repr=False)
    seed: int = 7
    rate: float = 2.0


async def serve(
    config: BackendConfig,
    now: Callable[[], int],
    stop: asyncio.Event,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Run the backend until `stop` is set; `on_ready` is called once its tables are there. `now` is market time."""
    desk = Desk(DeskConfig(start_ns=now(), seed=config.seed, rate=config.rate))
    waiting: list[Change] = []
    said = False
    while not stop.is_set():
        try:
            connection = await psycopg.AsyncConnection.connect(
                config.dsn,
                autocommit=True,  # transactions are ours
                connect_timeout=_CONNECT_TIMEOUT_S,
                application_name="simulated backend",
            )
            async with connection:
                await prepare(connection)
                if on_ready is not None and not said:
                    on_ready()
                said = True
                await _trade(desk, waiting, connection, now, stop)
        except psycopg.OperationalError as error:
            _log.warning("the backend's database is away (%s); trying again", error)
            await _nap(stop, _RETRY_S)


async def _trade(
    desk: Desk,
    waiting: list[Change],
    connection: "psycopg.AsyncConnection[tuple[object, ...]]",
    now: Callable[[], int],
    stop: asyncio.Event,
) -> None:
    while not stop.is_set():
        now_ns = now()
        if now_ns - desk.next_ns > MAX_LAG_NS:
            desk.skip_to(now_ns)
        waiting += desk.pull(now_ns)
        if waiting:
            await write(connection, waiting)
            waiting.clear()
        await _nap(stop, _LOOK_EVERY_S)


async def _nap(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
