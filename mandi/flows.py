"""`mandi ingest` and `mandi run`: the dataflows as processes. Each runs until stopped, and keeps its state.

A process imports only what its own flow needs: after a crash, imports are most of the time until rows flow again.
"""

import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from bytewax.dataflow import Dataflow

from mandi.clock import FileClock
from mandi.cluster import ALONE, ClusterSize, die_with_launcher
from mandi.errors import MandiError, UsageError
from mandi.flow_names import FLOWS, MIRROR, NAMED, WEBHOOKS
from mandi.log import json_mirror, log_reader, log_writer
from mandi.process import say, service
from mandi.pulse import waiting
from mandi.settings import Settings
from mandi.supervisor import Child, Supervisor, mandi_command
from market.records import OffsetOutOfRange
from market.watermark import Lateness
from pipelines.engine.recovery import FlowLocked, run_flow
from sinks.base import ReopenedSink, Retry, RetryingSink, Sink

if TYPE_CHECKING:
    from mandi.stores import Stores

C = TypeVar("C")  # the configuration of a flow

_SWITCH_S: Final = 0.0005
_log: Final = logging.getLogger(__name__)


def ingest_named(settings: Settings, sources: Sequence[str]) -> None:
    """Ingest the named venues, or the trading backend: a process of its own, which no venue has to wait for.

    Raises: UsageError for an unknown name, both at once, or a backend that has no address.
    """
    from connectors.backend.source import BACKEND

    if BACKEND not in sources:
        ingest_venues(settings, sources)
    elif len(set(sources)) == 1:
        ingest_backend(settings)
    else:
        raise UsageError("the trading backend is a process of its own: run `mandi ingest backend` beside the venues")


def ingest_backend(settings: Settings) -> None:
    """Run the trading backend's dataflow. Raises: UsageError without an address, or with one that cannot be."""
    from connectors.backend.source import BACKEND
    from mandi.feeds import open_backend
    from pipelines import backend

    stop = threading.Event()
    config = backend.BackendFlow(
        open_feed=open_backend(settings),
        open_reader=log_reader(settings, stop),
        open_writer=log_writer(settings, stop),
        now=FileClock(settings.clock_file),
        stop=stop,
    )
    with service(settings, BACKEND, config.stop):
        backend.run(config)


def ingest_venues(settings: Settings, venues: Sequence[str] = ()) -> None:
    """Run the ingest dataflow of these venues, by default of all. Raises: UsageError for an unknown one."""
    from mandi.feeds import open_feeds
    from pipelines import ingest

    stop = threading.Event()
    config = ingest.IngestConfig(
        feeds=open_feeds(settings, venues),
        open_reader=log_reader(settings, stop),
        open_writer=log_writer(settings, stop),
        now=FileClock(settings.clock_file),
        stop=stop,
    )
    with service(settings, " ".join(["ingest", *venues]), config.stop):
        # The feeds' threads and the flow's take turns at the interpreter; 5 ms a turn would be most of the latency.
        sys.setswitchinterval(_SWITCH_S)
        ingest.run(config)


def run_one(settings: Settings, flow: str, lateness: Lateness) -> None:
    """Run one dataflow in this process.

    Raises: UsageError for an unknown flow; MandiError when it already runs on this data directory, or its position is
        not in the log any more.
    """
    if flow not in (*FLOWS, *NAMED):
        raise UsageError(f"there is no flow '{flow}'; choose among {', '.join((*FLOWS, *NAMED))}")
    stop = threading.Event()
    die_with_launcher()
    with service(settings, flow, stop):
        try:
            judging = {
                "bars": _run_bars,
                "quality": _run_quality,
                "anomalies": _run_anomalies,
                "arbitrage": _run_arbitrage,
                "joins": _run_joins,
            }
            others = {
                "book": _run_book,
                "forecasts": _run_forecasts,
                "fits": _run_fits,
                MIRROR: _run_mirror,
                WEBHOOKS: _run_webhooks,
            }
            if flow in judging:
                judging[flow](settings, stop, lateness)
            elif flow in others:
                others[flow](settings, stop)
            else:
                _run_store(settings, flow, stop, lateness)
        except FlowLocked as error:
            raise MandiError(str(error)) from error
        except OffsetOutOfRange as error:
            store = settings.recovery_dir / flow
            raise MandiError(f"{error}. To begin at the oldest record: rm -r {shlex.quote(str(store))}") from error


