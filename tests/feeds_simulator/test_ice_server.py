"""The ICE venue over a real loopback socket, spoken to with a raw client (docs/ice-profile.md)."""

import asyncio
import json
import socket
import time
from collections.abc import Coroutine
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from ice_profile_client import SECRET, BookImage, Client, Json, Market, connected, running, sign
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.protocol import State

from feeds_simulator.events import TradeEvent
from feeds_simulator.faults import Faults
from feeds_simulator.ice.requests import Credential
from feeds_simulator.pacing import HOUSEKEEPING_S

BUSY, QUIET = 1500, 0.001  # messages per second


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def plain(message: Json) -> Json:
    """A message without what a repetition may change."""
    return {name: value for name, value in message.items() if name not in ("ts_send", "replayed")}


def numbered(messages: list[Json], *ops: str) -> list[Json]:
    return [message for message in messages if message["op"] in ops]


async def take(client: Client, op: str, number: int) -> list[Json]:
    """Take messages until `number` of an op have come; return those."""
    found: list[Json] = []
    while len(found) < number:
        message = await client.next()
        if message["op"] == op:
            found.append(message)
    return found


class TestAuth:
    def test_welcome(self) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET)) as venue, connected(venue) as client:
                answer = await client.auth()
                assert answer["op"] == "auth_ok"
                assert answer["resumed"] is False
                assert abs(answer["ts"] - time.time_ns()) < 10**10
                assert answer["channels"]["book"] == {"seq": 0, "replay_from": 1}
                assert set(answer["channels"]) == {"book", "trades", "status", "settle"}

        run(scenario())

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ({"op": "auth", "key": "demo", "ts": 1, "sig": sign(1)}, "auth_expired"),
            ({"op": "auth", "key": "demo", "ts": 1, "sig": sign(1, "wrong")}, "auth_failed"),
            ({"op": "auth", "key": "demo", "ts": 1, "sig": "\u00e9"}, "auth_failed"),
            ({"op": "auth", "key": "nobody", "ts": 1, "sig": sign(1)}, "auth_failed"),
            ({"op": "auth", "key": ["demo"], "ts": "1", "sig": None}, "auth_failed"),
            ({"op": "subscribe", "id": 1, "channel": "book", "symbols": ["*"]}, "auth_failed"),
        ],
    )
    def test_refused(self, message: Json, code: str) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET)) as venue, connected(venue) as client:
                await client.send(**message)
                answer = await client.next()
                assert (answer["op"], answer["code"]) == ("error", code)
                assert await client.closed() == 4001

        run(scenario())

    def test_refused_if_not_in_time(self) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET), auth_within_s=0.05) as venue, connected(venue) as client:
                assert (await client.next())["code"] == "auth_failed"
                assert await client.closed() == 4001

        run(scenario())

    def test_entitlements(self) -> None:
        keys = {"softs": Credential(SECRET, frozenset({"CT"})), "none": Credential(SECRET, frozenset({"XX"}))}

        async def scenario() -> None:
            async with running(Market(QUIET), credentials=keys) as venue:
                async with connected(venue) as client:
                    await client.auth(key="softs")
                    assert (await client.subscribe("trades"))["symbols"] == ["CT Z26", "CT H27"]
                    await client.send(op="subscribe", id=9, channel="book", symbols=["CT Z26", "B F27"])
                    answer = await client.op("error")
                    assert (answer["code"], answer["id"]) == ("not_entitled", 9)
                async with connected(venue) as client:
                    assert (await client.auth(key="none"))["code"] == "not_entitled"
                    assert await client.closed() == 4003

        run(scenario())

    def test_only_the_feed_is_there(self) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET)) as venue:
                with pytest.raises(InvalidStatus) as missing:
                    await connect(f"ws://127.0.0.1:{venue.port}/other")
                assert missing.value.response.status_code == 404

        run(scenario())


