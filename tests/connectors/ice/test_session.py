"""The session's rules one by one; the numbers are those of the conformance cases in the protocol notes."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from connectors.ice import sequence
from connectors.ice.constants import BRIDGED_ROWS, REPLAY_ROWS, REPLAY_TIMEOUT_NS, SECOND_NS
from market.schemas import BUST, CORRECTION, DIRTY, FLAG_REPLAYED, FLAG_SNAPSHOT, IMAGE, SELL, TRADE
from tests.connectors.ice.line import CONFIG, Line
from tests.connectors.ice.venue import FakeVenue

SYMBOL = "CT Z26"
KEY = "IFUS:CT:202612"


@pytest.fixture
def venue() -> FakeVenue:
    return FakeVenue((SYMBOL, "B F27"))


@pytest.fixture
def line(venue: FakeVenue) -> Line:
    line = Line(venue)
    line.open()
    return line


def qualities(line: Line, instrument: str | None) -> list[str]:
    line.flush()
    return [row["quality"] for row in line.rows["status"] if row["instrument"] == instrument]


def only(line: Line, op: str) -> list[dict[str, Any]]:
    return [request for request in line.venue.requests if request["op"] == op]


def test_logs_on_subscribes_and_quotes_the_images(line: Line) -> None:
    line.flush()
    assert [request["op"] for request in line.venue.requests] == ["auth", "subscribe", "subscribe", "subscribe"]
    assert {request["channel"]: request.get("depth") for request in only(line, "subscribe")} == {
        "status": None,
        "trades": None,
        "book": 5,
    }
    assert [row["flags"] for row in line.market()] == [FLAG_SNAPSHOT] * 2
    assert line.quotes()[0][3:] == (79 * 10**9, 5 * 10**9, 81 * 10**9, 5 * 10**9)
    assert qualities(line, KEY)[-1] == "LIVE"
    assert qualities(line, None) == ["LIVE", "LIVE"]  # one an exchange
    assert not line.gaps()


def test_case_27_second_copy_of_a_feed_is_dropped_and_counted(line: Line, venue: FakeVenue) -> None:
    for price in (8000, 8001, 8002):
        line.deliver(venue.trade(SYMBOL, price, 1) * 2)
    line.flush()
    assert [row[2] for row in line.trades()] == [1, 2, 3]
    assert line.session.counters["duplicates"] == 3


def test_hole_is_replayed_in_order_and_written_to_gaps(line: Line, venue: FakeVenue) -> None:
    lost = venue.trade(SYMBOL, 8000, 1) + venue.trade(SYMBOL, 8001, 1)
    assert len(lost) == 2
    line.session.receive(venue.trade(SYMBOL, 8002, 1)[0], line.tick())
    line.flush()
    (opened,) = line.rows["gaps"]
    assert (opened["seq_from"], opened["seq_to"], opened["ts_resolved"]) == (1, 2, None)
    assert qualities(line, KEY)[-1] == "GAP"
    line.exchange()
    line.flush()
    (gap,) = line.gaps().values()
    assert (gap["resolution"], gap["recovered_rows"], gap["reason"]) == ("replay", 2, "sequence_jump")
    assert [row["flags"] & FLAG_REPLAYED for row in line.market()[-3:]] == [2, 2, 0]
    assert [row["seq"] for row in line.market()[-3:]] == [1, 2, 3]
    assert qualities(line, KEY)[-1] == "LIVE"


def test_holes_close_together_are_asked_for_at_once(line: Line, venue: FakeVenue) -> None:
    lost, far = {1, 41, 81, 121}, 121 + BRIDGED_ROWS + 2
    frames = [venue.trade(SYMBOL, 8000, 1)[0] for _ in range(far + 1)]
    came = [frame for seq, frame in enumerate(frames, 1) if seq not in lost | {far}]
    for frame in came:
        line.session.receive(frame, line.tick())
    (first,) = (orjson.loads(request) for request in line.session.to_send())
    assert (first["from"], first["to"]) == (1, 1)  # the others are not known yet
    for frame in venue.answer(orjson.dumps(first)):
        line.session.receive(frame, line.tick())
    line.exchange()
    line.flush()
    assert [(request["from"], request["to"]) for request in only(line, "replay")] == [(1, 1), (41, 121), (far, far)]
    assert [row[2] for row in line.trades()] == list(range(1, far + 2))
    assert [(gap["seq_from"], gap["seq_to"]) for gap in line.gaps().values()] == [
        (seq, seq) for seq in sorted(lost | {far})
    ]
    assert {(gap["resolution"], gap["recovered_rows"]) for gap in line.gaps().values()} == {("replay", 1)}


def test_a_replay_that_comes_in_pieces_is_not_given_up(line: Line, venue: FakeVenue) -> None:
    frames = [venue.trade(SYMBOL, 8000, 1)[0] for _ in range(200)]
    for seq, frame in enumerate(frames, 1):
        if seq % 20 != 1:
            line.session.receive(frame, line.tick())
    while requests := line.session.to_send():
        for request in map(orjson.loads, requests):
            *rows, done = venue.answer(orjson.dumps(request))
            for frame in [*rows[:30], done]:  # more pieces than attempts
                line.session.receive(frame, line.tick())
    line.flush()
    assert [row[2] for row in line.trades()] == list(range(1, 201))
    assert {gap["resolution"] for gap in line.gaps().values()} == {"replay"}


def test_a_hole_that_is_open_when_the_socket_goes_is_as_wide_as_what_will_be_replayed(
    line: Line, venue: FakeVenue
) -> None:
    venue.trade(SYMBOL, 8000, 1)  # lost
    for _ in range(3):
        line.session.receive(venue.trade(SYMBOL, 8001, 1)[0], line.tick())
    line.close()
    line.flush()
    (gap,) = line.gaps().values()
    assert (gap["seq_from"], gap["seq_to"], gap["resolution"]) == (1, 4, None)
    line.open()
    line.flush()
    (gap,) = line.gaps().values()
    assert (gap["seq_to"], gap["recovered_rows"], gap["resolution"]) == (4, 4, "replay")
    assert [row[2] for row in line.trades()] == [1, 2, 3, 4]


def test_heartbeat_ahead_is_a_hole(line: Line, venue: FakeVenue) -> None:
    venue.trade(SYMBOL, 8000, 1)
    line.deliver(venue.heartbeats())
    line.flush()
    assert [row[2] for row in line.trades()] == [1]
    assert next(iter(line.gaps().values()))["reason"] == "heartbeat_ahead"


def test_clock_rows_need_both_channels_in_sequence(line: Line, venue: FakeVenue) -> None:
    book, trades = (beat for beat in venue.heartbeats() if b"status" not in beat)
    line.deliver([book])
    line.flush()
    assert line.clocks() == []
    line.deliver([trades])
    line.flush()
    assert sorted(line.clocks()) == [("IFEU", venue.clock), ("IFUS", venue.clock)]
    venue.trade(SYMBOL, 8000, 1)  # lost
    beats = venue.heartbeats()
    line.session.receive(next(beat for beat in beats if b'"trades"' in beat), line.tick())
    line.session.receive(next(beat for beat in beats if b'"book"' in beat), line.tick())
    line.flush()
    assert len(line.clocks()) == 2


def test_case_26_refused_replay_takes_images(line: Line, venue: FakeVenue) -> None:
    venue.window = 0
    venue.change(SYMBOL, "B", 7990, 2)  # lost
    line.deliver(venue.change(SYMBOL, "B", 7995, 1))
    line.flush()
    (gap,) = line.gaps().values()
    assert (gap["resolution"], gap["reason"], gap["recovered_rows"]) == ("snapshot", "replay_refused", 0)
    assert line.quotes(KEY)[-1][3] == 79_950_000_000
    flags = [row["flags"] for row in line.market() if row["instrument"] == KEY]
    assert flags == [FLAG_SNAPSHOT] * 2
    assert "RESYNC" in qualities(line, KEY)
    assert qualities(line, KEY)[-1] == "LIVE"


def test_replay_without_answer_is_given_up_after_two_seconds(line: Line, venue: FakeVenue) -> None:
    venue.trade(SYMBOL, 8000, 1)  # lost
    line.session.receive(venue.trade(SYMBOL, 8001, 1)[0], line.tick())
    assert [orjson.loads(request)["op"] for request in line.session.to_send()] == ["replay"]  # lost as well
    due = line.session.next_timer_ns()
    assert due is not None
    assert due - line.now == REPLAY_TIMEOUT_NS
    line.session.on_timer(due - 1)
    line.flush()
    assert line.trades() == []
    line.session.on_timer(due)
    line.flush()
    assert [row[2] for row in line.trades()] == [2]
    assert next(iter(line.gaps().values()))["reason"] == "replay_timeout"


def test_replay_that_waits_behind_another_is_not_given_up(line: Line, venue: FakeVenue) -> None:
    line.close()
    for number in range(10):
        venue.change(SYMBOL, "B", 7900, number + 1)
        venue.trade(SYMBOL, 8000, 1)
    line.session.on_open(line.tick())
    while requests := line.session.to_send():
        for request in requests:  # answered one after the other, and slowly
            for frame in venue.answer(request):
                line.session.on_timer(line.tick(SECOND_NS // 2))
                line.session.receive(frame, line.now)
    line.flush()
    assert [row[2] for row in line.trades()] == list(range(1, 11))
    assert {gap["resolution"] for gap in line.gaps().values()} == {"replay"}


def test_case_15_image_older_than_the_hole_is_not_taken(line: Line, venue: FakeVenue) -> None:
    old = orjson.dumps(venue._image(SYMBOL, 0))
    venue.window = 0
    venue.change(SYMBOL, "B", 7990, 2)  # lost
    line.session.receive(venue.change(SYMBOL, "B", 7995, 1)[0], line.tick())
    line.session.receive(orjson.dumps({"op": "error", "code": "replay_refused", "msg": ""}), line.tick())
    line.session.receive(old, line.tick())
    line.flush()
    assert len(line.quotes()) == 2  # those of the first images
    assert line.session.counters["images_stale"] == 1
    line.exchange()
    line.flush()
    assert line.quotes(KEY)[-1][3] == 79_950_000_000


def test_image_newer_than_held_changes_covers_them(line: Line, venue: FakeVenue) -> None:
    venue.window = 0
    venue.change(SYMBOL, "B", 7990, 2)  # lost
    frames = [
        venue.change(SYMBOL, "B", 7995, 1),
        venue.change(SYMBOL, "B", 7995, 0),
        venue.change(SYMBOL, "B", 7996, 3),
    ]
    line.deliver(frame for change in frames for frame in change)
    line.flush()
    assert line.quotes(KEY)[-1][3:5] == (79_960_000_000, 3 * 10**9)


@pytest.mark.parametrize(
    "change",
    [["B", "D", "12.34", 0, 0], ["S", "C", "99.99", 5, 1]],
    ids=["delete of an absent level", "change of an absent level"],
)
def test_case_14_change_that_does_not_fit_takes_an_image(line: Line, venue: FakeVenue, change: list[Any]) -> None:
    message = {"op": "book", "symbol": SYMBOL, "prev_seq": 0, "changes": [change], "eot": True}
    before = len(only(line, "snapshot"))
    frames = venue.publish("book", message)
    venue.client.channels["book"][-1]["changes"] = []  # type: ignore[union-attr]
    line.deliver(frames)
    assert line.session.counters["ladder_breaks"] == 1
    assert len(only(line, "snapshot")) == before + 1
    line.deliver(venue.change(SYMBOL, "B", 7995, 1))
    line.flush()
    assert line.quotes(KEY)[-1][3] == 79_950_000_000
    assert qualities(line, KEY)[-2:] == ["RESYNC", "LIVE"]


def test_case_14_change_before_its_image_waits_for_it(venue: FakeVenue) -> None:
    line = Line(venue, replace(CONFIG, channels=("trades", "book")))
    line.session.on_open(line.tick())
    (auth,) = line.session.to_send()
    line.session.receive(venue.answer(auth)[0], line.tick())
    trades, book = line.session.to_send()
    line.session.receive(venue.answer(trades)[0], line.tick())
    subscribed, *images = venue.answer(book)
    line.session.receive(subscribed, line.tick())
    line.session.receive(venue.change(SYMBOL, "B", 7995, 1)[0], line.tick())
    line.flush()
    assert line.quotes() == []
    line.deliver(images)
    line.flush()
    assert [quote[3] for quote in line.quotes() if quote[0] == KEY] == [79_000_000_000, 79_950_000_000]


def test_case_16_crossed_and_locked_books_are_quoted_and_counted(line: Line, venue: FakeVenue) -> None:
    line.deliver(venue.change(SYMBOL, "B", 8100, 1) + venue.change(SYMBOL, "B", 8150, 1))
    line.flush()
    assert [quote[3] for quote in line.quotes(KEY)[-2:]] == [81_000_000_000, 81_500_000_000]
    assert line.session.counters["crossed_or_locked"] == 2


def test_nothing_is_quoted_inside_an_event(line: Line, venue: FakeVenue) -> None:
    line.deliver(venue.change(SYMBOL, "B", 7995, 1, eot=False))
    line.flush()
    assert len(line.quotes()) == 2
    assert line.positions["book"] == 0  # a crash here must replay the whole event
    line.deliver(venue.change("B F27", "B", 7996, 1))
    line.flush()
    assert {(quote[0], quote[3]) for quote in line.quotes()[2:]} == {
        (KEY, 79_950_000_000),
        ("IFEU:B:202701", 79_960_000_000),
    }
    assert line.positions["book"] == 2


def test_depth_is_cut_and_deletes_beyond_it_are_nothing() -> None:
    venue = FakeVenue((SYMBOL,))
    line = Line(venue, replace(CONFIG, depth=2))
    line.open()
    line.deliver(frame for price in (7991, 7992, 7993) for frame in venue.change(SYMBOL, "B", price, 1))
    line.deliver(venue.change(SYMBOL, "B", 7900, 0))  # pushed out of our window long ago
    line.flush()
    assert line.session.counters["ladder_breaks"] == 0
    assert line.quotes(KEY)[-1][3] == 79_930_000_000
    assert line.books()[KEY] == line.ladders()[KEY]
    assert len(line.ladders()[KEY]) == 3  # two bids, and the ask of the image


def test_a_first_session_distrusts_what_the_log_may_have_of_its_books(line: Line) -> None:
    line.flush()
    for key in line.ladders():
        said = [row["action"] for row in line.rows["depth"] if row["instrument"] == key]
        assert said[:2] == [DIRTY, IMAGE]


def test_depth_ends_an_event_once_and_is_dirty_until_the_image(line: Line, venue: FakeVenue) -> None:
    line.flush()
    before = len(line.rows["depth"])
    line.deliver(venue.change(SYMBOL, "B", 7995, 1, eot=False))
    line.flush()
    assert len(line.rows["depth"]) == before
    line.deliver(venue.change(SYMBOL, "B", 7996, 1))
    line.flush()
    assert [row["last"] for row in line.rows["depth"][before:]] == [False, True]
    venue.window = 0
    venue.change(SYMBOL, "B", 7997, 1)  # lost
    line.deliver(venue.change(SYMBOL, "B", 7998, 1))
    line.flush()
    said = [row["action"] for row in line.rows["depth"][before + 2 :] if row["instrument"] == KEY]
    assert said.index(DIRTY) < said.index(IMAGE)
    assert line.books()[KEY] == line.ladders()[KEY]


@pytest.mark.parametrize(
    ("state", "quality"),
    [("HALT", "HALTED"), ("LIMIT", "HALTED"), ("CLOSE", "CLOSED"), ("PREOPEN", "CLOSED"), ("EXPIRED", "CLOSED")],
)
def test_market_state_becomes_quality(line: Line, venue: FakeVenue, state: str, quality: str) -> None:
    line.deliver(venue.publish("status", {"op": "status", "symbol": SYMBOL, "state": state}))
    assert qualities(line, KEY)[-1] == quality
    assert line.rows["status"][-1]["reason"] == state.lower()
    line.deliver(venue.publish("status", {"op": "status", "symbol": SYMBOL, "state": "OPEN"}))
    assert qualities(line, KEY)[-1] == "LIVE"


def test_states_are_among_the_ticks_as_in_status(line: Line) -> None:
    line.close()
    line.open()
    line.flush()
    assert qualities(line, KEY) == line.states(KEY)
    assert line.states(None) == ["LIVE", "STALE", "LIVE"] * 2  # of each shard


def test_case_17_busts_and_corrections_are_rows_in_sequence(line: Line, venue: FakeVenue) -> None:
    line.deliver(venue.trade(SYMBOL, 8000, 1))
    terms = {"px": "80.5", "qty": 2, "aggr": "S", "cond": ""}
    line.deliver(venue.publish("trades", {"op": "trade_correct", "symbol": SYMBOL, "trade_id": "T1"} | terms))
    line.deliver(venue.publish("trades", {"op": "trade_bust", "symbol": SYMBOL, "trade_id": "T1"}))
    line.deliver(venue.trade(SYMBOL, 8000, 1))
    line.flush()
    rows = [row for row in line.rows["ticks"] if row["trade_id"] is not None]
    assert [(row["kind"], row["seq"], row["instrument"], row["trade_id"]) for row in rows] == [
        (TRADE, 1, KEY, "T1"),
        (CORRECTION, 2, KEY, "T1"),
        (BUST, 3, KEY, "T1"),
        (TRADE, 4, KEY, "T2"),
    ]
    assert [(row["price"], row["size"], row["side"]) for row in rows[1:3]] == [
        (80_500_000_000, 2 * 10**9, SELL),
        (None, None, None),
    ]
    assert not line.gaps()
    assert not line.rows["rejected"]


def test_bad_rows_go_to_the_ledger_and_the_feed_goes_on(line: Line, venue: FakeVenue) -> None:
    line.deliver([b"no json"])
    line.deliver(venue.trade(SYMBOL, 8000, 0))
    line.deliver(venue.trade("GC Z26", 8000, 1))
    line.deliver(venue.trade(SYMBOL, 8000, 1))
    line.flush()
    reasons = [row["reason"] for row in line.rows["rejected"]]
    assert reasons == ["malformed_frame", "size_not_positive", "unknown_instrument"]
    assert len(line.trades()) == 1


def test_absurd_sequence_number_does_not_silence_the_channel(line: Line, venue: FakeVenue) -> None:
    good = orjson.loads(venue.trade(SYMBOL, 8000, 1)[0])
    line.deliver([orjson.dumps(good | {"seq": 10**15}), orjson.dumps(good)])
    line.flush()
    assert len(line.trades()) == 1
    assert line.rows["rejected"][0]["reason"] == "out_of_range"


def test_resync_required_takes_images_and_goes_on_after_current(line: Line, venue: FakeVenue) -> None:
    venue.change(SYMBOL, "B", 7990, 2)  # lost
    message = {"op": "resync_required", "channel": "book", "expected": 1, "current": 1, "reason": "restart"}
    line.deliver([orjson.dumps(message)])
    line.deliver(venue.change(SYMBOL, "B", 7995, 1))
    line.flush()
    (gap,) = line.gaps().values()
    assert (gap["seq_from"], gap["seq_to"], gap["resolution"]) == (1, 1, "snapshot")
    assert [quote[3] for quote in line.quotes(KEY)[-2:]] == [79_900_000_000, 79_950_000_000]


@pytest.mark.parametrize("crash", [False, True])
def test_lost_session_is_a_gap_and_new_images(line: Line, venue: FakeVenue, crash: bool) -> None:
    line.deliver(venue.trade(SYMBOL, 8000, 1) + venue.change(SYMBOL, "B", 7995, 1))
    line.flush()
    venue.resumable = False
    if crash:
        line.crash()
    else:
        line.close()
        line.open()
    line.deliver(venue.trade(SYMBOL, 8001, 2))
    line.flush()
    gaps = {gap["channel"]: gap for gap in line.gaps().values()}
    assert {(gap["resolution"], gap["reason"]) for gap in gaps.values()} == {("snapshot", "session_reset")}
    assert gaps["trades"]["seq_from"] == 2
    assert all(gap["ts_resolved"] for gap in gaps.values())
    assert [row["seq"] for row in line.rows["ticks"] if row["trade_id"]] == [1, 1]
    assert line.positions["session"] == "S2"
    assert qualities(line, KEY)[-1] == "LIVE"


def test_another_subscription_does_not_resume(line: Line) -> None:
    line.flush()
    line.config = replace(CONFIG, symbols=(SYMBOL,))
    line.crash()
    line.flush()
    assert line.positions["session"] == "S2"
    assert {gap["reason"] for gap in line.gaps().values()} == {"subscription_changed"}


def test_connection_loss_makes_the_venue_stale_until_it_returns(line: Line) -> None:
    line.close()
    assert qualities(line, None)[-2:] == ["STALE", "STALE"]
    line.session.on_close(None, line.tick(), "refused")
    line.open()
    assert qualities(line, None) == ["LIVE", "LIVE", "STALE", "STALE", "LIVE", "LIVE"]


def test_case_26_expiry_in_session_logs_on_again_at_once_but_refusal_waits(line: Line) -> None:
    error = {"op": "error", "code": "auth_expired", "msg": "token"}
    line.deliver([orjson.dumps(error)])
    assert line.session.lost == "auth_expired: token"
    line.session.on_close(4001, line.tick())
    assert line.session.min_retry_s == 0
    line.session.on_open(line.tick())
    assert line.session.lost is None
    line.session.receive(orjson.dumps(error | {"code": "auth_failed"}), line.tick())
    line.session.on_close(4001, line.tick())
    assert line.session.min_retry_s >= 5


@pytest.mark.parametrize(("code", "least_s"), [(4003, 5), (4009, 5), (4008, 0), (1012, 0), (1006, 0)])
def test_close_codes_set_the_pace(line: Line, code: int, least_s: float) -> None:
    line.session.on_close(code, line.tick())
    assert line.session.min_retry_s >= least_s
    assert (line.session.min_retry_s == 0) == (least_s == 0)


def test_case_26_slow_consumer_close_resumes_without_loss(line: Line, venue: FakeVenue) -> None:
    line.session.receive(orjson.dumps({"op": "error", "code": "slow_consumer", "msg": ""}), line.tick())
    line.session.on_close(4008, line.tick())
    for price in range(8000, 8005):
        venue.trade(SYMBOL, price, 1)
    line.open()
    line.flush()
    assert [row[2] for row in line.trades()] == [1, 2, 3, 4, 5]
    (gap,) = line.gaps().values()
    assert (gap["reason"], gap["recovered_rows"]) == ("reconnect", 5)


def test_long_absence_is_replayed_in_parts(line: Line, venue: FakeVenue) -> None:
    line.close()
    for _ in range(2 * REPLAY_ROWS + 1):
        venue.trade(SYMBOL, 8000, 1)
    line.open()
    line.flush()
    assert [row[2] for row in line.trades()] == list(range(1, 2 * REPLAY_ROWS + 2))
    assert [request["to"] - request["from"] + 1 for request in only(line, "replay")] == [REPLAY_ROWS, REPLAY_ROWS, 1]
    (gap,) = line.gaps().values()
    assert gap["recovered_rows"] == 2 * REPLAY_ROWS + 1


def test_full_hold_back_loses_nothing(line: Line, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "HELD_ROWS", 3)
    venue.trade(SYMBOL, 8000, 1)  # lost
    for _ in range(10):
        line.session.receive(venue.trade(SYMBOL, 8001, 1)[0], line.tick())
    assert line.session.counters["held_dropped"] == 7
    line.exchange()
    line.flush()
    assert [row[2] for row in line.trades()] == list(range(1, 12))


def test_silent_venue_is_given_up(venue: FakeVenue) -> None:
    line = Line(venue)
    line.session.on_open(line.tick())
    due = line.session.next_timer_ns()
    assert due == line.now + 10 * SECOND_NS
    line.session.on_timer(due)
    assert line.session.lost is not None


def test_count_that_restarts_without_notice_is_noticed(line: Line, venue: FakeVenue) -> None:
    line.deliver(venue.trade(SYMBOL, 8000, 1))
    beat = orjson.dumps({"op": "heartbeat", "channel": "trades", "seq": 0, "ts": venue.clock})
    line.deliver([beat] * 3)
    assert line.session.lost is not None


def test_gap_that_a_crash_leaves_open_is_resolved_by_the_next_process(line: Line, venue: FakeVenue) -> None:
    venue.trade(SYMBOL, 8000, 1)  # lost
    line.session.receive(venue.trade(SYMBOL, 8001, 1)[0], line.tick())
    line.flush()
    assert "gaps" in line.positions
    line.crash()
    line.flush()
    assert [row[2] for row in line.trades()] == [1, 2]
    assert line.gaps()["ICE/S1/trades/1"]["resolution"] == "replay"


def test_positions_are_plain_values(line: Line) -> None:
    line.flush()
    assert orjson.loads(orjson.dumps(line.positions)) == line.positions
    assert all(type(value) in (int, str) for value in line.positions.values())


def test_secret_is_not_shown() -> None:
    assert "secret=" not in repr(CONFIG)


def test_the_highest_number_there_is_does_not_stop_the_feed(line: Line) -> None:
    message = {"op": "resync_required", "channel": "book", "expected": 1, "reason": "restart"}
    for current in (2**63 - 1, 2**63 - 2):
        line.deliver([orjson.dumps(message | {"current": current})])
    line.close()
    line.open()
    line.flush()
    assert [row["reason"] for row in line.rows["rejected"]] == ["malformed_frame"]
    assert max(gap["seq_to"] for gap in line.gaps().values()) < 2**63
