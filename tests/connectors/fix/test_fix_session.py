"""The session rules, one message at a time. Names follow PROTOCOLS.md's cases and those of QuickFIX's suite."""

import time

import pytest

from connectors.fix.constants import RETRY_S
from tests.connectors.fix.wire import SECOND, T0, Desk, fields, fix, seal, stamp

QUOTE = "55=GCZ6|262=B|268=0"


def test_logs_on_with_credentials_and_counts_from_one() -> None:
    desk = Desk()
    assert desk.open() == "35=A|34=1|98=0|108=10|141=Y|553=u|554=p|"
    assert desk.take(fix("35=A|34=1|98=0|108=10|141=Y")) == ""
    assert desk.logons == [True]
    assert desk.session.incoming.expected == 2


def test_raw_data_authentication() -> None:
    assert "|95=1|96=p|" in Desk(auth="raw_data").open()


def test_the_first_message_must_be_a_logon() -> None:
    desk = Desk()
    desk.open()
    desk.take(fix("35=0|34=1"))
    assert desk.session.lost is not None


def test_case_01_one_resend_request_then_gap_fill() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=2"), fix("35=0|34=3"), fix("35=0|34=4"))
    assert desk.take(fix("35=0|34=10")) == "35=2|34=2|7=5|16=0|"
    assert desk.gaps == [(5, 9, None)]
    assert desk.take(fix("35=4|34=5|123=Y|36=11", header="43=Y|122=" + stamp())) == ""
    assert desk.session.incoming.expected == 11
    assert desk.gaps[1:] == [(5, 9, "replay")]
    assert desk.seqs == [2, 3, 4, 10]


def test_case_01_resent_messages_come_before_those_held_back() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=5"))
    dup = "43=Y|122=" + stamp()
    desk.take(fix("35=W|34=2|" + QUOTE, header=dup), fix("35=4|34=3|123=Y|36=5", header=dup))
    assert desk.seqs == [2, 5]
    assert desk.messages[0].poss_dup


def test_case_02_a_second_hole_makes_no_storm() -> None:
    desk = Desk().live()
    assert desk.take(fix("35=0|34=5")).count("35=2|") == 1
    assert desk.take(*[fix(f"35=0|34={seq}") for seq in (6, 7, 20, 21, 30)]) == ""
    desk.take(fix("35=4|34=2|123=Y|36=5", header="43=Y|122=" + stamp()))
    assert desk.sent[-1].endswith("7=8|16=0|")
    assert desk.seqs == [5, 6, 7]
    desk.take(fix("35=4|34=8|123=Y|36=31", header="43=Y|122=" + stamp()))
    assert desk.seqs == [5, 6, 7, 20, 21, 30]
    assert desk.session.incoming.resend is None


def test_case_02_one_request_fills_every_hole_known_when_it_is_made() -> None:
    desk, dup = Desk().live(), "43=Y|122=" + stamp()
    lost = [*range(2, 400, 40)]
    asked = desk.take(*[fix(f"35=0|34={seq}") for seq in range(2, 401) if seq not in lost])
    for text in ("35=W|34=2|" + QUOTE, "35=4|34=3|123=Y|36=202", "35=W|34=202|" + QUOTE, "35=4|34=203|123=Y|36=401"):
        asked += desk.take(fix(text, header=dup))  # the venue keeps two of those that were lost
    assert desk.seqs == [seq for seq in range(2, 401) if seq not in lost or seq in (2, 202)]
    assert asked.count("35=2|") == 2  # when the first was made, the other holes were not known
    assert [gap for gap in desk.gaps if gap[2]] == [
        (2, 2, "replay"),
        (42, 42, "replay"),
        (202, 202, "replay"),
        (242, 242, "replay"),
    ]
    assert desk.session.incoming.resend is None
    desk.take(fix("35=4|34=42|123=Y|36=202", header=dup), fix("35=0|34=401"))  # the answer to the second
    assert desk.session.incoming.expected == 402


