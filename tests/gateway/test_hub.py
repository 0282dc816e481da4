"""Sequence, images, resume, duplicates and status: what one client is told of each stream."""

from typing import Any

import pytest
from gateway_support import (
    GC,
    GOLD,
    T0_NS,
    TOPIC,
    Json,
    bar,
    book,
    drain_all,
    feed_gap,
    new_queue,
    opportunity,
    own_trade,
    quote,
    rows,
    status,
    trade,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth import Grant
from gateway.client import ClientQueue
from gateway.errors import RequestError
from gateway.hub import MAX_SUBSCRIPTIONS, Hub
from gateway.metrics import Counts
from gateway.protocol import Since, Subscribe
from gateway.rows import BarVersion
from gateway.stream import BAR_MEMORY_NS, BarMemory
from market.topics import USER_TRADES


def new_hub(**options: Any) -> Hub:
    hub = Hub(epoch="e1", now=lambda: T0_NS, counts=Counts(), **options)
    hub.finish_prime()
    return hub


def subscribe(
    hub: Hub,
    channel: str = "trades",
    *instruments: str,
    queue: ClientQueue | None = None,
    since: Since | None = None,
    interval: str = "",
    request_id: int = 1,
) -> ClientQueue:
    if queue is None:
        queue = new_queue()
        hub.join(queue)
    request = Subscribe(
        id=request_id,
        channel=channel,
        interval=interval,
        instruments=instruments or ("*",),
        conflate_ms=0,
        since=since,
    )
    hub.subscribe(queue, request)
    return queue


def told(queue: ClientQueue) -> list[Json]:
    return drain_all(queue)


def brief(messages: list[Json]) -> list[tuple[object, ...]]:
    return [(m["op"], m["seq"], m["data"]["seq"]) for m in messages if m["op"] in ("snapshot", "update")]


def test_the_image_comes_first_then_updates_rise_by_one() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(10), trade(11)))
    queue = subscribe(hub)
    hub.publish(TOPIC, rows("ticks", trade(12), trade(13)))
    messages = told(queue)
    assert messages[0] == {
        "op": "subscribed",
        "id": 1,
        "channel": "trades",
        "instruments": [GC],
        "conflate_ms": 0,
    }
    assert brief(messages) == [("snapshot", 2, 11), ("update", 3, 12), ("update", 4, 13)]


def test_where_nobody_logs_in_all_see_the_trades_of_one_user_if_any() -> None:
    hub = new_hub(anonymous=Grant(user="asha"))
    hub.publish(USER_TRADES, rows("trade_events", own_trade(1), own_trade(2, "ben")))
    messages = told(subscribe(hub, "user.trades"))
    assert [m["data"]["user_id"] for m in messages if m["op"] == "snapshot"] == ["asha"]
    with pytest.raises(RequestError, match="each user's own"):
        subscribe(new_hub(), "user.trades")


def test_each_stream_has_its_own_sequence() -> None:
    hub = new_hub()
    queue = subscribe(hub)
    hub.publish(TOPIC, rows("ticks", trade(1), quote(2), trade(3, GOLD), trade(4)))
    updates = [(m["instrument"], m["seq"]) for m in told(queue) if m["op"] == "update"]
    assert updates == [(GC, 1), (GOLD, 1), (GC, 2)]


def test_an_instrument_that_appears_later_gets_an_image_and_its_first_row_counts() -> None:
    hub = new_hub()
    queue = subscribe(hub, "trades", "XIMC:*")
    hub.publish(TOPIC, rows("ticks", trade(1), trade(2, GOLD), trade(3, GOLD)))
    assert brief(told(queue)) == [("snapshot", 0, 2), ("update", 1, 2), ("update", 2, 3)]


