"""Trade events at the edge: what is taken, what is refused and why, and what the log gives back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.instruments import InstrumentMaster
from market.schemas import BUY, PRICE_LIMIT, REJECT_REASONS, SELL, TRADE_EVENTS
from market.trade_events import EventRefused, TradeEvent, event_of, from_log, parse_event, to_log

NOW_NS = 1_795_231_397_678_000_000
MASTER = InstrumentMaster.load()
GOOD = {
    "version": 1,
    "event_id": "e-81",
    "type": "matched",
    "trade_id": "t-7",
    "user": "asha",
    "instrument": "IFUS:CT:202612",
    "side": "buy",
    "quantity": 5,
    "price": 68.21,
    "ts_event": str(NOW_NS),
}
TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
EVENTS = st.builds(
    TradeEvent,
    event_id=TEXT,
    event_type=st.sampled_from(["created", "amended", "matched", "cancelled", "settled"]),
    trade_id=TEXT,
    user_id=TEXT,
    instrument=st.sampled_from(["IFUS:CT:202612", "XIMC:GOLD:202612", "XNYM:CL:202701"]),
    side=st.sampled_from([BUY, SELL]),
    quantity=st.integers(1, PRICE_LIMIT - 1),
    price=st.integers(1 - PRICE_LIMIT, PRICE_LIMIT - 1),
    ts_event=st.integers(0, NOW_NS),
    ts_recv=st.just(NOW_NS),
)


def parse(changes: dict[str, Any] | None = None, raw: bytes | None = None) -> TradeEvent:
    return parse_event(raw or json.dumps({**GOOD, **(changes or {})}).encode(), NOW_NS, MASTER)


def refusal(changes: dict[str, Any] | None = None, raw: bytes | None = None) -> EventRefused:
    with pytest.raises(EventRefused) as caught:
        parse(changes, raw)
    assert caught.value.reason in REJECT_REASONS
    return caught.value


def test_an_event_is_read_exactly() -> None:
    assert parse() == TradeEvent(
        event_id="e-81",
        event_type="matched",
        trade_id="t-7",
        user_id="asha",
        instrument="IFUS:CT:202612",
        side=BUY,
        quantity=5_000_000_000,
        price=68_210_000_000,
        ts_event=NOW_NS,
        ts_recv=NOW_NS,
    )


@pytest.mark.parametrize(
    "changes",
    [{"price": "68.21", "quantity": "5"}, {"quantity": 5.0}, {"ts_event": NOW_NS}, {"a_later_field": [1, None]}],
)
def test_what_means_the_same(changes: dict[str, Any]) -> None:
    assert parse(changes) == parse()


def test_a_number_that_no_float_holds_is_read_exactly() -> None:
    raw = json.dumps(GOOD).replace("68.21", "123456789.123456789").encode()
    assert parse(raw=raw).price == 123_456_789_123_456_789


def test_a_price_may_be_negative() -> None:
    assert parse({"price": "-37.63", "instrument": "XNYM:CL:202701"}).price == -37_630_000_000


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"version": 2}, "unknown_version", "version is 2"),
        ({"version": "1"}, "unknown_version", "'1'"),
        ({"version": True}, "unknown_version", "True"),
        ({"version": None}, "missing_field", "version"),
        ({"event_id": ""}, "missing_field", "event_id is empty"),
        ({"event_id": "x" * 129}, "unparseable", "event_id"),
        ({"user": "a\x00b"}, "unparseable", "user"),
        ({"user": " asha"}, "unparseable", "user"),
        ({"trade_id": 7}, "unparseable", "trade_id is 7"),
        ({"type": "deleted"}, "unparseable", "created, amended"),
        ({"side": "BUY"}, "unparseable", "buy, sell"),
        ({"side": ["buy"]}, "unparseable", "side"),
        ({"instrument": "gold"}, "unknown_instrument", "'gold'"),
        ({"instrument": "IFUS:XX:202612"}, "unknown_instrument", "IFUS:XX:202612"),
        ({"quantity": 0}, "size_not_positive", "quantity is 0"),
        ({"quantity": "-1"}, "size_not_positive", "-1"),
        ({"quantity": 1e9}, "out_of_range", "quantity"),
        ({"quantity": "five"}, "unparseable", "'five'"),
        ({"price": True}, "unparseable", "True"),
        ({"price": "1.0000000001"}, "unparseable", "more than nine decimals"),
        ({"price": "1." + "0" * 20_000 + "1"}, "unparseable", "price"),
        ({"price": float("nan")}, "price_not_finite", "price"),
        ({"price": float("-inf")}, "price_not_finite", "price"),
        ({"ts_event": "2026-11-21T10:00:00Z"}, "unparseable", "no time in ns"),
        ({"ts_event": -1}, "unparseable", "-1"),
        ({"ts_event": "9999999999999999999"}, "out_of_range", "2262"),
        ({"ts_event": NOW_NS + 301 * 10**9}, "future_stamp", "301 s ahead"),
    ],
)
def test_what_is_refused_says_why(changes: dict[str, Any], reason: str, said: str) -> None:
    error = refusal(changes)
    assert error.reason == reason
    assert said in error.detail


@pytest.mark.parametrize("name", GOOD)
def test_every_field_is_required(name: str) -> None:
    error = refusal(raw=json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())
    assert (error.reason, error.detail) == ("missing_field", f"{name} is not there")


@pytest.mark.parametrize(
    "raw",
    [
        b" ",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b'{"version":1,"version":1}',
        b"[" * 100_000,
        b'{"version":' + b"1" * 5_000 + b"e" + b"9" * 30 + b"}",
        b"{" + b" " * 65_536 + b"}",
    ],
)
def test_what_is_no_event_at_all(raw: bytes) -> None:
    assert refusal(raw=raw).reason == "malformed_frame"


@pytest.mark.parametrize("exponent", ["e-999999999", "e999999999", "e-129"])
def test_an_exponent_costs_no_memory(exponent: str) -> None:
    for name in ("ts_event", "quantity", "version"):
        raw = json.dumps({**GOOD, name: "@"}).replace('"@"', f"1{exponent}").encode()
        assert refusal(raw=raw).reason in ("unparseable", "out_of_range", "unknown_version")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_reason(raw: bytes) -> None:
    refusal(raw=raw or b" ")


def event_or_reason(raw: bytes) -> None:
    """Nothing but an event that the log can hold, or a reason of the closed set."""
    try:
        event = parse(raw=raw)
    except EventRefused as error:
        if error.reason not in REJECT_REASONS:
            raise
        return
    assert from_log([to_log(event)]).num_rows == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(GOOD)), JSON | st.sampled_from(list(GOOD.values())), max_size=4))
def test_any_values_are_an_event_or_a_reason(changes: dict[str, Any]) -> None:
    event_or_reason(json.dumps({**GOOD, **changes}).encode())


@given(st.binary(max_size=6), st.integers(0, 200), st.integers(0, 5))
def test_a_damaged_event_is_an_event_or_a_reason(patch: bytes, at: int, cut: int) -> None:
    good = json.dumps(GOOD).encode()
    event_or_reason(good[:at] + patch + good[at + cut :])


@given(st.lists(EVENTS, max_size=5))
def test_the_log_gives_back_what_was_put_in(events: list[TradeEvent]) -> None:
    values = [to_log(event) for event in events]
    batch = from_log(values)
    assert batch.schema.equals(TRADE_EVENTS)
    names = TradeEvent.__slots__
    assert [TradeEvent(**{name: row[name] for name in names}) for row in batch.to_pylist()] == events
    assert [event_of(value) for value in values] == events


@given(EVENTS)
def test_what_is_in_the_log_can_be_read_as_an_event(event: TradeEvent) -> None:
    assert parse_event(to_log(event), NOW_NS, MASTER) == event