def test_case_02_what_comes_again_costs_no_more_the_more_is_held() -> None:
    def cost_s(held: int) -> float:
        desk, dup = Desk().live(), "43=Y|122=" + stamp()
        desk.take(*[fix(f"35=0|34={seq}") for seq in range(400, 400 + held)])
        again = [fix(f"35=W|34={seq}|{QUOTE}", header=dup) for seq in range(2, 302)]
        began = time.process_time()
        desk.take(*again)
        return time.process_time() - began

    assert cost_s(20_000) < 5 * cost_s(20)


def test_a_hole_that_is_open_when_the_socket_goes_is_as_wide_as_what_will_be_sent_again() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=5"), fix("35=0|34=6"), fix("35=0|34=9"))
    desk.session.on_close()
    assert desk.gaps == [(2, 4, None), (2, 9, None)]
    desk.session.on_close()  # the next socket could not be opened
    assert len(desk.gaps) == 2
    desk.open()
    assert "7=2|16=0" in desk.take(fix("35=A|34=10|98=0|108=10"))
    desk.take(fix("35=4|34=2|123=Y|36=11", header="43=Y|122=" + stamp()))
    assert desk.gaps[2:] == [(2, 9, "replay")]


def test_case_02_a_fill_that_is_late_passes_over_nothing_that_nobody_missed() -> None:
    desk, dup = Desk().live(), "43=Y|122=" + stamp()
    desk.take(*[fix(f"35=0|34={seq}") for seq in range(2, 10)])
    desk.take(fix("35=4|34=4|123=Y|36=15", header=dup))  # to a second request; 10 to 14 were lost since
    assert desk.take(fix("35=0|34=15")).count("7=10|16=0|") == 1
    assert desk.gaps == [(10, 14, None)]


def test_a_reset_within_the_session_owns_up_to_what_was_held() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=5"), fix("35=0|34=6"), fix("35=0|34=9"))
    desk.take(fix("35=A|34=1|98=0|108=10|141=Y"))
    assert desk.gaps == [(2, 4, None), (2, 9, "snapshot")]


def test_case_02_a_lost_resend_is_asked_again_and_then_given_up() -> None:
    desk = Desk(heartbeat_s=60).live()
    desk.session._heartbeat_ns = 600 * SECOND
    desk.take(fix("35=0|34=5"))
    assert "7=2|16=0" in desk.wait(5)
    assert "7=2|16=0" in desk.wait(5)
    assert desk.session.lost is None
    desk.wait(5)
    assert desk.session.lost is not None


def without_an_answer(desk: Desk, seq: int) -> str:
    """Heartbeats with a hole before them, no answer to what is asked; then the next connection's Logon."""
    for later in range(4):
        desk.take(fix(f"35=0|34={seq + later}", at=desk.now))
        desk.wait(5)
    assert desk.session.lost is not None
    desk.session.on_close()
    return desk.open()


def test_case_02_a_venue_that_never_resends_costs_the_hole_and_not_the_feed() -> None:
    desk = Desk().live()
    assert "141=Y" not in without_an_answer(desk, 5)
    desk.take(fix("35=A|34=9|98=0|108=10", at=desk.now))
    assert "34=1|98=0|108=10|141=Y" in without_an_answer(desk, 10)
    desk.take(fix("35=A|34=1|98=0|108=10|141=Y", at=desk.now), fix("35=0|34=2", at=desk.now))
    assert desk.gaps[-1] == (2, 12, "snapshot")
    assert desk.seqs == [2]
    assert "141=Y" not in without_an_answer(desk, 5)  # it counts anew


def test_case_02_a_venue_that_refuses_to_begin_anew_is_asked_for_the_hole_again() -> None:
    desk = Desk().live()
    without_an_answer(desk, 5)
    desk.take(fix("35=A|34=9|98=0|108=10", at=desk.now))
    without_an_answer(desk, 10)
    desk.take(fix("35=5|34=1|58=no reset within the week", at=desk.now))
    desk.session.on_close()
    assert "141=Y" not in desk.open()