def test_rows_of_the_tail_make_the_image_and_are_not_sent() -> None:
    hub = Hub(epoch="e1", now=lambda: T0_NS, counts=Counts())
    early = subscribe(hub, "quotes")
    hub.prime(TOPIC, rows("ticks", quote(1), quote(2)))
    hub.finish_prime()
    hub.publish(TOPIC, rows("ticks", quote(3)))
    assert brief(told(early)) == [("snapshot", 0, 2), ("update", 1, 3)]


def test_resume_gives_every_missed_update_and_no_image() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", *(trade(seq) for seq in range(1, 11))))
    queue = subscribe(hub, since=Since(epoch="e1", seq=6))
    hub.publish(TOPIC, rows("ticks", trade(11)))
    assert brief(told(queue)) == [("update", seq, seq) for seq in range(7, 12)]


def test_resume_with_nothing_missed_sends_nothing() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(1)))
    assert brief(told(subscribe(hub, since=Since(epoch="e1", seq=1)))) == []


@pytest.mark.parametrize(
    ("since", "reason", "first"),
    [
        (Since(epoch="other", seq=1), "epoch_changed", 1),
        (Since(epoch="e1", seq=99), "unknown_seq", 1),
        (Since(epoch="e1", seq=0), "too_old", 1),
        (Since(epoch="e1", seq={GC: 3}), "too_old", 4),
    ],
)
def test_what_cannot_be_resumed_is_a_gap_and_an_image(since: Since, reason: str, first: int) -> None:
    hub = new_hub(rings_bytes=2_000)
    hub.publish(TOPIC, rows("ticks", *(trade(seq) for seq in range(1, 31))))
    gap, image = told(subscribe(hub, since=since))[1:]
    assert (gap["op"], gap["from"], gap["to"], gap["reason"]) == ("gap", first, 30, reason)
    assert (image["op"], image["seq"]) == ("snapshot", 30)


def test_the_oldest_update_in_the_ring_is_where_resume_ends() -> None:
    hub = new_hub(rings_bytes=2_000)
    hub.publish(TOPIC, rows("ticks", *(trade(seq) for seq in range(1, 31))))
    oldest = next(iter(hub.streams)).ring[0].seq
    assert 1 < oldest < 30
    whole = told(subscribe(hub, since=Since(epoch="e1", seq=oldest - 1)))
    assert brief(whole) == [("update", seq, seq) for seq in range(oldest, 31)]
    assert told(subscribe(hub, since=Since(epoch="e1", seq=oldest - 2)))[1]["op"] == "gap"


def test_one_number_cannot_resume_several_streams_but_a_number_for_each_can() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(1), trade(2), trade(1, GOLD), trade(2, GOLD), trade(3, GOLD)))
    messages = told(subscribe(hub, since=Since(epoch="e1", seq=1)))
    assert [m["reason"] for m in messages if m["op"] == "gap"] == ["ambiguous_since"] * 2
    messages = told(subscribe(hub, since=Since(epoch="e1", seq={GC: 1, GOLD: 2})))
    assert brief(messages) == [("update", 2, 2), ("update", 3, 3)]


def test_rows_that_retention_took_are_told() -> None:
    hub = new_hub()
    queue = subscribe(hub)
    hub.publish(TOPIC, rows("ticks", trade(1)))
    hub.lose(TOPIC, "log_truncated")
    hub.publish(TOPIC, rows("ticks", trade(9)))
    *_, gap, update = told(queue)
    assert (gap["op"], gap["from"], gap["to"], gap["reason"]) == ("gap", 2, 2, "log_truncated")
    assert (update["seq"], update.get("skipped")) == (3, None)


