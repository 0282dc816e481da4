"""Access over real sockets: tokens on the stream, events and REST; what is granted; what is never logged."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gateway_running import DEADLINE_S, Running, gateway, metric_value, receive, receive_until, say, until
from gateway_support import GC, GOLD, T0_NS, Json, own_trade, trade
from gateway_tokens import NOW_S, SECRET, token
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway import server
from gateway.config import AuthConfig, GatewayConfig
from gateway.errors import BadKeys
from gateway.protocol import CHANNELS
from gateway.server import Gateway
from market import topics
from market.records import TopicPartition


@dataclass
class Clock:
    now_s: float = NOW_S


@asynccontextmanager
async def guarded(directory: Path, clock: Clock | None = None, **options: Any) -> AsyncIterator[Running]:
    """A gateway that asks for tokens, with trades of two venues."""
    clock = clock or Clock()
    auth = AuthConfig(secret=SECRET)
    async with gateway(directory, auth=auth, wall_s=lambda: clock.now_s, **options) as running:
        running.ticks(trade(1), trade(2, GOLD))

        async def seen() -> bool:
            code, _, body = await running.get("/v1/instruments", **bearer(mandi_venues=["*"]))
            return code == 200 and len(json.loads(body)) == 2

        await until(seen)
        yield running


def bearer(**changes: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**changes)}"}


def test_the_stream_is_open_to_who_shows_a_token_by_header_or_by_message(tmp_path: Path) -> None:
    async def run() -> None:
        async with guarded(tmp_path) as running:
            async with running.connect(additional_headers=bearer()) as client:
                assert (await receive(client))["op"] == "welcome"
                await say(client, op="subscribe", id=1, channel="trades", instruments=["*"])
                messages = [await receive(client), await receive(client)]
                assert messages[0]["instruments"] == [GC]
                assert messages[1]["instrument"] == GC
                for request, word in (
                    ({"channel": "news", "instruments": ["*"]}, "news"),
                    ({"channel": "trades", "instruments": [GOLD, GC]}, "XIMC"),
                ):
                    await say(client, op="subscribe", id=2, **request)
                    error = await receive(client)
                    assert (error["code"], error["id"]) == ("not_entitled", 2)
                    assert word in error["message"]
                running.ticks(trade(3, GOLD), trade(4))
                assert (await receive(client))["data"]["trade_id"] == "t4"  # and nothing of the other venue
            async with running.connect() as client:
                await say(client, op="subscribe", id=1, channel="trades", instruments=["*"])
                assert (await receive(client))["code"] == "not_authenticated"
                await say(client, op="auth", token="x.y.z")
                assert (await receive(client))["code"] == "bad_token"
                await say(client, op="auth", token=token(exp=NOW_S - 60))
                assert (await receive(client))["code"] == "token_expired"
                await say(client, op="auth", token=token())
                assert (await receive(client))["op"] == "welcome"

    asyncio.run(run())


def test_own_trades_go_to_their_user_and_to_nobody_else(tmp_path: Path) -> None:
    own = TopicPartition(topics.USER_TRADES, topics.FROM_ANALYTICS)

    async def run() -> None:
        async with guarded(tmp_path) as running:
            running.append(own, "trade_events", own_trade(1), own_trade(2, "ben"))
            claims = {"mandi_channels": ["user.trades"]}
            async with (
                running.connect(additional_headers=bearer(**claims)) as asha,
                running.connect(additional_headers=bearer(sub="ben", **claims)) as ben,
            ):
                for client in (asha, ben):
                    await say(client, op="subscribe", id=1, channel="user.trades", instruments=["*"])
                await receive_until(asha, seen("e-1"))
                await receive_until(ben, seen("e-2"))
                running.append(own, "trade_events", own_trade(3, instrument=GOLD), own_trade(4, "ben"))
                running.append(own, "trade_events", own_trade(1, arrival_price=1, as_known_at=T0_NS), own_trade(5))
                running.append(own, "trade_events", own_trade(6, "ben"))
                hers, his = await receive_until(asha, seen("e-5")), await receive_until(ben, seen("e-6"))
                assert {m["data"]["user_id"] for m in hers} == {"asha"}
                assert {m["data"]["user_id"] for m in his} == {"ben"}
                again, last = hers[-2:]  # nothing between them of XIMC, which she may not see
                assert (again["data"]["event_id"], again["data"]["arrival_price"]) == ("e-1", 1e-9)
                assert last["seq"] == again["seq"] + 1  # numbers of her own: they do not tell what others do
            _, _, body = await running.get("/v1/instruments", **bearer(sub="cy", mandi_venues=["*"], **claims))
            assert json.loads(body) == []

    asyncio.run(run())


def seen(event_id: str) -> Callable[[list[Json]], bool]:
    return lambda messages: bool(messages) and messages[-1].get("data", {}).get("event_id") == event_id


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_is_for_who_is_granted_it(tmp_path: Path, channel: str) -> None:
    others = [each for each in CHANNELS if each != channel]

    async def run() -> None:
        async with guarded(tmp_path) as running:
            for granted, answer in (([channel], "subscribed"), (others, "error")):
                async with running.connect(additional_headers=bearer(mandi_channels=granted)) as client:
                    await receive(client)
                    interval = {"interval": "1m"} if channel == "bars" else {}
                    await say(client, op="subscribe", id=1, channel=channel, instruments=["*"], **interval)
                    message = await receive(client)
                    assert (message["op"], message.get("code")) == (answer, {"error": "not_entitled"}.get(answer))
            path = f"/v1/sse?channels={channel}&interval=1m"
            code, _, body = await running.get(path, **bearer(mandi_channels=others))
            assert (code, json.loads(body)["error"]["code"]) == (403, "not_entitled")
            text = (await running.get("/metrics"))[2].decode()
            assert float(metric_value(text, 'mandi_gateway_refusals_total{code="not_entitled"}')) == 2

    asyncio.run(run())


def test_a_user_has_only_so_many_connections(tmp_path: Path) -> None:
    async def run() -> None:
        async with guarded(tmp_path, max_clients_per_user=1) as running:
            async with running.connect(additional_headers=bearer()) as client:
                await receive(client)
                with pytest.raises(InvalidStatus) as refused:
                    await running.connect(additional_headers=bearer())
                assert refused.value.response.status_code == 429
                async with running.connect(additional_headers=bearer(sub="ben")) as other:
                    assert (await receive(other))["op"] == "welcome"
                async with running.connect() as second:
                    await say(second, op="auth", token=token())
                    with pytest.raises(ConnectionClosed) as closed:
                        await receive_until(second, lambda _: False)
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 4429

            async def left() -> bool:
                text = (await running.get("/metrics"))[2].decode()
                return float(metric_value(text, "mandi_gateway_clients")) == 0

            await until(left)
            async with running.connect(additional_headers=bearer()) as client:  # the place is free again
                assert (await receive(client))["op"] == "welcome"
            text = (await running.get("/metrics"))[2].decode()
            assert float(metric_value(text, 'mandi_gateway_refusals_total{code="too_many_clients"}')) == 2
            assert float(metric_value(text, 'mandi_gateway_disconnects_total{reason="too_many_clients"}')) == 1

    asyncio.run(run())


def test_nobody_in_particular_has_no_own_trades(tmp_path: Path) -> None:
    async def run() -> None:
        async with gateway(tmp_path) as running:  # without keys: anyone may see everything else
            async with running.connect() as client:
                await say(client, op="subscribe", id=1, channel="user.trades", instruments=["*"])
                messages = await receive_until(client, lambda found: found[-1:] != [] and "id" in found[-1])
                assert (messages[-1]["op"], messages[-1]["code"]) == ("error", "not_entitled")
            code, _, body = await running.get("/v1/sse?channels=user.trades")
            assert (code, json.loads(body)["error"]["code"]) == (403, "not_entitled")

    asyncio.run(run())


def test_rest_and_events_answer_what_is_granted(tmp_path: Path) -> None:
    async def run() -> None:
        async with guarded(tmp_path) as running:

            async def ask(path: str, **headers: str) -> tuple[int, str]:
                status, _, body = await running.get(path, **headers)
                return status, json.loads(body)["error"]["code"] if status >= 400 else ""

            mine, all_venues = bearer(), bearer(mandi_venues=["*"], mandi_channels=["*"])
            assert await ask("/v1/instruments") == (401, "not_authenticated")
            assert await ask("/v1/sse?channels=trades") == (401, "not_authenticated")
            assert await ask("/v1/instruments", **bearer(exp=NOW_S - 60)) == (401, "token_expired")
            assert await ask("/v1/instruments", **bearer(nbf=NOW_S + 60)) == (401, "token_not_yet_valid")
            assert await ask("/v1/instruments", Authorization="Bearer x") == (401, "bad_token")
            assert await ask(f"/v1/trades?instrument={GOLD}", **mine) == (403, "not_entitled")
            assert await ask(f"/v1/bars?instrument={GC}&interval=1m", **mine) == (403, "not_entitled")
            assert await ask("/v1/status?instrument=XIMC:*", **mine) == (403, "not_entitled")
            assert await ask("/v1/sse?channels=bars&interval=1m", **mine) == (403, "not_entitled")
            assert await ask(f"/v1/trades?instrument={GOLD}", **all_venues) == (503, "store_unavailable")
            for path in ("/healthz", "/readyz", "/metrics", "/v1/openapi.json"):
                assert (await running.get(path))[0] == 200
            _, _, body = await running.get("/v1/instruments", **mine)
            assert [row["instrument"] for row in json.loads(body)] == [GC]
            text = (await running.get("/metrics"))[2].decode()
            for refused, times in (("not_authenticated", 2), ("token_expired", 1), ("not_entitled", 4)):
                assert float(metric_value(text, f'mandi_gateway_refusals_total{{code="{refused}"}}')) == times
            _, headers, _ = await running.get("/v1/instruments")
            assert headers["WWW-Authenticate"] == "Bearer"
            body = await asyncio.to_thread(_events, running.port, "/v1/sse?channels=trades", mine["Authorization"])
            assert GC.encode() in body
            assert GOLD.encode() not in body

    asyncio.run(run())


def _events(port: int, path: str, authorization: str) -> bytes:
    """The body up to the mark that ends the images."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n"
        client.sendall(head.encode())
        data = b""
        while b"heartbeat" not in data:
            data += client.recv(65_536)
        return data


