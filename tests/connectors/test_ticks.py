from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ValueRefused
from connectors.ticks import RowBuilder, TickBuilder, check_trade, parse_lots, parse_price
from market.schemas import BUY, CLOCK, PRICE_LIMIT, QUOTE, REJECT_REASONS, TRADE, require


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("80.15", 80_150_000_000),
        ("-37.63", -37_630_000_000),
        ("0", 0),
        ("1.000000001", 1_000_000_001),
        ("5", 5 * 10**9),
    ],
)
def test_prices_are_exact(text: str, price: int) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "price_not_finite"),
        ("-Infinity", "price_not_finite"),
        ("1000000000", "out_of_range"),
        ("1e400", "out_of_range"),
        ("0.0000000001", "unparseable"),
        ("", "unparseable"),
        ("80,15", "unparseable"),
        ("9" * 5_000, "unparseable"),
        (80.15, "unparseable"),
        (None, "unparseable"),
    ],
)
def test_bad_prices_say_why(value: object, reason: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        parse_price(value)
    assert refused.value.reason == reason


@given(st.one_of(st.text(), st.decimals().map(str)))
def test_any_text_is_a_price_or_refused(text: str) -> None:
    try:
        price: int | str = parse_price(text)
    except ValueRefused as refused:
        price = refused.reason
    if isinstance(price, str):
        assert price in REJECT_REASONS
    else:
        assert price == Decimal(text).scaleb(9)
        assert abs(price) < PRICE_LIMIT


@pytest.mark.parametrize(
    ("number", "reason"),
    [(10**9, "out_of_range"), (True, "unparseable"), ("5", "unparseable"), (0.1 + 0.2, "unparseable")],
)
def test_bad_sizes_say_why(number: object, reason: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        parse_lots(number)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("price", "size", "reason"),
    [(1, 0, "size_not_positive"), (1, -1, "size_not_positive"), (PRICE_LIMIT, 1, "out_of_range")],
)
def test_trades_are_checked(price: int, size: int, reason: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        check_trade(price, size)
    assert refused.value.reason == reason


def test_rows_keep_arrival_order_per_commodity() -> None:
    builder = TickBuilder()
    cotton = builder.slot("cotton", "IFUS", "IFUS:CT:202612")
    brent = builder.slot("brent", "IFEU", "IFEU:B:202702")
    builder.quote(cotton, 1, 2, 3, None, None, 8, 9, 1)
    builder.trade(brent, 4, 5, 6, 7, 8, BUY, None, 0)
    builder.trade(cotton, 4, None, 6, 7, 8, BUY, "T1", 0)
    builder.clock(builder.slot("cotton", "IFUS"), 9, 10)
    assert builder.rows == 4
    batches = {commodity: require("ticks", batch).to_pylist() for commodity, batch in builder.take()}
    assert [row["kind"] for row in batches["cotton"]] == [QUOTE, TRADE, CLOCK]
    assert batches["cotton"][0]["bid_price"] is None
    assert batches["cotton"][0]["ask_size"] == 9
    assert batches["cotton"][1] | {"flags": 0} == batches["cotton"][1]
    assert batches["cotton"][1]["trade_id"] == "T1"
    assert batches["cotton"][2]["instrument"] is None
    assert batches["brent"][0]["instrument"] == "IFEU:B:202702"
    assert builder.rows == 0
    assert builder.take() == []


def test_detached_rows_do_not_change_while_more_come() -> None:
    builder = TickBuilder()
    slot = builder.slot("cotton", "IFUS", "IFUS:CT:202612")
    builder.trade(slot, 1, 1, 1, 1, 1, BUY, None, 0)
    detached = builder.detach()
    builder.trade(slot, 2, 2, 2, 2, 2, BUY, None, 0)
    builder.slot("cotton", "IFUS", "IFUS:CT:202703")
    assert [len(ticks.rows) for ticks in detached] == [1]
    assert detached[0].instruments == ["IFUS:CT:202612"]


def test_ledger_rows_fill_absent_columns_with_null() -> None:
    rows = RowBuilder("status")
    assert rows.take() is None
    rows.append(venue="IFUS", ts_event=1, quality="LIVE", reason="open")
    batch = rows.take()
    assert require("status", batch).to_pylist()[0]["instrument"] is None
