"""The receivers of webhooks, as the settings name them: a TOML file of its own, because it holds keys.

[desk]
url = "https://hooks.example/mandi"
topics = ["market.anomalies", "market.arbitrage"]
keys = ["whsec_...", "whsec_... (the one before, while both are in use)"]
"""

import ipaddress
import logging
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mandi.errors import UsageError
from mandi.settings import Settings
from pipelines import metrics
from sinks.addresses import Network
from sinks.webhooks import Courier, Endpoint, endpoint_of

_log: Final = logging.getLogger(__name__)


def endpoints(settings: Settings) -> list[Endpoint]:
    """Read the receivers. Raises: UsageError if there are none, or one cannot be."""
    if settings.webhooks is None:
        raise UsageError("the flow webhooks needs receivers: set MANDI_WEBHOOKS to a file (docs/oncall.md)")
    path = Path(settings.webhooks)
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the webhooks file {path} cannot be read: {error}") from error
    allow = allowed_networks(settings)
    try:
        found = [endpoint_of(name, table, allow) for name, table in tables.items()]
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: {error}") from None
    if not found:
        raise UsageError(f"the webhooks file {path} names no receiver")
    return found


def allowed_networks(settings: Settings) -> list[Network]:
    """Networks that webhooks may go to although they are not public. Raises: UsageError."""
    words = (settings.webhooks_allow or "").replace(",", " ").split()
    try:
        return [ipaddress.ip_network(word) for word in words]
    except ValueError as error:
        raise UsageError(f"the setting webhooks_allow: {error}") from None


def couriers(found: Sequence[Endpoint], allow: Sequence[Network], stop: threading.Event) -> list[Courier]:
    """One courier a receiver; they tell of their retries."""
    return [Courier(endpoint=endpoint, stop=stop, allow=allow, on_retry=_tell) for endpoint in found]


def _tell(endpoint: str, reason: str, wait_s: float) -> None:
    metrics.WEBHOOKS.labels(endpoint, "retried").inc()
    _log.warning("webhook %s: %s; next attempt in %.1f s", endpoint, reason, wait_s)
