"""`mandi simulate backend`: the simulated trading backend as a process."""

from dataclasses import dataclass

from feeds_simulator.backend.server import BackendConfig, serve
from mandi.clock import FileClock
from mandi.errors import UsageError
from mandi.process import run_async, say, service
from mandi.settings import EMBEDDED, Settings
from mandi.stores import open_stores


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingOptions:
    """`rate` in events per second of market time."""

    seed: int
    rate: float


def simulate_backend(settings: Settings, options: TradingOptions) -> None:
    """Run the backend until stopped, in the database of `backend_outbox`, else in the embedded PostgreSQL.

    Raises: UsageError where it would have to make its tables in a store that is not our own.
    """
    if settings.backend_outbox is not None:
        _run(settings, options, settings.backend_outbox)
        return
    if settings.timescale != EMBEDDED:
        raise UsageError("the simulated backend needs a database: set MANDI_BACKEND_OUTBOX")
    with open_stores(settings, only=("timescale",)) as stores:
        _run(settings, options, stores.timescale)


def _run(settings: Settings, options: TradingOptions, dsn: str) -> None:
    config = BackendConfig(dsn=dsn, seed=options.seed, rate=options.rate)

    def ready() -> None:
        say("trading backend: schema trading, outbox trading.outbox")

    with service(settings, "trading"):
        run_async(lambda stop: serve(config, FileClock(settings.clock_file), stop, ready))
