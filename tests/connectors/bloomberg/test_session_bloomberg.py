"""The state machine of each subscription, and the rows that come of updates. No socket."""

import itertools
from typing import Any

import orjson
import pytest
from bloomberg_events import GOLD, T0, USDINR, Fed, data, event, image, kinds, status
from hypothesis import given
from hypothesis import strategies as st

from connectors.bloomberg.session import RESUBSCRIBE, SUBSCRIBE, UNSUBSCRIBE
from connectors.bloomberg.watched import Phase
from feeds_simulator.bloomberg.blpapi.event import Message
from market.schemas import BUY, FLAG_SNAPSHOT, SELL

P = 10**9


def trade(key: int, price: float, size: int | None, trade_id: str | None = None, **more: Any) -> Message:
    fields: dict[str, Any] = {"LAST_PRICE": price, "EVT_TRADE_PRICE_RT": price, "TRADE_UPDATE_STAMP_RT": T0} | more
    if size is not None:
        fields |= {"SIZE_LAST_TRADE": size, "EVT_TRADE_SIZE_RT": size}
    if trade_id is not None:
        fields["EVT_TRADE_IDENTIFIER_RT"] = trade_id
    return data(key, "TRADE", "NEW", **fields)


class TestSubscriptions:
    def test_asks_for_all_and_the_news(self) -> None:
        fed = Fed()
        fed.session.on_open(T0)
        asked = [(command.kind, command.key, command.topic) for command in fed.session.commands()]
        assert asked == [
            (SUBSCRIBE, 1, "USDINR Curncy"),
            (SUBSCRIBE, 2, "GCZ6 Comdty"),
            (SUBSCRIBE, 0, "//blp/newsheadlines/topic/ALL"),
        ]
        assert fed.session.commands() == []

    def test_goes_live_with_the_image(self) -> None:
        fed = Fed()
        fed.session.on_open(T0)
        fed.say(3, status(USDINR, "SubscriptionStarted", exceptions=[]))
        fed.say(8, data(USDINR, "QUOTE", "BID", BID=95.0))  # cannot be: but without an image it counts for nothing
        assert [row["kind"] for row in fed.rows() if row["kind"] != "state"] == []
        fed.say(8, image(USDINR, BID_UPDATE_STAMP_RT=T0 + 5_000, ASK_UPDATE_STAMP_RT=T0 + 3_000))
        quote, state = fed.rows()
        assert (quote["bid_price"], quote["bid_size"]) == (95_610_000_000, P)
        assert (quote["ts_event"], quote["ts_recv"], quote["flags"]) == (T0 + 5_000, fed.now, FLAG_SNAPSHOT)
        assert (state["kind"], state["size"]) == ("state", 0)
        qualities = [row["quality"] for row in fed.ledgers()["status"] if row["instrument"] == "BBG:USDINR:SPOT"]
        assert qualities == ["RESYNC", "LIVE"]

    def test_a_refused_one_is_tried_again_ever_more_rarely(self) -> None:
        fed = Fed()
        fed.session.on_open(T0)
        fed.session.commands()
        waits = []
        for _ in range(10):
            fed.say(3, status(GOLD, "SubscriptionFailure", reason={"category": "BAD_SEC", "description": "unknown"}))
            due = fed.session.watched[GOLD].deadline_ns
            assert due is not None
            waits.append((due - fed.now) // P)
            fed.session.watched[USDINR].deadline_ns = None
            fed.session.on_timer(due)
            assert [(command.kind, command.key) for command in fed.session.commands()] == [(SUBSCRIBE, GOLD)]
        assert waits[:3] == [5, 10, 20]
        assert waits[-1] == 600
        rejected = fed.ledgers()["rejected"]
        assert [(row["instrument"], row["reason"]) for row in rejected] == [("BBG:GC:202612", "unknown_instrument")]

    def test_an_image_that_does_not_come_is_asked_for_again(self) -> None:
        fed = Fed()
        fed.session.on_open(T0)
        fed.session.commands()
        due = fed.session.next_timer_ns()
        assert due is not None
        fed.session.on_timer(due)
        assert {(command.kind, command.key) for command in fed.session.commands()} == {
            (RESUBSCRIBE, USDINR),
            (RESUBSCRIBE, GOLD),
        }

    def test_an_expired_month_is_left_and_the_next_one_asked_for(self) -> None:
        fed = Fed(keys=())
        fed.session.on_open(T0)
        fed.session.commands()
        held = {watched.instrument for watched in fed.session.watched.values()}
        assert {"BBG:GC:202612", "BBG:GC:202702", "BBG:USDINR:SPOT"} <= held
        january = 1_798_848_000_000_000_000  # 2 January 2027
        for watched in fed.session.watched.values():
            watched.deadline_ns = None
        fed.session.on_timer(january)
        commands = {(command.kind, command.topic) for command in fed.session.commands()}
        assert (UNSUBSCRIBE, "GCZ6 Comdty") in commands
        assert (SUBSCRIBE, "GCJ7 Comdty") in commands
        assert (SUBSCRIBE, "USDINR Curncy") not in commands


class TestRows:
    def test_merges_onto_the_image_and_null_clears(self) -> None:
        fed = Fed().open()
        fed.say(8, data(USDINR, "QUOTE", "BID", BID=95.6125))
        fed.say(8, data(USDINR, "QUOTE", "ASK", ASK=None, ASK_SIZE=None))
        fed.say(8, data(USDINR, "QUOTE", "ASK", ASK_SIZE=5))  # a size without a price is nothing
        first, second = fed.rows()
        assert (first["bid_price"], first["bid_size"], first["ask_price"]) == (95_612_500_000, P, 95_620_000_000)
        assert (second["bid_price"], second["ask_price"], second["ask_size"]) == (95_612_500_000, None, None)
        assert first["seq"] < second["seq"]

    def test_what_did_not_change_the_top_is_no_row(self) -> None:
        fed = Fed().open()
        fed.say(8, data(USDINR, "QUOTE", "BID", BID=95.61, BID_UPDATE_STAMP_RT=T0 + 9))
        fed.say(8, data(USDINR, "SUMMARY", "INTRADAY", VOLUME=5))
        assert fed.rows() == []

    def test_trades(self) -> None:
        fed = Fed().open()
        fed.say(8, trade(GOLD, 4150.1, 2, "t1", EVT_TRADE_AGGRESSOR_RT="S"))
        (row,) = fed.rows()
        assert (row["kind"], row["instrument"], row["price"], row["size"]) == (
            "trade",
            "BBG:GC:202612",
            4150_100_000_000,
            2 * P,
        )
        assert (row["side"], row["trade_id"], row["ts_event"]) == (SELL, "t1", T0)

    def test_a_size_that_did_not_change_is_the_last_one(self) -> None:
        fed = Fed().open()
        fed.say(8, trade(GOLD, 4150.1, 2, "t1"))
        fed.say(8, trade(GOLD, 4150.2, None, "t2"))
        assert [(row["price"], row["size"]) for row in fed.rows()] == [
            (4150_100_000_000, 2 * P),
            (4150_200_000_000, 2 * P),
        ]

    def test_a_price_without_any_size_is_indicative(self) -> None:
        fed = Fed().open()
        fed.say(8, trade(USDINR, 95.61, None))
        assert fed.rows() == []
        assert fed.session.counters["indicative"] == 1

    def test_the_same_trade_again_is_counted_not_written(self) -> None:
        fed = Fed().open()
        for trade_id in ("t1", "t1", "t2", "t1"):
            fed.say(8, trade(GOLD, 4150.1, 2, trade_id))
        assert [row["trade_id"] for row in fed.rows()] == ["t1", "t2"]
        assert fed.session.counters["duplicate"] == 2

    def test_bust_and_correction(self) -> None:
        fed = Fed().open()
        fed.say(8, data(GOLD, "TRADE", "CANCEL", EVT_TRADE_IDENTIFIER_RT="t1", EVT_TRADE_CANCEL_TIME_RT=T0))
        fields = {"EVT_TRADE_PRICE_RT": 4150.3, "EVT_TRADE_SIZE_RT": 4, "EVT_TRADE_AGGRESSOR_RT": "B"}
        fed.say(8, data(GOLD, "TRADE", "CORRECTION", EVT_TRADE_ORIGINAL_IDENTIFIER_RT="t2",
                        EVT_TRADE_IDENTIFIER_RT="t9", **fields))  # fmt: skip
        fed.say(8, data(GOLD, "TRADE", "CANCEL"))  # of what?
        bust, correction = fed.rows()
        assert (bust["kind"], bust["trade_id"], bust["price"], bust["ts_event"]) == ("bust", "t1", None, T0)
        assert (correction["kind"], correction["trade_id"]) == ("correction", "t2")
        assert (correction["price"], correction["size"], correction["side"]) == (4150_300_000_000, 4 * P, BUY)
        assert [row["reason"] for row in fed.ledgers()["rejected"]] == ["missing_field"]

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (trade(GOLD, 4150.1, 0, "t"), "size_not_positive"),
            (trade(GOLD, 0.0, 1, "t"), "out_of_range"),
            (trade(GOLD, -4150.1, 1, "t"), "out_of_range"),
            (trade(GOLD, 4150.15, 1, "t"), "off_tick"),
            (trade(GOLD, 41501.0, 1, "t"), "implausible_price"),
            (trade(GOLD, 415.0, 1, "t"), "implausible_price"),
            (trade(GOLD, 1e300, 1, "t"), "out_of_range"),
            (data(GOLD, "QUOTE", "BID", BID=0.0), "out_of_range"),
            (data(GOLD, "QUOTE", "BID", BID=-1.0), "out_of_range"),
        ],
    )
    def test_case_28_insane_prices_are_kept_apart_with_a_reason(self, message: Message, reason: str) -> None:
        fed = Fed().open()
        fed.say(8, trade(GOLD, 4150.1, 1, "before"))
        assert kinds(fed.rows()) == ["trade"]
        fed.say(8, message)
        assert "trade" not in kinds(fed.rows())
        rejected = fed.ledgers()["rejected"]
        assert reason in {row["reason"] for row in rejected}
        assert all(row["instrument"] == "BBG:GC:202612" for row in rejected)

    def test_case_28_oil_may_be_negative(self) -> None:
        fed = Fed(("BBG:CL:202701",)).open()
        fed.say(8, trade(1, -37.63, 1, "t"))
        assert [row["price"] for row in fed.rows()] == [-37_630_000_000]

    def test_the_state_of_the_security(self) -> None:
        fed = Fed().open()
        for state in ("HALTED", "TRADING", "CLOSED"):
            fed.say(8, data(GOLD, "SUMMARY", "INTRADAY", RT_SIMP_SEC_STATUS=state))
        assert [row["quality"] for row in fed.ledgers()["status"]] == ["HALTED", "LIVE", "CLOSED"]
        assert kinds(fed.rows()) == ["state"] * 3