class TestMarketData:
    @pytest.mark.parametrize("depth", [1, 5, 10])
    def test_snapshot_and_changes_make_the_model_book(self, depth: int) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book", depth=depth)
                images = {image["symbol"]: BookImage(image) for image in await take(client, "snapshot", 10)}
                for message in await take(client, "book", 1500):
                    images[message["symbol"]].apply(message)
                checked = 0
                for symbol in images:
                    await client.send(op="snapshot", symbol=symbol)
                    for message in await client.until(lambda message: message["op"] == "snapshot"):
                        if message["op"] == "book":
                            images[message["symbol"]].apply(message)
                    snapshot = client.seen[-1]
                    assert images[symbol].sides() == (snapshot["bids"], snapshot["asks"])
                    assert images[symbol].seq == snapshot["seq"] <= snapshot["last_seq"]
                    assert len(snapshot["bids"]) == depth
                    assert snapshot["state"] == "OPEN"
                    checked += 1
                assert checked == 10

        run(scenario())

    def test_sequences_are_whole_on_every_channel(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                for channel in ("book", "trades", "status", "settle"):
                    assert (await client.subscribe(channel))["channel"] == channel
                await take(client, "trade", 150)
                for ops in (("book",), ("trade",), ("status",)):
                    numbers = [message["seq"] for message in numbered(client.seen, *ops)]
                    assert numbers == list(range(1, len(numbers) + 1))
                    assert len(numbers) >= 10
                events = numbered(client.seen, "book", "trade")
                assert [event["ts_event"] for event in events] == sorted(event["ts_event"] for event in events)
                assert all(event["ts_send"] >= event["ts_event"] for event in events)

        run(scenario())

    def test_types_are_as_promised(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades", ["KC Z26"])
                trade = (await take(client, "trade", 1))[0]
                assert set(trade) == {
                    *("op", "seq", "symbol", "ts_event", "ts_send", "trade_id", "px", "qty", "aggr", "cond")
                }
                assert Decimal(trade["px"]) % Decimal("0.05") == 0
                assert isinstance(trade["qty"], int)
                assert trade["aggr"] in ("B", "S")

        run(scenario())

    def test_unsubscribed_is_silent(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                await take(client, "trade", 1)
                await client.send(op="unsubscribe", id=3, channel="trades", symbols=["*"])
                answer = await client.op("unsubscribed")
                assert (answer["id"], len(answer["symbols"])) == (3, 10)
                await client.subscribe("book", ["CT Z26"])
                books = await client.until(lambda message: message.get("seq", 0) >= 100)
                assert not numbered(books, "trade")

        run(scenario())

    def test_paced_by_the_clock(self) -> None:
        async def scenario() -> None:
            async with running(Market(300)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                trades = await take(client, "trade", 40)
                delays_ns = sorted(trade["ts_send"] - trade["ts_event"] for trade in trades)
                assert delays_ns[0] >= 0
                assert delays_ns[len(delays_ns) // 2] < 50_000_000  # 0.6 ms on an idle machine

        run(scenario())


class TestReplay:
    def test_equals_the_original(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book")
                live = await take(client, "book", 600)
                await client.send(op="replay", id=5, channel="book", **{"from": 100, "to": 500})
                messages = await client.until(lambda message: message["op"] == "replay_done")
                assert messages[-1] == {"op": "replay_done", "id": 5, "channel": "book", "from": 100, "to": 500}
                replayed = [message for message in messages if message.get("replayed")]
                assert [plain(message) for message in replayed] == [plain(message) for message in live[99:500]]

        run(scenario())

    def test_image_is_the_book_before(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book", depth=4)
                books = {image["symbol"]: BookImage(image) for image in await take(client, "snapshot", 10)}
                for message in await take(client, "book", 400):
                    books[message["symbol"]].apply(message)
                await take(client, "book", 200)
                await client.send(op="replay", id=1, channel="book", image=True, **{"from": 401, "to": 600})
                messages = await client.until(lambda message: message["op"] == "replay_done")
                images = numbered(messages, "snapshot")
                assert len(images) == 10
                for image in images:
                    book = books[image["symbol"]]
                    assert (image["bids"], image["asks"]) == book.sides()
                    assert image["seq"] == book.seq
                    assert image["last_seq"] == 400
                first = messages.index(next(message for message in messages if message.get("replayed")))
                assert all(image in messages[:first] for image in images)
                for message in (message for message in messages if message.get("replayed")):
                    books[message["symbol"]].apply(message)

        run(scenario())

    def test_refused_when_no_longer_kept(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY), replay_window=50) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book")
                await take(client, "book", 100)
                for first, last in ((1, 10), (1, 300_000)):
                    await client.send(op="replay", id=7, channel="book", **{"from": first, "to": last})
                    answer = await client.op("error")
                    assert (answer["code"], answer["id"]) == ("replay_refused", 7)

        run(scenario())

    def test_image_after_the_window_has_moved_on(self) -> None:
        # Symbols that have been quiet since before the window keep their image.
        async def scenario() -> None:
            async with running(Market(BUSY), replay_window=40) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book")
                await take(client, "book", 300)
                await client.send(op="subscribe", id=0, channel="trades", symbols=["CT Z26"])
                welcome = await client.op("subscribed")
                assert welcome["seq"] == 0
                last = max(message["seq"] for message in numbered(client.seen, "book"))
                await client.send(op="replay", id=1, channel="book", image=True, **{"from": last - 5, "to": last})
                messages = await client.until(lambda message: message["op"] in ("replay_done", "error"))
                assert messages[-1]["op"] == "replay_done"
                images = {image["symbol"]: BookImage(image) for image in numbered(messages, "snapshot")}
                assert len(images) == 10
                truth = {image["symbol"]: BookImage(image) for image in numbered(client.seen[:60], "snapshot")}
                for message in numbered(client.seen, "book"):
                    if message["seq"] < last - 5 and not message.get("replayed"):
                        truth[message["symbol"]].apply(message)
                for symbol, image in images.items():
                    assert image.sides() == truth[symbol].sides()
                    assert image.seq == truth[symbol].seq

        run(scenario())


class TestSessionOutlivesSocket:
    def test_resumed_client_misses_nothing(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue:
                async with connected(venue) as client:
                    await client.auth()
                    await client.subscribe("book")
                    await client.subscribe("trades")
                    books = {image["symbol"]: BookImage(image) for image in numbered(client.seen, "snapshot")}
                    before = [*numbered(client.seen, "book"), *await take(client, "book", 100)]
                    for message in before:
                        books[message["symbol"]].apply(message)
                    # What was under way when the socket went is lost with it.
                    last = {"book": before[-1]["seq"], "trades": 0}
                    last["trades"] = max((m["seq"] for m in numbered(client.seen, "trade")), default=0)
                    session = client.session
                    published = venue.counters.events.total()
                async with asyncio.timeout(20):
                    while venue.counters.events.total() < published + 500:
                        await asyncio.sleep(0.005)
                async with connected(venue) as client:
                    answer = await client.auth(session)
                    assert (answer["session"], answer["resumed"]) == (session, True)
                    for channel in ("book", "trades"):
                        state = answer["channels"][channel]
                        assert state["seq"] > last[channel]
                        assert state["replay_from"] == 1
                        span = {"from": last[channel] + 1, "to": state["seq"]}
                        await client.send(op="replay", id=channel, channel=channel, **span)
                        await client.until(lambda message: message["op"] == "replay_done")
                        assert client.seen[-1]["id"] == channel
                    await take(client, "book", 50)
                    missed = [message for message in client.seen if message["op"] == "book"]
                    for message in sorted(missed, key=lambda message: int(message["seq"])):
                        books[message["symbol"]].apply(message)  # prev_seq shows that none is missing
                    trades = sorted(message["seq"] for message in numbered(client.seen, "trade"))
                    assert trades == list(range(last["trades"] + 1, trades[-1] + 1))

        run(scenario())

    def test_forgotten_session_starts_anew(self) -> None:
        async def scenario() -> None:
            async with running(Market(300), keep_session_s=0.0) as venue:
                async with connected(venue) as client:
                    await client.auth()
                    session = client.session
                async with asyncio.timeout(20):
                    while session in venue.venue.sessions:
                        await asyncio.sleep(0.005)
                async with connected(venue) as client:
                    answer = await client.auth(session)
                    assert answer["resumed"] is False
                    assert answer["session"] != session
                    assert answer["channels"]["book"]["seq"] == 0

        run(scenario())

    def test_another_key_cannot_take_it(self) -> None:
        keys = {"demo": Credential(SECRET), "other": Credential(SECRET)}

        async def scenario() -> None:
            async with (
                running(Market(QUIET), credentials=keys) as venue,
                connected(venue) as client,
                connected(venue) as thief,
            ):
                await client.auth()
                answer = await thief.auth(client.session, key="other")
                assert answer["resumed"] is False
                await client.subscribe("book")

        run(scenario())

    def test_second_socket_closes_the_first(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as first, connected(venue) as second:
                await first.auth()
                await first.subscribe("trades")
                assert (await second.auth(first.session))["resumed"] is True
                assert await first.closed() == 4009
                await take(second, "trade", 3)  # still subscribed

        run(scenario())


class TestLiveness:
    def test_heartbeat_on_a_quiet_channel(self) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET), heartbeat_s=0.1) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("status")
                beats = await take(client, "heartbeat", 2)
                assert {(beat["channel"], beat["seq"]) for beat in beats} == {("status", 10)}
                assert abs(beats[1]["ts"] - time.time_ns()) < 10**10
                assert beats[0]["ts"] < beats[1]["ts"]
                await client.send(op="pong", ts=beats[1]["ts"])
                await take(client, "heartbeat", 1)  # a pong is no error
                assert not numbered(client.seen, "error")

        run(scenario())

    def test_nothing_older_follows_a_heartbeat(self) -> None:
        async def scenario() -> None:
            async with running(Market(40), heartbeat_s=0.0) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                promised = kept = 0
                while kept < 20:  # trades come in bursts: any number may precede the first heartbeat
                    message = await client.next()
                    if message["op"] == "heartbeat":
                        promised = message["ts"]
                    elif message["op"] == "trade":
                        assert message["ts_event"] > promised
                        kept += promised > 0

        run(scenario())

    def test_answers_pings(self) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET)) as venue, connected(venue) as client:
                async with asyncio.timeout(20):
                    await (await client.socket.ping())

        run(scenario())

    def test_slow_consumer_is_closed(self, monkeypatch) -> None:
        # The client must get to read its close frame, however busy the machine is.
        monkeypatch.setattr("feeds_simulator.ice.server.ABORT_AFTER_S", 120.0)

        async def scenario() -> None:
            async with running(Market(8_000), unsent_limit_bytes=64 * 1024) as venue:
                # A raw socket that stops reading, so that nothing on this side takes from the kernel's buffer.
                small = socket.socket()
                small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                small.setblocking(False)
                await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", venue.port))
                async with connected(venue, sock=small) as client:
                    await client.auth()
                    await client.subscribe("book")
                    client.socket.transport.pause_reading()
                    async with asyncio.timeout(60):
                        while not venue.counters.closed[4008]:
                            await asyncio.sleep(0.01)
                    # Now in earnest: through 4 kB at a time a busy machine takes minutes for what is on the way.
                    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                    client.socket.transport.resume_reading()
                    assert await client.closed() == 4008
                    assert client.seen[-1]["code"] == "slow_consumer"

        run(scenario())

    def test_restart_closes_with_1012(self) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET)) as venue:
                opened = connected(venue)
                client = await opened.__aenter__()
                await client.auth()
            assert await client.closed() == 1012
            await opened.__aexit__(None, None, None)

        run(scenario())


class TestBadRequests:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("{", "bad_request"),
            ("[1]", "bad_request"),
            ("[" * 100_000, "bad_request"),
            ('{"op":"dance"}', "bad_request"),
            ('{"op":["auth"]}', "bad_request"),
            ('{"op":"subscribe","channel":"book","symbols":"CT Z26"}', "bad_request"),
            ('{"op":"subscribe","channel":"book","symbols":[]}', "bad_request"),
            ('{"op":"subscribe","channel":"book","symbols":[1]}', "bad_request"),
            ('{"op":"subscribe","channel":"book","symbols":["*"],"depth":11}', "bad_request"),
            ('{"op":"subscribe","channel":"book","symbols":["*"],"depth":true}', "bad_request"),
            ('{"op":"subscribe","channel":"tape","symbols":["*"]}', "unknown_channel"),
            ('{"op":"subscribe","channel":["book"],"symbols":["*"]}', "unknown_channel"),
            ('{"op":"subscribe","channel":"book","symbols":["ZZ Z26"]}', "unknown_symbol"),
            ('{"op":"snapshot"}', "bad_request"),
            ('{"op":"snapshot","symbol":"ZZ Z26"}', "unknown_symbol"),
            ('{"op":"replay","channel":"book","from":5,"to":4}', "bad_request"),
            ('{"op":"replay","channel":"book","from":1.5,"to":4}', "bad_request"),
            ('{"op":"replay","channel":"book","from":0,"to":0}', "replay_refused"),
            (b"\xff\xfe", "bad_request"),
        ],
    )
    def test_answered_and_survived(self, text: str | bytes, code: str) -> None:
        async def scenario() -> None:
            async with running(Market(QUIET)) as venue, connected(venue) as client:
                await client.auth()
                await client.socket.send(text)
                answer = await client.next()
                assert (answer["op"], answer["code"]) == ("error", code)
                await client.subscribe("status")  # still served

        run(scenario())