def test_case_02_a_venue_that_resends_in_pieces_is_asked_for_each_and_kept() -> None:
    desk, dup = Desk(heartbeat_s=60).live(), "43=Y|122=" + stamp()
    desk.session._heartbeat_ns = 600 * SECOND
    desk.take(*[fix(f"35=0|34={seq}") for seq in range(3, 40, 2)], fix("35=W|34=2|" + QUOTE, header=dup))
    for seq in range(4, 14, 2):  # more pieces than attempts
        desk.take(fix(f"35=W|34={seq}|{QUOTE}", header=dup))
        assert f"7={seq + 2}|16=0" in desk.wait(5)
    assert desk.session.lost is None


def test_case_03_a_possible_duplicate_is_ignored() -> None:
    desk = Desk().live()
    desk.take(fix("35=W|34=2|" + QUOTE))
    assert desk.take(fix("35=W|34=2|" + QUOTE, header="43=Y|122=" + stamp())) == ""
    assert desk.seqs == [2]
    assert desk.counters["duplicates"] == 1


def test_case_04_a_low_number_without_poss_dup_ends_the_session() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=2"))
    assert desk.take(fix("35=0|34=1")) == "35=5|34=2|58=MsgSeqNum too low, expecting 3 but received 1|"
    assert desk.session.lost is not None


def test_case_05_poss_dup_needs_an_honest_original_time() -> None:
    desk = Desk().live()
    assert desk.take(fix("35=0|34=2", header="43=Y")) == "35=3|34=2|45=2|371=122|372=0|373=1|"
    desk.take(fix("35=0|34=3", header="43=Y|122=" + stamp(T0 + SECOND)))
    assert desk.sent[-2:] == [
        "35=3|34=3|45=3|371=122|372=0|373=10|",
        "35=5|34=4|58=OrigSendingTime is after SendingTime|",
    ]
    assert desk.session.lost is not None


def test_case_06_sequence_reset_in_both_modes() -> None:
    desk = Desk().live()
    desk.take(fix("35=4|34=2|123=Y|36=8"))
    assert desk.session.incoming.expected == 8
    assert desk.take(fix("35=4|34=12|123=Y|36=15")) == "35=2|34=2|7=8|16=0|"
    desk.take(fix("35=4|34=8|123=Y|36=12", header="43=Y|122=" + stamp()))
    assert desk.session.incoming.expected == 15
    assert desk.take(fix("35=4|34=3|36=40")) == ""
    assert desk.session.incoming.expected == 40
    assert desk.gaps[-1] == (15, 39, "snapshot")
    assert desk.take(fix("35=4|34=40|36=5")) == "35=3|34=3|45=40|371=36|372=4|373=5|"
    assert desk.take(fix("35=4|34=40|123=Y|36=40")) == "35=3|34=4|45=40|371=36|372=4|373=5|"
    assert desk.session.incoming.expected == 40


def test_what_a_gap_fill_passes_over_counts_if_it_came() -> None:
    desk = Desk().live()
    desk.take(fix("35=W|34=4|" + QUOTE), fix("35=W|34=6|" + QUOTE))
    desk.take(fix("35=4|34=2|123=Y|36=9", header="43=Y|122=" + stamp()))
    assert desk.seqs == [4, 6]
    assert desk.session.incoming.expected == 9


def test_case_07_damage_consumes_no_number() -> None:
    desk = Desk().live()
    damaged = bytearray(fix("35=0|34=2"))
    damaged[-3] ^= 1
    assert desk.take(bytes(damaged)) == ""
    assert desk.session.incoming.expected == 2
    assert desk.take(fix("35=0|34=3")) == "35=2|34=2|7=2|16=0|"
    assert len(desk.garbled) == 1


def test_case_08_every_split_gives_the_same_session() -> None:
    stream = [fix("35=A|34=1|98=0|108=10|141=Y"), fix("35=1|34=2|112=x"), fix("35=W|34=3|" + QUOTE), fix("35=0|34=6")]
    data = b"".join(stream)
    results = set()
    for place in range(len(data) + 1):
        desk = Desk()
        desk.open()
        desk.take(data[:place], data[place:])
        results.add((" ".join(desk.sent).replace("  ", " ").strip(), tuple(desk.seqs), tuple(desk.gaps)))
    ((sent, seqs, gaps),) = results
    assert "35=0|34=2|112=x|" in sent
    assert "35=2|34=3|7=4|16=0|" in sent
    assert seqs
    assert gaps