def _run_bars(settings: Settings, stop: threading.Event, lateness: Lateness) -> None:
    from pipelines.bars import BarsConfig, build

    # Pickling the state costs more than repeating two seconds of rows after a crash.
    _derive(settings, stop, "bars", build, partial(BarsConfig, lateness=lateness), epoch_s=2)


def _run_quality(settings: Settings, stop: threading.Event, lateness: Lateness) -> None:
    from pipelines.quality import QualityConfig, build

    _derive(settings, stop, "quality", build, partial(QualityConfig, lateness=lateness))


def _run_book(settings: Settings, stop: threading.Event) -> None:
    from pipelines.book import BookConfig, build

    _derive(settings, stop, "book", build, BookConfig)


def _run_anomalies(settings: Settings, stop: threading.Event, lateness: Lateness) -> None:
    from pipelines.anomalies import AnomaliesConfig, build

    # Pickling what was learnt of every instrument takes 40 ms.
    _derive(settings, stop, "anomalies", build, partial(AnomaliesConfig, lateness=lateness), epoch_s=5)


def _run_arbitrage(settings: Settings, stop: threading.Event, lateness: Lateness) -> None:
    from pipelines.arbitrage import ArbitrageConfig, build

    _derive(settings, stop, "arbitrage", build, partial(ArbitrageConfig, lateness=lateness))


def _run_joins(settings: Settings, stop: threading.Event, lateness: Lateness) -> None:
    from pipelines.joins import JoinsConfig, build

    _derive(settings, stop, "joins", build, partial(JoinsConfig, lateness=lateness), epoch_s=2)


def _run_forecasts(settings: Settings, stop: threading.Event) -> None:
    from pipelines.forecasts import ForecastsConfig, build

    configure = partial(ForecastsConfig, width=settings.forecast_interval)
    _derive(settings, stop, "forecasts", build, configure, epoch_s=5)


def _run_fits(settings: Settings, stop: threading.Event) -> None:
    from pipelines.fits import FitsConfig, build

    os.nice(10)
    _derive(settings, stop, "fits", build, FitsConfig, epoch_s=5)


def _derive(
    settings: Settings,
    stop: threading.Event,
    name: str,
    build: Callable[[C], Dataflow],
    configure: Callable[..., C],
    *,
    epoch_s: float = 1,
) -> None:
    """Run a flow from the log into the log."""
    config = configure(
        open_reader=log_reader(settings, stop),
        open_writer=log_writer(settings, stop),
        now=FileClock(settings.clock_file),
        stop=stop,
    )
    run_flow(name, partial(build, config), settings.recovery_dir / name, epoch=timedelta(seconds=epoch_s))


def _run_mirror(settings: Settings, stop: threading.Event) -> None:
    open_mirror = json_mirror(settings, stop)
    from pipelines import mirror

    config = mirror.MirrorConfig(open_reader=log_reader(settings, stop), open_mirror=open_mirror, stop=stop)
    run_flow(MIRROR, partial(mirror.build, config), settings.recovery_dir / MIRROR)


def _run_webhooks(settings: Settings, stop: threading.Event) -> None:
    from mandi.webhooks import allowed_networks, couriers, endpoints
    from pipelines import webhooks

    found, allow = endpoints(settings), allowed_networks(settings)
    config = webhooks.WebhooksConfig(
        topics=sorted({topic for endpoint in found for topic in endpoint.topics}),
        open_reader=log_reader(settings, stop),
        open_writer=log_writer(settings, stop),
        open_couriers=lambda: couriers(found, allow, stop),
        stop=stop,
    )
    run_flow(WEBHOOKS, partial(webhooks.build, config), settings.recovery_dir / WEBHOOKS)


