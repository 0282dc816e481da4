"""Keys, the packaged contract table, fronts, and exact prices."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.instruments import (
    MONTH_CODES,
    SPOT,
    BadContractData,
    BadInstrumentKey,
    BadPrice,
    Contract,
    InstrumentKey,
    InstrumentMaster,
    format_fixed,
    read_contracts,
    to_fixed,
    venue_of,
)
from market.schemas import PRICE_LIMIT, PRICE_SCALE
from market.sessions import ALWAYS_OPEN

TODAY = date(2026, 11, 21)
MASTER = InstrumentMaster.load()

PRODUCTS = {
    "IFUS": "CT SB KC CC",
    "IFEU": "B",
    "XCEC": "GC SI HG",
    "XNYM": "CL NG",
    "XCBT": "ZW ZC ZS",
    "XIMC": "GOLD GOLDM SILVER COPPER CRUDEOIL NATURALGAS COTTON COTTONCNDY KAPAS",
    "XNSE": "USDINR",
    "BBG": "USDINR EURUSD GBPUSD USDJPY GC CL CO CT",
}

# Quote units in one size unit, and major currency per quote currency: what makes a tick worth its value.
_UNITS = {("10g", "kg"): 100, ("10g", "g"): Decimal("0.1"), ("20kg", "t"): 50}


class TestKey:
    @pytest.mark.parametrize("text", ["XCEC:GC:202612", "BBG:USDINR:SPOT", "XIMC:GOLD:202612", "X:A_b-1:200001"])
    def test_round_trip(self, text: str) -> None:
        assert str(InstrumentKey.parse(text)) == text
        assert venue_of(text) == text.split(":")[0]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "GC",
            "XCEC:GC",
            "XCEC:GC:202612:1",
            "xcec:GC:202612",
            "XCEC::202612",
            "XCEC:GC:202613",
            "XCEC:GC:202600",
            "XCEC:GC:2026",
            "XCEC:G C:202612",
            "XCEC:GC.c.0:202612",
            "XCEC:GC:202612\n",
        ],
    )
    def test_refuses(self, text: str) -> None:
        with pytest.raises(BadInstrumentKey) as caught:
            InstrumentKey.parse(text)
        assert caught.value.value == text
        assert caught.value.reason in str(caught.value)

    @given(st.text(max_size=30))
    def test_any_text_is_a_key_or_refused(self, text: str) -> None:
        try:
            key = InstrumentKey.parse(text)
        except BadInstrumentKey:
            return
        assert str(key) == text


class TestPackagedTable:
    def test_holds_the_products(self) -> None:
        expected = {(mic, root) for mic, roots in PRODUCTS.items() for root in roots.split()}
        assert {(row.mic, row.root) for row in MASTER.contracts} == expected

    @pytest.mark.parametrize("row", MASTER.contracts, ids=lambda row: f"{row.mic}:{row.root}")
    def test_tick_value_follows_from_size(self, row: Contract) -> None:
        assert row.source
        assert row.currency in {"USD", "USX", "INR", "JPY"}
        assert row.hours.intervals
        assert row.tick_size is not None
        assert row.tick_value is not None
        units = _UNITS.get((row.quote_unit or "", row.size_unit or ""), 1)
        if units == 1:
            assert row.quote_unit == row.size_unit
        assert row.contract_size is not None
        major = row.tick_size * row.contract_size * units / (100 if row.currency == "USX" else 1)
        assert major == row.tick_value

    def test_venues_of_a_commodity_share_a_shard(self) -> None:
        keys = {
            "gold": ["XCEC:GC:202612", "BBG:GC:202612", "XIMC:GOLD:202612", "XIMC:GOLDM:202612"],
            "wti": ["XNYM:CL:202701", "XIMC:CRUDEOIL:202612"],
            "cotton": ["IFUS:CT:202612", "XIMC:COTTONCNDY:202612", "XIMC:KAPAS:202611"],
            "natgas": ["XNYM:NG:202701", "XIMC:NATURALGAS:202612"],
            "usdinr": ["XNSE:USDINR:202612", "BBG:USDINR:SPOT"],
        }
        for commodity, members in keys.items():
            assert {MASTER.commodity_of(key) for key in members} == {commodity}

    def test_load_is_cached(self) -> None:
        assert InstrumentMaster.load() is MASTER


class TestResolve:
    def test_known(self) -> None:
        contract = MASTER.resolve("XCEC:GC:202612", TODAY)
        assert contract.known
        assert (contract.commodity, contract.tick_fixed) == ("gold", 100_000_000)

    def test_unknown_is_admitted_with_defaults(self) -> None:
        contract = MASTER.resolve("XTKS:RSS3:202703", TODAY)
        assert not contract.known
        assert (contract.mic, contract.root, contract.commodity) == ("XTKS", "RSS3", "rss3")
        assert contract.tick_size is None
        assert contract.tick_fixed is None
        assert contract.hours is ALWAYS_OPEN

    def test_before_its_first_row_a_product_keeps_its_shard(self) -> None:
        early = date(2020, 1, 1)
        assert MASTER.contract(InstrumentKey.parse("XIMC:COTTONCNDY:202001"), early) is None
        assert MASTER.resolve("XIMC:COTTONCNDY:202001", early).commodity == "cotton"

    def test_no_key(self) -> None:
        with pytest.raises(BadInstrumentKey):
            MASTER.resolve("gold", TODAY)
        with pytest.raises(BadInstrumentKey):
            MASTER.commodity_of("gold")


def version(start: str, end: str, **changes: object) -> Contract:
    values: dict[str, object] = {"mic": "XIMC", "root": "COTTON", "commodity": "cotton", **changes}
    return Contract(
        effective_from=date.fromisoformat(start),
        effective_to=date.fromisoformat(end),
        **values,  # type: ignore[arg-type]
    )


class TestVersions:
    def test_chosen_by_date(self) -> None:
        old = version("2020-01-01", "2023-01-31", tick_size=Decimal(10))
        new = version("2023-02-01", "9999-12-31", tick_size=Decimal(20))
        master = InstrumentMaster([new, old])
        key = InstrumentKey("XIMC", "COTTON", "202302")
        assert master.contract(key, date(2019, 12, 31)) is None
        assert master.contract(key, date(2023, 1, 31)) is old
        assert master.contract(key, date(2023, 2, 1)) is new

    @pytest.mark.parametrize(
        "versions",
        [
            [version("2020-01-01", "2023-02-01"), version("2023-02-01", "2024-01-01")],
            [version("2020-01-01", "2019-01-01")],
            [version("2020-01-01", "2020-12-31"), version("2021-01-01", "2022-01-01", commodity="kapas")],
        ],
        ids=["overlap", "ends before it begins", "changes shard"],
    )
    def test_contradictions_are_refused(self, versions: list[Contract]) -> None:
        with pytest.raises(BadContractData):
            InstrumentMaster(versions)

    @pytest.mark.parametrize(
        "row",
        [
            "X,A,a,a,USD,lb,one,lb,1,1,HK,0,UTC,09:00-10:00,,,,,s",
            "X,A,a,a,USD,lb,1,lb,1,1,HW,0,UTC,09:00-10:00,,,,,s",
            "X,A,a,a,USD,lb,1,lb,1,1,HK,0,UTC,9-10,,,,,s",
            "X,A,a,a,USD,lb,1,lb,1,1,HK,0,Mars/Base,09:00-10:00,,,,,s",
            "X,A,a,a,USD,lb,1,lb,1,1,HK,0,UTC,09:00-10:00,,,2026-13-01,,s",
            "X,A,a,a,USD,lb,1,lb,1,1,HK,0,UTC,09:00-10:00,,nowhere,,,s",
        ],
    )
    def test_bad_cells_name_their_row(self, row: str) -> None:
        header = (
            "mic,root,name,commodity,currency,quote_unit,contract_size,size_unit,tick_size,tick_value,months,"
            "lead_months,timezone,hours,monday_open,calendar,effective_from,effective_to,source"
        )
        with pytest.raises(BadContractData) as caught:
            read_contracts(f"{header}\n{row}")
        assert caught.value.row == "X:A"

    def test_missing_column(self) -> None:
        with pytest.raises(BadContractData, match="no column"):
            read_contracts("mic,root\nX,A")


class TestFronts:
    @pytest.mark.parametrize(
        ("mic", "root", "on", "expected"),
        [
            ("IFUS", "CT", "2026-11-21", ["IFUS:CT:202612", "IFUS:CT:202703"]),
            ("IFUS", "CT", "2026-12-31", ["IFUS:CT:202612", "IFUS:CT:202703"]),
            ("IFUS", "CT", "2027-01-01", ["IFUS:CT:202703", "IFUS:CT:202705"]),
            ("IFEU", "B", "2026-11-21", ["IFEU:B:202701", "IFEU:B:202702"]),  # January ends trading in November
            ("XNYM", "CL", "2026-12-01", ["XNYM:CL:202701", "XNYM:CL:202702"]),
            ("BBG", "USDINR", "2026-11-21", ["BBG:USDINR:SPOT"]),
            ("XTKS", "RSS3", "2026-11-21", []),
        ],
    )
    def test_nearest(self, mic: str, root: str, on: str, expected: list[str]) -> None:
        assert MASTER.fronts(mic, root, date.fromisoformat(on), 2) == expected

    @given(st.dates(date(2023, 3, 1), date(2040, 1, 1)), st.integers(0, 30))
    def test_listed_ascending_and_as_many_as_asked(self, on: date, n: int) -> None:
        for contract in MASTER.contracts:
            if contract.months == SPOT:
                continue
            fronts = MASTER.fronts(contract.mic, contract.root, on, n)
            assert len(fronts) == (n if on <= contract.effective_to else 0)
            assert fronts == sorted(set(fronts))
            assert all(MONTH_CODES[int(key[-2:]) - 1] in contract.months for key in fronts)


class TestFixed:
    @pytest.mark.parametrize(
        ("text", "fixed"),
        [
            ("80.15", 80150000000),
            ("-37.63", -37630000000),
            ("0", 0),
            ("-0.0", 0),
            ("1e-9", 1),
            ("999999999.999999999", PRICE_LIMIT - 1),
            ("1.0000000000000", 10**9),
            (".5", 500000000),
            ("+7.", 7 * 10**9),
        ],
    )
    def test_exact(self, text: str, fixed: int) -> None:
        assert to_fixed(text) == fixed
        assert to_fixed(Decimal(text)) == fixed

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("1e-10", "nine decimals"),
            ("0.0000000001", "nine decimals"),
            ("1.0000000001", "nine decimals"),
            ("1000000000", "range"),
            ("-1e9", "range"),
            ("1e999", "range"),
            ("1e-9999", "nine decimals"),
            ("NaN", "not a decimal"),
            ("Infinity", "not a decimal"),
            ("", "not a decimal"),
            ("1_0", "not a decimal"),
            (" 1", "not a decimal"),
            ("1,5", "not a decimal"),
            ("٣", "not a decimal"),
            ("1e99999", "not a decimal"),
        ],
    )
    def test_refuses(self, text: str, reason: str) -> None:
        with pytest.raises(BadPrice, match=reason):
            to_fixed(text)

    @pytest.mark.parametrize("text", ["NaN", "-Infinity", "sNaN"])
    def test_refuses_not_finite_decimal(self, text: str) -> None:
        with pytest.raises(BadPrice, match="not finite"):
            to_fixed(Decimal(text))

    @given(st.integers(-PRICE_LIMIT + 1, PRICE_LIMIT - 1))
    def test_round_trip(self, fixed: int) -> None:
        text = format_fixed(fixed)
        assert to_fixed(text) == fixed
        assert Decimal(text) * PRICE_SCALE == fixed
        assert "e" not in text.lower()
        assert not ("." in text and text.endswith(("0", ".")))

    @pytest.mark.parametrize("fixed", [PRICE_LIMIT, -PRICE_LIMIT])
    def test_format_refuses_out_of_range(self, fixed: int) -> None:
        with pytest.raises(BadPrice):
            format_fixed(fixed)
