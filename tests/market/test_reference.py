"""Reference data: what is packaged is in force and sourced; what contradicts itself is refused with its reason."""

from datetime import date
from fractions import Fraction
from importlib.resources import files

import pytest

from market.reference import ASSUMED, VERIFIED, BadReference, MissingReference, Reference, read_reference

NOW = date(2026, 11, 23)


def packaged(name: str) -> str:
    return files("market").joinpath("data", name).read_text(encoding="utf-8")


def changed(file: str, old: str, new: str) -> Reference:
    text = packaged(file)
    assert old in text
    return read_reference(lambda name: text.replace(old, new, 1) if name == file else packaged(name))


def test_every_commodity_of_the_contract_has_a_route_and_its_fees() -> None:
    reference = Reference.load()
    assert set(reference.commodities) == {"gold", "silver", "copper", "wti", "natgas", "cotton"}
    for commodity in reference.commodities:
        for route in reference.routes_of(commodity, NOW):
            assert reference.fees_of(*route.value.local, NOW)
            assert reference.fees_of(*route.value.foreign, NOW)


@pytest.mark.parametrize("commodity", ["gold", "silver"])
@pytest.mark.parametrize(
    ("on", "total"), [(date(2026, 5, 12), "0.06"), (date(2026, 5, 13), "0.15"), (date(2026, 11, 23), "0.15")]
)
def test_bullion_duty_changes_on_its_day(commodity: str, on: date, total: str) -> None:
    duties = Reference.load().duties
    assert sum(duties.get(f"{commodity}/{name}", on).value.value for name in ("BCD", "AIDC")) == Fraction(total)


def test_what_was_not_read_for_today_says_that_it_is_assumed() -> None:
    reference = Reference.load()
    assert reference.tariff_values.get("gold", date(2026, 9, 20)).evidence == VERIFIED
    assert reference.tariff_values.get("gold", NOW).evidence == ASSUMED
    assert reference.customs_fx.get("USDINR", date(2026, 9, 20)).evidence == VERIFIED
    assert reference.customs_fx.get("USDINR", NOW).evidence == ASSUMED


def test_a_root_has_its_own_fee_instead_of_its_venues() -> None:
    def ctt(root: str) -> Fraction:
        fees = Reference.load().fees_of("XIMC", root, NOW)
        return next(row.value.value for row in fees if row.name.endswith("/ctt"))

    assert (ctt("GOLD"), ctt("COTTONCNDY")) == (Fraction("0.0001"), 0)


def test_what_is_not_in_force_is_missing_by_name_and_day() -> None:
    with pytest.raises(MissingReference, match="no tariff_values of gold on 2026-01-01"):
        Reference.load().tariff_values.get("gold", date(2026, 1, 1))
    with pytest.raises(MissingReference, match="no fees of XLME on 2026-11-23"):
        Reference.load().fees_of("XLME", "CA", NOW)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("duties.csv", "2024-07-24,2026-05-12", "2024-07-24,2026-05-20", "duties.csv, gold/BCD: two rows hold"),
        ("duties.csv", "2024-07-24,2026-05-12", "2024-07-24,2026-05-10", "no row holds after 2026-05-10"),
        ("duties.csv", "gold,BCD", "tin,BCD", "tin/BCD: no route is of this commodity"),
        ("duties.csv", "0.10,tariff", "15,tariff", "15 is no share below 1"),
        ("duties.csv", "0.10,tariff", "0.10,market", "'market' is none of tariff, assessable, duties"),
        ("parity.csv", "XIMC:GOLDM", "XIMC:GOLDX", "the contract master has no XIMC:GOLDX"),
        ("parity.csv", "silver,XIMC:SILVER,kg", "silver,XIMC:SILVER,10g", "in the contract master per 'kg'"),
        ("parity.csv", "XNYM:CL,bbl", "XNYM:CL,lb", "'bbl' to 'lb': volume is not mass"),
        ("parity.csv", "silver,XIMC:SILVER", "silver,XIMC:COPPER", "XIMC:COPPER as another commodity"),
        ("tariff_values.csv", "1373,10g", "1373,tola", "'tola' is no unit we know"),
        ("tariff_values.csv", "1373,10g", "-1373,10g", "is not positive"),
        ("tariff_values.csv", "1373,10g", "nan,10g", "Invalid literal"),
        ("customs_fx.csv", "ICEGATE exchange rates in force 18 September to 1 October 2026", " ", "no source"),
        ("customs_fx.csv", "verified", "hearsay", "'hearsay' is neither"),
        ("customs_fx.csv", "2026-09-18,2026-10-01", "2026-10-01,2026-09-18", "ends before it begins"),
        ("landing.csv", "gold,bank,rate", "gold,bank,local_unit", "'bank' is none of"),
        ("fees.csv", "sell,turnover,0.0001", "sold,turnover,0.0001", "'sold' is none of buy, sell, both"),
        ("carry.csv", "delivery,days", "delivery,weeks", "carry.csv, delivery/weeks: none of days"),
        ("carry.csv", "effective_from", "since", "no column effective_from"),
    ],
)
def test_bad_data_is_refused_with_file_row_and_reason(file: str, old: str, new: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason) as caught:
        changed(file, old, new)
    assert caught.value.file == file
