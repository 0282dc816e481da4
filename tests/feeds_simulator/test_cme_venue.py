"""The simulated acceptor without its socket: what it answers, keeps and resends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds_simulator.cme.dialects import DIALECTS
from feeds_simulator.cme.messages import differences
from feeds_simulator.cme.sessions import Connection
from feeds_simulator.cme.venue import Venue
from feeds_simulator.cme.wire import Reader, seal, utc, value
from feeds_simulator.events import BookEvent, BustEvent, Level, StatusEvent, TradeEvent
from feeds_simulator.faults import Faults, Wire
from tests.feeds_simulator.scripted_market import ScriptedMarket

T0 = 1_795_231_397_000_000_000
GC = "XCEC:GC:202612"
SECOND = 1_000_000_000


class Client:
    """A client by hand: `say` returns what the venue answers, without header and trailer, | for SOH."""

    def __init__(self, dialect: str = "levels-44", faults: Faults | None = None, window: int = 1_000) -> None:
        self.faults = faults or Faults()
        market = ScriptedMarket((GC,))
        self.venue = Venue(market.listings, DIALECTS[dialect], {"MANDI": "p"}, faults=self.faults, window=window)
        self.venue.acceptor.now_ns = T0
        self.seq = 0
        self.connect()

    def connect(self) -> None:
        self.link = Connection(Wire(self.faults, T0), heard_ns=T0, sent_ns=T0)

    def say(
        self, text: str, seq: int | None = None, sender: str = "MANDI", at: int = T0, begin: str = "FIX.4.4"
    ) -> list[str]:
        self.seq = self.seq + 1 if seq is None else seq
        kind, _, rest = text.partition("|")
        header = f"{kind}|49={sender}|56=CME|34={self.seq}|52={utc(at, 3)}|"
        content = (header + (rest + "|" if rest else "")).replace("|", "\x01")
        for begin_string, message in Reader().feed(seal(begin, content)):
            self.venue.acceptor.receive(self.link, begin_string, message)
        return self.heard()

    def heard(self) -> list[str]:
        said, self.link.out = self.link.out, []
        shown = []
        for message in said:
            ((_, fields),) = Reader().feed(message)
            shown.append("|".join(f"{tag}={text}" for tag, text in fields if tag not in (49, 52, 56, 122)))
        return shown

    def log_on(self, more: str = "|141=Y") -> list[str]:
        return self.say(f"35=A|98=0|108=10{more}|553=MANDI|554=p")

    def subscribe(self, types: str = "2", request: str = "T", kind: str = "1") -> list[str]:
        return self.say(f"35=V|262={request}|263={kind}|264=0|267=1|269={types}|146=1|55=GCZ6")

    def trade(self, name: str) -> list[str]:
        self.venue.publish([[TradeEvent(T0, GC, name, 41_502, 3, "B")]], T0)
        return self.heard()


def test_log_on_is_answered_and_numbers_begin_at_one() -> None:
    assert Client().log_on() == ["35=A|34=1|98=0|108=10|141=Y"]


@pytest.mark.parametrize(
    ("logon", "why"),
    [
        ({"text": "35=A|98=0|108=10|554=wrong"}, "invalid credentials"),
        ({"text": "35=A|98=0|108=10|554=p", "sender": "OTHER"}, "CompID problem"),
        ({"text": "35=0|"}, "the first message must be a Logon"),
        ({"text": "35=A|98=0|108=10|554=p", "begin": "FIX.4.2"}, "BeginString must be FIX.4.4"),
        ({"text": "35=A|98=0|108=10|554=p", "at": T0 + 200 * SECOND}, "MsgSeqNum or SendingTime is not right"),
    ],
)
def test_case_10_what_is_refused_is_told_and_closed(logon: dict[str, str], why: str) -> None:
    client = Client()
    assert client.say(**logon)[0].endswith(f"58={why}")  # type: ignore[arg-type]
    assert client.link.close


def test_case_10_a_session_is_connected_once() -> None:
    client = Client()
    client.log_on()
    client.connect()
    assert "the session is connected already" in client.say("35=A|98=0|108=10|554=p")[0]


def test_low_and_high_numbers() -> None:
    client = Client()
    client.log_on()
    assert client.say("35=0|", seq=5) == ["35=2|34=2|7=2|16=0"]
    assert client.say("35=0|", seq=6) == []
    assert client.say("35=4|43=Y|123=Y|36=5", seq=2) == []
    assert client.say("35=1|112=x", seq=7) == ["35=0|34=3|112=x"]
    assert "MsgSeqNum too low, expecting 8 but received 3" in client.say("35=0|", seq=3)[0]


def test_trades_are_kept_for_who_is_away_and_resent_as_possible_duplicates() -> None:
    client = Client()
    client.log_on()
    client.subscribe()
    assert "278=t1" in client.trade("t1")[0]
    client.venue.acceptor.detach(client.link)
    client.trade("t2")
    client.connect()
    assert client.log_on("")[0].startswith("35=A|34=5|")
    first, second = client.say("35=2|7=4|16=0")
    assert first.startswith("35=X|34=4|43=Y|")
    assert "278=t2" in first
    assert second.startswith("35=4|34=5|43=Y|123=Y|36=6")


def test_books_are_passed_over_by_a_gap_fill() -> None:
    client = Client()
    client.log_on()
    client.subscribe("0", "B")
    levels = (Level(41_501, 2, 1),)
    client.venue.publish([[BookEvent(T0, GC, levels, (), True)]], T0)
    assert client.heard()[0].startswith("35=X|34=3|262=B|268=1|279=0|269=0|55=GCZ6|270=4150.10|271=2|")
    assert client.say("35=2|7=1|16=0") == ["35=4|34=1|43=Y|123=Y|36=4"]


def test_what_the_window_lost_is_passed_over_too() -> None:
    client = Client(window=1)
    client.log_on()
    client.subscribe()
    client.trade("t1")
    client.trade("t2")
    said = client.say("35=2|7=3|16=0")
    assert said[0] == "35=4|34=3|43=Y|123=Y|36=4"
    assert "278=t2" in said[1]


def test_busts_and_corrections() -> None:
    client = Client()
    client.log_on()
    client.subscribe()
    client.trade("t1")
    client.venue.publish([[TradeEvent(T0, GC, "t1", 41_500, 1, "S", True)], [BustEvent(T0, GC, "t1")]], T0)
    correction, bust = client.heard()
    assert "279=1|269=2|278=t1|55=GCZ6|270=4150.00|271=1|" in correction
    assert "279=2|269=2|278=t1|55=GCZ6|272=" in bust


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [
        ("35=V|262=Q|263=1|264=0|267=1|269=2|146=1|55=NONE", "35=Y|34=2|262=Q|281=0"),
        ("35=V|262=Q|263=7|264=0|267=1|269=2|146=1|55=GCZ6", "35=Y|34=2|262=Q|281=4"),
        ("35=V|262=Q|263=1|264=0|267=1|269=Z|146=1|55=GCZ6", "35=Y|34=2|262=Q|281=8"),
        ("35=V|262=Q|263=1|267=1|269=2|146=1|55=GCZ6", "35=3|34=2|45=2|371=264|372=V|373=1"),
        ("35=e|324=S|55=NONE|263=1", "35=j|34=2|45=2|372=e|380=2"),
        ("35=D|11=1", "35=j|34=2|45=2|372=D|380=3"),
        ("35=??|11=1", "35=3|34=2|45=2|372=??|373=11"),
    ],
)
def test_what_cannot_be_served_is_refused(request_text: str, answer: str) -> None:
    client = Client()
    client.log_on()
    assert client.say(request_text)[0].startswith(answer)


def test_a_request_id_serves_once() -> None:
    client = Client()
    client.log_on()
    client.subscribe()
    assert "281=1" in client.subscribe()[0]


def test_states_are_told() -> None:
    client = Client()
    client.log_on()
    assert "326=26" in client.say("35=e|324=S|55=GCZ6|263=1")[0]
    client.venue.publish([[StatusEvent(T0, GC, "HALT")]], T0)
    assert client.heard()[0].startswith("35=f|34=3|324=S|55=GCZ6|326=2|")


def test_silence_is_tested_and_then_ended() -> None:
    client = Client()
    client.log_on()
    for seconds, said in ((10.5, "35=0|"), (2, "35=1|")):
        client.venue.acceptor.now_ns += int(seconds * SECOND)
        client.venue.acceptor.tick()
        assert client.heard()[0].startswith(said)
    client.venue.acceptor.now_ns += 12 * SECOND
    client.venue.acceptor.tick()
    assert client.link.close


SIDES = st.lists(st.integers(1, 30), unique=True, max_size=10).map(lambda prices: sorted(prices, reverse=True))


@given(SIDES, SIDES, st.integers(1, 3))
def test_differences_lead_from_one_side_to_the_other(before: list[int], now: list[int], size: int) -> None:
    old, new = [Level(price, 1, 1) for price in before], [Level(price, size, 1) for price in now]
    levels = list(old)
    for action, position, level in differences(old, new):
        if action == "2":
            assert levels.pop(position - 1).price == level.price
        elif action == "0":
            levels.insert(position - 1, level)
        else:
            levels[position - 1] = level
    assert levels == new


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_from_a_client_are_messages_or_nothing(data: bytes, cut: int) -> None:
    reader = Reader()
    good = seal("FIX.4.4", "35=0\x0149=A\x01")
    for part in (data[:cut], data[cut:], good):
        for _, message in reader.feed(part):
            assert value(message, 35) is not None or message


def test_who_is_silent_for_long_is_let_go_and_may_come_back_though_its_socket_stays() -> None:
    client = Client()
    client.log_on()
    client.venue.acceptor.now_ns = T0 + 25 * 10**9
    client.venue.acceptor.tick()
    assert client.link.close
    client.connect()
    assert client.say("35=A|98=0|108=10|553=MANDI|554=p", at=T0 + 25 * 10**9)[0].startswith("35=A|")
