"""Arrow rows as JSON: exact numbers, times as text, nothing invented."""

import json
from decimal import Decimal

import pytest
from gateway_support import (
    GC,
    GOLD,
    T0_NS,
    anomaly,
    bar,
    batch,
    book,
    feed_gap,
    forecast,
    headline,
    opportunity,
    own_trade,
    quote,
    rows,
    status,
    trade,
)
from hypothesis import given
from hypothesis import strategies as st

from connectors.ticks import TickBuilder
from gateway.rows import decimal_text, rows_of
from market.packed import PackedRows
from market.records import Payload, Record
from market.schemas import (
    ARBITRAGE,
    BOOKS,
    BUST,
    CLOCK,
    CORRECTION,
    PRICE_SCALE,
    STATE,
    TRADE_EVENTS,
    SchemaMismatch,
)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_price_keeps_every_digit_and_no_padding(value: int) -> None:
    text = decimal_text(value)
    assert Decimal(text) * PRICE_SCALE == value
    assert "." not in text or text[-1] not in "0."
    assert "e" not in text.lower()


def test_a_trade_has_the_columns_of_the_stores() -> None:
    (row,) = rows("ticks", trade(7, price=4_150_100_000_000, side=-1))
    assert json.loads(row.data, parse_float=Decimal) == {
        "instrument": GC,
        "ts_event": str(T0_NS + 7),
        "seq": 7,
        "venue": "XCEC",
        "ts_recv": str(T0_NS + 1_007),
        "trade_id": "t7",
        "price": Decimal("4150.1"),
        "size": 1,
        "side": "sell",
        "flags": 0,
    }


def test_what_is_absent_is_null() -> None:
    (row,) = rows("ticks", trade(1, ts_recv=None, trade_id=None, side=0, seq=None))
    data = json.loads(row.data)
    assert (data["ts_recv"], data["trade_id"], data["side"], data["seq"]) == (None, None, None, None)
    (row,) = rows("ticks", quote(1))
    data = json.loads(row.data)
    assert (data["ask_price"], data["ask_size"]) == (None, None)
    assert data["bid_price"] == 4150.000000001


def test_quotes_and_trades_part_in_order_and_clock_rows_stay_behind() -> None:
    clock = {"kind": CLOCK, "venue": "XCEC", "ts_event": T0_NS, "flags": 0}
    found = rows("ticks", quote(1), clock, trade(2), quote(3))
    assert [(row.channel, json.loads(row.data)["seq"]) for row in found] == [
        ("quotes", 1),
        ("trades", 2),
        ("quotes", 3),
    ]


@pytest.mark.parametrize("kind", [BUST, CORRECTION, STATE])
def test_only_a_trade_is_shown_as_a_trade(kind: int) -> None:
    assert [json.loads(row.data)["seq"] for row in rows("ticks", trade(1), trade(2, kind=kind), trade(3))] == [1, 3]


def test_a_bar_is_exact() -> None:
    (row,) = rows("bars", bar(0, trades=3, final=True, revision=2) | {"volume": Decimal("123456789012345678.5")})
    data = json.loads(row.data, parse_float=Decimal)
    assert data["volume"] == Decimal("123456789012345678.5")
    assert (data["interval"], data["ts_open"], data["revision"], data["final"]) == ("1m", str(T0_NS), 2, True)
    assert data["close"] == Decimal("4150.000000003")
    assert row.ts_recv == T0_NS + 3


def test_a_book_is_exact_and_has_the_columns_of_the_stores() -> None:
    (row,) = rows("books", book(3))
    data = json.loads(row.data, parse_float=Decimal)
    assert list(data) == BOOKS.names
    assert (row.channel, row.instrument, row.venue, row.ts_recv) == ("book", GC, "XCEC", T0_NS + 1_003)
    assert (data["ts_event"], data["state"], data["imbalance"]) == (str(T0_NS + 3), "NORMAL", Decimal("-0.2"))
    assert (data["mid_price"], data["bid_1_size"], data["bid_2_price"]) == (Decimal("4150.05"), 2, None)
    assert (data["ask_1_price"], data["ask_2_size"]) == (Decimal("4150.1"), 2)


def test_a_status_without_an_instrument_is_the_whole_venues() -> None:
    (row,) = rows("status", status("STALE", None))
    assert row.instrument == "XCEC:*"
    assert json.loads(row.data)["instrument"] is None
    (row,) = rows("gaps", feed_gap())
    assert (row.channel, row.instrument, row.quality) == ("status", "XCEC:*", "")
    assert json.loads(row.data)["seq_to"] == 9


def test_a_headline_is_of_its_venue_and_names_its_instruments() -> None:
    first, second = rows("news", headline(1), headline(2, ""))
    assert (first.channel, first.instrument, first.venue, first.ts_recv) == ("news", "BBG:*", "BBG", T0_NS + 1_001)
    assert json.loads(first.data) == {
        "news_id": "N1",
        "venue": "BBG",
        "ts_event": str(T0_NS + 1),
        "ts_recv": str(T0_NS + 1_001),
        "headline": 'Duty "cut" 1',
        "body": "To 6 %",
        "topics": ["gold", "silver"],
        "instruments": [GC],
        "urgency": 2,
    }
    assert json.loads(second.data)["instruments"] == []