def test_case_09_a_silent_peer_is_tested_then_given_up() -> None:
    desk = Desk().live()
    assert "35=0|" in desk.wait(10)
    assert "35=1|" in desk.wait(2)
    assert desk.session.lost is None
    desk.wait(10)
    assert desk.session.lost is None
    desk.wait(2)
    assert desk.session.lost is not None


def test_case_09_any_message_answers_the_test() -> None:
    desk = Desk().live()
    assert "35=1|" in desk.wait(12)
    desk.take(fix("35=0|34=2|112=x", at=desk.now))
    desk.wait(11)
    assert desk.session.lost is None


def test_case_12_heartbeats_are_sent_when_nothing_else_was() -> None:
    desk = Desk().live()
    assert desk.wait(9.9) == ""
    assert desk.wait(0.1) == "35=0|34=2|"
    assert desk.take(fix("35=1|34=2|112=are you there", at=desk.now)) == "35=0|34=3|112=are you there|"


def test_case_10_a_high_logon_is_answered_with_a_resend_request() -> None:
    desk = Desk({"in": 7, "out": 2000})
    assert desk.open() == "35=A|34=2000|98=0|108=10|553=u|554=p|"
    assert desk.take(fix("35=A|34=12|98=0|108=10")) == "35=2|34=2001|7=8|16=0|"
    assert desk.logons == [False]
    assert desk.gaps == [(8, 11, None)]
    desk.take(fix("35=4|34=8|123=Y|36=13", header="43=Y|122=" + stamp()))
    assert desk.session.incoming.expected == 13


def test_case_10_a_low_logon_begins_anew_at_the_next_connection() -> None:
    desk = Desk({"in": 7, "out": 2000})
    desk.open()
    assert "58=MsgSeqNum too low, expecting 8 but received 1" in desk.take(fix("35=A|34=1|98=0|108=10"))
    desk.session.on_close()
    assert desk.session.min_retry_s == 0.0
    assert "34=1|98=0|108=10|141=Y|" in desk.open()
    desk.take(fix("35=A|34=1|98=0|108=10|141=Y"))
    assert desk.logons == [True]


def test_case_10_reset_within_a_session_is_answered() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=2"))
    assert "35=A|34=1|98=0|108=10|141=Y" in desk.take(fix("35=A|34=1|98=0|108=10|141=Y"))
    assert desk.logons == [True, True]
    assert desk.session.incoming.expected == 2


@pytest.mark.parametrize("who", [{"sender": "OTHER"}, {"target": "OTHER"}])
def test_case_10_wrong_comp_id(who: dict[str, str]) -> None:
    desk = Desk().live()
    said = desk.take(fix("35=0|34=2", **who))
    assert "35=3|34=2|45=2|372=0|373=9|" in said
    assert "35=5|34=3|58=CompID problem|" in said


def test_case_10_wrong_begin_string() -> None:
    desk = Desk().live()
    assert "35=5|34=2|58=BeginString" in desk.take(fix("35=0|34=2", begin="FIX.4.2"))


def test_case_10_a_bad_password_is_no_hot_loop() -> None:
    desk = Desk()
    waits = []
    for _ in range(6):
        desk.open()
        desk.take(fix("35=5|34=1|58=bad password"))
        desk.session.on_close()
        waits.append(desk.session.min_retry_s)
    assert waits[0] == RETRY_S
    assert waits == sorted(waits)
    assert waits[-1] == 60


def test_case_10_a_refused_connection_at_logon_is_no_hot_loop() -> None:
    desk = Desk()
    desk.open()
    desk.session.on_close()
    assert desk.session.min_retry_s == RETRY_S


def test_a_venue_that_counted_on_tells_our_number() -> None:
    desk = Desk({"in": 7, "out": 2000})
    desk.open()
    desk.take(fix("35=5|34=8|58=MsgSeqNum too low, expecting 2345 but received 2000"))
    desk.session.on_close()
    assert desk.open().startswith("35=A|34=2345|")


