"""The whole gateway over a real socket, fed by the real embedded log."""

import asyncio
import gzip
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from gateway_running import DEADLINE_S, gateway, metric_value, receive, receive_until, say, until
from gateway_support import GC, GOLD, Json, SequenceChecker, bar, quote, status, trade
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway import server
from market.records import TopicPartition
from market.topics import BARS, STATUS
from sinks.embedded.processes import free_port


def test_a_client_subscribes_and_follows(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running, running.connect() as client:
            welcome = await receive(client)
            assert (welcome["op"], welcome["limits"]["subscriptions"]) == ("welcome", 128)
            running.ticks(trade(1), quote(2), trade(3, GOLD))
            await say(client, op="subscribe", id=1, channel="trades", instruments=["XCEC:*"])
            await say(client, op="subscribe", id=2, channel="bars", interval="1m", instruments=[GC])
            running.append(TopicPartition(BARS, 1), "bars", bar(0), bar(0, final=True, trades=2))
            running.append(TopicPartition(STATUS), "status", status("STALE"))
            running.ticks(trade(4))
            messages = await receive_until(
                client, lambda ms: {"STALE"} <= {m.get("quality") for m in ms} and _seqs(ms, "trades") >= {4}
            )
            checker = SequenceChecker()
            checker.feed(messages)
            finals = [m["data"]["final"] for m in checker.updates if m["channel"] == "bars"]
            assert finals == [False, True][2 - len(finals) :]  # what came before the subscription is in its image
            await say(client, op="ping", id="p")
            assert (await receive_until(client, lambda ms: bool(ms) and ms[-1]["op"] == "pong"))[-1]["id"] == "p"
            await say(client, op="auth", token="x")
            assert (await receive(client))["epoch"] == welcome["epoch"]

    asyncio.run(run())


def _seqs(messages: list[Json], channel: str) -> set[int]:
    return {m["data"]["seq"] for m in messages if m.get("channel") == channel and m["op"] in ("snapshot", "update")}


def test_a_client_that_comes_back_misses_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:
            async with running.connect() as client:
                epoch = (await receive(client))["epoch"]
                await say(client, op="subscribe", id=1, channel="trades", instruments=[GC])
                await receive(client)
                running.ticks(trade(1), trade(2))
                seq = (await receive_until(client, lambda ms: _seqs(ms, "trades") >= {2}))[-1]["seq"]
            running.ticks(*(trade(n) for n in range(3, 50)))
            async with running.connect() as client:
                await receive(client)
                since = {"epoch": epoch, "seq": seq}
                await say(client, op="subscribe", id=1, channel="trades", instruments=[GC], since=since)
                messages = await receive_until(client, lambda ms: _seqs(ms, "trades") >= {49})
                assert [m["data"]["seq"] for m in messages[1:]] == list(range(3, 50))
                assert {m["op"] for m in messages[1:]} == {"update"}

    asyncio.run(run())


def test_wrong_messages_are_answered_and_the_conversation_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running, running.connect(subprotocols=None) as client:
            await receive(client)
            await client.send("nonsense")
            assert (await receive(client))["code"] == "bad_json"
            await client.send(b"\x00")
            assert (await receive(client))["code"] == "bad_request"
            await say(client, op="subscribe", id=7, channel="candles", instruments=["*"])
            error = await receive(client)
            assert (error["op"], error["id"], error["code"]) == ("error", 7, "unknown_channel")

    asyncio.run(run())


def test_who_sends_too_much_or_too_long_is_closed(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:
            async with running.connect() as client:
                with pytest.raises(ConnectionClosed) as closed:
                    await _flood(client)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4429
            async with running.connect() as client:
                await client.send("x" * 20_000)
                with pytest.raises(ConnectionClosed) as closed:
                    await receive_until(client, lambda _: False)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009
            text = (await running.get("/metrics"))[2].decode()
            for reason in ("rate_limited", "too_long"):
                assert float(metric_value(text, f'mandi_gateway_disconnects_total{{reason="{reason}"}}')) == 1

    asyncio.run(run())


async def _flood(client: ClientConnection) -> None:
    for _ in range(2_000):
        await client.send('{"op":"ping"}')
    await receive_until(client, lambda _: False)


def test_pages_of_other_origins_and_other_host_names_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path, allowed_origins=("https://desk.example",)) as running:
            for origin in (f"http://127.0.0.1:{running.port}", "https://desk.example"):
                async with running.connect(origin=origin) as client:
                    assert (await receive(client))["op"] == "welcome"
            with pytest.raises(InvalidStatus) as refused:
                await running.connect(origin="https://evil.example")
            assert refused.value.response.status_code == 403
            assert (await running.get("/v1/instruments", Host="evil.example"))[0] == 403
            assert (await running.get("/v1/instruments", Host="desk.example"))[0] == 200

    asyncio.run(run())


def test_a_slow_client_of_states_gets_the_newest_and_one_of_events_is_closed(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:
            slow = await _raw_subscriber(running.port, "quotes")
            too_slow = await _raw_subscriber(running.port, "trades")
            sent = 0

            async def blocked() -> bool:
                nonlocal sent
                rows = [row for n in range(sent, sent + 2_000) for row in (quote(n), trade(n))]
                running.ticks(*rows)
                sent += 2_000
                text = (await running.get("/metrics"))[2].decode()
                conflated = float(metric_value(text, "mandi_gateway_conflated_total"))
                closed = float(metric_value(text, 'mandi_gateway_disconnects_total{reason="slow_consumer"}'))
                return conflated > 0 and closed > 0

            await until(blocked)
            messages = await asyncio.to_thread(_read_until_quote, slow, sent - 1)
            checker = SequenceChecker()
            checker.feed(messages)
            assert checker.last["quotes", GC, ""] == sent
            assert any(m.get("skipped") for m in messages)
            assert _close_code(await asyncio.to_thread(_read_all, too_slow)) in (4408, None)  # None: it was cut
            slow.close()
            too_slow.close()

    asyncio.run(run())


async def _raw_subscriber(port: int, channel: str) -> socket.socket:
    """A WebSocket client on a bare socket, so that nothing reads unless the test does."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    client.settimeout(DEADLINE_S)
    client.sendall(
        b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    text = json.dumps({"op": "subscribe", "id": 1, "channel": channel, "instruments": ["*"]}).encode()
    client.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)  # masked with zeros
    head = await asyncio.to_thread(_read_head, client)
    assert b" 101 " in head
    return client


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    return head


def _frames(client: socket.socket) -> Any:
    with client.makefile("rb") as stream:
        while head := stream.read(2):
            size = head[1]
            if size == 126:
                size = int.from_bytes(stream.read(2), "big")
            elif size == 127:
                size = int.from_bytes(stream.read(8), "big")
            yield head[0] & 0x0F, stream.read(size)


def _read_until_quote(client: socket.socket, seq: int) -> list[Json]:
    messages = []
    for opcode, payload in _frames(client):
        if opcode == 1:
            messages.append(json.loads(payload))
            if messages[-1].get("data", {}).get("seq") == seq:
                break
    return messages


def _read_all(client: socket.socket) -> list[tuple[int, bytes]]:
    found = []
    try:
        for frame in _frames(client):
            found.append(frame)  # noqa: PERF402  what was read before a reset counts
    except ConnectionResetError:
        pass
    return found


def _close_code(frames: list[tuple[int, bytes]]) -> int | None:
    closes = [int.from_bytes(payload[:2], "big") for opcode, payload in frames if opcode == 8 and len(payload) > 1]
    return closes[0] if closes else None


def test_a_peer_that_is_gone_is_cut_though_its_buffer_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(server, "STALLED_S", 0.2)

    async def run() -> None:
        async with gateway(tmp_path) as running:
            dead = await _raw_subscriber(running.port, "quotes")
            sent = 0

            async def cut() -> bool:
                nonlocal sent
                running.ticks(*(quote(n) for n in range(sent, sent + 2_000)))
                sent += 2_000
                text = (await running.get("/metrics"))[2].decode()
                return float(metric_value(text, 'mandi_gateway_disconnects_total{reason="stalled"}')) == 1

            await until(cut)
            dead.close()

    asyncio.run(run())


def test_a_full_gateway_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path, max_clients=1) as running, running.connect() as client:
            await receive(client)
            with pytest.raises(InvalidStatus) as refused:
                await running.connect()
            assert refused.value.response.status_code == 503

    asyncio.run(run())


def test_an_address_has_only_so_many_connections(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path, max_clients_per_address=1) as running:
            for _ in range(2):  # the place is free again when the first has left
                async with running.connect() as client:
                    await receive(client)
                    with pytest.raises(InvalidStatus) as refused:
                        await running.connect()
                    assert refused.value.response.status_code == 429

                async def left() -> bool:
                    text = (await running.get("/metrics"))[2].decode()
                    return float(metric_value(text, "mandi_gateway_clients")) == 0

                await until(left)
            text = (await running.get("/metrics"))[2].decode()
            assert float(metric_value(text, 'mandi_gateway_refusals_total{code="too_many_clients"}')) == 2

    asyncio.run(run())


def test_http_answers_from_memory_while_the_store_is_down(tmp_path: Path) -> None:
    async def run() -> None:
        dsn = "postgresql://127.0.0.1:1/none"
        async with gateway(tmp_path, timescale_dsn=dsn) as running:
            running.ticks(trade(1), quote(2))
            running.append(TopicPartition(STATUS), "status", status("HALTED"))

            async def seen() -> bool:
                return bool(await running.json("/v1/status"))

            await until(seen)
            (instrument,) = await running.json("/v1/instruments")
            assert (instrument["instrument"], instrument["commodity"], instrument["tick_size"]) == (GC, "gold", 0.1)
            assert instrument["last_trade"]["trade_id"] == "t1"
            assert instrument["last_status"]["quality"] == "HALTED"
            assert await running.json("/v1/status?instrument=XIMC:*") == []
            code, _, body = await running.get(f"/v1/bars?instrument={GC}&interval=1m")
            assert (code, json.loads(body)["error"]["code"]) == (503, "store_unavailable")
            ready = await running.json("/readyz")
            assert ready["ready"] is True
            assert ready["store"]["reachable"] is False
            assert "none" not in json.dumps(ready["store"])

    asyncio.run(run())


def test_http_details(tmp_path: Path) -> None:
    async def run() -> None:
        (tmp_path / "dist" / "assets").mkdir(parents=True)
        (tmp_path / "dist" / "assets" / "big.js").write_bytes(b"x" * 100_000)
        async with gateway(tmp_path / "log", bundle_dir=tmp_path / "dist") as running:
            assert await running.json("/healthz") == {"status": "up"}
            code, headers, body = await running.get("/v1/openapi.json", "HEAD")
            assert (code, body) == (200, b"")
            assert int(headers["Content-Length"]) > 1_000
            paths = (await running.json("/v1/openapi.json"))["paths"]
            assert set(paths) == {
                f"/v1/{name}"
                for name in (
                    "instruments",
                    "bars",
                    "trades",
                    "quotes",
                    "books",
                    "status",
                    "news",
                    "anomalies",
                    "forecasts",
                    "forecast_scores",
                    "forecast_scoreboard",
                    "arbitrage",
                    "health",
                    "sse",
                )
            }
            for path, expected in (
                ("/v1/nothing", 404),
                ("/v1/bars/", 404),
                ("/v1/instruments?x=1", 400),
                ("/v1/bars?interval=1m", 400),
                (f"/v1/bars?instrument={GC}&interval=2m", 400),
                (f"/v1/trades?instrument={GC}&from=yesterday", 400),
                (f"/v1/trades?instrument={GC}&limit=10001", 400),
            ):
                code, _, body = await running.get(path)
                assert code == expected, path
                assert set(json.loads(body)["error"]) == {"code", "message"}
            assert (await running.get("/v1/instruments", "POST"))[0] == 405
            code, headers, body = await running.get("/assets/big.js", **{"Accept-Encoding": "gzip"})
            assert (headers["Content-Encoding"], gzip.decompress(body)) == ("gzip", b"x" * 100_000)
            text = (await running.get("/metrics"))[2].decode()
            assert 'mandi_log_lag_rows{consumer="gateway"' in text or "mandi_log_lag_rows" in text
            assert 'mandi_end_to_end_seconds_bucket{channel="trades",le="+Inf"} 0.0' in text

    asyncio.run(run())


def test_metrics_say_that_the_broker_is_away(tmp_path: Path) -> None:
    async def run() -> None:
        nowhere = f"kafka://127.0.0.1:{free_port()}/desk"
        async with gateway(tmp_path, ready=False, log_url=nowhere) as running:

            async def is_told() -> bool:
                text = (await running.get("/metrics"))[2].decode()
                return metric_value(text, "mandi_log_away") == "1.0" and "mandi_log_retries_total" in text

            await until(is_told)
            assert (await running.get("/readyz"))[0] == 503

    asyncio.run(run())
    for thread in threading.enumerate():
        if thread.name == "gateway-log":
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "it would try for ever"


def test_clients_are_told_that_the_gateway_stops_and_it_stops_in_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:
            deaf = await _raw_subscriber(running.port, "trades")  # never answers the close
            async with running.connect() as client:
                await receive(client)
                started_s = time.monotonic()
                running.stop.set()
                with pytest.raises(ConnectionClosed) as closed:
                    await receive_until(client, lambda _: False)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1001
                await running.task
                assert time.monotonic() - started_s < 2.0
            deaf.close()

    asyncio.run(run())