def test_two_subscriptions_to_one_stream_send_it_once_until_both_end() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(1)))
    queue = subscribe(hub)
    subscribe(hub, "trades", GC, queue=queue, request_id=2)
    told(queue)
    hub.publish(TOPIC, rows("ticks", trade(2)))
    assert brief(told(queue)) == [("update", 2, 2)]
    hub.unsubscribe(queue, 1)
    hub.publish(TOPIC, rows("ticks", trade(3)))
    assert brief(told(queue)) == [("update", 3, 3)]
    hub.unsubscribe(queue, 2)
    hub.publish(TOPIC, rows("ticks", trade(4)))
    assert [m["op"] for m in told(queue)] == ["unsubscribed"]
    with pytest.raises(RequestError, match="unknown_subscription"):
        hub.unsubscribe(queue, 2)


def test_subscriptions_are_limited_and_their_ids_differ() -> None:
    hub = new_hub()
    queue = subscribe(hub)
    with pytest.raises(RequestError, match="id exists"):
        subscribe(hub, queue=queue)
    for request_id in range(2, MAX_SUBSCRIPTIONS + 1):
        subscribe(hub, queue=queue, request_id=request_id)
    with pytest.raises(RequestError, match="too_many_subscriptions"):
        subscribe(hub, queue=queue, request_id=0)


