"""Case 8 without a socket: wherever a WebSocket's bytes are cut, the codecs decode the same messages.

FIX, which has no frames but its own, is cut in tests/connectors/fix; the stream of the simulated Bloomberg in
tests/feeds_simulator/test_bloomberg_framing.py.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest

from connectors.ice import codec as ice
from connectors.mcx.angel import Angel
from connectors.mcx.codec import Kite
from tests.connectors.mcx import wire
from tests.connectors.raw_websocket import BINARY, TEXT, Client, frame

Decode = Callable[[bytes], Any]

_AT = {"symbol": "CT Z26", "ts_event": 1_795_231_397_678_000_000}
ICE: list[str | bytes] = [
    orjson.dumps(
        _AT | {"op": "trade", "seq": 7, "px": "80.15", "qty": 3, "aggr": "B", "trade_id": "\u00e9" * 70}
    ).decode(),
    orjson.dumps(_AT | {"op": "book", "seq": 9, "changes": [["B", "N", "80.1", 2, 1]], "eot": True}).decode(),
    orjson.dumps({"op": "heartbeat", "channel": "book", "seq": 9, "ts": 5}).decode(),
]
KITE: list[str | bytes] = [
    wire.frame(wire.full(volume=10), wire.quote(volume=20)),
    b"\0",
    '{"type":"message","data":"x"}',
    wire.frame(wire.ltp()),
]
ANGEL: list[str | bytes] = [
    wire.angel(mode=3, number=1),
    "pong",
    wire.angel(mode=1, number=2),
    wire.angel(mode=2, number=3),
]


async def decoded(stream: bytes, cuts: Iterable[int], decode: Decode) -> list[Any]:
    client = Client()
    client.read(client.answer)
    client.read(stream, list(cuts))
    return [decode(message) for message in await client.messages()]


@pytest.mark.parametrize(
    ("messages", "decode", "least_bytes"),
    [
        pytest.param(ICE, ice.decode, 300, id="ice"),
        pytest.param(KITE, Kite().decode, 240, id="kite"),
        pytest.param(ANGEL, Angel().decode, 550, id="angel"),
    ],
)
def test_every_split_gives_the_same_messages(messages: list[str | bytes], decode: Decode, least_bytes: int) -> None:
    payloads = [message.encode() if isinstance(message, str) else message for message in messages]
    stream = b"".join(
        frame(payload, TEXT if isinstance(message, str) else BINARY)
        for message, payload in zip(messages, payloads, strict=True)
    )
    expected = [decode(payload) for payload in payloads]
    assert len(stream) > least_bytes
    assert len({repr(one) for one in expected}) == len(messages)

    async def cut_everywhere() -> None:
        for place in range(len(stream) + 1):
            assert await decoded(stream, [place], decode) == expected
        assert await decoded(stream, range(len(stream)), decode) == expected

    asyncio.run(cut_everywhere())
