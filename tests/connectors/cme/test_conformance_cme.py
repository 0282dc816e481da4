"""The conformance cases that concern FIX, over a real socket; the numbers are those of PROTOCOLS.md, section D."""

import re
from collections.abc import Callable

import pytest

from market.schemas import BUST, CORRECTION, DIRTY, IMAGE, QUOTE, STATE, TRADE
from tests.connectors.cme.peer import GC, Desk, Peer, Start, change, ids, live, prices, trade
from tests.connectors.fix.wire import SECOND, T0, fix, stamp


def test_trades_and_quotes_arrive_exact(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1", "4150.2", 3, more="|5797=1"))
    peer.say(change(0, 0, 1, "4150.2", 7, 2))
    desk.until(lambda: len(desk.of(QUOTE)) == 2)
    row = desk.of(TRADE)[0]
    assert (row["instrument"], row["price"], row["size"], row["side"]) == (GC, 4_150_200_000_000, 3_000_000_000, 1)
    assert (row["ts_event"], row["ts_recv"], row["trade_id"]) == (T0, T0, "t1")
    assert prices(desk) == [(41501, 41503), (41502, 41503)]


def test_case_01_gap_makes_books_dirty_and_is_repaired(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    lost = peer.seq + 1
    peer.skip(5)
    peer.say(trade("t7"))
    assert f"|7={lost}|16=0|" in peer.expect("35=2")
    desk.until(lambda: sum(row["action"] == DIRTY for row in desk.depth) == 2)
    assert ids(desk) == ["t1"]
    assert (GC, "GAP", "sequence_gap") in desk.status
    peer.resend(lost, trade("t2"))
    peer.resend(lost + 1, f"35=4|123=Y|36={lost + 5}")
    assert f"/{GC}|" in peer.expect("262=I")
    peer.image(rpt=9, bid="4150.0", request="I1/" + GC)
    desk.until(lambda: len(desk.of(QUOTE)) == 2 and desk.status[-1][1] == "LIVE")
    assert ids(desk) == ["t1", "t2", "t7"]
    assert [row["ts_resolved"] is not None for row in desk.gaps] == [False, True]
    assert (desk.gaps[1]["seq_from"], desk.gaps[1]["seq_to"], desk.gaps[1]["recovered_rows"]) == (lost, lost + 4, 1)
    assert desk.status_ns == sorted(set(desk.status_ns))  # the newest state is the last, and none hides another
    actions = [row["action"] for row in desk.depth if row["action"] in (DIRTY, IMAGE)]
    assert actions == [DIRTY, IMAGE, DIRTY, IMAGE]


def test_case_02_second_gap_while_a_resend_is_open(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    first = peer.seq + 1
    peer.skip(1)
    peer.say(trade("a"))
    peer.skip(1)
    peer.say(trade("b"))
    peer.say("35=1|112=are you there")  # held back too: it is answered when everything before it is there
    peer.expect(f"7={first}")
    peer.resend(first, trade("x"))
    peer.expect(f"7={first + 2}")
    peer.resend(first + 2, trade("y"))
    peer.expect("112=are you there")
    assert sum("|35=2|" in text for text in peer.heard) == 2
    desk.until(lambda: len(ids(desk)) == 4)
    assert ids(desk) == ["x", "a", "y", "b"]


def test_case_03_possible_duplicate_counts_once(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    peer.resend(peer.seq, trade("t1"))
    peer.say(trade("t2"))
    desk.until(lambda: "t2" in ids(desk))
    assert ids(desk) == ["t1", "t2"]


def test_case_04_low_number_logs_out_and_reconnects(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    peer.send(fix(f"35=0|34={peer.seq - 1}"))
    assert "58=MsgSeqNum too low" in peer.expect("35=5")
    assert peer.closed()
    desk.until(lambda: (None, "STALE") in [(name, quality) for name, quality, _ in desk.status])
    peer.logged_on("")
    peer.say(trade("t2"))
    desk.until(lambda: len(ids(desk)) == 2)
    assert ids(desk) == ["t1", "t2"]


def test_case_05_poss_dup_without_and_with_a_wrong_original_time(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"), header="43=Y")
    assert "371=122|372=X|373=1|" in peer.expect("35=3")
    peer.say(trade("t2"), header="43=Y|122=" + stamp(T0 + SECOND))
    assert "371=122|372=X|373=10|" in peer.expect("35=3")
    peer.expect("35=5")
    assert peer.closed()
    desk.until(lambda: any(quality == "STALE" for _, quality, _ in desk.status))
    assert ids(desk) == []


def test_case_06_sequence_resets(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(f"35=4|123=Y|36={peer.seq + 10}")
    peer.seq += 8
    peer.say(trade("t1"))
    desk.until(lambda: ids(desk) == ["t1"])
    assert desk.gaps == []
    peer.send(fix(f"35=4|34=1|36={peer.seq + 50}"))
    peer.seq += 49
    peer.expect("262=I")
    desk.until(lambda: any(row["reason"] == "sequence_reset" for row in desk.gaps))
    peer.say("35=4|36=2")
    assert "373=5|" in peer.expect("35=3")


def test_case_06_a_gap_fill_with_a_number_too_high_is_a_gap(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    lost = peer.seq + 1
    peer.skip(2)
    peer.say(f"35=4|123=Y|36={lost + 10}")
    assert f"|7={lost}|16=0|" in peer.expect("35=2")
    peer.resend(lost, trade("t1"))
    peer.resend(lost + 1, trade("t2"))
    peer.resend(lost + 2, f"35=4|123=Y|36={lost + 10}")
    peer.seq = lost + 9
    peer.say(trade("t3"))
    desk.until(lambda: len(ids(desk)) == 3)
    assert ids(desk) == ["t1", "t2", "t3"]
    assert sum("|35=2|" in text for text in peer.heard) == 1


def lie(by: int) -> Callable[[bytes], bytes]:
    """Let a message say that it is longer or shorter than it is."""
    return lambda message: re.sub(rb"9=(\d+)", lambda found: b"9=%d" % (int(found[1]) + by), message, count=1)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lie(-7), id="body length short"),
        pytest.param(lie(40), id="body length swallows the next message"),
        pytest.param(lie(90_000), id="body length beyond reason"),
        pytest.param(lambda message: message[: len(message) // 2], id="cut short"),
        pytest.param(lambda message: message.replace(b"\x0135=X", b"\x0134=3\x0135=X"), id="35 is not third"),
    ],
)
def test_case_07_a_wrong_body_length_harms_no_other_message(
    peer: Peer, start: Start, damage: Callable[[bytes], bytes]
) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    bad = damage(peer.text(trade("t2")))
    lost = peer.seq
    peer.send(bad + peer.text(trade("t3")))
    assert f"|7={lost}|16=0|" in peer.expect("35=2")
    peer.resend(lost, trade("t2"))
    peer.resend(lost + 1, trade("t3"))
    peer.say(trade("t4"))
    desk.until(lambda: len(ids(desk)) == 4)
    assert ids(desk) == ["t1", "t2", "t3", "t4"]
    assert [row["reason"] for row in desk.rejected] == ["malformed_frame"]


def test_case_07_garbled_messages_are_asked_for_again(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    damaged = bytearray(peer.text(trade("t1")))
    damaged[-3] ^= 1
    peer.send(bytes(damaged))
    peer.say(trade("t2"))
    peer.expect("35=2")
    peer.resend(peer.seq - 1, trade("t1"))
    desk.until(lambda: len(ids(desk)) == 2)
    assert ids(desk) == ["t1", "t2"]
    assert [row["reason"] for row in desk.rejected] == ["malformed_frame"]


def test_case_08_bytes_in_pieces_and_many_messages_at_once(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    messages = b"".join(peer.text(trade(f"t{n}")) for n in range(20))
    for at in range(400):
        peer.send(messages[at : at + 1])
    peer.send(messages[400:])
    desk.until(lambda: len(ids(desk)) == 20)
    assert ids(desk) == [f"t{n}" for n in range(20)]


def test_case_09_cut_in_mid_message_misses_nothing(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    desk.until(lambda: ids(desk) == ["t1"])
    half = peer.text(trade("t2"))
    peer.send(half[:50])
    assert peer.connection is not None
    peer.connection.close()
    peer.connection = None
    peer.logged_on("")
    assert any(f"|7={peer.seq - 1}|16=0|" in text for text in peer.heard)
    peer.resend(peer.seq - 1, trade("t2"))
    desk.until(lambda: len(ids(desk)) == 2)
    assert desk.gaps[-1]["resolution"] == "replay"


def test_case_09_half_open_socket_is_tested_and_given_up(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    desk.pass_s(12.5)
    peer.expect("35=1")
    desk.pass_s(12)
    assert peer.closed()
    peer.accept()
    peer.expect("35=A")


@pytest.mark.parametrize("why", ["invalid credentials", "the session is connected already"])
def test_case_10_a_refused_logon_is_no_hot_loop(peer: Peer, start: Start, why: str) -> None:
    desk = start()
    peer.accept()
    peer.expect("35=A")
    peer.say(f"35=5|58={why}")
    desk.until(lambda: any(why in reason for _, _, reason in desk.status))
    assert desk.feed.min_retry_s() >= 5


def test_case_10_logon_that_counts_from_one_begins_anew_with_a_gap(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    desk.take()
    peer.accept()
    peer.expect("35=A")
    peer.seq = 0
    peer.say("35=A|98=0|108=10")
    assert "58=MsgSeqNum too low" in peer.expect("35=5")
    peer.logged_on()
    desk.until(lambda: any(row["reason"] == "session_reset" for row in desk.gaps))


def with_a_hole(peer: Peer, start: Start) -> tuple[Desk, int, int]:
    """A session that holds two trades behind a hole: its desk, the first number lost and the last one sent."""
    desk = live(peer, start)
    lost = peer.seq + 1
    peer.skip(2)
    peer.send(peer.text(trade("t1")) + peer.text(trade("t2")))
    desk.until(lambda: any(row["seq_from"] == lost for row in desk.gaps))
    return desk, lost, peer.seq


def test_case_10_a_session_that_begins_anew_owns_up_to_what_was_held_too(peer: Peer, start: Start) -> None:
    desk, lost, last = with_a_hole(peer, start)
    peer.logged_on()
    desk.until(lambda: any(row["reason"] == "session_reset" for row in desk.gaps))
    newest = {row["gap_id"]: row for row in desk.gaps}
    assert [(row["seq_from"], row["seq_to"]) for row in newest.values() if row["seq_from"] == lost] == [(lost, last)]
    assert ids(desk) == []


def test_case_10_a_restarted_process_owns_up_to_what_the_one_before_held(peer: Peer, start: Start) -> None:
    first, lost, last = with_a_hole(peer, start)
    assert first.last is not None
    positions = dict(first.last.positions)  # as if killed here
    first.feed.stop()
    second = start(positions)
    peer.logged_on()  # the venue counts anew
    second.until(lambda: second.gaps)
    assert [(row["seq_from"], row["seq_to"], row["reason"]) for row in second.gaps] == [(lost, last, "session_reset")]


def test_case_10_logon_with_a_number_too_high_asks_for_what_is_missing(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    lost = peer.seq + 1
    peer.skip(2)
    peer.accept()
    peer.expect("35=A")
    peer.say("35=A|98=0|108=10")
    assert "16=0" in peer.expect(f"7={lost}")
    peer.resend(lost, trade("t1"))
    peer.resend(lost + 1, trade("t2"))
    peer.resend(lost + 2, f"35=4|123=Y|36={peer.seq + 1}|")
    peer.say(trade("t3"))
    desk.until(lambda: ids(desk) == ["t1", "t2", "t3"])


@pytest.mark.parametrize("who", [{"sender": "OTHER"}, {"target": "OTHER"}])
def test_case_10_wrong_comp_id_is_rejected_and_left(peer: Peer, start: Start, who: dict[str, str]) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"), **who)
    assert "373=9|" in peer.expect("35=3")
    assert "58=CompID problem" in peer.expect("35=5")
    assert peer.closed()
    assert ids(desk) == []


def test_case_11_both_sides_ask_for_a_resend_at_once(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    lost = peer.seq + 1
    peer.skip(1)
    peer.say("35=2|7=1|16=0")
    requests = [peer.expect("43=Y") for _ in range(3)]
    assert "|35=4|" in requests[0]
    assert all("|35=V|" in text or "|35=e|" in text or "|35=g|" in text for text in requests[1:])
    peer.expect(f"7={lost}")
    peer.resend(lost, trade("t1"))
    peer.say(trade("t2"))
    desk.until(lambda: len(ids(desk)) == 2)


def test_case_12_heartbeats_without_data_move_the_clock(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    desk.pass_s(5)
    peer.say("35=0|", at=desk.now)
    desk.until(lambda: any(row["kind"] == 2 and row["ts_event"] == desk.now - SECOND for row in desk.ticks))
    desk.pass_s(5.5)
    peer.expect("35=0")


@pytest.mark.parametrize(
    ("message", "reject"),
    [
        ("35=X|262=B|268=3|279=0|269=0|55=GCZ6|270=1|271=1|290=1|83=2", "373=16"),
        ("35=X|262=B|268=1|279=0|269=0|55=GCZ6|270=1|271=1|290=1|83=2|1999=1", "373=0"),
        ("35=X|262=B|268=1|279=0|269=0|55=GCZ6|270=1|271=1|290=1|83=2|11=1", "373=2"),
        ("35=X|262=B|268=1|279=0|269=0|269=1|55=GCZ6|270=1|271=1|290=1|83=2", "373=13"),
        ("35=X|262=B|268=1|269=0|279=0|55=GCZ6|270=1|271=1|290=1|83=2", "373=15"),
        ("35=X|262=B|268=1|279=9|269=0|55=GCZ6|270=1|271=1|290=1|83=2", "371=279|372=X|373=5"),
        ("35=X|262=B|268=1|279=0|269=?|55=GCZ6|270=1|271=1|290=1|83=2", "371=269|372=X|373=5"),
        ("35=X|262=B|268=1|279=0|269=0|55=GCZ6|270=1e|271=1|290=1|83=2", "373=6"),
    ],
)
def test_case_13_faulty_messages_are_rejected_and_the_book_asked_for(
    peer: Peer, start: Start, message: str, reject: str
) -> None:
    desk = live(peer, start)
    peer.say(message)
    assert reject in peer.expect("35=3")
    peer.expect("262=I")
    peer.say(trade("t1"))
    desk.until(lambda: ids(desk) == ["t1"])
    assert len(desk.rejected) == 1


def test_case_14_changes_before_the_image_are_kept(peer: Peer, start: Start) -> None:
    desk = start()
    peer.logged_on()
    peer.say(change(0, 0, 1, "4150.2", 7, 5))
    peer.image(rpt=4)
    desk.until(lambda: len(desk.of(QUOTE)) == 2)
    assert prices(desk) == [(41501, 41503), (41502, 41503)]


@pytest.mark.parametrize("wrong", [change(2, 0, 5, "1", 1, 2), change(1, 1, 3, "1", 1, 2), change(0, 0, 1, "1", 1, 2)])
def test_case_14_a_change_that_does_not_fit_makes_the_book_dirty(peer: Peer, start: Start, wrong: str) -> None:
    desk = live(peer, start)
    peer.say(wrong)
    peer.expect("262=I1/")
    peer.image(rpt=2, bid="4149.9", request="I1/" + GC)
    desk.until(lambda: len(desk.of(QUOTE)) == 2)
    assert prices(desk)[-1] == (41499, 41503)


def test_case_14_unknown_entry_id(peer: Peer, start: Start) -> None:
    desk = start(dialect="entries-44")
    peer.logged_on()
    name = "55=GC|200=202612|207=XCEC"
    peer.say(f"35=W|262=B/{GC}|{name}|268=2|269=0|278=a|270=1|271=1|269=1|278=b|270=2|271=1")
    peer.say(f"35=X|262=B/{GC}|268=1|279=1|269=0|278=a|{name}|270=1.5|271=4")
    peer.say(f"35=X|262=B/{GC}|268=1|279=2|269=0|278=zz|{name}")
    peer.expect("262=I1/")
    desk.until(lambda: len(desk.of(QUOTE)) == 2 and desk.depth[-1]["action"] == DIRTY)
    assert desk.of(QUOTE)[-1]["bid_price"] == 1_500_000_000


def test_case_15_an_older_image_is_discarded(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(change(0, 0, 1, "4150.2", 7, 2))
    peer.image(rpt=1)
    peer.say(change(1, 0, 1, "4150.2", 8, 3))
    desk.until(lambda: len(desk.of(QUOTE)) == 3)
    assert prices(desk)[-1] == (41502, 41503)
    assert desk.counter("images_stale") == 1


def test_case_15_a_missing_rpt_seq_makes_the_book_dirty(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(change(0, 0, 1, "4150.2", 7, 4))
    peer.expect("262=I1/")
    peer.image(rpt=2, request="I1/" + GC)  # older than the change that is kept: not enough
    desk.pass_s(3)
    peer.expect("262=I2/")
    peer.image(rpt=3, request="I2/" + GC)
    desk.until(lambda: prices(desk)[-1] == (41502, 41503))


def test_case_16_a_crossed_book_is_held_then_distrusted(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(change(0, 0, 1, "4150.4", 1, 2))
    peer.say(change(2, 0, 1, "4150.4", 1, 3))
    peer.say(change(1, 0, 1, "4150.1", 9, 4))
    desk.until(lambda: len(desk.of(QUOTE)) == 2)
    assert prices(desk) == [(41501, 41503)] * 2  # the crossed moment is no quote
    peer.say(change(0, 0, 1, "4150.3", 1, 5))
    peer.say(trade("mark"))
    desk.until(lambda: ids(desk) == ["mark"])
    desk.pass_s(0.6)
    peer.expect("262=I1/")
    assert len(desk.of(QUOTE)) == 2


def test_case_16_before_the_open_a_crossed_book_is_legal(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say("35=f|55=GCZ6|326=21|60=20261121-03:23:17")
    peer.say(change(0, 0, 1, "4150.4", 1, 2))
    peer.say(trade("mark"))
    desk.until(lambda: ids(desk) == ["mark"])
    desk.pass_s(2)
    peer.say("35=1|112=still there", at=desk.now)
    peer.expect("112=still there")
    assert not any("262=I" in text for text in peer.heard)
    assert (GC, "CLOSED", "preopen") in desk.status


def test_case_17_busts_and_corrections_name_the_trade(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say(trade("t1"))
    peer.say(trade("t1", "4150.5", 2, action=1))
    peer.say(f"35=X|262=T/{GC}|268=1|279=2|269=2|278=t1|55=GCZ6|272=20261121|273=03:23:17")
    peer.say(trade("t9", more="|277=0"))
    desk.until(lambda: len(desk.of(BUST)) == 2)
    assert [(row["trade_id"], row["price"], row["size"]) for row in desk.of(CORRECTION)] == [
        ("t1", 4_150_500_000_000, 2_000_000_000)
    ]
    assert [row["trade_id"] for row in desk.of(BUST)] == ["t1", "t9"]
    assert ids(desk) == ["t1"]


def test_case_18_halts_resumes_and_limits_are_states(peer: Peer, start: Start) -> None:
    desk = live(peer, start)
    peer.say("35=f|55=GCZ6|326=2|60=20261121-03:23:18")
    peer.say("35=f|55=GCZ6|326=3|332=4150.1|333=4000|60=20261121-03:23:19")
    peer.say(change(2, 1, 1, "4150.3", 5, 2))
    peer.say("35=h|336=1|340=3|")
    desk.until(lambda: desk.status[-1] == (GC, "CLOSED", "close"))
    of_gold = [(quality, reason) for name, quality, reason in desk.status if name == GC]
    assert of_gold[-4:] == [("HALTED", "halt"), ("LIVE", "open"), ("HALTED", "limit_up"), ("CLOSED", "close")]
    assert [row["size"] for row in desk.of(STATE)][-4:] == [5, 0, 5, 6]


def test_case_21_the_date_decides_the_decade_of_a_symbol(peer: Peer, start: Start) -> None:
    desk = start(months=62)  # gold of ten years: GCZ6 is of 2026 and of 2036
    peer.logged_on()
    peer.image()
    peer.say(trade("t1"))
    desk.until(lambda: ids(desk) == ["t1"] and desk.of(QUOTE))
    assert {row["instrument"] for row in (*desk.of(TRADE), *desk.of(QUOTE))} == {GC}
    asked = [text for text in peer.heard if "|35=V|" in text and "|55=GCZ6|" in text]
    assert all(f"/{GC}|" in text for text in asked)
    assert asked
    desk.feed.stop()

    later = start()
    later.now = at = T0 + 3_653 * 86_400 * SECOND  # ten years later, to the day
    peer.accept()
    peer.expect("35=A")
    peer.seq = 0
    peer.say("35=A|98=0|108=10|141=Y", at=at)
    peer.expect("35=g")
    peer.say(trade("t2").replace("20261121", "20361121"), at=at)
    later.until(lambda: ids(later) == ["t2"])
    assert later.of(TRADE)[0]["instrument"] == "XCEC:GC:203612"


def test_case_21_a_symbol_with_its_year_is_of_its_decade(peer: Peer, start: Start) -> None:
    desk = start(months=62, dialect="entries-44")
    peer.logged_on()
    named = "55=GC|200=203612|207=XCEC"
    peer.say(trade("t1").replace("55=GCZ6", named).replace(f"262=T/{GC}", "262=T/XCEC:GC:203612"))
    desk.until(lambda: ids(desk) == ["t1"])
    assert desk.of(TRADE)[0]["instrument"] == "XCEC:GC:203612"


def test_a_restarted_process_goes_on_where_the_log_ends(peer: Peer, start: Start) -> None:
    first = live(peer, start)
    peer.say(trade("t1"))
    first.until(lambda: ids(first) == ["t1"])
    assert first.last is not None
    positions = dict(first.last.positions)
    first.feed.stop()
    peer.expect("35=5")
    lost = peer.seq + 1
    peer.skip(1)
    second = start(positions)
    peer.accept()
    assert int(peer.expect("35=A").split("|34=")[1].split("|")[0]) >= 1000
    peer.say("35=A|98=0|108=10")
    peer.expect(f"7={lost}")
    peer.resend(lost, trade("t2"))
    peer.resend(lost + 1, f"35=4|123=Y|36={peer.seq + 1}")
    second.until(lambda: ids(second) == ["t2"])
    assert second.of(TRADE)[0]["flags"] == 2
    assert second.gaps[-1]["resolution"] == "replay"


def test_a_request_that_is_refused_is_a_state_and_no_loop(peer: Peer, start: Start) -> None:
    desk = start()
    peer.logged_on()
    peer.say(f"35=Y|262=B/{GC}|281=3|58=not entitled")
    desk.until(lambda: any("request_refused 3 not entitled" in reason for _, _, reason in desk.status))
    desk.pass_s(6)
    peer.say("35=1|112=still there", at=desk.now)
    peer.expect("112=still there")


def test_back_pressure_stops_reading_and_loses_nothing(peer: Peer, start: Start) -> None:
    desk = live(peer, start, max_rows=50)
    peer.send(b"".join(peer.text(trade(f"t{n}")) for n in range(3_000)))
    desk.until(lambda: len(ids(desk)) == 3_000)
    assert ids(desk) == [f"t{n}" for n in range(3_000)]
