"""MessagePack says what JSON says: every kind of message, every time and number exactly."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import pytest
from gateway_running import DEADLINE_S, gateway, receive_until, say
from gateway_support import (
    GC,
    T0_NS,
    TOPIC,
    Json,
    bar,
    feed_gap,
    headline,
    new_queue,
    own_trade,
    quote,
    rows,
    status,
    trade,
)
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection

from gateway import protocol
from gateway.auth import Grant
from gateway.errors import RequestError
from gateway.hub import Hub
from gateway.metrics import Counts
from gateway.packing import DECIMALS, SUBPROTOCOL, decimal_of, pack, packed_frame, unpack_request
from gateway.protocol import frame_payload, text_frame
from gateway.session import Session, welcome_frame

INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
TIMES = st.integers(0, 2**63 - 1)


def unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=decimal_of)


def as_json(name: str, value: Any) -> Any:
    """A MessagePack value as JSON says it: times as text, numbers as Decimal."""
    if isinstance(value, dict):
        return {key: as_json(key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_json(name, each) for each in value]
    if name.startswith("ts_") or name == "as_known_at":
        assert value is None or isinstance(value, int)
        return None if value is None else str(value)
    if name in DECIMALS and value is not None:
        assert isinstance(value, Decimal), (name, value)
    return value


def same(text: bytes) -> Json:
    """Fail unless both forms of a message are equal; return it."""
    found: Json = as_json("", unpack(pack(text)))
    assert found == json.loads(text, parse_float=Decimal)
    assert list(found) == list(json.loads(text))  # the order, too
    return found


def hub_messages(*batches: tuple[str, list[Json]]) -> list[bytes]:
    """What a client that follows everything is sent, images and updates."""
    hub = Hub(epoch="e1", now=lambda: T0_NS, counts=Counts())
    hub.finish_prime()
    queue = new_queue()
    Session(hub, queue, lambda: 0.0).open()
    late, asha = new_queue(), Grant(user="asha")
    hub.regrant(queue, asha)
    hub.join(late, asha)
    for client in (queue, late):
        for kind, values in batches if client is late else ():
            hub.publish(TOPIC, rows(kind, *values))
        for channel in protocol.CHANNELS:
            message = {"channel": channel, "interval": "1m", "instruments": ["*"]}
            hub.subscribe(client, protocol.parse_subscribe(message, channel))
    hub.unsubscribe(queue, "news")
    return [frame_payload(frame) for client in (queue, late) for frame in client.take(1 << 30)]


def test_every_kind_of_message_is_the_same_in_both_forms() -> None:
    found = hub_messages(
        ("ticks", [trade(1), quote(2), trade(3, side=None, trade_id=None, ts_recv=None)]),
        ("bars", [bar(0, final=True), bar(1)]),
        ("status", [status("STALE")]),
        ("gaps", [feed_gap()]),
        ("news", [headline(1)]),
        ("trade_events", [own_trade(1), own_trade(1, arrival_price=3, slippage=-1, markout_5m=7)]),
    )
    error = RequestError("bad_request", "no", 7)
    head = protocol.stream_head("bars", GC, "1m")
    found += [
        protocol.error_message(error),
        protocol.message("pong", id="p"),
        protocol.heartbeat_message(T0_NS),
        protocol.gap_message(head, 5, 9, "too_old"),
        protocol.update_message(head, 8, T0_NS, b'{"price":2}', skipped=3),
    ]
    ops = {same(text)["op"] for text in found}
    assert ops == {
        *("welcome", "subscribed", "unsubscribed", "snapshot", "update"),
        *("gap", "status", "heartbeat", "pong", "error"),
    }


@given(price=INT64, size=INT64, ts_event=TIMES, ts_recv=st.none() | TIMES, seq=st.none() | INT64, text=st.text())
def test_any_tick_is_the_same_in_both_forms(
    price: int, size: int, ts_event: int, ts_recv: int | None, seq: int | None, text: str
) -> None:
    values = trade(1, price=price, size=size, ts_event=ts_event, ts_recv=ts_recv, seq=seq, trade_id=text)
    (row,) = rows("ticks", values)
    found = same(protocol.update_message('"channel":"trades"', 1, ts_event, row.data))["data"]
    assert found["price"].scaleb(9) == price
    assert found["trade_id"] == text


@given(volume=st.integers(0, 10**38 - 1), low=INT64, as_known_at=TIMES)
def test_any_bar_is_the_same_in_both_forms(volume: int, low: int, as_known_at: int) -> None:
    exact = Decimal(volume).scaleb(-9) if volume < 10**28 else Decimal(volume // 10**10)
    values = bar(0) | {"volume": exact, "low": low, "as_known_at": as_known_at}
    (row,) = rows("bars", values)
    same(protocol.snapshot_message('"channel":"bars"', 1, T0_NS, row.data, row.data))


def test_a_number_with_more_than_nine_decimals_is_a_float_and_a_whole_price_is_not() -> None:
    found = unpack(pack(b'{"data":{"score":0.1234567891,"price":2,"levels":{"price":[[2,3.5]]},"trades":2}}'))["data"]
    assert found == {
        "score": 0.1234567891,
        "price": Decimal(2),
        "levels": {"price": [[Decimal(2), Decimal("3.5")]]},
        "trades": 2,
    }
    assert isinstance(found["price"], Decimal)
    assert not isinstance(found["trades"], Decimal)


def _pack(value: object) -> bytes:
    try:
        return bytes(msgpack.packb(value))
    except OverflowError:  # an integer beyond 64 bits
        return b""


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.integers() | st.text() | st.binary() | st.none(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["op", "id", "channel", "since", "seq"]), inner)
        ),
    ).map(_pack)
)
def test_any_bytes_are_a_request_or_refused_with_a_code(data: bytes) -> None:
    code = ""
    try:
        protocol.parse(unpack_request(data))
    except RequestError as error:
        code = error.code
    assert code in ("", "bad_msgpack", "bad_request", "unknown_op", "unknown_channel")


@pytest.mark.parametrize("data", [b"\x91" * 16_000, b"\xdf\xff\xff\xff\xff", b"\x81\x90\x00", b"\xc1", b"\xa2\xff\xff"])
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        protocol.parse(unpack_request(data))
    assert refused.value.code in ("bad_msgpack", "bad_request")


def test_a_frame_is_made_once_for_all_clients() -> None:
    frame = text_frame(b'{"op":"update"}')
    assert packed_frame(frame) is packed_frame(frame)
    assert packed_frame(frame)[0] == 0x82
    assert unpack(frame_payload(packed_frame(welcome_frame("e"))))["limits"]["heartbeat_s"] == 5.0


def test_two_clients_over_a_real_socket_are_told_the_same(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            gateway(tmp_path) as running,
            running.connect() as plain,
            running.connect(subprotocols=["mandi.v9", SUBPROTOCOL]) as packed,
        ):
            assert (plain.subprotocol, packed.subprotocol) == (None, SUBPROTOCOL)
            subscribe = {"op": "subscribe", "id": 1, "channel": "trades", "instruments": [GC]}
            await say(plain, **subscribe)
            await packed.send(msgpack.packb(subscribe))
            await packed.send("{}")
            await packed.send(b"\xc1")
            await say(plain, op="ping")
            await packed.send(msgpack.packb({"op": "ping"}))
            texts = await receive_until(plain, lambda ms: bool(ms) and ms[-1]["op"] == "pong")
            others = [m for m in await _until_op(packed, "pong") if m["op"] != "error"]
            assert [m["op"] for m in others] == [m["op"] for m in texts]
            running.ticks(trade(1), trade(2))
            texts = await receive_until(plain, lambda ms: bool(ms) and ms[-1].get("seq") == 2)
            others = await _until_op(packed, "update", 2)
            assert [_but_sending(as_json("", m)) for m in others if m["op"] != "heartbeat"] == [
                _but_sending(m) for m in texts if m["op"] != "heartbeat"
            ]

    asyncio.run(run())


def _but_sending(message: Json) -> Json:
    # json.loads makes floats: what is exact is the other tests' matter.
    rest = {name: value for name, value in message.items() if name != "ts_out"}
    return dict(json.loads(json.dumps(rest, default=float)))


async def _until_op(client: ClientConnection, op: str, seq: int | None = None) -> list[Json]:
    found: list[Json] = []
    async with asyncio.timeout(DEADLINE_S):
        while not found or (found[-1]["op"], found[-1].get("seq")) != (op, seq):
            data = await client.recv()
            assert isinstance(data, bytes)
            found.append(unpack(data))
    return found
