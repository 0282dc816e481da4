"""How venues and vendors differ in the FIX they speak: data, not code.

No vendor's certification document is quoted: each dialect is a combination of choices that vendors of CME data make,
to be adjusted line by line against the one that is bought. See docs/venues.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connectors.fix.config import NO_AUTH, RAW_DATA_AUTH, USERNAME_AUTH

LEVELS: Final = "levels"
ENTRIES: Final = "entries"

SYMBOL: Final = (55,)
SECURITY_ID: Final = (48,)
EXCHANGE_MONTH: Final = (207, 55, 200)
"""The fields that name an instrument: Symbol `GCZ6`; SecurityID `GCZ6`; exchange, root and month."""

RPT_SEQ: Final = 83
LAST_MSG_SEQ_NUM_PROCESSED: Final = 369


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to speak FIX market data."""

    name: str
    begin_string: str = "FIX.4.4"
    application_version: str | None = None
    heartbeat_s: int = 10
    auth: str = USERNAME_AUTH
    reset_on_logon: bool = False
    precision: str = "ms"
    symbol: tuple[int, ...] = SYMBOL
    book: str = LEVELS
    """LEVELS: changes by side and position (290, 1023), New pushes down. ENTRIES: by MDEntryID (278, 280)."""
    incremental: bool = True
    """False: every change is a full image (W); its last trade entry is a trade when its id is new."""
    image_order: int | None = RPT_SEQ
    """The tag by which an image and changes are ordered; None: by their order in the stream."""


DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Dialect(name="levels-44"),
        Dialect(name="plain-44", image_order=None),
        Dialect(
            name="entries-44",
            book=ENTRIES,
            symbol=EXCHANGE_MONTH,
            auth=RAW_DATA_AUTH,
            heartbeat_s=30,
            image_order=None,
        ),
        Dialect(name="images-44", incremental=False, reset_on_logon=True, image_order=None, auth=NO_AUTH),
        Dialect(
            name="levels-50",
            begin_string="FIXT.1.1",
            application_version="9",
            symbol=SECURITY_ID,
            precision="us",
            image_order=LAST_MSG_SEQ_NUM_PROCESSED,
        ),
    )
}
