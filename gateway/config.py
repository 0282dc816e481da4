"""What the gateway is told when it starts."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Whose tokens are accepted: of a secret (HS256), or of public keys (RS256, EdDSA)."""

    secret: str | None = field(default=None, repr=False)
    secret_file: Path | None = None
    jwks_file: Path | None = None
    issuer: str | None = None  # None: not checked
    audience: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Settings of one gateway process."""

    log_url: str
    host: str = "127.0.0.1"
    port: int = 8080  # 0: a free one, told by on_listening
    timescale_dsn: str | Callable[[], str] | None = field(default=None, repr=False)
    """May hold a password. A function is asked before each new connection: an embedded store may have moved."""
    bundle_dir: Path | None = None
    allowed_origins: tuple[str, ...] = ()  # besides the page's own host, such as "https://desk.example"
    auth: AuthConfig | None = None  # None: anyone may see everything, on loopback only
    anonymous_user: str = ""  # whose trades a client sees where there is no log-in; "": nobody's
    wall_s: Callable[[], float] = time.time  # what the times of tokens are held against
    max_clients: int = 20_000
    max_clients_per_address: int = 2_000  # behind a proxy all have the proxy's
    max_clients_per_user: int = 100  # of one token's `sub`
    tail_records: int = 1_000  # read back per partition at start, to know the last state
    ready_within_s: float = 5.0  # caught up with the log no longer ago than this
    health: Callable[[], Mapping[str, object]] | None = None  # what the pipeline's processes say; may take a second
    on_listening: Callable[[str, int], None] | None = None  # host, port
