"""Units of mass, volume and energy, and exact factors between them.

Units: every factor is a Fraction made from the definition of the unit; nothing here is a float. A unit's name is that
of `quote_unit` and `size_unit` in the contract master, or one of the trade's (bale, quintal).
Source: the international yard and pound agreement of 1959 (pound, troy ounce, US gallon, bushel weights); ISO 80000-5
for the IT British thermal unit; MCX contract specification for its own candy.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

from market.schemas import PRICE_SCALE

_LB_G: Final = Fraction("453.59237")
_GALLON_L: Final = Fraction("3.785411784")

_MASS_G: Final[Mapping[str, Fraction]] = {
    "g": Fraction(1),
    "10g": Fraction(10),
    "kg": Fraction(1000),
    "20kg": Fraction(20_000),  # maund of kapas
    "quintal": Fraction(100_000),
    "t": Fraction(1_000_000),
    "ozt": Fraction("31.1034768"),
    "lb": _LB_G,
    "short_ton": 2000 * _LB_G,
    "bale_in": Fraction(170_000),
    "bale_us": 480 * _LB_G,
    "candy": 784 * _LB_G,  # 355.61641808 kg; often quoted as 355.62
    "candy_mcx": Fraction(355_560),  # what the exchange's contract says a candy is
    "bu_wheat": 60 * _LB_G,  # and soybean
    "bu_corn": 56 * _LB_G,
}
_VOLUME_L: Final[Mapping[str, Fraction]] = {"l": Fraction(1), "gal": _GALLON_L, "bbl": 42 * _GALLON_L}
_ENERGY_J: Final[Mapping[str, Fraction]] = {
    "gj": Fraction(10**9),
    "mmbtu": Fraction("1055055852.62"),
    "kwh": Fraction(3_600_000),
}
_KINDS: Final = {"mass": _MASS_G, "volume": _VOLUME_L, "energy": _ENERGY_J}


class BadUnit(ValueError):
    """A unit we do not know, or two that measure different things. Carries `one` and `other`."""

    def __init__(self, one: str, other: str, reason: str) -> None:
        super().__init__(f"{one!r} to {other!r}: {reason}")
        self.one, self.other = one, other


def factor(one: str, other: str) -> Fraction:
    """Return how many of `other` one of `one` is. Raises: BadUnit.

    Example:
        >>> factor("ozt", "g")
        Fraction(19439673, 625000)
        >>> round(float(factor("kg", "ozt")), 10)
        32.1507465686
    """
    kinds = [next((kind for kind, units in _KINDS.items() if name in units), None) for name in (one, other)]
    for name, kind in zip((one, other), kinds, strict=True):
        if kind is None:
            raise BadUnit(one, other, f"{name!r} is no unit we know")
    if kinds[0] != kinds[1] or kinds[0] is None:
        raise BadUnit(one, other, f"{kinds[0]} is not {kinds[1]}")
    units = _KINDS[kinds[0]]
    return units[one] / units[other]


def to_scaled(value: Fraction) -> int:
    """Return a number as a multiple of 1e-9, rounded half to even."""
    return round(value * PRICE_SCALE)


def from_scaled(value: int) -> Fraction:
    return Fraction(value, PRICE_SCALE)


def to_decimal(value: Fraction, places: int = 2) -> Decimal:
    """Return a number rounded half to even, 2 places being the paisa.

    Example:
        >>> to_decimal(Fraction("1373") * Fraction("96.80") * Fraction("0.15"))
        Decimal('19935.96')
    """
    scaled = round(value * 10**places)
    return Decimal(scaled).scaleb(-places).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
