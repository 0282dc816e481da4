"""Settings of a CME feed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from connectors.cme.codec import symbol_key
from connectors.cme.constants import DEPTH_LEVELS, PRODUCTS
from connectors.cme.dialects import DIALECTS, Dialect
from connectors.fix.config import SessionConfig
from market.instruments import InstrumentMaster, nearest_by_name


@dataclass(frozen=True, slots=True, kw_only=True)
class CmeConfig:
    """Where to connect, as whom, and for what. The password never shows in `repr`."""

    host: str
    port: int
    sender: str = "MANDI"
    target: str = "CME"
    password: str = field(default="", repr=False)
    dialect: Dialect = DIALECTS["levels-44"]
    products: tuple[tuple[str, str], ...] = PRODUCTS
    months: int = 2
    depth: int = DEPTH_LEVELS
    open_timeout_s: float = 10.0
    stable_after_s: float = 60.0
    """A connection that lasted this long resets the reconnect delay."""
    max_rows: int = 500_000
    """Rows not yet taken at which the socket is no longer read."""

    def session(self) -> SessionConfig:
        """Return the session that the dialect asks for."""
        dialect = self.dialect
        return SessionConfig(
            sender=self.sender,
            target=self.target,
            begin_string=dialect.begin_string,
            application_version=dialect.application_version,
            heartbeat_s=dialect.heartbeat_s,
            auth=dialect.auth,
            username=self.sender,
            password=self.password,
            reset_on_logon=dialect.reset_on_logon,
            precision=dialect.precision,
        )

    def instruments(self, on: date) -> Sequence[str]:
        """Return the keys of the nearest months of every product; where GCZ6 is of two decades, of the nearer one."""
        master = InstrumentMaster.load()
        keys = [key for mic, root in self.products for key in master.fronts(mic, root, on, self.months)]
        return nearest_by_name(keys, lambda key: symbol_key(key, self.dialect.symbol))

    @property
    def subscription(self) -> str:
        """What is subscribed and as whom, as text: a session made for another one is not resumed."""
        products = ",".join(f"{mic}:{root}" for mic, root in self.products)
        return f"{self.sender}/{self.target}/{self.dialect.name}/{products}/{self.months}/{self.depth}"