class TestFaults:
    def test_dropped_messages_can_be_replayed(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY), faults=Faults(drop_every=10)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book")
                live = [message["seq"] for message in await take(client, "book", 200)]
                missing = sorted(set(range(live[0], live[-1])) - set(live))
                assert len(missing) >= 20
                for seq in missing[:3]:
                    await client.send(op="replay", id=seq, channel="book", **{"from": seq, "to": seq})
                    messages = await client.until(lambda message: message["op"] == "replay_done")
                    assert [message["seq"] for message in messages if message.get("replayed")] == [seq]

        run(scenario())

    def test_duplicates(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY), faults=Faults(duplicate_every=10)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book")
                books = await take(client, "book", 100)
                assert 5 <= sum(one == other for one, other in pairwise(books)) <= 10

        run(scenario())

    def test_garbled(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY), faults=Faults(garble_every=10)) as venue, connected(venue) as client:
                await client.auth()
                await client.send(op="subscribe", id=1, channel="book", symbols=["*"])
                with pytest.raises(json.JSONDecodeError):
                    await client.until(lambda message: message.get("seq", 0) > 100)

        run(scenario())

    def test_refused_replay_and_broken_sequence(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY), faults=Faults(refuse_replay=True)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("book")
                await take(client, "book", 20)
                await client.send(op="replay", id=1, channel="book", **{"from": 1, "to": 2})
                assert (await client.op("error"))["code"] == "replay_refused"
                venue.venue.break_sequence("book", 7, "channel restarted")
                resync = await client.op("resync_required")
                before = [message["seq"] for message in numbered(client.seen, "book")][-1]
                assert (resync["expected"], resync["current"]) == (before + 1, before + 7)
                assert (await take(client, "book", 1))[0]["seq"] == before + 8

        run(scenario())

    def test_stall_is_mute_but_connected(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                await take(client, "trade", 1)
                venue.faults.stall = True
                sent = venue.counters.sent["trades"]
                async with asyncio.timeout(20):
                    while venue.counters.sent["trades"] < sent + 50:
                        await asyncio.sleep(0.005)
                    await (await client.socket.ping())
                venue.faults.stall = False
                await take(client, "trade", 60)
                numbers = [trade["seq"] for trade in numbered(client.seen, "trade")]
                holes = [other - one for one, other in pairwise(numbers) if other - one > 1]
                assert len(holes) == 1
                assert holes[0] >= 50

        run(scenario())

    def test_disconnects(self) -> None:
        async def scenario() -> None:
            async with (
                running(Market(BUSY), faults=Faults(disconnect_every_s=0.2)) as venue,
                connected(venue) as client,
            ):
                await client.auth()
                assert await client.closed() == 1006

        run(scenario())

    def test_half_open_keeps_the_socket_but_nothing_comes_any_more(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                await take(client, "trade", 1)
                venue.faults.half_open = True
                await asyncio.sleep(2 * HOUSEKEEPING_S)
                pong = await client.socket.ping()
                sent = venue.counters.sent["trades"]
                async with asyncio.timeout(20):
                    while venue.counters.sent["trades"] < sent + 50:
                        await asyncio.sleep(0.005)
                assert not pong.done()
                assert client.socket.state is State.OPEN
                venue.faults.half_open = False
                async with connected(venue) as other:  # a new connection works
                    await other.auth()
                    await other.subscribe("trades")
                    await take(other, "trade", 1)
                    assert not pong.done()

        run(scenario())

    def test_a_venue_that_is_down_cuts_and_refuses(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY)) as venue, connected(venue) as client:
                await client.auth()
                venue.faults.down = True
                assert await client.closed() == 1006
                with pytest.raises(InvalidStatus):
                    async with connected(venue):
                        pass

        run(scenario())

    def test_a_wrong_clock_is_wrong_in_both_stamps(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY), faults=Faults(clock_offset_s=3600)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                (trade,) = await take(client, "trade", 1)
                hour_ahead_ns = time.time_ns() + 3600 * 10**9
                assert abs(trade["ts_event"] - hour_ahead_ns) < 60 * 10**9
                assert abs(trade["ts_send"] - hour_ahead_ns) < 60 * 10**9

        run(scenario())

    def test_busts_and_corrections_on_the_wire(self) -> None:
        async def scenario() -> None:
            async with running(Market(BUSY, bust_every=10, correct_every=7)) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                bust = (await take(client, "trade_bust", 5))[-1]
                correction = (await take(client, "trade_correct", 5))[-1]
                trades = {trade["trade_id"]: trade for trade in numbered(client.seen, "trade")}
                assert bust["trade_id"] in trades
                assert correction["px"] != trades[correction["trade_id"]]["px"]
                assert "px" not in bust
                channel = numbered(client.seen, "trade", "trade_bust", "trade_correct")
                assert [message["seq"] for message in channel] == list(range(1, len(channel) + 1))

        run(scenario())


def price_of(trades: list[Json], symbol: str) -> Decimal:
    return next(Decimal(trade["px"]) for trade in trades if trade["symbol"] == symbol)


def test_what_nobody_asked_for_is_not_heard() -> None:
    async def scenario() -> None:
        async with running(Market(BUSY)) as venue, connected(venue) as client:
            await client.auth()
            await client.send(op="subscribe", id=1, channel="trades", symbols=["B F27"])
            await client.op("subscribed")
            assert venue.heard("B F27")
            assert not venue.heard("CT Z26")

    run(scenario())


class TestMarket:
    def test_restart_goes_on_at_the_same_prices_with_new_trade_ids(self) -> None:
        async def scenario(market: Market) -> tuple[set[str], Decimal]:
            async with running(market) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                await take(client, "trade", 50)
                trades = numbered(client.seen, "trade")
                return {trade["trade_id"] for trade in trades}, price_of(trades, "B F27")

        markets = Market(BUSY), Market(BUSY)
        (first, before), (second, after) = [asyncio.run(scenario(market)) for market in markets]
        assert not first & second
        assert float(after) == pytest.approx(float(before), rel=0.005)
        truth = [event for market in markets for event in trades_of(market)]
        assert first | second <= {event.trade_id for event in truth}
        assert len({event.trade_id for event in truth}) == len(truth)
        instruments = {markets[0].listings[event.symbol].key for event in truth}
        assert instruments >= {"IFUS:CT:202612", "IFEU:B:202701"}

    def test_what_was_sent_is_what_happened(self) -> None:
        market = Market(BUSY)

        async def scenario() -> list[Json]:
            async with running(market) as venue, connected(venue) as client:
                await client.auth()
                await client.subscribe("trades")
                return await take(client, "trade", 200)

        sent = asyncio.run(scenario())
        truth = {event.trade_id: event for event in trades_of(market)}
        for trade in sent:
            event = truth[trade["trade_id"]]
            price = market.listings[event.symbol].price_text(event.price)
            assert (price, event.qty, event.aggressor) == (trade["px"], trade["qty"], trade["aggr"])
            assert (event.ts_event, event.symbol) == (trade["ts_event"], trade["symbol"])


def trades_of(market: Market) -> list[TradeEvent]:
    return [event for event in market.happened if isinstance(event, TradeEvent)]
