"""Server-sent events: the same rows, images first, and a resume that never has a silent hole."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway_running import DEADLINE_S, Running, gateway, metric_value, until
from gateway_support import GC, GOLD, T0_NS, TOPIC, Json, SequenceChecker, Timers, quote, rows, trade
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import server
from gateway.client import BURST_BYTES
from gateway.errors import HttpError
from gateway.http import parse_target
from gateway.hub import Hub
from gateway.metrics import Counts
from gateway.protocol import heartbeat_message, text_frame
from gateway.sse import EventQueue, follow, subscriptions_of

PATH = "/v1/sse?channels=trades,quotes"


def events(data: bytes) -> list[tuple[str, Json]]:
    """Return (id, message) of the events in a body; comments are left out."""
    found = []
    for block in data.decode().split("\n\n"):
        members = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in members:
            found.append((members.get("id", ""), json.loads(members["data"])))
    return found


class Reader:
    """Stands for EventSource: keeps the messages and the last id through every connection."""

    def __init__(self, hub: Hub, path: str = PATH) -> None:
        self.hub, self.path = hub, path
        self.last_id: str | None = None
        self.messages: list[Json] = []
        self.checker = SequenceChecker()

    def connect(self) -> None:
        target = parse_target(self.path)
        self.queue = EventQueue(
            epoch="e1", target=target, now=lambda: T0_NS, wake=lambda _: None, schedule=Timers().schedule
        )
        self.hub.join(self.queue)
        follow(lambda request: self.hub.subscribe(self.queue, request), subscriptions_of(target, self.last_id))
        self.queue.mark(self.hub.ordinal, text_frame(heartbeat_message(T0_NS)))

    def read(self, max_bytes: int = 1 << 30) -> None:
        for event_id, message in events(b"".join(self.queue.take(max_bytes))):
            self.last_id = event_id or self.last_id
            self._keep(message)

    def _keep(self, message: Json) -> None:
        # A resume may repeat updates: who knows the number passes them over, as the documentation says.
        key = (message.get("channel"), message.get("instrument"), "")
        known = self.checker.last.get(key, -1)  # type: ignore[arg-type]
        repeated = {"update": message.get("seq", 0) <= known, "snapshot": message.get("seq", 0) < known}
        if repeated.get(message["op"]):
            return
        self.messages.append(message)
        self.checker.feed([message])

    def drop(self) -> None:
        self.hub.leave(self.queue)
        self.queue.abandon()


def new_hub(**options: int) -> Hub:
    hub = Hub(epoch="e1", now=lambda: T0_NS, counts=Counts(), **options)
    hub.finish_prime()
    return hub


def test_who_comes_back_gets_every_missed_update_and_the_image_of_what_is_new() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(1)))
    reader = Reader(hub)
    reader.connect()
    reader.read()
    reader.drop()
    hub.publish(TOPIC, rows("ticks", trade(2), trade(3), trade(4, GOLD)))
    reader.messages.clear()
    reader.connect()
    reader.read()
    rest = [(m["op"], m["instrument"], m["seq"]) for m in reader.messages if "seq" in m]
    assert rest == [
        ("update", GC, 2),
        ("update", GC, 3),
        ("snapshot", GOLD, 0),
        ("update", GOLD, 1),
    ]


@pytest.mark.parametrize("last_id", ["", "rubbish", "e9-1-00000000", "e1-1-00000000"])
def test_a_place_that_is_not_ours_gives_a_gap_and_an_image(last_id: str) -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(1), trade(2)))
    reader = Reader(hub)
    reader.last_id = last_id
    reader.connect()
    reader.read()
    assert [(m["op"], m.get("reason")) for m in reader.messages[1:3]] == [("gap", "epoch_changed"), ("snapshot", None)]


def test_a_place_the_rings_no_longer_hold_and_a_lost_range_give_a_gap() -> None:
    hub = new_hub(rings_bytes=2_000)
    reader = Reader(hub)
    hub.publish(TOPIC, rows("ticks", trade(0)))
    reader.connect()
    reader.read()
    reader.drop()
    hub.publish(TOPIC, rows("ticks", *(trade(n) for n in range(1, 50))))
    reader.connect()
    reader.read()
    assert [gap["reason"] for gap in reader.checker.gaps] == ["too_old"]
    reader.drop()
    hub.lose(TOPIC, "log_truncated")
    reader.connect()
    reader.read()
    assert [gap["reason"] for gap in reader.checker.gaps] == ["too_old", "too_old"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 400), st.sampled_from([GC, GOLD])),
            st.tuples(st.just("read"), st.integers(1, BURST_BYTES), st.booleans()),
            st.tuples(st.just("reconnect"), st.just(0), st.just(0)),
        ),
        max_size=30,
    )
)
def test_no_hole_is_silent_whenever_the_connection_breaks(steps: list[tuple[str, int, object]]) -> None:
    hub = new_hub(rings_bytes=200_000)
    reader = Reader(hub)
    reader.connect()
    seq = 0
    for step, size, detail in steps:
        if step == "publish":
            ticks = [tick for n in range(seq, seq + size) for tick in (quote(n, str(detail)), trade(n, str(detail)))]
            hub.publish(TOPIC, rows("ticks", *ticks))
            seq += size
        elif step == "read":
            reader.read(size)
            reader.queue.blocked = bool(detail) or not reader.queue.empty
        else:
            reader.drop()
            reader.connect()
    if reader.queue.overflowed:
        reader.drop()
        reader.connect()
    reader.queue.blocked = False
    while not reader.queue.empty:
        reader.read()
    for stream in hub.streams:
        assert reader.checker.last[stream.key.channel, stream.key.instrument, ""] == stream.seq


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/sse", "bad_request"),
        ("/v1/sse?channels=", "bad_request"),
        ("/v1/sse?channels=trades&token=x", "bad_request"),
        ("/v1/sse?channels=nothing", "unknown_channel"),
        ("/v1/sse?channels=bars", "unknown_interval"),
        ("/v1/sse?channels=trades&instruments=a%20b", "bad_request"),
    ],
)
def test_wrong_requests_are_refused(path: str, code: str) -> None:
    with pytest.raises(HttpError) as refused:
        subscriptions_of(parse_target(path), None)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_bars_of_several_intervals_are_several_subscriptions() -> None:
    wanted = subscriptions_of(parse_target("/v1/sse?channels=bars,trades&interval=1m,1s&instruments=XCEC:*"), None)
    assert [(w.id, w.channel, w.interval) for w in wanted] == [
        ("bars:1m", "bars", "1m"),
        ("bars:1s", "bars", "1s"),
        ("trades", "trades", ""),
    ]


def _open(port: int, path: str = PATH, *headers: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    client.settimeout(DEADLINE_S)
    client.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    return client


def _read(client: socket.socket, enough: Callable[[bytes], object]) -> bytes:
    data = b""
    while not enough(data):
        more = client.recv(65_536)
        if not more:
            break
        data += more
    return data


def test_events_over_a_real_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEARTBEAT_S", 0.05)

    async def run() -> None:
        async with gateway(tmp_path, allowed_origins=("https://desk.example",)) as running:
            running.ticks(trade(1))
            await until(lambda: _has_rows(running))
            client = _open(running.port, PATH, "Origin: https://desk.example")
            data = await asyncio.to_thread(_read, client, lambda data: b": {" in data)  # a heartbeat
            head, _, body = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Content-Type: text/event-stream" in head
            assert b"Access-Control-Allow-Origin: https://desk.example" in head
            ops = [message["op"] for _, message in events(body)]
            assert ops == ["welcome", "subscribed", "snapshot", "subscribed", "heartbeat"]
            last_id = events(body)[-1][0]
            running.ticks(trade(2))
            body = await asyncio.to_thread(_read, client, lambda data: b'"update"' in data and data.endswith(b"\n\n"))
            assert [m["data"]["trade_id"] for _, m in events(body) if m["op"] == "update"] == ["t2"]
            assert float(metric_value((await running.get("/metrics"))[2].decode(), "mandi_gateway_clients")) == 1
            client.close()
            client = _open(running.port, PATH, f"Last-Event-ID: {last_id}")
            body = await asyncio.to_thread(_read, client, lambda data: b'"heartbeat"' in data)
            assert [m["op"] for _, m in events(body.partition(b"\r\n\r\n")[2])][1:4] == [
                "subscribed",
                "update",
                "subscribed",
            ]
            assert (await running.get("/v1/sse"))[0] == 400
            assert (await running.get(PATH, Origin="https://evil.example"))[0] == 403
            running.stop.set()  # it ends with the gateway, and says so
            body = await asyncio.to_thread(_read, client, lambda _: False)
            assert events(body)[-1][1]["code"] == "shutdown"
            await running.task
            client.close()

    async def _has_rows(running: Running) -> bool:
        return bool(await running.json("/v1/instruments"))

    asyncio.run(run())


def test_a_reader_too_slow_for_events_is_closed_and_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:
            client = _open(running.port, "/v1/sse?channels=trades")
            sent = 0

            async def closed() -> bool:
                nonlocal sent
                running.ticks(*(trade(n) for n in range(sent, sent + 2_000)))
                sent += 2_000
                text = (await running.get("/metrics"))[2].decode()
                return float(metric_value(text, 'mandi_gateway_disconnects_total{reason="slow_consumer"}')) == 1

            await until(closed)
            client.close()

    asyncio.run(run())


def test_a_reader_that_ends_its_side_disturbs_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:
            other = _open(running.port)
            await asyncio.to_thread(_read, other, lambda data: b'"heartbeat"' in data)
            for number in range(1, 6):
                gone = _open(running.port)
                await asyncio.to_thread(_read, gone, lambda data: b'"heartbeat"' in data)
                gone.shutdown(socket.SHUT_WR)
                running.ticks(trade(number))
                last = f'"trade_id":"t{number}"'.encode()
                await asyncio.to_thread(_read, other, lambda data, last=last: last in data)  # type: ignore[misc]
                gone.close()
            other.close()

    asyncio.run(run())
