"""Settings of an ICE feed."""

from dataclasses import dataclass, field

from connectors.ice.constants import BOOK, DEAD_AFTER_S, DEPTH_LEVELS, PING_INTERVAL_S, STATUS, TRADES


@dataclass(frozen=True, slots=True, kw_only=True)
class IceConfig:
    """Where to connect, as whom, and for what. The secret never shows in `repr`."""

    url: str
    key: str
    secret: str = field(repr=False)
    symbols: tuple[str, ...] = ("*",)
    depth: int = DEPTH_LEVELS
    channels: tuple[str, ...] = (STATUS, TRADES, BOOK)
    """`settle` can be added; its messages go to the rejected ledger until a table takes them."""
    open_timeout_s: float = 10.0
    ping_interval_s: float = PING_INTERVAL_S
    dead_after_s: float = DEAD_AFTER_S
    stable_after_s: float = 60.0
    """A connection that lasted this long resets the reconnect delay."""
    max_rows: int = 500_000
    """Rows not yet taken at which the socket is no longer read."""

    @property
    def subscription(self) -> str:
        """What is subscribed, as text: a session made for another one is not resumed."""
        return f"{','.join(self.channels)}/{','.join(self.symbols)}/{self.depth}"
