"""How far a price may go in a session, and what happens when it wants to go further.

The reference is the price at which the session opened: the model has no settlement price of the day before.
Config with sources, of mixed age: confirm before anything depends on a figure.

Units: steps as fractions of the reference or in quote units; times in seconds of market time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Bands that widen step by step, each once the one before has been hit and its wait is over."""

    steps: tuple[float, ...]
    waits_s: tuple[float, ...]
    """After a hit of each step but the last: how long it goes on to hold. 0: widens at once."""
    absolute: bool = False
    """Steps are in quote units, not fractions."""
    halts_s: float = 0.0
    """A hit stops trading for so long; otherwise trading goes on at the limit."""


_MCX_BULLION: Final = Limit(steps=(0.03, 0.06, 0.09), waits_s=(0.0, 900.0))
_MCX_METALS_ENERGY: Final = Limit(steps=(0.04, 0.06, 0.09), waits_s=(0.0, 900.0))
_MCX_AGRI: Final = Limit(steps=(0.04, 0.06), waits_s=(900.0,))
_CME_589: Final = Limit(steps=(0.10, 0.20, 0.30, 0.40), waits_s=(120.0, 120.0, 120.0), halts_s=120.0)

LIMITS: Final[Mapping[str, Limit]] = {
    "XIMC:GOLD": _MCX_BULLION,
    "XIMC:GOLDM": _MCX_BULLION,
    "XIMC:SILVER": _MCX_METALS_ENERGY,
    "XIMC:COPPER": _MCX_METALS_ENERGY,
    "XIMC:CRUDEOIL": _MCX_METALS_ENERGY,
    "XIMC:NATURALGAS": _MCX_METALS_ENERGY,
    "XIMC:COTTONCNDY": _MCX_AGRI,
    "XIMC:KAPAS": _MCX_AGRI,
    "IFUS:CT": Limit(steps=(3.0,), waits_s=(), absolute=True),  # Rule 10.09 below about 80 cents; widens overnight
    "XCBT:ZW": Limit(steps=(40.0,), waits_s=(), absolute=True),  # reset each May and November
    "XCBT:ZC": Limit(steps=(30.0,), waits_s=(), absolute=True),
    "XCBT:ZS": Limit(steps=(70.0,), waits_s=(), absolute=True),
    "XCEC:GC": _CME_589,
    "XCEC:SI": _CME_589,
    "XCEC:HG": _CME_589,
    "XNYM:CL": _CME_589,
    "XNYM:NG": _CME_589,
}
"""By `MIC:ROOT`. Beyond the third slab of MCX it is by notice; the percentages of Rule 589 are quoted, not read."""


class Band:
    """The limits of one month in one session, in ticks. `clamp` says where the makers may quote."""

    __slots__ = ("_limit", "_reference", "_step", "_tick", "_until_ns", "halted_until_ns", "high", "low")

    def __init__(self, limit: Limit, reference: int, tick: float) -> None:
        self._limit, self._reference, self._tick = limit, reference, tick
        self._step = 0
        self._until_ns = 0
        self.halted_until_ns = 0
        self._widen(0)

    def pass_time(self, ts_ns: int) -> None:
        """Widen if the wait after a hit is over, wherever the price is by then."""
        if self._until_ns and ts_ns >= self._until_ns:
            self._widen(self._step + 1)

    def hit(self, ts_ns: int) -> bool:
        """Take note that a price wants out; return whether the band holds, False if it has just widened."""
        limit = self._limit
        if self._step + 1 >= len(limit.steps):
            return True
        if not self._until_ns:
            self._until_ns = ts_ns + int(limit.waits_s[self._step] * 1e9)
            if limit.halts_s:
                self.halted_until_ns = ts_ns + int(limit.halts_s * 1e9)
        if ts_ns < self._until_ns:
            return True
        self._widen(self._step + 1)
        return False

    def _widen(self, step: int) -> None:
        self._step, self._until_ns = step, 0
        size = self._limit.steps[step]
        reach = int(size / self._tick) if self._limit.absolute else int(abs(self._reference) * size)
        self.low, self.high = self._reference - reach, self._reference + reach
