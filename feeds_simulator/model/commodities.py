"""What is traded: the fair value of each commodity and currency, in its benchmark's quote unit.

Levels of November 2026, rounded; volatilities and curves are plausible, not measured. On `ANCHOR_DAY` every price
is at its level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

ANCHOR_DAY: Final = date(2026, 11, 23)

# Weight of each New York hour in the variance of a day, relative: Asia, the London open, the New York day.
_METALS: Final = (4, 4, 5, 7, 6, 6, 6, 7, 12, 14, 12, 9, 7, 6, 5, 4, 3, 0.2, 3, 4, 5, 5, 4, 4)
_ENERGY: Final = (2, 2, 3, 4, 5, 5, 5, 6, 9, 13, 14, 11, 9, 9, 10, 4, 3, 0.2, 2, 2, 3, 3, 2, 2)
_CROPS: Final = (2, 2, 2, 4, 5, 5, 5, 6, 8, 14, 15, 11, 9, 12, 6, 0.3, 0.3, 0.3, 0.3, 1, 2, 2, 2, 2)
_FX: Final = (6, 6, 6, 7, 6, 6, 5, 5, 7, 8, 7, 5, 4, 3, 3, 2, 2, 1, 2, 3, 4, 6, 7, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commodity:
    """The process of one fair value. Volatility annual; `curve` the slope of later months, per year.

    `factor` names a process shared with its kin, which carries `factor_share` of the variance.
    """

    price: float
    volatility: float
    curve: float = 0.0
    season: tuple[float, ...] = _METALS
    factor: str = ""
    factor_share: float = 0.0


COMMODITIES: Final[Mapping[str, Commodity]] = {
    "gold": Commodity(price=4150.0, volatility=0.16, curve=0.040, factor="precious", factor_share=0.6),
    "silver": Commodity(price=63.50, volatility=0.30, curve=0.045, factor="precious", factor_share=0.6),
    "copper": Commodity(price=6.55, volatility=0.22, curve=0.010),
    "wti": Commodity(price=88.50, volatility=0.35, curve=-0.060, season=_ENERGY, factor="oil", factor_share=0.9),
    "brent": Commodity(price=90.10, volatility=0.34, curve=-0.060, season=_ENERGY, factor="oil", factor_share=0.9),
    "natgas": Commodity(price=3.03, volatility=0.55, curve=0.15, season=_ENERGY),
    "cotton": Commodity(price=68.20, volatility=0.24, curve=0.078, season=_CROPS),
    "sugar": Commodity(price=15.05, volatility=0.30, curve=-0.113, season=_CROPS),
    "coffee": Commodity(price=380.50, volatility=0.42, curve=-0.102, season=_CROPS),
    "cocoa": Commodity(price=6012.0, volatility=0.50, curve=-0.043, season=_CROPS),
    "wheat": Commodity(price=550.0, volatility=0.28, curve=0.100, season=_CROPS, factor="grains", factor_share=0.5),
    "corn": Commodity(price=430.0, volatility=0.24, curve=0.080, season=_CROPS, factor="grains", factor_share=0.5),
    "soybean": Commodity(price=1080.0, volatility=0.20, curve=0.040, season=_CROPS, factor="grains", factor_share=0.5),
    "usdinr": Commodity(price=95.80, volatility=0.045, season=_FX),
    "eurusd": Commodity(price=1.1650, volatility=0.075, season=_FX),
    "gbpusd": Commodity(price=1.3250, volatility=0.080, season=_FX),
    "usdjpy": Commodity(price=152.40, volatility=0.095, season=_FX),
}
