"""`mandi demo`: the whole pipeline on a simulated market, in one place that starts, watches and stops it."""

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from feeds_simulator.backend.desk import USERS
from mandi.alerting import alertmanager_config, scrape_targets, write_json, write_private
from mandi.clock import FileClock
from mandi.display import Display, Vitals, display
from mandi.errors import MandiError
from mandi.flow_names import WEBHOOKS
from mandi.opening import closes_soon, open_market
from mandi.process import LOOPBACK, serve_metrics
from mandi.running import registered
from mandi.scrape import Metrics, scrape
from mandi.settings import EMBEDDED, Settings
from mandi.stores import STORES, Stores, clickhouse_answers, make_ready, postgres_answers
from mandi.summary import demo_summary
from mandi.supervisor import Child, Supervisor, mandi_command
from mandi.webhooks import endpoints
from sinks.base import Retry
from sinks.embedded.clickhouse import EmbeddedClickHouse
from sinks.embedded.postgres import EmbeddedPostgres
from sinks.embedded.processes import free_port, port_is_free
from sinks.errors import StoreUnavailable
from sinks.locks import try_lock

_JUMP_BEFORE_CLOSE_S: Final = 60.0
_PATIENT_STOP_S: Final = 30.0  # at the end of a --duration nobody waits for the prompt, and its counts shall be whole
_START_TIMEOUT_S: Final = 60.0
_SOURCES: Final = ("trading", "ingest", "backend")
_KEEP_HOURS: Final = 24.0  # what the simulated backend's outbox keeps of events that are in the log
_DERIVED: Final = ("bars", "quality", "book", "anomalies", "arbitrage", "joins", "forecasts", "fits")
_FLOWS: Final = (*_DERIVED, "timescale", "clickhouse")
_READ_PRICES: Final = frozenset({"bars", "quality", "book", "anomalies", "arbitrage", "timescale", "clickhouse"})
_CATCH_UP_S: Final = 120.0
_DRAINED_SOON: Final = 100  # records, of all flows: so many come of time alone
_STEADY_LOOKS: Final = 3  # a flow measures once a second
_FORECAST_INTERVAL: Final = "5s"  # so that forecasts are there within the first minute
_MAY_WAIT: Final = 15  # how nice the stores and the flows are
VENUES, FOR_SUBSCRIBERS = 1, 2
"""How urgent the simulated venues are, which stand for other machines and are as fast as they are asked to be, and
ingest and gateway, which go before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """`port` 0: a free one. `duration_s` None: until Ctrl-C.

    `settle_s`: at the end nothing more happens on the venues for this long, so that what they still owe is repeated.
    """

    port: int
    seed: int
    rate: float
    events: float
    speed: float
    duration_s: float | None
    settle_s: float = 0.0
    scenarios: tuple[str, ...] = ()


def demo(settings: Settings, options: DemoOptions) -> int:
    """Run the pipeline until Ctrl-C or for its duration; return the exit code. Raises: MandiError."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(settings.data_dir), display() as shown, _interruptible() as stop:
        _check(settings, options)
        clock = FileClock(settings.clock_file)
        open_market(clock, options.speed, shown.say)
        supervisor = Supervisor(settings.data_dir / "logs", shown.say)
        metrics_url = serve_metrics(LOOPBACK, 0)
        with registered(settings.data_dir, "demo", metrics_url):
            try:
                run = _Demo(settings, options, clock, supervisor, shown, stop)
                run.start(urlsplit(metrics_url).netloc)
                run.watch()
                return run.finish()
            finally:
                supervisor.stop()


def _check(settings: Settings, options: DemoOptions) -> None:
    if options.port and not port_is_free(options.port):
        raise MandiError(f"port {options.port} is taken: choose another with --port, or 0 for a free one")
    if settings.webhooks is not None:
        endpoints(settings)  # a mistake in the file ends the start, and not its flow again and again