def test_case_11_both_sides_ask_at_once() -> None:
    desk = Desk().live()
    said = desk.take(fix("35=2|34=5|7=1|16=0"))
    assert "35=4|34=1|43=Y|123=Y|36=2|" in said
    assert "35=2|34=2|7=2|16=0|" in said
    assert desk.take(fix("35=4|34=2|123=Y|36=5", header="43=Y|122=" + stamp())) == ""
    assert desk.session.incoming.expected == 6
    assert desk.session.incoming.resend is None


def test_a_resend_request_is_answered_up_to_its_end() -> None:
    desk = Desk().live()
    desk.wait(10)
    desk.wait(10)
    assert desk.take(fix("35=2|34=2|7=2|16=2", at=desk.now)) == "35=4|34=2|43=Y|123=Y|36=3|"


def test_requests_of_this_connection_are_resent() -> None:
    desk = Desk().live()
    desk.session.send(b"V", [(262, "B")])
    desk.wait(10)
    said = desk.take(fix("35=2|34=2|7=1|16=0", at=desk.now))
    assert said == "35=4|34=1|43=Y|123=Y|36=2| 35=V|34=2|43=Y|262=B| 35=4|34=3|43=Y|123=Y|36=4|"


def test_case_13_faults_are_rejected_and_counted_as_received() -> None:
    desk = Desk().live()
    entry = "279=0|269=0|55=GCZ6|270=1|271=1"
    assert "373=16|" in desk.take(fix(f"35=X|34=2|262=B|268=2|{entry}"))
    assert "371=1999|372=X|373=0|" in desk.take(fix(f"35=X|34=3|262=B|268=1|{entry}|1999=1"))
    assert "373=13|" in desk.take(fix(f"35=X|34=4|262=B|262=C|268=1|{entry}"))
    assert "373=15|" in desk.take(fix("35=X|34=5|262=B|268=1|269=0|279=0"))
    assert "372=zz|373=11|" in desk.take(fix("35=zz|34=6"))
    assert "35=j|34=7|45=7|372=D|380=3|" in desk.take(fix("35=D|34=7|11=1"))
    assert desk.session.incoming.expected == 8
    assert desk.session.lost is None
    assert [seq for seq, _, _ in desk.refused] == [2, 3, 4, 5, 6, 7]


def test_a_missing_number_ends_the_session() -> None:
    desk = Desk().live()
    assert "35=5|" in desk.take(seal(f"35=0|49=CME|56=MANDI|52={stamp()}|"))


@pytest.mark.parametrize("offset_s", [-121, 121])
def test_case_19_a_clock_that_is_off_ends_the_session(offset_s: int) -> None:
    desk = Desk().live()
    said = desk.take(fix("35=0|34=2", at=T0 + offset_s * SECOND))
    assert "35=3|34=2|45=2|371=52|372=0|373=10|" in said
    assert "SendingTime accuracy problem" in said
    assert desk.skews == [offset_s * SECOND]
    assert desk.session.incoming.expected == 2  # it can be sent again


def test_logout_is_answered() -> None:
    desk = Desk().live()
    assert desk.take(fix("35=5|34=2|58=end of week")) == "35=5|34=2|"
    assert desk.session.lost == "logged out by the venue: end of week"


def test_positions_give_a_number_past_all_we_sent() -> None:
    desk = Desk().live()
    desk.take(fix("35=0|34=2"))
    positions = desk.session.positions()
    assert positions["in"] == 2
    assert int(positions["out"]) >= 1000


def test_times_and_lengths_on_the_wire_are_right() -> None:
    desk = Desk()
    desk.session.on_open(T0)
    message = desk.session.to_send()[0]
    assert fields(message)["52"] == "20261121-03:23:17.000"
    body = message[message.index(b"35=") : message.index(b"10=")]
    assert seal(body) == message


def test_fixt_names_the_application_version() -> None:
    desk = Desk(begin_string="FIXT.1.1", application_version="9")
    desk.session.on_open(T0)
    assert fields(desk.session.to_send()[0])["1137"] == "9"
