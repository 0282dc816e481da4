"""`mandi prune`: delete raw rows that are older than `raw_days` from both stores, once or every so often."""

import logging
import threading
from datetime import timedelta
from typing import Final

from mandi.clock import FileClock
from mandi.process import say, service
from mandi.settings import Settings
from mandi.stores import open_stores
from sinks.base import Retry
from sinks.errors import StoreUnavailable
from sinks.expiry import cut_before, expire_clickhouse, expire_timescale

_log: Final = logging.getLogger(__name__)


def prune(settings: Settings, every_s: float | None) -> int:
    """Delete what is too old by the market clock; with `every_s` again and again, until it is told to stop.

    Then a store that is away is waited for.

    Raises: MandiError, StoreUnavailable, StoreRejected.
    """
    if every_s is None:
        _prune(settings)
        return 0
    stop = threading.Event()
    with service(settings, "prune", stop):
        while not stop.is_set():
            Retry(stop=stop, on_retry=_tell).repeat(lambda: _prune(settings))
            stop.wait(every_s)
    return 0


def _tell(error: StoreUnavailable, attempt: int, wait_s: float) -> None:
    _log.warning("%s; attempt %d, next in %.1f s", error, attempt, wait_s)


def _prune(settings: Settings) -> None:
    cut = cut_before(FileClock(settings.clock_file)(), timedelta(days=settings.raw_days))
    with open_stores(settings) as stores:
        for name, gone in (
            ("TimescaleDB", expire_timescale(stores.timescale, cut)),
            ("ClickHouse", expire_clickhouse(stores.clickhouse, cut)),
        ):
            deleted = ", ".join(f"{rows} of {table}" for table, rows in gone.items())
            say(f"{name}: deleted what is before {cut:%Y-%m-%d}: {deleted}")
