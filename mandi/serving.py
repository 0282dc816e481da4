"""`mandi serve`: the gateway and the dashboard as a process."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.config import AuthConfig, GatewayConfig
from gateway.errors import BadKeys
from gateway.server import serve as serve_gateway
from mandi.clock import FileClock
from mandi.errors import UsageError
from mandi.health import health
from mandi.process import run_async, say, service
from mandi.settings import Settings
from mandi.stores import open_stores


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    host: str
    port: int


def serve(settings: Settings, options: ServeOptions) -> None:
    """Serve until stopped."""
    with service(settings), open_stores(settings, only="timescale") as stores:
        config = GatewayConfig(
            log_url=settings.log,
            host=options.host,
            port=options.port,
            timescale_dsn=stores.timescale,
            bundle_dir=bundle_dir(),
            allowed_origins=tuple((settings.allowed_origins or "").replace(",", " ").split()),
            auth=_auth(settings),
            anonymous_user=settings.anonymous_user or "",
            health=partial(health, settings.data_dir / "targets.json"),
            on_listening=lambda host, port: say(f"dashboard on http://{host}:{port}/"),
        )
        try:
            run_async(lambda stop: serve_gateway(config, FileClock(settings.clock_file), stop))
        except BadKeys as error:
            raise UsageError(str(error)) from error


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
