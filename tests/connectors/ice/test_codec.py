import hashlib
import hmac
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import DecodeError
from connectors.ice import codec
from connectors.ice.codec import decode, listed, symbol_of
from market.schemas import BUY, REJECT_REASONS

TRADE: dict[str, Any] = {
    "op": "trade",
    "seq": 7,
    "symbol": "CT Z26",
    "ts_event": 1_795_000_000_000_000_000,
    "ts_send": 1_795_000_000_000_100_000,
    "trade_id": "A1",
    "px": "80.15",
    "qty": 3,
    "aggr": "B",
    "cond": "",
}
BOOK: dict[str, Any] = {
    "op": "book",
    "symbol": "B F27",
    "seq": 2,
    "prev_seq": 1,
    "ts_event": 5,
    "ts_send": 6,
    "changes": [["B", "N", "63.01", 4, 2], ["S", "D", "63.05", 0, 0]],
    "eot": False,
    "replayed": True,
}
SNAPSHOT: dict[str, Any] = {
    "op": "snapshot",
    "channel": "book",
    "symbol": "CT Z26",
    "seq": 4,
    "last_seq": 9,
    "bids": [["80.1", 1, 1]],
    "asks": [],
    "state": "OPEN",
    "ts_event": 5,
    "ts_send": 6,
}


def test_trade_is_exact() -> None:
    expected = codec.Trade("CT Z26", 7, TRADE["ts_event"], 80_150_000_000, 3_000_000_000, BUY, "A1", False)
    assert decode(orjson.dumps(TRADE)) == expected


def test_book_is_exact() -> None:
    changes = [(True, "N", 63_010_000_000, 4_000_000_000), (False, "D", 63_050_000_000, 0)]
    assert decode(orjson.dumps(BOOK)) == codec.Book("B F27", 2, 1, 5, changes, False, True)


def test_snapshot_may_have_an_empty_side() -> None:
    image = decode(orjson.dumps(SNAPSHOT))
    assert image == codec.Snapshot("CT Z26", 4, 9, [(80_100_000_000, 1_000_000_000)], [], "OPEN", 5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"px": "NaN"}, "price_not_finite"),
        ({"px": 80.15}, "unparseable"),
        ({"px": "1e10"}, "out_of_range"),
        ({"qty": 0}, "size_not_positive"),
        ({"qty": -5}, "size_not_positive"),
        ({"aggr": "X"}, "unparseable"),
        ({"ts_event": 2**64}, "out_of_range"),
        ({"op": "trade_bust", "trade_id": None}, "missing_field"),
        ({"op": "trade_correct", "trade_id": None}, "missing_field"),
        ({"op": "trade_correct", "px": "NaN"}, "price_not_finite"),
    ],
)
def test_bad_trade_keeps_its_place_and_its_text(change: dict[str, Any], reason: str) -> None:
    frame = orjson.dumps(TRADE | change) if change.get("ts_event") is None else _with_huge_time()
    refused = decode(frame)
    assert isinstance(refused, codec.Refused)
    assert (refused.channel, refused.seq, refused.reason) == ("trades", 7, reason)
    assert refused.raw == frame.decode()


def test_busts_and_corrections_name_a_trade() -> None:
    trade = decode(orjson.dumps(TRADE))
    assert isinstance(trade, codec.Trade)
    assert decode(orjson.dumps(TRADE | {"op": "trade_correct"})) == trade._replace(corrects=True)
    bust = {name: TRADE[name] for name in ("symbol", "seq", "ts_event", "trade_id")}
    expected = codec.Bust(trade.symbol, trade.seq, trade.ts_event, str(trade.trade_id), replayed=False)
    assert decode(orjson.dumps(bust | {"op": "trade_bust", "channel": "trades"})) == expected


def _with_huge_time() -> bytes:
    return orjson.dumps(TRADE).replace(b"1795000000000000000", b"18446744073709551616")


def test_missing_field_is_refused_in_sequence() -> None:
    refused = decode(orjson.dumps({name: value for name, value in TRADE.items() if name != "px"}))
    assert isinstance(refused, codec.Refused)
    assert refused.reason == "missing_field"


