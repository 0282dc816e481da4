"""Which venues there are, and how each one's feed is made from the settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from connectors.feed import Feed, Positions
from connectors.ice.config import IceConfig
from connectors.ice.source import open_feed as open_ice
from mandi.errors import UsageError
from mandi.settings import Settings
from pipelines.ingest import OpenFeed


def _ice(settings: Settings) -> OpenFeed:
    config = IceConfig(url=settings.ice_url, key=settings.ice_key, secret=settings.ice_secret)

    def build(now: Callable[[], int], resume: Positions | None) -> Feed:
        return open_ice(config, now, resume)

    return build


VENUES: Final[Mapping[str, Callable[[Settings], OpenFeed]]] = {"ice": _ice}


def open_feeds(settings: Settings, venues: Sequence[str] = ()) -> dict[str, OpenFeed]:
    """Return the feeds of the named venues, by default of all. Raises: UsageError for an unknown venue."""
    unknown = [venue for venue in venues if venue not in VENUES]
    if unknown:
        raise UsageError(f"there is no venue '{unknown[0]}'; choose among {', '.join(VENUES)}")
    return {venue: VENUES[venue](settings) for venue in venues or VENUES}