class TestLosses:
    def test_dataloss_opens_a_gap_that_an_image_closes(self) -> None:
        fed = Fed().open()
        fed.say(8, data(USDINR, "SUMMARY", "DATALOSS"))
        assert [(command.kind, command.key) for command in fed.session.commands()] == [(RESUBSCRIBE, USDINR)]
        fed.say(8, data(USDINR, "SUMMARY", "DATALOSS"))  # once is enough
        fed.say(8, data(USDINR, "QUOTE", "BID", BID=95.0))
        assert kinds(fed.rows()) == ["state"]
        fed.say(8, image(USDINR, 95.7, 95.71))
        found = fed.ledgers()
        opened, closed = found["gaps"]
        assert (opened["venue"], opened["channel"], opened["ts_resolved"]) == ("BBG", "USDINR Curncy", None)
        assert (closed["gap_id"], closed["resolution"]) == (opened["gap_id"], "snapshot")
        assert [row["quality"] for row in found["status"]] == ["GAP", "LIVE"]
        assert [row["bid_price"] for row in fed.rows() if row["kind"] == "quote"] == [95_700_000_000]

    def test_a_loss_before_the_first_image_is_a_gap_from_the_subscription_on(self) -> None:
        fed = Fed()
        fed.session.on_open(T0)
        fed.say(3, status(USDINR, "SubscriptionStarted", exceptions=[], streamIds=["1"]))
        fed.say(8, data(USDINR, "SUMMARY", "DATALOSS"))
        (opened,) = fed.ledgers()["gaps"]
        assert (opened["channel"], opened["seq_from"], opened["ts_resolved"]) == ("USDINR Curncy", T0, None)
        assert RESUBSCRIBE not in [command.kind for command in fed.session.commands()]  # the image is on its way
        fed.say(8, image(USDINR))
        (closed,) = fed.ledgers()["gaps"]
        assert (closed["gap_id"], closed["resolution"]) == (opened["gap_id"], "snapshot")

    def test_a_loss_without_subscription_or_connection_is_no_gap_of_its_own(self) -> None:
        fed = Fed().open()
        fed.say(3, status(USDINR, "SubscriptionFailure", reason={"category": "LIMIT", "description": "too many"}))
        fed.ledgers()
        fed.say(1, Message("DataLoss", {"numMessagesDropped": 9}))
        assert [row["channel"] for row in fed.ledgers()["gaps"]] == ["GCZ6 Comdty"]
        fed.say(2, Message("SessionConnectionDown", {"description": "reset"}))
        fed.ledgers()
        fed.say(1, Message("DataLoss", {"numMessagesDropped": 9}))
        assert fed.ledgers()["gaps"] == []

    def test_data_loss_of_no_subscription_is_of_all(self) -> None:
        fed = Fed().open()
        fed.say(1, Message("DataLoss", {"numMessagesDropped": 9}))
        assert {command.key for command in fed.session.commands()} == {USDINR, GOLD}
        assert fed.session.counters["dropped_by_sdk"] == 9

    def test_a_lost_connection_is_one_gap_for_all(self) -> None:
        fed = Fed().open()
        fed.say(2, Message("SessionConnectionDown", {"description": "reset"}))
        for key in (USDINR, GOLD):
            fed.say(3, status(key, "SubscriptionStreamsDeactivated", streams=[]))
        found = fed.ledgers()
        assert [(row["channel"], row["ts_resolved"]) for row in found["gaps"]] == [("ticks", None)]
        assert {row["quality"] for row in found["status"]} == {"STALE"}
        fed.say(2, Message("SessionConnectionUp", {}))
        for key in (USDINR, GOLD):
            fed.say(3, status(key, "SubscriptionStreamsActivated", streams=[]))
            assert fed.ledgers()["gaps"] == []
            fed.say(8, image(key))
        gaps = fed.ledgers()["gaps"]
        assert [(row["channel"], row["resolution"]) for row in gaps] == [("ticks", "snapshot")]

    def test_a_restart_is_a_gap_and_numbers_go_on(self) -> None:
        before = Fed().open()
        before.say(8, data(USDINR, "SUMMARY", "DATALOSS"))  # still open when the process dies
        resume = before.session.positions()
        after = Fed(resume=resume)
        after.now = before.now - 10**12  # even if the clock went back
        after.session.on_open(after.now)
        opened = after.ledgers()["gaps"]
        assert [(row["channel"], row["reason"]) for row in opened] == [("ticks", "restart")]
        for key in (USDINR, GOLD):
            after.say(8, image(key))
        assert {row["channel"] for row in after.ledgers()["gaps"]} == {"ticks", "USDINR Curncy"}
        assert all(row["seq"] > int(resume["seq"]) for row in after.rows() if row["seq"] is not None)
        assert "gaps" not in after.session.positions()

    def test_a_slow_consumer_loses_quotes_only_and_counts_them(self) -> None:
        fed = Fed().open()
        fed.say(1, Message("SlowConsumerWarning", {}))
        for tick in range(5):
            fed.say(8, data(USDINR, "QUOTE", "BID", BID=95.0 + tick / 400))
            fed.say(8, trade(GOLD, 4150.1, 1, f"t{tick}"))
        assert kinds(fed.rows()) == ["trade"] * 5
        fed.session.on_timer(fed.now + P)
        (quote,) = fed.rows()
        assert quote["bid_price"] == 95_010_000_000
        fed.say(1, Message("SlowConsumerWarningCleared", {"eventsDropped": 0}))
        assert fed.session.counters["conflated"] == 4
        gap = fed.ledgers()["gaps"][-1]
        assert (gap["channel"], gap["resolution"], gap["reason"]) == (
            "quotes",
            "conflated",
            "slow consumer: 4 quotes conflated",
        )
        fed.say(8, data(USDINR, "QUOTE", "BID", BID=95.5))
        assert kinds(fed.rows()) == ["quote"]

    def test_the_end_of_the_sdks_session_ends_ours(self) -> None:
        fed = Fed().open()
        fed.say(2, Message("SessionTerminated", {"reason": {"category": "X", "description": "revoked"}}))
        assert fed.session.lost == "SessionTerminated: revoked"
        fed.session.on_close(None, fed.now, "")
        assert all(watched.phase is Phase.SILENT for watched in fed.session.watched.values())

    def test_a_venue_that_is_lost_again_before_all_images_costs_no_more_each_time(self) -> None:
        fed = Fed().open()
        fed.say(8, image(USDINR))
        for _ in range(300):
            fed.session.on_close(None, fed.now, "lost")
            fed.session.on_open(fed.now)
        assert len(orjson.loads(str(fed.session.positions()["gaps"]))) <= 110
        found = fed.ledgers()["gaps"]
        opened = [row for row in found if row["ts_resolved"] is None]
        superseded = [row for row in found if row["resolution"] == "superseded"]
        assert len(opened) - len(superseded) <= 110