def test_unknown_op_of_a_channel_keeps_its_place() -> None:
    refused = decode(b'{"op":"auction","channel":"trades","seq":3}')
    assert isinstance(refused, codec.Refused)
    assert (refused.channel, refused.seq, refused.reason) == ("trades", 3, "unsupported_message")


@pytest.mark.parametrize("frame", [b"", b"\xff", b"[]", b"{}", b'{"op":[]}', b'{"op":"trade","seq":true}', b"[" * 5000])
def test_garbage_is_a_decode_error(frame: bytes) -> None:
    with pytest.raises(DecodeError) as error:
        decode(frame)
    assert error.value.reason == "malformed_frame"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)
message = st.sampled_from(
    [
        TRADE,
        BOOK,
        SNAPSHOT,
        {"op": "auth_ok", "session": "s", "resumed": True, "channels": {"book": {"seq": 1, "replay_from": 1}}, "ts": 1},
        {"op": "status", "seq": 1, "symbol": "CT Z26", "state": "OPEN", "ts_event": 1},
        {"op": "subscribed", "id": 1, "channel": "book", "symbols": ["CT Z26"], "seq": 1},
        {"op": "heartbeat", "channel": "book", "seq": 1, "ts": 1},
        {"op": "replay_done", "id": 1, "channel": "book", "from": 1, "to": 2},
        {"op": "resync_required", "channel": "book", "expected": 1, "current": 2, "reason": ""},
        {"op": "error", "code": "bad_request", "msg": ""},
    ]
)


@given(st.binary())
def test_any_bytes_give_a_message_or_a_decode_error(frame: bytes) -> None:
    check(frame)


@given(message, st.data())
def test_any_field_may_be_anything(fields: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(fields)))
    check(orjson.dumps(fields | {name: data.draw(json)}))
    check(orjson.dumps({other: value for other, value in fields.items() if other != name}))


@given(message, st.data())
def test_any_cut_frame_is_a_decode_error(fields: dict[str, Any], data: st.DataObject) -> None:
    frame = orjson.dumps(fields)
    with pytest.raises(DecodeError):
        decode(frame[: data.draw(st.integers(0, len(frame) - 1))])


def check(frame: bytes) -> None:
    """Any other exception than a DecodeError fails the test."""
    try:
        decoded: object = decode(frame)
    except DecodeError as error:
        decoded = error.reason
    assert isinstance(decoded, tuple) or decoded in REJECT_REASONS


@pytest.mark.parametrize(
    ("symbol", "instrument", "commodity"),
    [
        ("CT Z26", "IFUS:CT:202612", "cotton"),
        ("SB H27", "IFUS:SB:202703", "sugar"),
        ("KC N27", "IFUS:KC:202707", "coffee"),
        ("CC K27", "IFUS:CC:202705", "cocoa"),
        ("B F27", "IFEU:B:202701", "brent"),
    ],
)
def test_symbols_map_both_ways(symbol: str, instrument: str, commodity: str) -> None:
    known = listed(symbol)
    assert known is not None
    assert (known.instrument, known.commodity) == (instrument, commodity)
    assert symbol_of(instrument) == symbol


@pytest.mark.parametrize("symbol", ["GC Z26", "CT A26", "CT Z6", "CTZ26", "ct z26", "CT Z26 ", ""])
def test_other_symbols_are_unknown(symbol: str) -> None:
    assert listed(symbol) is None


def test_auth_is_signed_over_the_decimal_time() -> None:
    request = orjson.loads(codec.auth_request("k", "topsecret", 1_795_000_000_000_000_000, "S1"))
    signature = hmac.new(b"topsecret", b"1795000000000000000", hashlib.sha256).hexdigest()
    assert request == {"op": "auth", "key": "k", "ts": 1_795_000_000_000_000_000, "sig": signature, "session": "S1"}
    assert "session" not in orjson.loads(codec.auth_request("k", "topsecret", 1, None))