def test_a_wrong_token_in_the_header_opens_no_stream(tmp_path: Path) -> None:
    async def run() -> None:
        async with guarded(tmp_path) as running:
            for headers in (bearer(key="t" * 32), {"Authorization": "Basic x"}):
                with pytest.raises(InvalidStatus) as refused:
                    await running.connect(additional_headers=headers)
                assert refused.value.response.status_code == 401

    asyncio.run(run())


def test_a_token_that_ends_is_announced_renewed_or_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEARTBEAT_S", 0.02)

    async def run() -> None:
        clock = Clock()
        async with guarded(tmp_path, clock) as running:
            async with running.connect(additional_headers=bearer(exp=NOW_S + 100)) as client:
                await say(client, op="subscribe", id=1, channel="trades", instruments=["*"])
                clock.now_s = NOW_S + 80
                notice = (await _until_op(client, "expiring"))[-1]
                assert notice["expires"] == str(round((NOW_S + 100) * 10**9))
                await say(client, op="auth", token=token(sub="ben"))
                assert (await _until_op(client, "error"))[-1]["code"] == "bad_token"
                wider = token(exp=NOW_S + 200, mandi_venues=["*"])
                await say(client, op="auth", token=wider)
                messages = await _until_op(client, "snapshot")  # of the venue that is new
                assert messages[-1]["instrument"] == GOLD
                await say(client, op="auth", token=token(exp=NOW_S + 200, mandi_channels=["quotes"]))
                assert (await _until_op(client, "error"))[-1]["code"] == "not_entitled"
                clock.now_s = NOW_S + 201
                with pytest.raises(ConnectionClosed) as closed:
                    await receive_until(client, lambda _: False)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401
            async with running.connect() as client:
                clock.now_s += 11  # without a token
                with pytest.raises(ConnectionClosed):
                    await receive_until(client, lambda _: False)
            text = (await running.get("/metrics"))[2].decode()
            for reason in ("token_expired", "not_authenticated"):
                assert float(metric_value(text, f'mandi_gateway_disconnects_total{{reason="{reason}"}}')) == 1

    asyncio.run(run())