def bars_told(queue: ClientQueue) -> list[tuple[int, int, bool, int]]:
    data = [m["data"] for m in told(queue) if m["op"] == "update"]
    return [((int(d["ts_open"]) - T0_NS) // 60_000_000_000, d["revision"], d["final"], d["trades"]) for d in data]


def test_bars_written_again_are_suppressed_and_outdated_samples_dropped() -> None:
    hub = new_hub()
    queue = subscribe(hub, "bars", interval="1m")
    life = [bar(0), bar(0, trades=2), bar(0, final=True, trades=3), bar(1), bar(0, final=True, revision=1, trades=4)]
    hub.publish("market.bars", rows("bars", *life))
    once = bars_told(queue)
    assert once == [(0, 0, False, 1), (0, 0, False, 2), (0, 0, True, 3), (1, 0, False, 1), (0, 1, True, 4)]
    hub.publish("market.bars", rows("bars", *life, bar(0, trades=9)))
    assert bars_told(queue) == []
    hub.publish("market.bars", rows("bars", bar(1, final=True, trades=2)))
    assert bars_told(queue) == [(1, 0, True, 2)]


def test_the_image_of_bars_is_the_newest_and_the_final_one_before() -> None:
    hub = new_hub()
    hub.publish("market.bars", rows("bars", bar(0, final=True, trades=3), bar(1)))
    hub.publish("market.bars", rows("bars", bar(0, final=True, revision=1, trades=4)))
    image = told(subscribe(hub, "bars", interval="1m"))[-1]
    assert image["data"]["ts_open"] == str(T0_NS + 60_000_000_000)
    assert (image["previous"]["revision"], image["previous"]["final"]) == (1, True)
    assert told(subscribe(hub, "bars", interval="5m"))[1:] == []


def test_memory_of_bars_is_bounded_and_covers_two_hours() -> None:
    memory = BarMemory("1s")

    def final(second: int, revision: int = 0) -> BarVersion:
        return BarVersion(ts_open=second * 10**9, revision=revision, final=True, as_known_at=0, trades=1)

    for second in range(20_000):
        assert memory.accept(final(second))
    horizon = BAR_MEMORY_NS // 10**9
    assert horizon <= len(memory) <= horizon * 5 // 4 + 1
    assert not memory.accept(final(20_000 - horizon))  # a duplicate, remembered
    assert not memory.accept(final(5))  # forgotten, and therefore old output written again
    assert memory.accept(final(5, revision=1))  # a revision may be news


def test_a_snapshot_of_a_book_written_again_is_suppressed() -> None:
    hub = new_hub()
    queue = subscribe(hub, "book")
    hub.publish("market.books", rows("books", book(1), book(2), book(1), book(2), book(3)))
    assert brief(told(queue)) == [("snapshot", 0, 1), ("update", 1, 1), ("update", 2, 2), ("update", 3, 3)]
    assert hub.counts.suppressed == 2


def test_a_book_that_waits_is_replaced_by_the_newer_one() -> None:
    hub = new_hub()
    hub.publish("market.books", rows("books", book(1)))
    queue = subscribe(hub, "book")
    told(queue)
    queue.blocked = True  # as by a socket that is full
    hub.publish("market.books", rows("books", book(2), book(3), book(4)))
    (update,) = told(queue)
    assert (update["seq"], update["skipped"], update["data"]["seq"]) == (4, 2, 4)


def test_an_opportunity_needs_the_venues_of_both_legs() -> None:
    hub = new_hub()
    hub.publish("market.arbitrage", rows("arbitrage", opportunity(net=1)))
    grants = {"both": {"XIMC", "XCEC"}, "india": {"XIMC"}, "new": {"XIMC", "XCEC", "XNYM"}}
    queues = {name: new_queue() for name in grants}
    for name, queue in queues.items():
        hub.join(queue, Grant(user=name, venues=frozenset(grants[name])))
        subscribe(hub, "arbitrage", queue=queue)
    assert [len(told(queue)) for queue in queues.values()] == [2, 1, 2]  # an image only for who may see both
    hub.publish("market.arbitrage", rows("arbitrage", opportunity(net=2)))
    assert [len(told(queue)) for queue in queues.values()] == [1, 0, 1]
    # The same Indian contract against another venue: the stream is for those who may see all three.
    hub.publish("market.arbitrage", rows("arbitrage", opportunity("XNYM:GC:202612", net=3)))
    assert [len(told(queue)) for queue in queues.values()] == [0, 0, 1]
    hub.regrant(queues["both"], Grant(user="both", venues=frozenset({"XIMC", "XCEC", "XNYM"})))
    assert [message["op"] for message in told(queues["both"])] == ["snapshot"]


def test_quality_is_told_inline_and_on_the_status_channel() -> None:
    hub = new_hub()
    hub.publish(TOPIC, rows("ticks", trade(1)))
    trades, statuses, other = subscribe(hub), subscribe(hub, "status"), subscribe(hub, "trades", "XIMC:*")
    for queue in (trades, statuses, other):
        told(queue)
    hub.publish("market.status", rows("status", status("STALE")))
    (inline,) = told(trades)
    assert (inline["op"], inline["instrument"], inline["quality"], inline["reason"]) == (
        "status",
        GC,
        "STALE",
        "a test",
    )
    image, update = told(statuses)
    assert (image["op"], update["op"], update["data"]["quality"]) == ("snapshot", "update", "STALE")
    assert told(other) == []
    assert told(subscribe(hub))[-1]["quality"] == "STALE"  # who comes later learns it at once


def test_a_feed_gap_goes_out_on_the_status_channel_without_changing_the_quality() -> None:
    hub = new_hub()
    hub.publish("market.status", rows("status", status("RESYNC", None)))
    queue = subscribe(hub, "status", "XCEC:GC:*")
    told(queue)
    hub.publish("market.status", rows("gaps", feed_gap()))
    (update,) = told(queue)
    assert (update["instrument"], update["data"]["kind"], update["data"]["seq_from"]) == ("XCEC:*", "gap", 5)
    assert update["data"]["quality"] == "RESYNC"
    assert told(subscribe(hub, "status"))[1]["data"]["kind"] == "status"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([GC, GOLD, "IFUS:CT:202612"]), st.booleans()), max_size=150))
def test_all_rings_together_keep_to_their_limit(ticks: list[tuple[str, bool]]) -> None:
    hub = new_hub(rings_bytes=4_000)
    for seq, (instrument, is_trade) in enumerate(ticks):
        hub.publish(TOPIC, rows("ticks", trade(seq, instrument) if is_trade else quote(seq, instrument)))
        assert sum(stream.ring_bytes for stream in hub.streams) <= 4_000
        for stream in hub.streams:
            assert stream.ring_bytes == sum(len(update.frame) for update in stream.ring)