class _Demo:
    """One run: what starts, in which order, and what it looks like from outside."""

    def __init__(
        self,
        settings: Settings,
        options: DemoOptions,
        clock: FileClock,
        supervisor: Supervisor,
        shown: Display,
        stop: threading.Event,
    ) -> None:
        self._settings, self._options, self._clock = settings, options, clock
        self._supervisor, self._shown, self._stop = supervisor, shown, stop
        self._port = options.port or free_port()
        self._metrics: dict[str, str] = {}  # addresses by process
        self._stores: Stores | None = None
        self._began = time.monotonic()

    def start(self, metrics: str) -> None:
        """Start all; `metrics` is where the demo's own are."""
        self._metrics["demo"] = metrics
        self._stores = self._start_stores()
        for name in STORES:
            self._await_store(self._stores, name)
        venue_port = free_port()
        cme, bloomberg = (f"127.0.0.1:{free_port()}" for _ in range(2))
        mcx_url = f"ws://127.0.0.1:{free_port()}/"
        self._settings = replace(self._settings, cme=cme, bloomberg=bloomberg, mcx_url=mcx_url)
        options, settings = self._options, self._settings
        rate, seed = str(options.rate), str(options.seed)
        words = ["--port", str(venue_port), "--rate", rate, "--seed", seed]
        if options.scenarios:
            words += ["--scenario", ",".join(options.scenarios)]
        self._start("simulate", "simulate", *words, urgent=VENUES)
        url = f"ws://127.0.0.1:{venue_port}/v1/feed"
        self._settings = settings = replace(settings, ice_url=url)
        self._start("ingest", "ingest", urgent=FOR_SUBSCRIBERS)
        self._start_backend()
        for flow in _FLOWS:
            self._start(flow, "run", flow, nice=_MAY_WAIT)
        if settings.webhooks is not None:
            self._start(WEBHOOKS, "run", WEBHOOKS, nice=_MAY_WAIT)
        self._start("gateway", "serve", "--port", str(self._port), stop_within_s=2.0, urgent=FOR_SUBSCRIBERS)
        self._metrics["gateway"] = f"127.0.0.1:{self._port}"
        self._shown.url = f"http://127.0.0.1:{self._port}/"
        self._until(self._gateway_answers, "the gateway", "gateway")
        self._shown.say(f"dashboard: {self._shown.url}")
        self._write_endpoints()
        self._began = time.monotonic()

    def watch(self) -> None:
        """Keep everything running until it is time to stop."""
        rows_before, seen_at = 0.0, time.monotonic()
        deadline = float("inf") if self._options.duration_s is None else self._began + self._options.duration_s
        while not self._stop.wait(0.1) and time.monotonic() < deadline:
            self._supervisor.poll()
            if time.monotonic() >= seen_at + 1.0:
                rows_before, seen_at = self._look(rows_before, time.monotonic() - seen_at), time.monotonic()
                self._stay_open()

    def finish(self) -> int:
        """Stop in the order in which data flows, so that what was received is also stored."""
        began = time.monotonic()
        self._shown.say("stopping: draining what was received")
        if not self._stop.is_set():
            self._supervisor.least_stop_s = _PATIENT_STOP_S
        # Who receives stops before who sends: what was said is not lost in between.
        self._supervisor.send("simulate", signal.SIGUSR1)
        self._stop.wait(self._options.settle_s)
        self._supervisor.stop_together(_SOURCES)
        self._supervisor.stop(["simulate"])
        if self._options.duration_s is not None:
            self._catch_up()
        self._supervisor.stop_together(_DERIVED)  # one that is busy costs its whole time
        self._supervisor.stop_together(["timescale", "clickhouse", WEBHOOKS, "gateway"])
        if self._options.duration_s is not None:
            assert self._stores is not None
            summary = demo_summary(self._settings.log, self._stores)
            summary["seconds"] = round(time.monotonic() - self._began, 3)
            print(orjson.dumps(summary).decode(), flush=True)
        self._supervisor.stop_together(["postgres", "chdb"])
        if self._options.duration_s is None:
            self._shown.say(f"stopped in {time.monotonic() - began:.1f} s; the next start resumes from here")
        return 0

    def _catch_up(self) -> None:
        """Let the flows read what there is, so that the counts are whole; not after Ctrl-C: the next start goes on."""
        deadline, steady, behind = time.monotonic() + _CATCH_UP_S, 0, 0
        while steady < _STEADY_LOOKS and time.monotonic() < deadline and not self._stop.wait(1.0):
            found = self._scraped()
            behind = round(found.total("mandi_log_lag_rows"))
            silent = _READ_PRICES - found.by_label("mandi_log_lag_rows", "consumer").keys()
            steady = 0 if silent or behind > _DRAINED_SOON else steady + 1
        if steady < _STEADY_LOOKS and not self._stop.is_set():
            self._shown.say(
                f"still {behind:,} records behind after {_CATCH_UP_S:.0f} s: the next start goes on from there"
            )

    def _start_stores(self) -> Stores:
        settings = self._settings
        where = ("--data-dir", str(settings.data_dir))
        postgres, chdb = EmbeddedPostgres(settings.data_dir), EmbeddedClickHouse(settings.data_dir)
        if settings.timescale == EMBEDDED:
            command = [*_python(), "sinks.embedded.postgres", *where]
            self._supervisor.start(Child(name="postgres", command=command, nice=_MAY_WAIT))
        if settings.clickhouse == EMBEDDED:
            command = [*_python(), "sinks.embedded.clickhouse", *where]
            self._supervisor.start(Child(name="chdb", command=command, nice=_MAY_WAIT))
        if settings.timescale == EMBEDDED:
            self._until(lambda: postgres_answers(postgres), "PostgreSQL", "postgres")
        if settings.clickhouse == EMBEDDED:
            self._until(lambda: clickhouse_answers(chdb), "ClickHouse (chDB)", "chdb")
        return Stores(
            timescale=postgres.dsn if settings.timescale == EMBEDDED else settings.timescale,
            clickhouse=chdb.url if settings.clickhouse == EMBEDDED else settings.clickhouse,
        )

    def _await_store(self, stores: Stores, name: str) -> None:
        """Migrate a store; wait for one that is away, as its flow does. Raises: MandiError if it refuses us."""

        def tell(error: StoreUnavailable, attempt: int, _wait_s: float) -> None:
            if attempt == 1:
                self._shown.say(f"waiting for {name} at {stores.place(name)}: {error.reason}; Ctrl-C ends it")

        retry = Retry(stop=self._stop, on_retry=tell, on_back=lambda: self._shown.say(f"{name} is there"))
        try:
            retry.repeat(lambda: make_ready(stores, name))
        except StoreUnavailable as error:
            raise KeyboardInterrupt from error

    def _start(self, name: str, *words: str, stop_within_s: float = 3.0, nice: int = 0, urgent: int = 0) -> None:
        assert self._stores is not None
        environment = {
            "MANDI_DATA_DIR": str(self._settings.data_dir),
            "MANDI_LOG": self._settings.log,
            "MANDI_TIMESCALE": self._stores.timescale,
            "MANDI_CLICKHOUSE": self._stores.clickhouse,
            "MANDI_ICE_URL": self._settings.ice_url,
            "MANDI_CME": self._settings.cme or "",
            "MANDI_MCX_URL": self._settings.mcx_url or "",
            "MANDI_MCX_REST_URL": "",
            "MANDI_MCX_BROKER": "kite",
            "MANDI_BLOOMBERG": self._settings.bloomberg or "",
            "MANDI_FORECAST_INTERVAL": _FORECAST_INTERVAL,
            "MANDI_ANONYMOUS_USER": self._settings.anonymous_user or "",
        }
        if self._settings.backend_outbox is not None:
            environment["MANDI_BACKEND_OUTBOX"] = self._settings.backend_outbox
        if self._settings.backend_outbox_hours is not None:
            environment["MANDI_BACKEND_OUTBOX_HOURS"] = str(self._settings.backend_outbox_hours)
        if name != "gateway":  # it serves /metrics on its own port
            self._metrics[name] = f"127.0.0.1:{free_port()}"
            environment["MANDI_METRICS_PORT"] = str(_port_of(self._metrics[name]))
        command = mandi_command(*words)
        self._supervisor.start(
            Child(
                name=name,
                command=command,
                environment=environment,
                stop_within_s=stop_within_s,
                nice=nice,
                urgent=urgent,
            )
        )

    def _start_backend(self) -> None:
        """Start the flow of the trading backend, and one to trade with where the settings name none."""
        settings, options = self._settings, self._options
        if settings.backend_outbox is None and settings.backend_kafka is None:
            if settings.timescale != EMBEDDED:
                self._shown.say("no trading backend: its simulation wants the embedded PostgreSQL")
                return
            assert self._stores is not None
            self._settings = replace(settings, backend_outbox=self._stores.timescale, backend_outbox_hours=_KEEP_HOURS)
            rate, seed = str(options.events), str(options.seed)
            self._start("trading", "simulate", "backend", "--events", rate, "--seed", seed, nice=_MAY_WAIT)
            self._settings = replace(self._settings, anonymous_user=self._settings.anonymous_user or USERS[0])
        self._start("backend", "ingest", "backend", nice=_MAY_WAIT)

    def _until(self, ready: Callable[[], bool], what: str, child: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready():
            self._supervisor.poll()
            if self._stop.wait(0.05):
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                log = self._settings.data_dir / "logs" / f"{child}.log"
                raise MandiError(f"{what} did not start ({self._supervisor.last_words(child)}): see {log}")

    def _gateway_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/healthz", timeout=0.5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _look(self, rows_before: float, elapsed_s: float) -> float:
        found = self._scraped()
        rows = found.total("mandi_rows_total", stage="ingest")
        self._shown.show(
            Vitals(
                market_ns=self._clock(),
                rows=round(rows),
                rows_per_s=max(0.0, rows - rows_before) / elapsed_s,
                bars=round(found.total("mandi_bars_total", kind="final")),
                late=round(found.total("mandi_late_rows_total")),
                gaps=round(found.total("mandi_gaps_total")),
                lag_records=round(found.total("mandi_log_lag_rows")),
                clients=round(found.total("mandi_gateway_clients")),
                pids=self._supervisor.pids(),
            )
        )
        return rows

    def _scraped(self) -> Metrics:
        """Ask every process for its metrics, and between one and the next look after all: some may not answer soon."""

        def urls() -> Iterator[str]:
            for url in self._metrics_urls():
                self._supervisor.poll()
                yield url

        return scrape(urls())

    def _stay_open(self) -> None:
        """Shortly before the first product closes, move the market clock to the next open session."""
        market_ns = self._clock()
        left_s = _JUMP_BEFORE_CLOSE_S * self._options.speed
        jumping = self._clock.clock.anchors[-1].wall_ns > time.time_ns()
        if not jumping and closes_soon(market_ns, left_s):
            open_market(self._clock, self._options.speed, self._shown.say, lead_ns=10**9)

    def _write_endpoints(self) -> None:
        found = {"dashboard": self._shown.url, "metrics": self._metrics_urls(), "venue": self._settings.ice_url}
        write_json(self._settings.data_dir / "endpoints.json", found)
        write_json(self._settings.data_dir / "targets.json", scrape_targets(self._metrics))
        config = alertmanager_config(self._settings.alert_webhook)
        write_private(self._settings.data_dir / "alertmanager.yml", config.encode())

    def _metrics_urls(self) -> list[str]:
        return [f"http://{address}/metrics" for address in self._metrics.values()]


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _python() -> list[str]:
    return mandi_command()[:2]  # this interpreter, -m


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    with (data_dir / "demo.lock").open("a+") as lock:
        if not try_lock(lock):
            lock.seek(0)
            raise MandiError(f"a demo already runs on {data_dir}, as process {lock.read().strip()}")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of an exception in the middle of something."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
