"""Settings: `mandi.toml`, overridden by the environment, overridden by the command line. Checked once, here."""

import contextlib
import difflib
import os
import re
import secrets
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mandi.alerting import DEFAULT_WEBHOOK
from mandi.errors import UsageError
from market.kafka_log import is_kafka, kafka_log
from market.schemas import INTERVALS_NS
from market.segments import UnsupportedLog

CONFIG_FILE: Final = "mandi.toml"
EMBEDDED: Final = "embedded"
DEFAULT_ICE_URL: Final = "ws://127.0.0.1:8765/v1/feed"
DEFAULT_BLOOMBERG_SDK: Final = "feeds_simulator.bloomberg.blpapi"

_ENVIRONMENT: Final = {
    "data_dir": "MANDI_DATA_DIR",
    "log": "MANDI_LOG",
    "timescale": "MANDI_TIMESCALE",
    "clickhouse": "MANDI_CLICKHOUSE",
    "ice_url": "MANDI_ICE_URL",
    "ice_key": "MANDI_ICE_KEY",
    "cme": "MANDI_CME",
    "cme_sender": "MANDI_CME_SENDER",
    "cme_target": "MANDI_CME_TARGET",
    "cme_dialect": "MANDI_CME_DIALECT",
    "mcx_url": "MANDI_MCX_URL",
    "mcx_rest_url": "MANDI_MCX_REST_URL",
    "mcx_broker": "MANDI_MCX_BROKER",
    "mcx_api_key": "MANDI_MCX_API_KEY",
    "mcx_client_code": "MANDI_MCX_CLIENT_CODE",
    "mcx_buy_flag": "MANDI_MCX_BUY_FLAG",
    "bloomberg": "MANDI_BLOOMBERG",
    "bloomberg_sdk": "MANDI_BLOOMBERG_SDK",
    "backend_kafka": "MANDI_BACKEND_KAFKA",
    "backend_outbox": "MANDI_BACKEND_OUTBOX",
    "backend_outbox_table": "MANDI_BACKEND_OUTBOX_TABLE",
    "backend_outbox_hours": "MANDI_BACKEND_OUTBOX_HOURS",
    "metrics_port": "MANDI_METRICS_PORT",
    "metrics_host": "MANDI_METRICS_HOST",
    "alert_webhook": "MANDI_ALERT_WEBHOOK",
    "webhooks": "MANDI_WEBHOOKS",
    "webhooks_allow": "MANDI_WEBHOOKS_ALLOW",
    "jwt_jwks_file": "MANDI_JWT_JWKS_FILE",
    "jwt_issuer": "MANDI_JWT_ISSUER",
    "jwt_audience": "MANDI_JWT_AUDIENCE",
    "allowed_origins": "MANDI_ALLOWED_ORIGINS",
    "anonymous_user": "MANDI_ANONYMOUS_USER",
    "forecast_interval": "MANDI_FORECAST_INTERVAL",
    "log_days": "MANDI_LOG_DAYS",
    "log_gib": "MANDI_LOG_GIB",
    "raw_days": "MANDI_RAW_DAYS",
}

KNOWN: Final = frozenset(_ENVIRONMENT.values()) | {
    *("MANDI_ICE_SECRET", "MANDI_ICE_SECRET_FILE", "MANDI_CME_PASSWORD", "MANDI_CME_PASSWORD_FILE"),
    *("MANDI_MCX_ACCESS_TOKEN", "MANDI_MCX_ACCESS_TOKEN_FILE", "MANDI_MCX_FEED_TOKEN", "MANDI_MCX_FEED_TOKEN_FILE"),
    *("MANDI_JWT_SECRET", "MANDI_JWT_SECRET_FILE", "MANDI_SQL_DIR"),
    *("MANDI_PARENT_PID", "MANDI_PULSE_FD", "MANDI_SEAT", "MANDI_CRASH_AT"),  # between our own processes
    *("MANDI_NAB", "MANDI_HOURLY", "MANDI_COMMODITIES", "MANDI_GATEWAY", "MANDI_SERVICES_DIR", "MANDI_SHARED_DATA"),
}
"""Every variable that something of ours reads. Another one may be a slip, and what it was to set has its default."""

