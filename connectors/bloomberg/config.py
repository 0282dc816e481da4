"""Settings of a Bloomberg feed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from connectors.bloomberg.constants import FEED, SECOND_NS
from connectors.bloomberg.symbols import security_of
from market.instruments import InstrumentMaster, nearest_by_name

SIMULATED_SDK: Final = "feeds_simulator.bloomberg.blpapi"


@dataclass(frozen=True, slots=True, kw_only=True)
class BloombergConfig:
    """Which SDK, where its server is, and for what."""

    sdk: str = SIMULATED_SDK
    """Name of the module to import: the simulator's facade, or `blpapi`."""
    host: str = "127.0.0.1"
    port: int = 8194
    keys: tuple[str, ...] = ()
    """Instrument keys; empty: every Bloomberg product of the contract master."""
    months: int = 2
    """Listed months of each future."""
    news: bool = True
    connect_timeout_s: float = 5.0
    keepalive_s: tuple[float, float] = (20.0, 5.0)
    """The SDK pings a connection that was quiet for the first, and leaves it without an answer for the second."""
    stable_after_s: float = 60.0
    queue_events: int = 10_000
    """The SDK's own queue; beyond three quarters of it quotes are conflated, beyond all of it data is lost."""
    max_rows: int = 500_000
    """Rows not yet taken at which the SDK's queue is no longer read."""

    def wanted(self, now_ns: int) -> tuple[str, ...]:
        """Return the instrument keys to subscribe at a time; of those that share a security (GCZ6), the nearest."""
        return tuple(nearest_by_name(self.keys or self._listed(now_ns), security_of))

    def _listed(self, now_ns: int) -> tuple[str, ...]:
        master, today = InstrumentMaster.load(), datetime.fromtimestamp(now_ns // SECOND_NS, UTC).date()
        roots = sorted({contract.root for contract in master.contracts if contract.mic == FEED})
        return tuple(key for root in roots for key in master.fronts(FEED, root, today, self.months))
