"""Units: factors equal the definitions, digit for digit."""

from decimal import Decimal
from fractions import Fraction

import pytest

from market.units import BadUnit, factor, from_scaled, to_decimal, to_scaled


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("ozt", "g", "31.1034768"),
        ("kg", "ozt", "32.1507465686"),
        ("10g", "ozt", "0.3215074657"),
        ("kg", "lb", "2.2046226218"),
        ("t", "lb", "2204.6226218488"),
        ("short_ton", "kg", "907.18474"),
        ("bale_us", "kg", "217.7243376"),
        ("candy", "kg", "355.61641808"),
        ("candy_mcx", "kg", "355.56"),
        ("bu_wheat", "kg", "27.2155422"),
        ("bu_corn", "kg", "25.40117272"),
        ("t", "bu_wheat", "36.7437104"),
        ("t", "bu_corn", "39.3682611"),
        ("bbl", "l", "158.987294928"),
        ("mmbtu", "gj", "1.05505585262"),
        ("mmbtu", "kwh", "293.0710702"),
    ],
)
def test_a_factor_is_the_definition(one: str, other: str, expected: str) -> None:
    places = len(expected.partition(".")[2])
    assert to_decimal(factor(one, other), places) == Decimal(expected)


def test_a_cent_a_pound_is_what_desks_say_a_candy_is() -> None:
    assert to_decimal(factor("candy_mcx", "lb") / 100, 8) == Decimal("7.83875619")
    assert to_decimal(Fraction("355.62") * 1000 / factor("lb", "g") / 100, 8) == Decimal("7.84007897")


def test_there_and_back_is_one() -> None:
    assert factor("candy", "lb") * factor("lb", "candy") == 1
    assert factor("lb", "candy") == Fraction(1, 784)


@pytest.mark.parametrize(("one", "other"), [("kg", "bbl"), ("mmbtu", "bbl"), ("stone", "kg"), ("kg", "stone")])
def test_what_cannot_be_compared_is_refused(one: str, other: str) -> None:
    with pytest.raises(BadUnit, match=f"'{one}' to '{other}'"):
        factor(one, other)


def test_scaled_numbers_round_half_to_even() -> None:
    assert to_scaled(Fraction("95.8")) == 95_800_000_000
    assert to_scaled(Fraction(5, 10**10)) == 0
    assert to_scaled(Fraction(15, 10**10)) == 2
    assert from_scaled(95_800_000_000) == Fraction("95.8")