async def _until_op(client: Any, op: str) -> list[Json]:
    return await receive_until(client, lambda messages: bool(messages) and messages[-1]["op"] == op)


def test_without_keys_it_listens_on_loopback_only(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(BadKeys, match="loopback"):
            Gateway(GatewayConfig(log_url=tmp_path.as_uri(), host="0.0.0.0"), time.time_ns)

    asyncio.run(run())


def test_tokens_are_never_logged_however_they_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret_part = token().rpartition(".")[2]

    async def run() -> None:
        async with guarded(tmp_path) as running:
            async with running.connect(additional_headers=bearer()) as client:
                await say(client, op="auth", token=token())
                await say(client, op="subscribe", id=token(), channel="trades")
                await say(client, op=token())
                await client.send(token())
                await receive_until(client, lambda ms: len(ms) == 4)
            for lines in (
                (f"GET /v1/stream?token={token()} HTTP/1.1", "Host: localhost"),
                (f"GET /{token()} HTTP/1.1", "Host: localhost"),
                ("GET /v1/stream HTTP/1.1", f"Authorization Bearer {token()}"),
                ("GET /v1/stream HTTP/1.1", f"Authorization: Bearer {token()}\n {token()}"),
                ("GET /v1/stream HTTP/1.1", f"Authorization: Bearer {token()}", f"Authorization: {token()}"),
                ("GET /v1/instruments HTTP/1.1", f"Authorization: Bearer {token()}x{token()}"),
                ("GET /v1/stream HTTP/1.1", f"Sec-WebSocket-Protocol: {token()}", "Upgrade: websocket"),
                (f"{token()} / HTTP/1.1", f"Cookie: {token()}" + "x" * 10_000),
            ):
                await asyncio.to_thread(_exchange, running.port, "\r\n".join([*lines, "", ""]).encode())

    with caplog.at_level(logging.DEBUG):
        logging.getLogger("mandi.gateway.websockets").setLevel(logging.DEBUG)  # as somebody who looks for a fault may
        asyncio.run(run())
    ours = [record for record in caplog.records if record.name != "websockets.client"]  # which is this test
    assert ours
    shown = "".join(logging.Formatter().format(record) + repr(record.args) for record in ours)
    assert secret_part not in shown


def _exchange(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        try:
            while client.recv(65_536):
                pass
        except ConnectionResetError:
            pass