def _run_store(settings: Settings, name: str, stop: threading.Event, lateness: Lateness) -> None:
    from mandi.stores import open_stores
    from pipelines import store
    from pipelines.engine.observe import Lag

    lag = Lag(name)
    with open_stores(settings, only=(name,), may_be_away=True) as stores:
        config = store.StoreConfig(
            name=name,
            lag=lag,
            open_reader=log_reader(settings, stop),
            open_sink=lambda: _patient(name, stores, stop, lag.again),
            now=FileClock(settings.clock_file),
            stop=stop,
            lateness=lateness,
        )
        # A longer epoch makes larger and fewer writes; rows reach the dashboard through the log anyway.
        run_flow(name, partial(store.build, config), settings.recovery_dir / name, epoch=timedelta(seconds=1))


def open_sink(name: str, stores: "Stores") -> Sink:
    """Open the sink of the store of that name, wherever that is each time."""
    return ReopenedSink(name, lambda: _sink_at(name, stores.address(name)))


def _sink_at(name: str, address: str) -> Sink:
    if name == "timescale":
        from sinks.timescale import TimescaleSink

        return TimescaleSink(address)
    from sinks.clickhouse import ClickHouseSink

    return ClickHouseSink(address)


def _patient(name: str, stores: "Stores", stop: threading.Event, on_wait: Callable[[], None]) -> Sink:
    """The sink, which waits for its store until `stop`, and says so; `on_wait` before each wait.

    A store that was away when we started is migrated before the first write.
    """
    from mandi.stores import migrate_store
    from pipelines import metrics

    away, retries = metrics.SINK_AWAY.labels(name), metrics.SINK_RETRIES.labels(name)

    def wait(error: Exception, attempt: int, wait_s: float) -> None:
        away.set(1)
        waiting.add(name)
        retries.inc()
        on_wait()
        _log.warning("%s is unavailable (%s); attempt %d, next in %.1f s", name, error, attempt, wait_s)

    def go_on() -> None:
        away.set(0)
        waiting.discard(name)
        _log.warning("%s is available again", name)

    migrate = partial(migrate_store, stores, name) if name in stores.away else None
    return RetryingSink(open_sink(name, stores), Retry(stop=stop, on_retry=wait, on_back=go_on), migrate)


def run_several(settings: Settings, flows: Sequence[str], lateness: Lateness, size: ClusterSize = ALONE) -> None:
    """Run several dataflows, each in a process of its own, or as a group of `size`, restarted when it dies.

    Of the stores only those that they write to are opened; a flow whose store is away waits for it by itself.
    """
    from mandi.stores import STORES, open_stores

    supervisor = Supervisor(settings.data_dir / "logs", say)
    stop = threading.Event()
    written = tuple(name for name in STORES if name in flows)
    with service(settings, "run", stop), open_stores(settings, only=written, may_be_away=True):
        environment = {
            "MANDI_DATA_DIR": str(settings.data_dir),
            "MANDI_TIMESCALE": settings.timescale,
            "MANDI_CLICKHOUSE": settings.clickhouse,
        }
        for number, flow in enumerate(flows):
            command = mandi_command("run", flow, *lateness_words(lateness), *size.words(flow))
            ports = _metrics_port(settings, number * (1 if size == ALONE else 1 + size.processes))
            supervisor.start(Child(name=flow, command=command, environment=environment | ports))
        while not stop.wait(0.2):
            supervisor.poll()
        supervisor.stop()


def _metrics_port(settings: Settings, number: int) -> dict[str, str]:
    """Behind that of the supervisor, where there is one: each process has its own."""
    return {"MANDI_METRICS_PORT": str(settings.metrics_port + 1 + number)} if settings.metrics_port else {}


def lateness_words(lateness: Lateness) -> list[str]:
    """Options of `mandi run` that say the same."""
    delay, allowed = f"{lateness.delay_ns}ns", f"{lateness.allowed_ns}ns"
    return ["--watermark-delay", delay, "--allowed-lateness", allowed]
