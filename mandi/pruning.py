"""`mandi prune`: delete raw rows that are older than `raw_days` from both stores, once or every so often."""

import threading
from datetime import timedelta

from mandi.clock import FileClock
from mandi.process import say, service
from mandi.settings import Settings
from mandi.stores import open_stores
from sinks.expiry import cut_before, expire_clickhouse, expire_timescale


def prune(settings: Settings, every_s: float | None) -> int:
    """Delete what is too old by the market clock; with `every_s` again and again, until it is told to stop.

    Raises: MandiError, StoreUnavailable, StoreRejected.
    """
    if every_s is None:
        _prune(settings)
        return 0
    stop = threading.Event()
    with service(settings, stop):
        while not stop.is_set():
            _prune(settings)
            stop.wait(every_s)
    return 0


def _prune(settings: Settings) -> None:
    cut = cut_before(FileClock(settings.clock_file)(), timedelta(days=settings.raw_days))
    with open_stores(settings) as stores:
        for name, gone in (
            ("TimescaleDB", expire_timescale(stores.timescale, cut)),
            ("ClickHouse", expire_clickhouse(stores.clickhouse, cut)),
        ):
            deleted = ", ".join(f"{rows} of {table}" for table, rows in gone.items())
            say(f"{name}: deleted what is before {cut:%Y-%m-%d}: {deleted}")
