"""Our cutting of frames against the library's own: whatever the stream, and wherever it is cut."""

import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from connectors.websocket import MESSAGE_BYTES_MAX
from tests.connectors.raw_websocket import BINARY, CLOSE, MORE, PING, PONG, TEXT, Client, frame


def run(test: Callable[[Client], Any]) -> None:
    async def main() -> None:
        await test(Client())

    asyncio.run(main())


def test_messages_are_the_same_wherever_the_stream_is_cut() -> None:
    sizes = (0, 1, 125, 126, 127, 300, 65_535, 65_536)
    parts = [frame(bytes([65 + n]) * size, BINARY if n % 2 else TEXT) for n, size in enumerate(sizes)]
    parts[2:2] = [frame(b"are you there", PING)]
    parts[5:5] = [frame(b"ab", TEXT, fin=False), frame(b"", PING), frame(b"cd", MORE, fin=False), frame(b"", MORE)]
    expected = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    expected[4:4] = [b"abcd"]
    stream = b"".join(parts)
    dice = random.Random(7)

    async def test(_: Client) -> None:
        for turn in range(40):
            client = Client()
            whole = client.answer + stream
            likely = [*range(len(client.answer) - 6, len(client.answer) + 700), len(whole) - 65_536]
            client.read(whole, sorted(dice.sample(likely, 1 + turn * 4)))
            assert await client.messages() == expected
            assert client.wire.written.count(bytes((0x80 | PONG,))) >= 2

    run(test)


def test_byte_by_byte() -> None:
    async def test(client: Client) -> None:
        whole = client.answer + frame(b"x" * 200) + frame(b"p", PING) + frame(b"y")
        client.read(whole, list(range(len(whole))))
        assert await client.messages() == [b"x" * 200, b"y"]

    run(test)


def test_what_one_read_brings_has_one_stamp() -> None:
    async def test(client: Client) -> None:
        client.read(client.answer)
        client.read(frame(b"a") + frame(b"b") + frame(b"cut")[:3])
        client.read(frame(b"cut")[3:])
        (first, early), (second, late) = await client.reads()
        assert (first, second) == ([b"a", b"b"], [b"cut"])
        assert early < late

    run(test)


def test_a_ping_is_answered_and_what_came_before_it_is_kept() -> None:
    async def test(client: Client) -> None:
        client.read(client.answer)
        client.read(frame(b"before") + frame(b"1", PING) + frame(b"after"))
        assert client.wire.written[0] == 0x80 | PONG
        assert await client.messages() == [b"before", b"after"]

    run(test)


def test_the_close_of_the_venue_comes_after_its_last_message() -> None:
    async def test(client: Client) -> None:
        client.read(client.answer)
        client.read(frame(b"last") + frame(struct.pack("!H", 4008) + b"slow", CLOSE) + frame(b"never"))
        client.connection.connection_lost(None)
        assert await client.messages() == [b"last"]
        with pytest.raises(ConnectionClosed):
            await client.connection.take()
        assert client.connection.close_code == 4008

    run(test)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (struct.pack("!BBQ", 0x81, 127, MESSAGE_BYTES_MAX + 1) + b"x", 1009),
        (bytes((0x81, 0x85)) + b"mask" + b"hello" + b"more", 1002),  # a server does not mask
        (frame(b"x", 0x3), 1002),
        (frame(b"x", MORE), 1002),
        (frame(b"a", TEXT, fin=False) + frame(b"b", TEXT), 1002),
        (bytes((0xC1, 1)) + b"x", 1002),  # no extension was agreed
    ],
)
def test_what_is_wrong_is_refused_by_the_library(wrong: bytes, code: int) -> None:
    async def test(client: Client) -> None:
        client.read(client.answer)
        client.read(frame(b"good") + wrong + frame(b"never"))
        client.connection.connection_lost(None)
        assert await client.messages() == [b"good"]
        assert client.wire.written[0] == 0x80 | CLOSE
        assert client.connection.protocol.close_sent is not None
        assert client.connection.protocol.close_sent.code == code

    run(test)


def test_a_refused_handshake_reaches_the_library_whole() -> None:
    async def test(client: Client) -> None:
        refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
        client.read(refusal, [30, 45])
        assert client.connection.response is not None
        assert client.connection.response.status_code == 403
        assert client.connection.response.body == b"no"

    run(test)


def test_a_socket_nobody_takes_from_is_not_read() -> None:
    async def test(client: Client) -> None:
        client.read(client.answer)
        for _ in range(40):
            client.read(frame(b"x"))
        assert not client.wire.is_reading
        await client.connection.take()
        assert client.wire.is_reading

    run(test)