class TestNews:
    def story(self, number: int, **more: Any) -> Message:
        fields = {"STORY_ID": f"N{number}", "STORY_TIME_RT": T0, "HEADLINE": "Duty cut", "BODY": "", "URGENCY": 2}
        return Message("NewsHeadline", fields | more, data(0, "", "").correlationId())

    def test_a_headline_is_a_row_once(self) -> None:
        fed = Fed().open()
        fed.say(8, self.story(1, TOPIC_CODES="gold,silver", TICKERS="GCZ6 Comdty,IBM US Equity"))
        fed.say(8, self.story(1))
        (row,) = fed.ledgers()["news"]
        assert (row["news_id"], row["venue"], row["topics"], row["instruments"]) == (
            "N1",
            "BBG",
            "gold silver",
            "BBG:GC:202612",
        )
        assert (row["ts_event"], row["urgency"]) == (T0, 2)

    def test_without_news_there_are_prices(self) -> None:
        fed = Fed()
        fed.session.on_open(T0)
        fed.say(3, status(0, "SubscriptionFailure", reason={"category": "NOT_AUTHORIZED", "description": "no news"}))
        fed.say(8, image(USDINR))
        assert "quote" in kinds(fed.rows())
        assert "no news" in fed.ledgers()["rejected"][0]["detail"]


