"""What a price can be: by the contract of an instrument on a day."""

import pytest

from connectors.errors import PriceRefused
from connectors.mcx.prices import Prices
from connectors.prices import PriceRule, rule_of
from market.instruments import Contract, InstrumentMaster

E9 = 10**9
NOW = 1_795_231_397 * E9
LISTED = [
    contract.mic + ":" + contract.root + (":SPOT" if contract.months == "SPOT" else ":202612")
    for contract in InstrumentMaster.load().contracts
    if contract.effective_to.year > 2026
]


def refusal(rule: PriceRule | Prices, price: int) -> str:
    with pytest.raises(PriceRefused) as refused:
        rule.check(price)
    return refused.value.reason


@pytest.mark.parametrize("key", LISTED)
def test_each_product_has_a_sign_and_futures_a_tick(key: str) -> None:
    rule = rule_of(key, NOW)
    tick = rule.tick or 1
    rule.check(7 * tick)
    assert (rule.tick is None) == key.endswith("SPOT")
    if rule.tick is not None:
        assert refusal(rule, 7 * tick + 1) == "off_tick"
    if key.split(":")[1] in ("CL", "NG", "B", "CO", "CRUDEOIL", "NATURALGAS"):
        rule.check(-7 * tick)
        rule.check(0)
    else:
        assert refusal(rule, 0) == refusal(rule, -7 * tick) == "out_of_range"


def test_an_instrument_that_nobody_knows_has_no_tick() -> None:
    assert rule_of("QQQQ:XX:202612", NOW) == PriceRule(None, may_be_negative=False)


def kilos(unit: str) -> Prices:
    return Prices(Contract(mic="XIMC", root="GOLD", commodity="gold", quote_unit=unit))


def test_a_unit_a_hundred_times_smaller() -> None:
    """Gold a kilo at 14.9 million, from one day on 149,000 for ten grams."""
    before, after = kilos("kg"), kilos("10g")
    before.took(14_900_000 * E9)
    after.succeed(before)
    told = after.see_close(14_850_000 * E9, new_session=False)
    assert told == "previous close 14850000 a kg, so 148500 a 10g"
    assert after.close == 148_500 * E9
    after.check(151_000 * E9)
    assert refusal(after, 15_100_000 * E9) == "implausible_price"
    assert refusal(after, 1_400_000 * E9) == "implausible_price"  # nearer to a kilo's, by ratio
    assert refusal(after, 1_510 * E9) == "implausible_price"  # by the close


def test_the_change_is_over_with_the_first_session_in_which_it_traded() -> None:
    before, after = kilos("kg"), kilos("10g")
    before.took(14_900_000 * E9)
    after.succeed(before)
    after.see_close(14_850_000 * E9, new_session=False)
    after.see_close(14_860_000 * E9, new_session=True)  # it has not traded yet: still of the kilo
    assert after.close == 148_600 * E9
    after.took(149_000 * E9)
    assert after.see_close(149_100 * E9, new_session=True) == ""
    assert after.see_close(14_910_000 * E9, new_session=True) == ""  # nobody converts it any more


@pytest.mark.parametrize("unit", ["kg", "bbl"])
def test_the_same_unit_and_one_that_measures_something_else_convert_nothing(unit: str) -> None:
    before, after = kilos(unit), kilos("kg")
    before.took(149_000 * E9)
    after.succeed(before)
    after.see_close(149_000 * E9, new_session=False)
    after.check(70_000 * E9)
    assert after.close == 149_000 * E9


def test_a_first_close_that_was_wrong_does_not_stay() -> None:
    """A damaged packet may be the first one: until something has traded the newest close is believed."""
    prices = kilos("10g")
    prices.see_close(1_490_000 * E9, new_session=False)
    assert refusal(prices, 149_000 * E9) == "implausible_price"
    assert prices.see_close(149_000 * E9, new_session=False) == "previous close 149000, before 1490000"
    prices.check(150_000 * E9)
    prices.took(150_000 * E9)
    wrong = 1_490_000 * E9
    told = prices.see_close(wrong, new_session=False)
    assert told == "previous close 1490000 is not believed after a trade at 150000"
    assert prices.see_close(wrong, new_session=False) == ""
    assert prices.close == 149_000 * E9
