"""Parity: the worked examples to the paisa, every ladder against sums written out with Decimal, sizes in whole lots."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_terms import EVERY, NOW, scaled, terms

from market.instruments import InstrumentKey, InstrumentMaster
from market.parity import (
    BUY_FOREIGN,
    COSTS,
    DIRECTIONS,
    LANDING,
    bound_of,
    duty_on_tariff,
    foreign_key,
    ladder,
    land,
)
from market.reference import MissingReference, Reference
from market.sizes import least_lots
from market.units import factor, to_decimal, to_scaled

PAISA = Decimal("0.01")


def test_duty_on_the_tariff_value_as_customs_compute_it() -> None:
    assert to_decimal(duty_on_tariff(Fraction(1373), Fraction("96.80"), Fraction("0.15"))) == Decimal("19935.96")
    assert to_decimal(duty_on_tariff(Fraction(2028), Fraction("96.80"), Fraction("0.15"))) == Decimal("29446.56")


def test_the_quick_form_of_gold() -> None:
    quick = Fraction(4150) * Fraction("95.6") * Fraction("0.3215075")
    assert to_decimal(quick) == Decimal("127554.89")  # desks round the factor, 127,554.87 is with all its digits
    exact = Fraction(4150) * Fraction("95.6") * factor("10g", "ozt")
    assert to_decimal(exact) == Decimal("127554.87")
    assert to_decimal(exact * Fraction("1.15"), 0) == Decimal(146688)


def test_gold_995_landed_step_by_step() -> None:
    found = land(terms("GOLD"), Fraction(4150), Fraction("95.6"))
    purity, ounces = Decimal(995) / Decimal("999.9"), Decimal(10) / Decimal("31.1034768")
    value = Decimal(4150) * Decimal("95.6") * ounces * purity
    freight = Decimal(3) * Decimal("95.6") * ounces * purity
    duty = Decimal("19935.96") * purity
    bank = (value + freight + duty) * Decimal("0.001")
    expected = {"value": value, "freight": freight, "duty": duty, "bank": bank, "inland": Decimal(0)}
    for name, amount in expected.items():
        assert to_decimal(getattr(found, name)) == amount.quantize(PAISA), name
    assert to_decimal(found.landed) == sum(expected.values()).quantize(PAISA)


def test_silver_copper_crude_and_gas_in_their_units() -> None:
    fx = Fraction("95.8")
    silver = land(terms("SILVER"), Fraction("63.50"), fx)
    assert to_decimal(silver.value + silver.freight) == (
        (Decimal("63.65") * Decimal("95.8") * 1000 / Decimal("31.1034768")).quantize(PAISA)
    )
    assert to_decimal(silver.duty) == Decimal("29446.56")
    copper = land(terms("COPPER"), Fraction("6.55"), fx)
    assert to_decimal(copper.landed) == (Decimal("6.55") * Decimal("95.8") / Decimal("0.45359237")).quantize(PAISA)
    assert land(terms("CRUDEOIL"), Fraction("88.50"), fx).landed == Fraction("88.50") * fx
    assert land(terms("NATURALGAS"), Fraction("3.03"), fx).landed == Fraction("3.03") * fx


def test_cotton_in_cents_a_pound_lands_with_eleven_percent_duty() -> None:
    found = land(terms("COTTONCNDY"), Fraction("68.20"), Fraction("95.8"))
    value = Decimal("68.20") * Decimal("95.8") * Decimal("355.56") / Decimal("0.45359237") / 100
    assert to_decimal(found.value) == value.quantize(PAISA)
    assert to_decimal(found.duty) == (value * Decimal("0.11")).quantize(PAISA)
    assert found.inland == 1200
    exempt = land(terms("COTTONCNDY", date(2025, 10, 1)), Fraction("68.20"), Fraction("95.8"))
    assert exempt.duty == 0


def test_duty_is_that_of_the_day() -> None:
    # The same tariff value under both regimes, since customs values before September 2026 are not packaged.
    reference = Reference.load()
    rates = [
        sum(reference.duties.get(f"gold/{name}", day).value.value for name in ("BCD", "AIDC"))
        for day in (date(2026, 5, 12), date(2026, 5, 13))
    ]
    assert rates == [Fraction("0.06"), Fraction("0.15")]
    with pytest.raises(MissingReference, match="tariff_values of gold on 2026-05-12"):
        terms("GOLD", date(2026, 5, 12))


def test_every_cost_of_selling_mcx_gold_against_comex() -> None:
    found = ladder(terms("GOLD"), BUY_FOREIGN, scaled("149000"), scaled("4150"), scaled("95.6"), (3, 1))
    price, purity, lot_tens = Decimal(149000), Decimal(995) / Decimal("999.9"), Decimal(300)  # 3 kg in tens of grams
    value = Decimal(4150) * Decimal("95.6") * 10 / Decimal("31.1034768") * purity
    foreign_tens = Decimal(100) * Decimal("31.1034768") / 10 / purity  # 100 oz as tens of grams of 995
    mcx_fees = price * (Decimal("0.000021") + Decimal("0.000001")) + Decimal(20) / lot_tens
    expected = {
        "fees": mcx_fees + Decimal("2.10") * Decimal("95.6") / foreign_tens,
        "taxes": price * Decimal("0.0001") + mcx_fees * Decimal("0.18"),
        "financing": value * Decimal("0.20") * Decimal("0.065") * 2 / 365,
        "margin": value * Decimal("0.0001"),
        "fx_hedge": value * Decimal("0.00005"),
        "slippage": 1 + Decimal("0.1") * Decimal("95.6") * 10 / Decimal("31.1034768") * purity,
    }
    for name, amount in expected.items():
        assert (Decimal(found.costs[name]) / 10**9).quantize(PAISA) == amount.quantize(PAISA), name
    assert (Decimal(found.gross) / 10**9).quantize(PAISA) == (price - value).quantize(PAISA)
    assert found.total_inr == found.net * 300
    assert abs(Fraction(found.total_usd) - Fraction(found.total_inr) / Fraction("95.6")) <= Fraction(1, 2)


def test_stamp_duty_is_paid_by_the_buyer_and_transaction_tax_by_the_seller() -> None:
    sold, bought = (
        ladder(terms("GOLD"), direction, scaled("149000"), scaled("4150"), scaled("95.6"), (3, 1))
        for direction in DIRECTIONS
    )
    gap = Decimal(sold.costs["taxes"] - bought.costs["taxes"]) / 10**9
    assert gap.quantize(PAISA) == (Decimal(149000) * (Decimal("0.0001") - Decimal("0.00002"))).quantize(PAISA)


@pytest.mark.parametrize("root", EVERY)
@settings(max_examples=25)
@given(price=st.integers(1, 10**16), foreign=st.integers(-(10**13), 10**13), fx=st.integers(10**9, 2 * 10**11))
def test_gross_less_costs_is_net_and_landing_saved_is_landing_paid(
    root: str, price: int, foreign: int, fx: int
) -> None:
    way = terms(root)
    sold, bought = (ladder(way, direction, price, foreign, fx, least_lots(way)) for direction in DIRECTIONS)
    for found in (sold, bought):
        assert tuple(found.costs) == COSTS
        assert found.gross - sum(found.costs.values()) == found.net
    assert sold.gross == -bought.gross
    assert all(sold.costs[name] == -bought.costs[name] for name in LANDING)
    assert sold.net + bought.net < 0  # nobody earns both ways


@pytest.mark.parametrize("root", EVERY)
@pytest.mark.parametrize("direction", DIRECTIONS)
@settings(max_examples=25)
@given(
    price=st.integers(1, 10**15), foreign=st.integers(-(10**13), 10**13), fx=st.integers(10**9, 2 * 10**11),
    lots=st.integers(1, 50),
)  # fmt: skip
def test_a_profit_is_never_beyond_the_bound(
    root: str, direction: str, price: int, foreign: int, fx: int, lots: int
) -> None:
    way = terms(root)
    found = ladder(way, direction, price, foreign, fx, (lots, 1))
    if found.net > len(COSTS):  # roundings
        assert bound_of(way, direction).is_positive(price, foreign, fx)


@pytest.mark.parametrize("root", EVERY)
def test_the_bound_is_tight_but_for_the_brokerage(root: str) -> None:
    way = terms(root)
    landed = to_scaled(land(way, Fraction(60), Fraction(95)).landed)
    bound = bound_of(way, BUY_FOREIGN)
    net = ladder(way, BUY_FOREIGN, 2 * landed, scaled("60"), scaled("95"), (10**9, 10**9)).net
    spare = net * 10**9 // (10**9 - 10**6)  # what can be taken off the price, with 0.1 % for fees on it
    assert bound.is_positive(2 * landed, scaled("60"), scaled("95")) == (net > 0)
    assert not bound.is_positive(2 * landed - spare - landed // 1000, scaled("60"), scaled("95"))


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("XIMC:GOLD:202612", "XCEC:GC:202612"),
        ("XIMC:GOLDM:202701", "XCEC:GC:202702"),
        ("XIMC:CRUDEOIL:202612", "XNYM:CL:202701"),
        ("XIMC:NATURALGAS:202611", "XNYM:NG:202612"),
        ("XIMC:SILVER:202612", "XCEC:SI:202612"),
        ("XIMC:COPPER:202611", "XCEC:HG:202612"),
        ("XIMC:COTTONCNDY:202611", "IFUS:CT:202612"),
    ],
)
def test_months_are_paired_by_rule(local: str, expected: str) -> None:
    key = InstrumentKey.parse(local)
    assert foreign_key(terms(key.root).route, InstrumentMaster.load(), key, NOW) == expected


def test_a_ladder_says_which_of_its_rows_are_assumed() -> None:
    assert {"gold/freight", "gold/tariff_value", "USDINR/customs_rate"} <= set(terms("GOLD").assumed)
    assert not {"gold/BCD", "XIMC:*/ctt"} & set(terms("GOLD").assumed)
