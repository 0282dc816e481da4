"""The conformance cases that concern ICE, over a real socket; the numbers are those of docs/conformance.md."""

from collections.abc import Iterator

import orjson
import pytest

from market.schemas import BUST, CORRECTION, SELL, TRADE
from tests.connectors.dripping import Dripping
from tests.connectors.ice.peer import SYMBOL, Desk, Server

KEY = "IFUS:CT:202612"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def desks() -> Iterator[list[Desk]]:
    desks: list[Desk] = []
    yield desks
    for desk in desks:
        desk.feed.stop()


def live(server: Server, desks: list[Desk]) -> Desk:
    desks.append(Desk(server))
    desks[-1].live()
    return desks[-1]


def test_case_08_fragments_give_the_same_rows(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    server.send(server.trades(5), fragments=40)
    desk.until(lambda: len(desk.trades) == 5)
    assert [row["seq"] for row in desk.trades] == [1, 2, 3, 4, 5]


def test_case_08_a_stream_in_single_bytes_gives_the_same_rows(server: Server, desks: list[Desk]) -> None:
    relay = Dripping(server.port)
    desks.append(Desk(server, port=relay.port))
    desks[-1].live()
    server.send(server.trades(5))
    desks[-1].until(lambda: len(desks[-1].trades) == 5)
    assert [row["seq"] for row in desks[-1].trades] == [1, 2, 3, 4, 5]
    desks[-1].feed.stop()
    relay.close()


def test_case_09_cut_in_mid_message_reconnects_and_misses_nothing(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    frames = server.trades(10)
    server.send(frames[:4])
    desk.until(lambda: len(desk.trades) == 4)

    def cut() -> None:
        transport = server.connections[-1].transport
        transport.write(b"\x81\x7e\x01\x00" + frames[4][:20])  # a header that promises 256 bytes, and 20 of them
        transport.abort()

    server.do(cut)
    desk.until(lambda: len(desk.trades) == 10)
    assert [row["seq"] for row in desk.trades] == list(range(1, 11))
    assert (None, "STALE") in desk.status
    assert len(server.connections) == 2


def test_case_09_half_open_socket_is_given_up(server: Server, desks: list[Desk]) -> None:
    desk = Desk(server, dead_after_s=0.5, ping_interval_s=60.0)
    desks.append(desk)
    desk.live()
    desk.until(lambda: len(server.connections) >= 2)  # nothing was sent: no data, no pong
    assert (None, "STALE") in desk.status


def test_case_10_refused_credentials_are_no_hot_loop(server: Server, desks: list[Desk]) -> None:
    server.refuse = True
    desk = Desk(server)
    desks.append(desk)
    desk.until(lambda: (None, "STALE") in desk.status)
    assert desk.feed.min_retry_s() >= 5.0
    assert len(server.connections) == 1


def test_case_10_another_connection_of_the_same_session_is_no_hot_loop(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    server.do(lambda: server.connections[-1].close(4009, "duplicate session"))
    desk.until(lambda: (None, "STALE") in desk.status)
    assert desk.feed.min_retry_s() >= 5.0
    assert len(server.connections) == 1


def test_case_17_busts_and_corrections_come_in_sequence_once(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    server.send(server.do(lambda: server.venue.trade(SYMBOL, 8000, 1)))
    terms = {"px": "80.5", "qty": 2, "aggr": "S", "cond": ""}
    corrected = {"op": "trade_correct", "symbol": SYMBOL, "trade_id": "T1"} | terms
    corrections = server.do(lambda: server.venue.publish("trades", corrected))
    server.send(corrections)
    server.send(corrections)
    busted = {"op": "trade_bust", "symbol": SYMBOL, "trade_id": "T1"}
    server.send(server.do(lambda: server.venue.publish("trades", busted)))
    desk.until(lambda: any(row["kind"] == BUST for row in desk.ticks))
    rows = [row for row in desk.ticks if row["trade_id"] is not None]
    assert [(row["kind"], row["seq"], row["instrument"], row["trade_id"]) for row in rows] == [
        (TRADE, 1, KEY, "T1"),
        (CORRECTION, 2, KEY, "T1"),
        (BUST, 3, KEY, "T1"),
    ]
    assert (rows[1]["price"], rows[1]["size"], rows[1]["side"]) == (80_500_000_000, 2 * 10**9, SELL)


def test_case_26_refused_replay_takes_images(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    server.venue.window = 0
    server.do(lambda: server.venue.change(SYMBOL, "B", 7990, 2))  # lost
    server.send(server.do(lambda: server.venue.change(SYMBOL, "B", 7995, 1)))
    desk.until(lambda: any(gap["ts_resolved"] for gap in desk.gaps))
    assert (desk.gaps[-1]["resolution"], desk.gaps[-1]["reason"]) == ("snapshot", "replay_refused")
    quotes = [row["bid_price"] for row in desk.ticks if row["bid_price"] is not None]
    assert quotes[-1] == 79_950_000_000
    assert len(server.connections) == 1


def test_case_26_an_image_older_than_the_hole_is_not_taken(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    old = orjson.dumps(server.do(lambda: server.venue._image(SYMBOL, 0)))
    server.mute = True  # neither the replay nor an image is answered but by hand
    server.do(lambda: server.venue.change(SYMBOL, "B", 7990, 2))  # lost
    server.send(server.do(lambda: server.venue.change(SYMBOL, "B", 7995, 1)))
    server.send([orjson.dumps({"op": "error", "code": "replay_refused", "msg": ""}), old])
    desk.until(lambda: desk.counters.get("images_stale") == 1)
    bids = [row["bid_price"] for row in desk.ticks if row["bid_price"] is not None]
    assert set(bids) == {79_000_000_000}
    server.mute = False
    server.send([orjson.dumps(server.do(lambda: server.venue._image(SYMBOL, 2)))])
    desk.until(lambda: any(row["bid_price"] == 79_950_000_000 for row in desk.ticks))
    assert [gap["resolution"] for gap in desk.gaps if gap["ts_resolved"]] == ["snapshot"]


def test_case_26_slow_consumer_is_closed_and_resumes_without_loss(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    server.send(server.trades(2))
    desk.until(lambda: len(desk.trades) == 2)
    server.do(lambda: server.connections[-1].close(4008, "slow_consumer"))
    server.trades(5)  # while nobody listens, or replayed
    desk.until(lambda: len(desk.trades) == 7)
    assert [row["seq"] for row in desk.trades] == list(range(1, 8))
    assert desk.gaps[-1]["resolution"] == "replay"


def test_case_26_expiry_in_session_logs_on_again(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    server.send([orjson.dumps({"op": "error", "code": "auth_expired", "msg": "token"})])
    desk.until(lambda: desk.status.count((None, "LIVE")) >= 2)
    server.send(server.trades(1))
    desk.until(lambda: len(desk.trades) == 1)
    assert [request["op"] for request in server.venue.requests].count("auth") == 2


def test_case_27_the_copy_of_a_feed_is_dropped_whichever_comes_first(server: Server, desks: list[Desk]) -> None:
    desk = live(server, desks)
    a = server.trades(60)
    # Line B is up to three messages ahead of line A, or behind it.
    lines = sorted(
        [(at, frame) for at, frame in enumerate(a)] + [(at + at % 7 - 3, frame) for at, frame in enumerate(a)]
    )
    server.send([frame for _, frame in lines])
    desk.until(lambda: len(desk.trades) >= 60 and desk.counters.get("duplicates", 0) >= 60)
    assert [row["seq"] for row in desk.trades] == list(range(1, 61))
    assert desk.counters["duplicates"] >= 60


def test_case_27_what_one_copy_lost_the_other_brings(server: Server, desks: list[Desk]) -> None:
    """Two lines, each with losses of its own: the numbers decide, and only what both lost is asked for."""
    desk = live(server, desks)
    server.mute = True  # nobody answers a request for a replay: a hole is filled by the other line or not at all
    a = server.trades(60)
    # Line B is up to three messages ahead of line A, or behind it; they never lose the same message.
    lines = sorted(
        [(at, frame) for at, frame in enumerate(a) if at % 5 != 2]
        + [(at + at % 7 - 3, frame) for at, frame in enumerate(a) if at % 5 != 4]
    )
    server.send([frame for _, frame in lines])
    desk.until(lambda: len(desk.trades) >= 60)
    desk.until(lambda: all(row["ts_resolved"] for row in {row["gap_id"]: row for row in desk.gaps}.values()))
    server.mute = False
    frames = server.trades(3)
    server.send([frames[0], frames[0], frames[2], frames[2]])  # both lost the second
    desk.until(lambda: len(desk.trades) >= 63)
    assert [row["seq"] for row in desk.trades] == list(range(1, 64))
    asked = [request for request in server.venue.requests if request["op"] == "replay"]
    # Requests of while it was mute may be heard only now: those holes were all closed by then.
    asked = [request for request in asked if request["from"] > 60]
    assert [(request["channel"], request["from"], request["to"]) for request in asked] == [("trades", 62, 62)]


def test_case_28_a_price_that_is_none_of_its_contract_is_kept_apart(server: Server, desks: list[Desk]) -> None:
    """A slip by ten is a trade: the exchange itself printed it, and busts it if it was none."""
    desk = live(server, desks)
    terms = {"op": "trade", "symbol": SYMBOL, "qty": 2, "aggr": "B", "cond": ""}
    prices = ("80.00", "80.005", "0", "-80.00", "800.00", "80.01")
    for number, price in enumerate(prices, 1):
        message = terms | {"px": price, "trade_id": f"T{number}"}
        server.send(server.do(lambda message=message: server.venue.publish("trades", message)))
    desk.until(lambda: len(desk.trades) == 3)
    assert [(row["seq"], row["price"] // 10**7) for row in desk.trades] == [(1, 8_000), (5, 80_000), (6, 8_001)]
    assert [(row["source_offset"], row["reason"], row["instrument"]) for row in desk.rejected] == [
        (2, "off_tick", KEY),
        (3, "out_of_range", KEY),
        (4, "out_of_range", KEY),
    ]
    assert desk.gaps == []