UPDATES = st.lists(
    st.one_of(
        st.builds(
            lambda key, bid, size: data(key, "QUOTE", "BID", BID=bid, **({} if size is None else {"BID_SIZE": size})),
            st.sampled_from((USDINR, GOLD)), st.sampled_from((None, 95.1, 95.2)), st.sampled_from((None, 1, 2)),
        ),
        st.builds(
            lambda key, size: trade(key, 95.5, size), st.sampled_from((USDINR, GOLD)), st.sampled_from((1, None))
        ),
        st.sampled_from((data(USDINR, "SUMMARY", "DATALOSS"), image(USDINR), image(GOLD, None, 95.3))),
    ),
    max_size=30,
)  # fmt: skip


@given(UPDATES, st.lists(st.integers(0, 30)))
def test_rows_do_not_depend_on_how_updates_are_grouped_into_events(messages: list[Message], cuts: list[int]) -> None:
    def rows(groups: list[list[Message]]) -> tuple[Any, Any, Any]:
        fed = Fed().open()
        for group in groups:
            fed.session.receive(event(8, *group), T0 + 10**9)
        return fed.rows(), fed.ledgers(), fed.session.positions()

    edges = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    grouped = [messages[start:end] for start, end in itertools.pairwise(edges)]
    assert rows(grouped) == rows([[message] for message in messages])