_OURS: Final = "MANDI_"
_OF_TESTS: Final = "MANDI_TEST_"

_POSTGRES: Final = ("postgresql://", "postgres://")
_HTTP: Final = ("http://", "https://")
_WEB_SOCKET: Final = ("ws://", "wss://")
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "log": ("file:///", "kafka://"),
    "timescale": (EMBEDDED, *_POSTGRES),
    "clickhouse": (EMBEDDED, *_HTTP),
    "ice_url": _WEB_SOCKET,
    "mcx_url": _WEB_SOCKET,
    "mcx_rest_url": _HTTP,
    "backend_kafka": ("kafka://",),
    "backend_outbox": _POSTGRES,
    "alert_webhook": _HTTP,
}
"""The settings that are addresses, and what each may begin with."""

_HOST: Final = re.compile(r"(\[[^\[\]\s]+\]|[^\[\]:\s]*)(?::(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where everything is. Secrets are never shown."""

    data_dir: Path
    log: str
    timescale: str = field(default=EMBEDDED, repr=False)
    clickhouse: str = field(default=EMBEDDED, repr=False)
    ice_url: str = DEFAULT_ICE_URL
    ice_key: str = "mandi"
    cme: str | None = None
    """Where the FIX acceptor for COMEX, NYMEX and CBOT is, `host:port`; None: no such venue."""
    cme_sender: str = "MANDI"
    cme_target: str = "CME"
    cme_dialect: str = "levels-44"
    mcx_url: str | None = None
    """The broker's WebSocket; None: no such venue."""
    mcx_rest_url: str | None = None
    """None: the host of `mcx_url`."""
    mcx_broker: str = "kite"
    mcx_api_key: str = "mandi"
    mcx_client_code: str | None = None
    mcx_buy_flag: int = 0
    bloomberg: str | None = None
    """Where Bloomberg's server is, `host:port`; None: no such venue."""
    bloomberg_sdk: str = DEFAULT_BLOOMBERG_SDK
    backend_kafka: str | None = None
    backend_outbox: str | None = field(default=None, repr=False)
    backend_outbox_table: str = "trading.outbox"
    backend_outbox_hours: float | None = None
    """How long the outbox keeps what is on disk in our log; None: for ever."""
    jwt_jwks_file: Path | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    allowed_origins: str | None = None
    """Pages of these may use the gateway, besides its own."""
    anonymous_user: str | None = None
    """Whose own trades everybody sees where there is no log-in."""
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    alert_webhook: str = field(default=DEFAULT_WEBHOOK, repr=False)
    """Where Alertmanager sends alerts; it may hold a token."""
    webhooks: str | None = None
    """The file that names the receivers of webhooks; None: there are none."""
    webhooks_allow: str | None = None
    """Networks that webhooks may go to although they are not public."""
    forecast_interval: str = "1m"
    """The bars at whose ends forecasts are made."""
    log_days: float = 7.0
    log_gib: float = 4.0
    """What the embedded log keeps of each topic-partition: this long, and at most this much."""
    raw_days: float = 90.0
    """What `mandi prune` keeps of trades, quotes and books in both stores."""

    @property
    def clock_file(self) -> Path:
        return self.data_dir / "clock.json"

    @property
    def ice_secret(self) -> str:
        return _secret("MANDI_ICE_SECRET", "MANDI_ICE_SECRET_FILE", self.data_dir / "ice.secret", os.environ)

    @property
    def cme_password(self) -> str:
        return _secret("MANDI_CME_PASSWORD", "MANDI_CME_PASSWORD_FILE", self.data_dir / "cme.password", os.environ)

    @property
    def mcx_access_token(self) -> str:
        """Read anew each time: the broker ends it every morning, and somebody puts a new one into the file."""
        file = self.data_dir / "mcx.token"
        return _secret("MANDI_MCX_ACCESS_TOKEN", "MANDI_MCX_ACCESS_TOKEN_FILE", file, os.environ)

    @property
    def mcx_feed_token(self) -> str:
        file = self.data_dir / "mcx.feed-token"
        return _secret("MANDI_MCX_FEED_TOKEN", "MANDI_MCX_FEED_TOKEN_FILE", file, os.environ)

    @property
    def jwt_secret(self) -> str | None:
        """None: tokens are not signed with a secret, or it is in `jwt_secret_file`."""
        return os.environ.get("MANDI_JWT_SECRET") or None

    @property
    def jwt_secret_file(self) -> Path | None:
        name = os.environ.get("MANDI_JWT_SECRET_FILE")
        return Path(name) if name and not self.jwt_secret else None

    @property
    def recovery_dir(self) -> Path:
        return self.data_dir / "recovery"


def load(data_dir: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises: UsageError naming the setting, its value and what it may be.
    """
    found = _from_file(Path(CONFIG_FILE))
    set_here = (name for name in environment if name.startswith(_OURS) and not name.startswith(_OF_TESTS))
    for said in _unknown("the environment", [name for name in set_here if environment[name]], KNOWN):
        sys.stderr.write(f"{said}; it is passed over\n")  # Kubernetes, too, makes variables: of a service's name
    found |= {name: environment[variable] for name, variable in _ENVIRONMENT.items() if environment.get(variable)}
    where = (data_dir or Path(found.pop("data_dir", ".mandi"))).resolve()
    found.pop("data_dir", None)
    log = found.pop("log", "") or f"file://{where / 'log'}"
    for name, value in ({"log": log} | found).items():
        _check_address(name, value)
    if is_kafka(log):
        _check_kafka(log)
    port, hours = found.pop("metrics_port", None), found.pop("backend_outbox_hours", None)
    return Settings(
        alert_webhook=found.get("alert_webhook", DEFAULT_WEBHOOK),
        webhooks=found.get("webhooks"),
        webhooks_allow=found.get("webhooks_allow"),
        data_dir=where,
        log=log,
        metrics_port=None if port is None else _port(port),
        metrics_host=found.get("metrics_host", "127.0.0.1"),
        forecast_interval=_choice("forecast_interval", found.get("forecast_interval", "1m"), tuple(INTERVALS_NS)),
        log_days=_positive("log_days", found.pop("log_days", "7")),
        log_gib=_positive("log_gib", found.pop("log_gib", "4")),
        raw_days=_positive("raw_days", found.pop("raw_days", "90")),
        timescale=found.get("timescale", EMBEDDED),
        clickhouse=found.get("clickhouse", EMBEDDED),
        backend_kafka=found.get("backend_kafka"),
        backend_outbox=found.get("backend_outbox"),
        backend_outbox_table=found.get("backend_outbox_table", "trading.outbox"),
        backend_outbox_hours=None if hours is None else _positive("backend_outbox_hours", hours),
        ice_url=found.get("ice_url", DEFAULT_ICE_URL),
        ice_key=found.get("ice_key", "mandi"),
        cme=_host_port("cme", found.get("cme")),
        cme_sender=found.get("cme_sender", "MANDI"),
        cme_target=found.get("cme_target", "CME"),
        cme_dialect=found.get("cme_dialect", "levels-44"),
        mcx_url=found.get("mcx_url"),
        mcx_rest_url=found.get("mcx_rest_url"),
        mcx_broker=_choice("mcx_broker", found.get("mcx_broker", "kite"), ("kite", "angel")),
        mcx_api_key=found.get("mcx_api_key", "mandi"),
        mcx_client_code=found.get("mcx_client_code"),
        mcx_buy_flag=int(_choice("mcx_buy_flag", found.get("mcx_buy_flag", "0"), ("0", "1"))),
        jwt_jwks_file=Path(found["jwt_jwks_file"]) if "jwt_jwks_file" in found else None,
        jwt_issuer=found.get("jwt_issuer"),
        jwt_audience=found.get("jwt_audience"),
        allowed_origins=found.get("allowed_origins"),
        anonymous_user=found.get("anonymous_user"),
        bloomberg=_host_port("bloomberg", found.get("bloomberg")),
        bloomberg_sdk=found.get("bloomberg_sdk", DEFAULT_BLOOMBERG_SDK),
    )


def _from_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    for said in _unknown(str(path), table, _ENVIRONMENT):
        raise UsageError(said)
    return {name: str(value) for name, value in table.items()}


def _unknown(where: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """A sentence for each name that is not known, with the nearest one that is."""
    for name in sorted(set(names).difference(known)):
        meant = difflib.get_close_matches(name.removeprefix(_OURS), [each.removeprefix(_OURS) for each in known], n=1)
        hint = f": did you mean {_OURS if name.startswith(_OURS) else ''}{meant[0]}?" if meant else ";"
        yield f"{where} has the unknown setting {name}{hint} docs/settings.md has those there are"


def _check_address(name: str, value: str) -> None:
    """Refuse an address that can be nobody's: its server would look like one that is down, and be waited for."""
    allowed = _ADDRESSES.get(name)
    if allowed is None or (value == EMBEDDED and EMBEDDED in allowed):
        return
    shown = value.split("@")[-1]  # what stands before an @ may be a password
    if not value.startswith(allowed):
        raise UsageError(f"the setting {name} is '{shown}'; it must begin with {' or '.join(allowed)}")
    authority = re.split("[/?#]", value.partition("://")[2])[0]
    for text in authority.rpartition("@")[2].split(","):  # PostgreSQL and Kafka take several
        found = _HOST.fullmatch(text)
        if found is None or not 0 < int(found[2] or 1) < 65_536:
            raise UsageError(f"the setting {name} is for '{text}'; it is host:port, a port a number from 1 to 65535")
        if not found[1] and not value.startswith(("file://", *_POSTGRES)):  # PostgreSQL has a socket of its own
            raise UsageError(f"the setting {name} is '{shown}'; it names no host")


def _check_kafka(url: str) -> None:
    """Refuse a log on Kafka whose options cannot be: to a client, a file it cannot use is a broker that is away."""
    import ssl  # for the few that need it

    try:
        files = kafka_log(url).client
    except UnsupportedLog as error:
        raise UsageError(str(error)) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("ssl_cafile", "ssl_keyfile", "ssl_certfile"):  # the key before the certificate that needs it
        if name not in files:
            continue
        try:
            Path(files[name]).open("rb").close()  # OpenSSL does not say which file it is that it cannot read
            if name == "ssl_cafile":
                context.load_verify_locations(files[name])
            elif name == "ssl_certfile":  # the empty password: else it would ask who sits at the terminal
                context.load_cert_chain(files[name], files.get("ssl_keyfile"), password="")
        except OSError as error:
            raise UsageError(f"the Kafka log's {name} is '{files[name]}': {error.strerror}") from error


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"the setting {name} is '{value}'; it must be {' or '.join(allowed)}")
    return value


def _positive(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise UsageError(f"the setting {name} is '{text}'; it must be a positive number")
    return number


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise UsageError(f"the setting metrics_port is '{text}'; it must be 0 to 65535")
    return int(text)


def _host_port(name: str, text: str | None) -> str | None:
    host, _, port = (text or "").rpartition(":")
    if text is not None and not (host and port.isdigit() and 0 < int(port) < 65_536):
        raise UsageError(f"the setting {name} is '{text}'; it must be host:port")
    return text


def _secret(variable: str, file_variable: str, default: Path, environment: Mapping[str, str]) -> str:
    """The variable, or what is in the file that the other one names, or one made up for this data directory."""
    if environment.get(variable):
        return environment[variable]
    path = Path(environment.get(file_variable) or default)
    if not path.exists():
        _make_up(path)
    return path.read_text().strip()


# Several processes may start at once: whoever links first has made up the secret of all.
def _make_up(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(16))
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
