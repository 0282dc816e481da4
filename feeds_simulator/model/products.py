"""What each venue lists, how it trades there, and how the venue's quote follows from the benchmark's fair value.

Conversions follow the definitions of the units; Indian duty is charged on a notified tariff value at a notified
exchange rate, neither of which is the market's. Spreads, depths, shares, latencies and the size of dislocations
are plausible, not measured.

Units: quotes as in the contract master; latencies in ms of market time; `*_bps` basis points of the price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

OZT_PER_10G: Final = 10 / 31.1034768
OZT_PER_KG: Final = 1000 / 31.1034768
LB_PER_KG: Final = 1 / 0.45359237
LB_PER_MCX_CANDY: Final = 355.56 * LB_PER_KG


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """What Indian customs charge from a day on. `tariff` in USD per quote unit of the contract."""

    effective_from: date
    rate: float
    tariff: float
    usdinr: float

    @property
    def duty(self) -> float:
        """INR per quote unit."""
        return self.tariff * self.usdinr * self.rate


# Notifications 15-18/2026-Customs of 12 May 2026; tariff values of 16 September 2026, customs rate of 18 September.
# The day before is the regime of 24 July 2024, with the same tariff values for want of others.
GOLD_DUTY: Final = (
    Notified(effective_from=date(2024, 7, 24), rate=0.06, tariff=1373.0, usdinr=96.80),
    Notified(effective_from=date(2026, 5, 13), rate=0.15, tariff=1373.0, usdinr=96.80),
)
SILVER_DUTY: Final = (
    Notified(effective_from=date(2024, 7, 24), rate=0.06, tariff=2028.0, usdinr=96.80),
    Notified(effective_from=date(2026, 5, 13), rate=0.15, tariff=2028.0, usdinr=96.80),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """`((benchmark + cif) * factor * fx + duty) * purity * (1 + charges) + addition`, by default the benchmark."""

    factor: float = 1.0
    """Quote units (of the benchmark's currency) per benchmark unit."""
    fx: str = ""
    cif: float = 0.0
    duty: tuple[Notified, ...] = ()
    purity: float = 1.0
    charges: float = 0.0
    addition: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one product trades at one venue."""

    mic: str
    root: str
    commodity: str
    conversion: Conversion = Conversion()
    month_shift: int = 0
    """The benchmark's contract month that settles around the same date, less this one's."""
    spread_ticks: float
    gap_ticks: int = 1
    """Usual distance between two levels of the book."""
    mean_lots: float
    share: float
    """Of the actions of its venue, relative."""
    latency_ms: int = 0
    """How long ago the fair value was what this venue now believes it to be."""
    noise_ticks: float = 0.4
    basis_bps: float = 0.0
    """Standard deviation of the venue's slow premium or discount, which is 0 on average."""
    dislocations_per_day: float = 0.0
    dislocation_bps: float = 0.0
    """Mean size; each lasts some seconds."""


ICE: Final = (
    Profile(mic="IFUS", root="CT", commodity="cotton", spread_ticks=2.2, mean_lots=4.0, share=0.18),
    Profile(mic="IFUS", root="SB", commodity="sugar", spread_ticks=1.2, mean_lots=12.0, share=0.18),
    Profile(mic="IFUS", root="KC", commodity="coffee", spread_ticks=3.0, mean_lots=2.5, share=0.16),
    Profile(mic="IFUS", root="CC", commodity="cocoa", spread_ticks=3.5, mean_lots=2.2, share=0.14),
    Profile(mic="IFEU", root="B", commodity="brent", spread_ticks=1.1, mean_lots=8.0, share=0.34),
)

CME: Final = (
    Profile(mic="XCEC", root="GC", commodity="gold", spread_ticks=1.6, gap_ticks=1, mean_lots=3.0, share=0.26),
    Profile(mic="XCEC", root="SI", commodity="silver", spread_ticks=2.0, mean_lots=2.5, share=0.14),
    Profile(mic="XCEC", root="HG", commodity="copper", spread_ticks=1.6, mean_lots=3.0, share=0.10),
    Profile(mic="XNYM", root="CL", commodity="wti", spread_ticks=1.1, mean_lots=8.0, share=0.22),
    Profile(mic="XNYM", root="NG", commodity="natgas", spread_ticks=1.3, mean_lots=6.0, share=0.12),
    Profile(mic="XCBT", root="ZW", commodity="wheat", spread_ticks=1.2, mean_lots=8.0, share=0.05),
    Profile(mic="XCBT", root="ZC", commodity="corn", spread_ticks=1.1, mean_lots=20.0, share=0.06),
    Profile(mic="XCBT", root="ZS", commodity="soybean", spread_ticks=1.2, mean_lots=10.0, share=0.05),
)

_GOLD: Final = Conversion(factor=OZT_PER_10G, fx="usdinr", cif=3.0, duty=GOLD_DUTY, purity=995 / 999.9, charges=0.001)
_SILVER: Final = Conversion(factor=OZT_PER_KG, fx="usdinr", cif=0.15, duty=SILVER_DUTY, charges=0.001)
_COTTON: Final = Conversion(factor=LB_PER_MCX_CANDY / 100 * 1.11, fx="usdinr", addition=1200.0)  # 11 % duty, freight
# Seed cotton: a third is lint, the rest is sold as seed.
_KAPAS: Final = Conversion(factor=20 * LB_PER_KG / 100 * 0.34 * 1.11, fx="usdinr", addition=410.0)

MCX: Final = (
    Profile(mic="XIMC", root="GOLD", commodity="gold", conversion=_GOLD, spread_ticks=8.0, gap_ticks=4,
            mean_lots=2.2, share=0.22, latency_ms=180, noise_ticks=2.0, basis_bps=6.0,
            dislocations_per_day=300, dislocation_bps=25.0),
    Profile(mic="XIMC", root="GOLDM", commodity="gold", conversion=_GOLD, spread_ticks=9.0, gap_ticks=4,
            mean_lots=6.0, share=0.16, latency_ms=240, noise_ticks=2.0, basis_bps=7.0,
            dislocations_per_day=300, dislocation_bps=25.0),
    Profile(mic="XIMC", root="SILVER", commodity="silver", conversion=_SILVER, spread_ticks=18.0, gap_ticks=8,
            mean_lots=2.2, share=0.16, latency_ms=200, noise_ticks=4.0, basis_bps=8.0,
            dislocations_per_day=300, dislocation_bps=28.0),
    Profile(mic="XIMC", root="COPPER", commodity="copper", conversion=Conversion(factor=LB_PER_KG, fx="usdinr"),
            spread_ticks=2.5, mean_lots=3.0, share=0.08, latency_ms=220, basis_bps=8.0,
            dislocations_per_day=200, dislocation_bps=28.0),
    Profile(mic="XIMC", root="CRUDEOIL", commodity="wti", conversion=Conversion(fx="usdinr"), month_shift=1,
            spread_ticks=1.8, mean_lots=5.0, share=0.18, latency_ms=160, basis_bps=6.0,
            dislocations_per_day=300, dislocation_bps=25.0),
    Profile(mic="XIMC", root="NATURALGAS", commodity="natgas", conversion=Conversion(fx="usdinr"), month_shift=1,
            spread_ticks=1.8, mean_lots=6.0, share=0.14, latency_ms=160, basis_bps=8.0,
            dislocations_per_day=300, dislocation_bps=40.0),
    Profile(mic="XIMC", root="COTTONCNDY", commodity="cotton", conversion=_COTTON, spread_ticks=2.5,
            mean_lots=1.8, share=0.03, latency_ms=900, basis_bps=15.0,
            dislocations_per_day=80, dislocation_bps=45.0),
    Profile(mic="XIMC", root="KAPAS", commodity="cotton", conversion=_KAPAS, spread_ticks=2.5, mean_lots=1.8,
            share=0.03, latency_ms=1500, basis_bps=20.0, dislocations_per_day=60, dislocation_bps=50.0),
)  # fmt: skip

BLOOMBERG: Final = (
    Profile(mic="BBG", root="USDINR", commodity="usdinr", spread_ticks=2.0, mean_lots=3.0, share=0.30),
    Profile(mic="BBG", root="EURUSD", commodity="eurusd", spread_ticks=5.0, gap_ticks=2, mean_lots=4.0, share=0.10,
            noise_ticks=1.0),
    Profile(mic="BBG", root="GBPUSD", commodity="gbpusd", spread_ticks=7.0, gap_ticks=3, mean_lots=4.0, share=0.08,
            noise_ticks=1.0),
    Profile(mic="BBG", root="USDJPY", commodity="usdjpy", spread_ticks=5.0, gap_ticks=2, mean_lots=4.0, share=0.08,
            noise_ticks=1.0),
    Profile(mic="BBG", root="GC", commodity="gold", spread_ticks=1.6, mean_lots=3.0, share=0.18, latency_ms=60),
    Profile(mic="BBG", root="CL", commodity="wti", spread_ticks=1.2, mean_lots=6.0, share=0.10, latency_ms=60),
    Profile(mic="BBG", root="CO", commodity="brent", spread_ticks=1.2, mean_lots=6.0, share=0.08, latency_ms=60),
    Profile(mic="BBG", root="CT", commodity="cotton", spread_ticks=2.2, mean_lots=3.0, share=0.08, latency_ms=60),
)  # fmt: skip

PROFILES: Final[Mapping[str, tuple[Profile, ...]]] = {"ice": ICE, "mcx": MCX, "cme": CME, "bloomberg": BLOOMBERG}
"""By venue."""
