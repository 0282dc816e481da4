"""The venue without sockets: what each depth sees, what a session keeps, images at any sequence."""

import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from feeds_simulator.events import BookEvent, Level, Listing, Side, StatusEvent, TradeEvent
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.ice.messages import BOOK, TRADES
from feeds_simulator.ice.session import Session
from feeds_simulator.ice.venue import Connection, Venue

Json = dict[str, Any]
CT, KC = "CT Z26", "KC Z26"
LISTINGS = {
    CT: Listing(CT, "IFUS:CT:202612", Decimal("0.01")),
    KC: Listing(KC, "IFUS:KC:202612", Decimal("0.05")),
}


def side(*prices: int, qty: int = 3) -> Side:
    return tuple(Level(price, qty, 1) for price in prices)


def book(ts: int, bids: Side, asks: Side, *, symbol: str = CT, eot: bool = True) -> BookEvent:
    return BookEvent(ts, symbol, bids, asks, eot)


class Desk:
    """A venue with one client on it."""

    def __init__(self, *, faults: Faults | None = None, window: int = 1000) -> None:
        self.venue = Venue(LISTINGS, faults=faults, window=window)
        self.session: Session = self.venue.new_session("s", "key", frozenset(LISTINGS))
        self.connection = Connection(Wire(self.venue.faults, 0))
        self.venue.attach(self.connection, self.session)

    def happen(self, *events: BookEvent | TradeEvent | StatusEvent) -> list[Json]:
        self.venue.publish([events], ts_send=9)
        return self.sent()

    def subscribe(self, channel: str, symbols: list[str], depth: int = 5) -> list[Json]:
        self.venue.subscribe(self.connection, self.session, channel, symbols, depth, 9)
        return self.sent()

    def sent(self) -> list[Json]:
        texts, self.connection.out = self.connection.out, []
        return [json.loads(text) for text in texts]

    def replay(self, first: int, last: int, *, image: bool = False) -> list[Json]:
        entries = self.session.channels[BOOK].entries(first, last)
        assert entries is not None
        return [json.loads(text) for text in self.venue.replay(self.session, BOOK, entries, lambda: 9, image=image)]


def test_depth_decides_what_is_seen() -> None:
    desk = Desk()
    desk.happen(book(1, side(10, 9, 8), side(11, 12, 13)))
    (image,) = desk.subscribe(BOOK, [CT], depth=2)
    assert image["bids"] == [["0.10", 3, 1], ["0.09", 3, 1]]
    assert desk.happen(book(2, side(10, 9, 7), side(11, 12, 13))) == []  # the third level is out of sight
    (message,) = desk.happen(book(3, side(9, 7, 6), side(11, 12, 14)))
    assert message["changes"] == [["B", "D", "0.10", 0, 0], ["B", "N", "0.07", 3, 1]]
    (message,) = desk.happen(book(4, side(9, 7, 6), (Level(11, 1, 1), *side(12, 14))))
    assert message["changes"] == [["S", "C", "0.11", 1, 1]]


def test_an_action_ends_in_sight_if_it_began_there() -> None:
    desk = Desk()
    desk.happen(book(1, side(10, 9, 8), side(11, 12, 13)))
    desk.subscribe(BOOK, [CT], depth=1)
    messages = desk.happen(
        book(2, side(9, 8, 7), side(11, 12, 13), eot=False),
        book(2, side(9, 8, 6), side(11, 12, 13)),
    )
    assert [(message["eot"], len(message["changes"])) for message in messages] == [(False, 2), (True, 0)]
    assert desk.happen(book(3, side(9, 8, 5), side(11, 12, 13))) == []


def test_an_action_out_of_sight_is_silent() -> None:
    desk = Desk()
    desk.happen(book(1, side(10, 9, 8), side(11, 12, 13)))
    desk.subscribe(BOOK, [CT], depth=1)
    steps = (book(2, side(10, 8, 7), side(11), eot=False), book(2, side(10, 7, 6), side(11)))
    assert desk.happen(*steps) == []


def test_status_comes_first_and_is_numbered() -> None:
    desk = Desk()
    desk.happen(StatusEvent(1, CT, "OPEN"))
    (message,) = desk.subscribe("status", [CT, KC])  # nothing is known of coffee yet
    assert (message["seq"], message["symbol"], message["state"]) == (1, CT, "OPEN")
    (message,) = desk.happen(StatusEvent(2, KC, "CLOSE"))
    assert (message["seq"], message["state"]) == (2, "CLOSE")


def test_a_session_counts_on_while_away() -> None:
    desk = Desk()
    desk.subscribe(TRADES, [CT])
    trade = TradeEvent(1, CT, "t1", 10, 2, "B")
    desk.venue.detach(desk.connection, at_s=0.0)
    assert desk.happen(trade, trade._replace(trade_id="t2")) == []
    back = Connection(Wire(desk.venue.faults, 0))
    desk.venue.attach(back, desk.session)
    desk.connection = back
    assert desk.session.channels[TRADES].seq == 2
    (message,) = desk.happen(trade._replace(trade_id="t3"))
    assert message["seq"] == 3


