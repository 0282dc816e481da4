"""Which venues there are, and how each one's feed, and the trading backend's, is made from the settings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from connectors.backend.config import BadAddress, KafkaConfig, OutboxConfig
from connectors.backend.feed import BackendConfig
from connectors.backend.feed import open_feed as open_backend_feed
from connectors.backend.source import BACKEND as BACKEND
from connectors.bloomberg.config import BloombergConfig
from connectors.bloomberg.source import load_sdk
from connectors.bloomberg.source import open_feed as open_bloomberg
from connectors.cme.config import CmeConfig
from connectors.cme.dialects import DIALECTS
from connectors.cme.source import open_feed as open_cme
from connectors.errors import SdkMissing
from connectors.feed import Feed, Positions
from connectors.ice.config import IceConfig
from connectors.ice.source import open_feed as open_ice
from connectors.mcx.config import McxConfig
from connectors.mcx.source import open_feed as open_mcx
from mandi.errors import UsageError
from mandi.settings import Settings
from pipelines.backend import OpenFeed as OpenBackend
from pipelines.ingest import OpenFeed


def _ice(settings: Settings) -> OpenFeed:
    config = IceConfig(url=settings.ice_url, key=settings.ice_key, secret=settings.ice_secret)

    def build(now: Callable[[], int], resume: Positions | None) -> Feed:
        return open_ice(config, now, resume)

    return build


def cme_address(settings: Settings) -> tuple[str, int]:
    """Return host and port of the FIX acceptor. Raises: UsageError without one, or for an unknown dialect."""
    if settings.cme is None:
        raise UsageError("no address of the venue cme: set MANDI_CME to host:port (docs/venues.md)")
    if settings.cme_dialect not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise UsageError(f"the setting cme_dialect is '{settings.cme_dialect}'; it must be one of {known}")
    host, _, port = settings.cme.rpartition(":")
    return host, int(port)


def _cme(settings: Settings) -> OpenFeed:
    host, port = cme_address(settings)
    config = CmeConfig(
        host=host,
        port=port,
        sender=settings.cme_sender,
        target=settings.cme_target,
        password=settings.cme_password,
        dialect=DIALECTS[settings.cme_dialect],
    )
    return partial(open_cme, config)


def mcx_url(settings: Settings) -> str:
    """Return the broker's WebSocket, by default where `mandi simulate mcx` listens."""
    path = "/smart-stream" if settings.mcx_broker == "angel" else "/"
    return settings.mcx_url or f"ws://127.0.0.1:8766{path}"


def _mcx(settings: Settings) -> OpenFeed:
    url = mcx_url(settings)
    scheme, _, rest = url.partition("://")
    same_host = f"{'https' if scheme == 'wss' else 'http'}://{rest.partition('/')[0]}"
    config = McxConfig(
        broker=settings.mcx_broker,
        url=url,
        rest_url=settings.mcx_rest_url or same_host,
        api_key=settings.mcx_api_key,
        access_token=lambda: settings.mcx_access_token,
        client_code=settings.mcx_client_code or "",
        feed_token=lambda: settings.mcx_feed_token,
        buy_flag=settings.mcx_buy_flag,
    )
    return partial(open_mcx, config)


def bloomberg_address(settings: Settings) -> tuple[str, int]:
    """Return host and port of Bloomberg's server, by default the terminal's."""
    host, _, port = (settings.bloomberg or "127.0.0.1:8194").rpartition(":")
    return host, int(port)


def _bloomberg(settings: Settings) -> OpenFeed:
    host, port = bloomberg_address(settings)
    try:
        load_sdk(settings.bloomberg_sdk)
    except SdkMissing as missing:
        raise UsageError(f"{missing}; install it, or set MANDI_BLOOMBERG_SDK (docs/venues.md)") from missing
    return partial(open_bloomberg, BloombergConfig(sdk=settings.bloomberg_sdk, host=host, port=port))


VENUES: Final[Mapping[str, Callable[[Settings], OpenFeed]]] = {
    "ice": _ice,
    "mcx": _mcx,
    "cme": _cme,
    "bloomberg": _bloomberg,
}


def configured(settings: Settings) -> tuple[str, ...]:
    """Return the venues that have an address."""
    addresses = {
        "ice": settings.ice_url,
        "mcx": settings.mcx_url,
        "cme": settings.cme,
        "bloomberg": settings.bloomberg,
    }
    return tuple(venue for venue, address in addresses.items() if address is not None)


def open_feeds(settings: Settings, venues: Sequence[str] = ()) -> dict[str, OpenFeed]:
    """Return the feeds of the named venues, by default of all that have an address.

    Raises: UsageError for an unknown venue, or an SDK that is not there.
    """
    unknown = [venue for venue in venues if venue not in VENUES]
    if unknown:
        raise UsageError(f"there is no venue '{unknown[0]}'; choose among {', '.join(VENUES)}")
    return {venue: VENUES[venue](settings) for venue in venues or configured(settings)}


def open_backend(settings: Settings) -> OpenBackend:
    """Return what opens the trading backend's feed. Raises: UsageError without an address, or with a wrong one."""
    try:
        config = BackendConfig(kafka=_topic(settings), outbox=_outbox(settings))
    except BadAddress as error:
        raise UsageError(f"the trading backend: {error}") from error
    if config.kafka is None and config.outbox is None:
        raise UsageError("no trading backend: set MANDI_BACKEND_KAFKA or MANDI_BACKEND_OUTBOX (docs/venues.md)")
    return partial(open_backend_feed, config)


def _topic(settings: Settings) -> KafkaConfig | None:
    return None if settings.backend_kafka is None else KafkaConfig.parse(settings.backend_kafka)


def _outbox(settings: Settings) -> OutboxConfig | None:
    if settings.backend_outbox is None:
        return None
    hours = settings.backend_outbox_hours
    return OutboxConfig(
        dsn=settings.backend_outbox,
        table=settings.backend_outbox_table,
        keep_s=None if hours is None else hours * 3600,
    )
