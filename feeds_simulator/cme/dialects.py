"""How the venue speaks: choices that FIX leaves open. Data only; the connector keeps a table of its own.

Source: FIX 4.4 and 5.0 SP2 field definitions; docs/venues.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from market.instruments import MONTH_CODES, InstrumentKey

GLOBEX: Final = "globex"  # 55=GCZ6
SECURITY_ID: Final = "security id"  # 55=GC 48=GCZ6 22=8
EXCHANGE_MONTH: Final = "exchange and month"  # 55=GC 200=202612 207=XCEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to speak."""

    begin_string: str = "FIX.4.4"
    application_version: str = ""
    symbol: str = GLOBEX
    by_entry_id: bool = False
    """Book entries have an id (278) in place of a position."""
    position_tag: int = 290
    incremental: bool = True
    """False: a full refresh for every change."""
    numbered: bool = True
    """Book entries carry RptSeq (83)."""
    processed: bool = False
    """Full refreshes carry LastMsgSeqNumProcessed (369): the last incremental that is in them."""
    aggressor_tag: int = 5797
    """CME's own tag; 2446 from FIX 5.0 SP2 on; 0: not told."""
    trade_id_tag: int = 278
    password_tag: int = 554
    fraction_digits: int = 3

    def symbol_fields(self, key: str) -> str:
        """Return the fields that name an instrument, in the order of the Instrument block."""
        parsed = InstrumentKey.parse(key)
        globex = f"{parsed.root}{MONTH_CODES[int(parsed.expiry[4:]) - 1]}{parsed.expiry[3]}"
        if self.symbol == GLOBEX:
            return f"55={globex}\x01"
        if self.symbol == SECURITY_ID:
            return f"55={parsed.root}\x0148={globex}\x0122=8\x01"
        return f"55={parsed.root}\x01200={parsed.expiry}\x01207={parsed.mic}\x01"


DIALECTS: Final[Mapping[str, Dialect]] = {
    "levels-44": Dialect(),
    "plain-44": Dialect(numbered=False, aggressor_tag=0),
    "entries-44": Dialect(symbol=EXCHANGE_MONTH, by_entry_id=True, numbered=False, password_tag=96),
    "images-44": Dialect(incremental=False, numbered=False, password_tag=0),
    "levels-50": Dialect(
        begin_string="FIXT.1.1",
        application_version="9",
        symbol=SECURITY_ID,
        position_tag=1023,
        numbered=False,
        processed=True,
        aggressor_tag=2446,
        trade_id_tag=1003,
        fraction_digits=6,
    ),
}