def test_an_opportunity_is_of_its_indian_contract_and_exact() -> None:
    values = {"net": 1_941_700_000_001, "cost_duty": -1, "skew_ms": 12, "assumed": "gold/bank gold/freight"}
    (row,) = rows("arbitrage", opportunity(**values))
    (saved,) = rows("arbitrage", opportunity(GOLD, GC, direction="buy_local"))
    assert [(each.instrument, each.other_venue) for each in (row, saved)] == [(GOLD, "XCEC")] * 2
    assert (row.channel, row.instrument, row.venue, row.ts_recv) == ("arbitrage", GOLD, "XIMC", T0_NS)
    data = json.loads(row.data, parse_float=Decimal)
    assert list(data) == ARBITRAGE.names
    assert (data["net"], data["cost_duty"]) == (Decimal("1941.700000001"), Decimal("-0.000000001"))
    assert (data["gross"], data["skew_ms"], data["ts_event"]) == (None, 12, str(T0_NS))
    assert data["assumed"] == ["gold/bank", "gold/freight"]


def test_an_anomaly_has_plain_numbers_and_its_evidence_as_json() -> None:
    first, second = rows("anomalies", anomaly(1), anomaly(1, T0_NS + 9))
    assert (first.channel, first.instrument, first.venue, first.ts_recv) == ("anomalies", GC, "XCEC", T0_NS + 1_001)
    assert json.loads(first.data) == {
        **anomaly(1),
        "ts_event": str(T0_NS + 1),
        "ts_end": None,
        "score": 7.5,
        "value": 4012.3,
        "detail": {"move_bps": 150.1},
        "as_known_at": str(T0_NS + 1_001),
    }
    assert json.loads(second.data)["ts_end"] == str(T0_NS + 9)


def test_a_forecast_is_one_row_with_all_its_horizons_and_levels() -> None:
    cone = [forecast(1), forecast(1, level=800_000_000), forecast(1, horizon_s=300)]
    first, second = rows("forecasts", *cone, forecast(2))
    assert (first.channel, first.instrument, first.venue, first.ts_recv) == ("forecasts", GC, "XCEC", T0_NS + 1_001)
    data, later = json.loads(first.data), json.loads(second.data)
    shown = data.pop("cone")
    assert data == {
        **cone[0],
        "ts_made": str(T0_NS + 1),
        "ts_target": str(T0_NS + 1 + 60 * 10**9),
        "as_known_at": str(T0_NS + 1_001),
        "level": 0.9,
        "price": 4150.1,
        "mean": 4150.1,
        "lo": 4149,
        "crash_probability": 0.021,
        "coverage": 0.904,
    }
    assert [(each["horizon_s"], each["level"]) for each in shown] == [(60, 0.9), (60, 0.8), (300, 0.9)]
    assert len(later["cone"]) == 1


def test_a_trade_of_the_desk_is_one_users_and_exact() -> None:
    later = {"arrival_price": 4_151_500_000_000, "slippage": -1, "as_known_at": T0_NS + 9_000}
    first, second = rows("trade_events", own_trade(1), own_trade(1, **later))
    assert (first.channel, first.instrument, first.user, first.ts_recv) == ("user.trades", GC, "asha", T0_NS + 1_001)
    assert second.ts_recv == T0_NS + 9_000
    data = json.loads(second.data, parse_float=Decimal)
    assert list(data) == TRADE_EVENTS.names
    assert (data["side"], data["quantity"], data["ts_event"]) == ("sell", 5, str(T0_NS + 1))
    assert (data["arrival_price"], data["slippage"]) == (Decimal("4151.5"), Decimal("-0.000000001"))
    assert (data["markout_1m"], json.loads(first.data)["as_known_at"]) == (None, None)


def test_text_from_a_feed_is_escaped() -> None:
    (row,) = rows("ticks", trade(1, trade_id='"},{"'))
    assert json.loads(row.data)["trade_id"] == '"},{"'


def test_a_batch_of_another_schema_is_refused_and_an_unknown_kind_ignored() -> None:
    with pytest.raises(SchemaMismatch):
        rows_of(record("bars", batch("ticks", trade(1))))
    assert rows_of(record("positions", batch("ticks", trade(1)))) == []


def test_packed_rows_read_like_those_of_a_batch() -> None:
    values = [quote(1), trade(2, ts_recv=None, trade_id=None), trade(3)]
    builder = TickBuilder()
    slot = builder.slot("gold", "XCEC", GC)
    builder.clock(builder.slot("gold", "XCEC"), T0_NS, None)
    q, t, u = ({**batch("ticks", value).to_pylist()[0]} for value in values)
    builder.quote(
        slot, *(q[name] for name in ("ts_event", "ts_recv", "seq", "bid_price", "bid_size", "ask_price")), None, 0
    )
    for row in (t, u):
        names = ("ts_event", "ts_recv", "seq", "price", "size", "side", "trade_id", "flags")
        builder.trade(slot, *(row[name] for name in names))
    (part,) = builder.detach()
    packed = part.payload()
    assert isinstance(packed, PackedRows)
    assert rows_of(record("ticks", packed)) == rows_of(record("ticks", part.batch()))
    assert [row.data for row in rows_of(record("ticks", packed))] == [row.data for row in rows("ticks", *values)]


def record(kind: str, payload: Payload) -> Record:
    return Record(offset=0, ts_append=0, kind=kind, payload=payload)
