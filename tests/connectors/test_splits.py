"""Case 8 without a socket: wherever a WebSocket's bytes are cut, the codecs decode the same messages.

FIX, which has no frames but its own, is cut in tests/connectors/fix; the stream of the simulated Bloomberg in
tests/feeds_simulator/test_bloomberg_framing.py.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from connectors.ice import codec as ice
from connectors.mcx.angel import Angel
from connectors.mcx.codec import Kite
from feeds_simulator.frames import frame
from tests.connectors.mcx import wire

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


def decoded(pieces: Iterable[bytes], decode: Decode) -> list[Any]:
    protocol, found = ClientProtocol(parse_uri("ws://h/"), state=State.OPEN), []
    for piece in pieces:
        protocol.receive_data(piece)
        found += [
            decode(bytes(event.data))
            for event in protocol.events_received()
            if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.TEXT)
        ]
    return found


@pytest.mark.parametrize(
    ("messages", "decode", "least_bytes"),
    [
        pytest.param(ICE, ice.decode, 300, id="ice"),
        pytest.param(KITE, Kite().decode, 240, id="kite"),
        pytest.param(ANGEL, Angel().decode, 550, id="angel"),
    ],
)
def test_every_split_gives_the_same_messages(messages: list[str | bytes], decode: Decode, least_bytes: int) -> None:
    stream = b"".join(frame(message) for message in messages)
    expected = [decode(message.encode() if isinstance(message, str) else message) for message in messages]
    assert len(stream) > least_bytes
    assert len({repr(one) for one in expected}) == len(messages)
    for place in range(len(stream) + 1):
        assert decoded((stream[:place], stream[place:]), decode) == expected
    assert decoded((stream[first:last] for first, last in pairwise(range(len(stream) + 1))), decode) == expected
