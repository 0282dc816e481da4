"""`mandi serve`: the gateway and the dashboard as a process."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from gateway.config import AuthConfig, GatewayConfig
from gateway.errors import BadKeys
from gateway.server import serve as serve_gateway
from mandi.clock import FileClock
from mandi.errors import UsageError
from mandi.health import health
from mandi.process import ANY_ADDRESS, LOOPBACK, run_async, say, service
from mandi.settings import Settings
from mandi.stores import Stores, migrate_store, open_stores
from sinks.base import Retry
from sinks.errors import SinkError, StoreUnavailable
from sinks.failures import TIMESCALE

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    host: str
    port: int


def serve(settings: Settings, options: ServeOptions) -> None:
    """Serve until stopped; without history as long as the store is away."""
    with (
        service(settings, "gateway") as entry,
        open_stores(settings, only=(TIMESCALE,), may_be_away=True) as stores,
        _awaited(stores),
    ):

        def listening(host: str, port: int) -> None:
            say(f"dashboard on http://{host}:{port}/")
            entry.add(f"http://{LOOPBACK if host in ANY_ADDRESS else host}:{port}/metrics")

        config = GatewayConfig(
            log_url=settings.log,
            host=options.host,
            port=options.port,
            timescale_dsn=partial(stores.address, TIMESCALE),
            bundle_dir=bundle_dir(),
            allowed_origins=tuple((settings.allowed_origins or "").replace(",", " ").split()),
            auth=_auth(settings),
            anonymous_user=settings.anonymous_user or "",
            health=partial(health, settings.data_dir / "targets.json"),
            on_listening=listening,
        )
        try:
            run_async(lambda stop: serve_gateway(config, FileClock(settings.clock_file), stop))
        except BadKeys as error:
            raise UsageError(str(error)) from error


@contextmanager
def _awaited(stores: Stores) -> Iterator[None]:
    """While what comes from the log is served: wait for a store that was away, and migrate it."""
    stop = threading.Event()

    def tell(error: StoreUnavailable, _attempt: int, wait_s: float) -> None:
        _log.warning("history is not served: %s; next attempt in %.1f s", error, wait_s)

    def wait() -> None:
        try:
            Retry(stop=stop, on_retry=tell).repeat(partial(migrate_store, stores, TIMESCALE))
            _log.warning("history is served: %s is there", TIMESCALE)
        except StoreUnavailable:
            pass  # we were stopped
        except SinkError as error:  # it is there, and not as it should be: who asks is told so by each answer
            _log.error("history is not served: %s", error)

    if TIMESCALE in stores.away:
        threading.Thread(target=wait, name="history", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _auth(settings: Settings) -> AuthConfig | None:
    if settings.jwt_secret is None and settings.jwt_secret_file is None and settings.jwt_jwks_file is None:
        return None
    return AuthConfig(
        secret=settings.jwt_secret,
        secret_file=settings.jwt_secret_file,
        jwks_file=settings.jwt_jwks_file,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )


def bundle_dir() -> Path:
    """Where `make setup` builds the dashboard."""
    return Path(__file__).resolve().parent.parent / "dashboards" / "web" / "dist"