def test_sessions_are_kept_for_their_time() -> None:
    desk = Desk()
    desk.venue.detach(desk.connection, at_s=100.0)
    desk.venue.tick(699.9, 0)
    assert "s" in desk.venue.sessions
    desk.venue.tick(700.0, 0)
    assert "s" not in desk.venue.sessions


def test_heartbeats_only_on_quiet_subscribed_channels() -> None:
    desk = Desk()
    desk.subscribe(TRADES, [CT])
    desk.venue.tick(0.0, 1)
    desk.venue.tick(4.9, 2)
    assert desk.sent() == []
    desk.venue.tick(5.0, 3)
    assert desk.sent() == [{"op": "heartbeat", "channel": "trades", "seq": 0, "ts": 3}]
    desk.happen(TradeEvent(1, CT, "t1", 10, 2, "B"))
    desk.venue.tick(9.0, 4)
    desk.venue.tick(13.9, 5)
    assert desk.sent() == []
    desk.venue.tick(14.0, 6)
    assert desk.sent() == [{"op": "heartbeat", "channel": "trades", "seq": 1, "ts": 6}]


@pytest.mark.parametrize("window", [1000, 30, 3])
@pytest.mark.parametrize("seed", range(4))
def test_images_are_the_books_as_the_client_knew_them(seed: int, window: int) -> None:
    # Random changes of two books, with subscriptions coming and going; the oracle is a client that keeps everything.
    random, desk = Random(seed), Desk(window=window)
    desk.happen(book(1, side(10, 9, 8), side(11, 12, 13)), book(1, side(70, 69), side(71, 72), symbol=KC))
    known: dict[str, Json] = {}
    after: dict[int, dict[str, Json]] = {}
    channel = desk.session.channels[BOOK]

    def learn(messages: list[Json]) -> None:
        for message in messages:
            if message["op"] == "snapshot":
                known[message["symbol"]] = {side: message[side] for side in ("bids", "asks", "seq")}
            else:
                live = desk.venue.snapshot(desk.session, message["symbol"], 9, 5)
                image = json.loads(live)
                known[message["symbol"]] = {side: image[side] for side in ("bids", "asks", "seq")}
        after[channel.seq] = dict(known)

    for ts in range(2, 150):
        symbol, base = random.choice([(CT, 10), (KC, 70)])
        roll = random.random()
        if roll < 0.08:
            learn(desk.subscribe(BOOK, [symbol], depth=random.choice([1, 2, 3])))
        elif roll < 0.11:
            channel.subscriptions.pop(symbol, None)
        else:
            bids = tuple(Level(base - step, random.randint(1, 9), 1) for step in range(3))
            asks = tuple(Level(base + 1 + step, random.randint(1, 9), 1) for step in range(3))
            learn(desk.happen(book(ts, bids, asks, symbol=symbol)))
    compared = 0
    for first in range(max(channel.replay_from, 1), channel.seq + 1):
        images = desk.replay(first, first, image=True)[:-1]
        assert {image["symbol"] for image in images} == set(channel.subscriptions)
        for image in images:
            expected = after.get(first - 1, {}).get(image["symbol"])
            if expected is not None:
                assert {side: image[side] for side in ("bids", "asks", "seq")} == expected
                compared += 1
            assert image["last_seq"] == first - 1
    assert compared > 0


def test_ranges_of_the_ring() -> None:
    desk = Desk(window=10)
    desk.subscribe(TRADES, [CT])
    for number in range(1, 26):
        desk.happen(TradeEvent(number, CT, f"t{number}", 10, 1, "B"))
    channel = desk.session.channels[TRADES]
    assert (channel.replay_from, channel.seq) == (16, 25)
    for first in range(10, 30):
        for last in range(10, 30):
            entries = channel.entries(first, last)
            if 16 <= first <= last <= 25:
                assert entries is not None
                assert [entry.seq for entry in entries] == list(range(first, last + 1))
            else:
                assert entries is None


def test_a_broken_sequence_goes_on_after_the_hole() -> None:
    desk = Desk()
    desk.happen(book(1, side(10), side(11)))
    desk.subscribe(BOOK, [CT])
    desk.happen(book(2, side(9), side(11)))
    desk.venue.break_sequence(BOOK, 5, "channel restarted")
    (message,) = desk.sent()
    assert (message["op"], message["expected"], message["current"]) == ("resync_required", 2, 6)
    assert desk.session.channels[BOOK].entries(1, 1) is None
    (message,) = desk.happen(book(3, side(8), side(11)))
    assert message["seq"] == 7
    (image, _) = desk.replay(7, 7, image=True)
    assert (image["bids"], image["last_seq"]) == ([["0.09", 3, 1]], 6)


def test_faults_count_messages() -> None:
    desk = Desk(faults=Faults(drop_every=3, duplicate_every=5))
    desk.subscribe(TRADES, [CT])
    numbers = []
    for number in range(1, 11):
        numbers += [message["seq"] for message in desk.happen(TradeEvent(number, CT, str(number), 10, 1, "B"))]
    assert numbers == [1, 2, 4, 5, 5, 7, 8, 10, 10]
