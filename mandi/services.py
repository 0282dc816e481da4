"""The long-running processes: simulate, ingest, run, serve. Each runs until SIGTERM or Ctrl-C, and ends cleanly."""

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import prometheus_client
import uvloop

from connectors.ice.config import IceConfig
from connectors.log import open_reader
from feeds_simulator.ice.server import SimulatorConfig
from feeds_simulator.ice.server import serve as serve_ice
from gateway.config import GatewayConfig
from gateway.server import serve as serve_gateway
from mandi.clock import FileClock
from mandi.errors import MandiError, UsageError
from mandi.settings import Settings
from mandi.stores import open_stores
from mandi.supervisor import Child, Supervisor, die_with_parent, mandi_command
from market.watermark import Lateness
from pipelines import bars, ingest, metrics, store
from pipelines.engine.recovery import FlowLocked, run_flow
from sinks.base import OnRetry, Sink, retrying
from sinks.clickhouse import ClickHouseSink
from sinks.log import open_writer
from sinks.timescale import TimescaleSink

FLOWS: Final = ("bars", "timescale", "clickhouse")
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    port: int
    seed: int
    rate: float


def simulate(settings: Settings, options: SimulateOptions) -> None:
    """Serve the simulated ICE venue."""
    config = SimulatorConfig(
        port=options.port,
        keys={settings.ice_key: settings.ice_secret},
        seed=options.seed,
        rate=options.rate,
        state_path=settings.data_dir / "simulator.json",
        on_listening=lambda port: _say(f"ICE venue on ws://127.0.0.1:{port}/v1/feed"),
    )
    with _process(settings):
        _run_async(lambda stop: serve_ice(config, FileClock(settings.clock_file), stop))


def ingest_ice(settings: Settings) -> None:
    """Run the ingest dataflow of the ICE venue."""
    config = ingest.IngestConfig(
        ice=IceConfig(url=settings.ice_url, key=settings.ice_key, secret=settings.ice_secret),
        open_reader=partial(open_reader, settings.log),
        open_writer=partial(open_writer, settings.log),
        now=FileClock(settings.clock_file),
        stop=threading.Event(),
    )
    with _process(settings, config.stop):
        ingest.run(config)


def run_one(settings: Settings, flow: str, lateness: Lateness) -> None:
    """Run one dataflow in this process.

    Raises: UsageError for an unknown flow; MandiError when it already runs on this data directory.
    """
    if flow not in FLOWS:
        raise UsageError(f"there is no flow '{flow}'; choose among {', '.join(FLOWS)}")
    stop = threading.Event()
    with _process(settings, stop):
        try:
            if flow == "bars":
                _run_bars(settings, stop, lateness)
            else:
                with open_stores(settings, only=flow) as stores:
                    address = stores.timescale if flow == "timescale" else stores.clickhouse
                    _run_store(settings, flow, address, stop, lateness)
        except FlowLocked as error:
            raise MandiError(str(error)) from error


def _run_bars(settings: Settings, stop: threading.Event, lateness: Lateness) -> None:
    config = bars.BarsConfig(
        open_reader=partial(open_reader, settings.log),
        open_writer=partial(open_writer, settings.log),
        now=FileClock(settings.clock_file),
        stop=stop,
        lateness=lateness,
    )
    run_flow("bars", partial(bars.build, config), settings.recovery_dir / "bars")


def _run_store(settings: Settings, name: str, address: str, stop: threading.Event, lateness: Lateness) -> None:
    config = store.StoreConfig(
        name=name,
        open_reader=partial(open_reader, settings.log),
        open_sink=lambda: retrying(open_sink(name, address), stop=stop, on_retry=_count_retry(name)),
        now=FileClock(settings.clock_file),
        stop=stop,
        lateness=lateness,
    )
    # A longer epoch makes larger and fewer writes; rows reach the dashboard through the log anyway.
    run_flow(name, partial(store.build, config), settings.recovery_dir / name, epoch=timedelta(seconds=1))


def open_sink(name: str, address: str) -> Sink:
    return TimescaleSink(address) if name == "timescale" else ClickHouseSink(address)


def _count_retry(name: str) -> OnRetry:
    def count(error: Exception, attempt: int, wait_s: float) -> None:
        metrics.SINK_RETRIES.labels(name).inc()
        _log.warning("%s is unavailable (%s); attempt %d, next in %.1f s", name, error, attempt, wait_s)

    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    host: str
    port: int


def serve(settings: Settings, options: ServeOptions) -> None:
    """Run the gateway and the dashboard."""
    with _process(settings), open_stores(settings, only="timescale") as stores:
        config = GatewayConfig(
            log_url=settings.log,
            host=options.host,
            port=options.port,
            timescale_dsn=stores.timescale,
            bundle_dir=bundle_dir(),
            on_listening=lambda host, port: _say(f"dashboard on http://{host}:{port}/"),
        )
        _run_async(lambda stop: serve_gateway(config, FileClock(settings.clock_file), stop))


def bundle_dir() -> Path:
    return Path(__file__).resolve().parent.parent / "dashboards" / "web" / "dist"


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def _process(settings: Settings, stop: threading.Event | None = None) -> Iterator[None]:
    """What every process does: log to stderr, end with its supervisor, export metrics, stop on signals."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    die_with_parent()
    if settings.metrics_port is not None:
        prometheus_client.start_http_server(settings.metrics_port, addr="127.0.0.1")
    if stop is not None:
        _set_on_signal(stop)
    yield


def _set_on_signal(stop: threading.Event) -> None:
    """Set `stop` at once on SIGTERM or Ctrl-C, also while the main thread is inside Bytewax, outside Python."""
    receive, send = socket.socketpair()
    send.setblocking(False)
    signal.set_wakeup_fd(send.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        with send:  # held open as long as a signal may come
            receive.recv(1)
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _run_async(serve_until: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve_until(stop)

    uvloop.run(main())


def run_several(settings: Settings, flows: Sequence[str], lateness: Lateness) -> None:
    """Run several dataflows, each in a process of its own, restarted when it dies."""
    supervisor = Supervisor(settings.data_dir / "logs", _say)
    stop = threading.Event()
    with _process(settings, stop), open_stores(settings) as stores:
        environment = {
            "MANDI_DATA_DIR": str(settings.data_dir),
            "MANDI_TIMESCALE": stores.timescale,
            "MANDI_CLICKHOUSE": stores.clickhouse,
        }
        for flow in flows:
            command = mandi_command("run", flow, *_lateness_words(lateness))
            supervisor.start(Child(name=flow, command=command, environment=environment))
        while not stop.wait(0.2):
            supervisor.poll()
        supervisor.stop()


def _lateness_words(lateness: Lateness) -> list[str]:
    delay, allowed = f"{lateness.delay_ns}ns", f"{lateness.allowed_ns}ns"
    return ["--watermark-delay", delay, "--allowed-lateness", allowed]
