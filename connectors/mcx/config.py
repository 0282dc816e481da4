"""Settings of an MCX feed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from connectors.mcx.constants import DEAD_AFTER_S, KITE, PING_INTERVAL_S, REST_INTERVAL_S, SILENT_AFTER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class McxConfig:
    """Through which broker, where, as whom. The credentials never show in `repr`."""

    broker: str = KITE
    url: str
    rest_url: str
    """Base of the REST interface; of Angel, where the scrip master is."""
    api_key: str
    access_token: Callable[[], str] = field(repr=False)
    """Asked before every connection: brokers end a token every morning, and somebody logs in anew."""
    client_code: str = ""
    """Angel only."""
    feed_token: Callable[[], str] = field(default=lambda: "", repr=False)
    """Angel only."""
    roots: tuple[str, ...] = ()
    """Products to subscribe; empty: all that the contract master knows."""
    buy_flag: int = 0
    """Angel only: which flag of a depth entry means the buy side."""
    stale_after_s: float = 60.0
    """An instrument that ticked, and then not for so long in its trading hours, is STALE."""
    open_timeout_s: float = 10.0
    rest_timeout_s: float = 4.0
    rest_interval_s: float = REST_INTERVAL_S
    ping_interval_s: float = PING_INTERVAL_S
    dead_after_s: float = DEAD_AFTER_S
    silent_after_s: float = SILENT_AFTER_S
    stable_after_s: float = 60.0
    """A connection that lasted this long resets the reconnect delay."""
    max_rows: int = 500_000
    """Rows not yet taken at which the socket is no longer read."""
