"""A slow client: its queue is bounded, states conflate, events never vanish, and every hole is explained."""

from gateway_support import (
    GC,
    GOLD,
    T0_NS,
    TOPIC,
    SequenceChecker,
    Timers,
    bar,
    drain,
    drain_all,
    new_queue,
    quote,
    rows,
    trade,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.client import BURST_BYTES, ClientQueue
from gateway.hub import Hub
from gateway.metrics import Counts
from gateway.protocol import Subscribe


def hub_with(queue: ClientQueue, *channels: str, conflate_ms: int = 0) -> Hub:
    hub = Hub(epoch="e1", now=lambda: T0_NS, counts=Counts())
    hub.finish_prime()
    join(hub, queue, *channels, conflate_ms=conflate_ms)
    return hub


def join(hub: Hub, queue: ClientQueue, *channels: str, conflate_ms: int = 0) -> None:
    hub.join(queue)
    for request_id, channel in enumerate(channels):
        hub.subscribe(
            queue,
            Subscribe(
                id=request_id,
                channel=channel,
                interval="1m" if channel == "bars" else "",
                instruments=("*",),
                conflate_ms=conflate_ms,
                since=None,
            ),
        )


def overflowed(queue: ClientQueue) -> bool:
    return queue.overflowed


def test_while_it_keeps_up_a_client_gets_every_update() -> None:
    queue = new_queue()
    hub = hub_with(queue, "quotes")
    hub.publish(TOPIC, rows("ticks", *(quote(seq) for seq in range(100))))
    assert [m["seq"] for m in drain(queue) if m["op"] == "update"] == list(range(1, 101))


def test_a_blocked_client_gets_the_newest_quote_and_the_number_skipped() -> None:
    queue = new_queue()
    hub = hub_with(queue, "quotes")
    hub.publish(TOPIC, rows("ticks", quote(0)))
    drain(queue)
    queue.blocked = True
    hub.publish(TOPIC, rows("ticks", *(quote(seq) for seq in range(1, 50))))
    (update,) = drain_all(queue)
    assert (update["seq"], update["skipped"], update["data"]["seq"]) == (50, 48, 49)
    assert queue.conflated == 48


def test_a_client_that_is_being_closed_costs_the_others_nothing() -> None:
    slow, well = new_queue(), new_queue()
    hub = hub_with(slow, "quotes", "trades")
    join(hub, well, "quotes", "trades")
    hub.publish(TOPIC, rows("ticks", quote(1), trade(1)))
    slow.blocked = True
    hub.publish(TOPIC, rows("ticks", quote(2), trade(2)))
    slow.abandon()  # it did not take what waited; until the close handshake is over the hub goes on offering
    hub.publish(TOPIC, rows("ticks", quote(3), trade(3), trade(4), quote(4)))
    told = [(m["channel"], m["seq"], m["data"]["seq"]) for m in drain_all(well) if m["op"] == "update"]
    assert sorted(told) == [(channel, n, n) for channel in ("quotes", "trades") for n in range(1, 5)]
    assert slow.empty
    assert slow.queued_bytes == 0


def test_final_bars_and_revisions_are_never_conflated() -> None:
    queue = new_queue()
    hub = hub_with(queue, "bars")
    hub.publish("market.bars", rows("bars", bar(0)))
    drain(queue)
    queue.blocked = True
    life = [bar(0, trades=n) for n in range(2, 9)] + [bar(0, final=True, trades=9), bar(1), bar(1, trades=2)]
    life += [bar(0, final=True, revision=1, trades=10), bar(1, trades=3)]
    hub.publish("market.bars", rows("bars", *life))
    received = drain_all(queue)
    checker = SequenceChecker()
    checker.last[("bars", GC, "1m")] = 1
    checker.feed(received)
    states = [(m["data"]["revision"], m["data"]["final"], m["data"]["trades"]) for m in received]
    assert states == [(0, True, 9), (1, True, 10), (0, False, 3)]


def test_events_beyond_the_limit_overflow_and_states_do_not() -> None:
    queue = new_queue(limit_bytes=10_000)
    hub = hub_with(queue, "quotes", "trades")
    queue.blocked = True
    for seq in range(500):
        hub.publish(TOPIC, rows("ticks", quote(seq)))
    assert not overflowed(queue)
    for seq in range(100):
        hub.publish(TOPIC, rows("ticks", trade(seq)))
    assert overflowed(queue)
    assert queue.queued_bytes > 10_000


def test_a_burst_between_two_flushes_starts_to_conflate() -> None:
    queue = new_queue()
    hub = hub_with(queue, "quotes")
    hub.publish(TOPIC, rows("ticks", *(quote(seq) for seq in range(5_000))))
    assert queue.queued_bytes < BURST_BYTES + 10_000
    checker = SequenceChecker()
    checker.feed(drain_all(queue))
    assert checker.last["quotes", GC, ""] == 5_000


def test_no_state_is_conflated_across_a_gap_and_conflation_goes_on_after_it() -> None:
    queue = new_queue()
    hub = hub_with(queue, "quotes")
    hub.publish(TOPIC, rows("ticks", quote(0)))
    drain(queue)
    queue.blocked = True
    hub.publish(TOPIC, rows("ticks", quote(1)))
    hub.lose(TOPIC, "log_truncated")
    hub.publish(TOPIC, rows("ticks", quote(2)))
    first = drain(queue, max_bytes=1)
    hub.publish(TOPIC, rows("ticks", quote(3)))
    found = [(m["op"], m.get("seq", m.get("from")), m.get("skipped", 0)) for m in first + drain_all(queue)]
    assert found == [("update", 2, 0), ("gap", 3, 0), ("update", 5, 1)]


def test_conflation_by_time_sends_at_once_then_the_newest_per_window() -> None:
    timers = Timers()
    queue = new_queue(timers)
    hub = hub_with(queue, "quotes", conflate_ms=100)
    hub.publish(TOPIC, rows("ticks", quote(1)))
    assert [m["seq"] for m in drain(queue) if m["op"] == "update"] == [1]
    hub.publish(TOPIC, rows("ticks", quote(2), quote(3), quote(4)))
    assert drain(queue) == []
    timers.pass_s(0.1)
    (update,) = drain(queue)
    assert (update["seq"], update["skipped"], update["data"]["seq"]) == (4, 2, 4)
    timers.pass_s(0.1)  # a window in which nothing came closes
    hub.publish(TOPIC, rows("ticks", quote(5)))
    assert [m["seq"] for m in drain(queue)] == [5]


def test_a_final_bar_does_not_wait_for_the_window_and_keeps_the_order() -> None:
    timers = Timers()
    queue = new_queue(timers)
    hub = hub_with(queue, "bars", conflate_ms=100)
    hub.publish("market.bars", rows("bars", bar(0), bar(0, trades=2), bar(1), bar(0, final=True, trades=3)))
    updates = [m for m in drain(queue) if m["op"] == "update"]
    assert [(m["seq"], m.get("skipped", 0)) for m in updates] == [(1, 0), (3, 1), (4, 0)]


def test_nothing_held_back_is_sent_after_the_subscription_ended() -> None:
    timers = Timers()
    queue = new_queue(timers)
    hub = hub_with(queue, "quotes", conflate_ms=100)
    hub.publish(TOPIC, rows("ticks", quote(1), quote(2)))
    hub.unsubscribe(queue, 0)
    drain(queue)
    timers.pass_s(1.0)
    assert queue.empty


STEPS = st.one_of(
    st.tuples(st.just("trade"), st.sampled_from([GC, GOLD])),
    st.tuples(st.just("quote"), st.sampled_from([GC, GOLD])),
    st.tuples(st.just("forming"), st.integers(0, 3)),
    st.tuples(st.just("final"), st.integers(0, 3)),
    st.tuples(st.just("revise"), st.integers(0, 3)),
    st.tuples(st.just("block"), st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 2_000)),
    st.tuples(st.just("time"), st.integers(1, 200)),
    st.tuples(st.just("lose"), st.none()),
    st.tuples(st.just("again"), st.none()),
)


class _Run:
    """Drives a hub and one client that reads as the steps say; knows what was published."""

    def __init__(self, conflate_ms: int) -> None:
        self.timers = Timers()
        self.queue = new_queue(self.timers)
        self.hub = hub_with(self.queue, "trades", "quotes", "bars", conflate_ms=conflate_ms)
        self.checker = SequenceChecker()
        self.tick = 0
        self.trades: list[int] = []
        self.finals: set[tuple[int, int]] = set()
        self.bars: dict[int, tuple[int, int, bool]] = {}  # minute -> trades, revision, final
        self.last_quote: dict[str, int] = {}
        self.extra_id = 10

    def step(self, name: str, value: object) -> None:
        self.tick += 1
        getattr(self, f"_{name}")(value)

    def _trade(self, instrument: str) -> None:
        self.trades.append(self.tick)
        self.hub.publish(TOPIC, rows("ticks", trade(self.tick, instrument)))

    def _quote(self, instrument: str) -> None:
        self.last_quote[instrument] = self.tick
        self.hub.publish(TOPIC, rows("ticks", quote(self.tick, instrument)))

    def _bar(self, minute: int, revision: int, final: bool) -> None:
        self.bars[minute] = (self.tick, revision, final)
        if final:
            self.finals.add((minute, revision))
        self.hub.publish("market.bars", rows("bars", bar(minute, revision=revision, final=final, trades=self.tick)))

    def _forming(self, minute: int) -> None:
        if not self.bars.get(minute, (0, 0, False))[2]:
            self._bar(minute, 0, False)

    def _final(self, minute: int) -> None:
        if not self.bars.get(minute, (0, 0, False))[2]:
            self._bar(minute, 0, True)

    def _revise(self, minute: int) -> None:
        _, revision, final = self.bars.get(minute, (0, 0, False))
        if final:
            self._bar(minute, revision + 1, True)

    def _block(self, blocked: bool) -> None:
        # As the socket does: what waits goes on waiting until it is taken.
        self.queue.blocked = blocked or not self.queue.empty

    def _read(self, max_bytes: int) -> None:
        self.checker.feed(drain(self.queue, max_bytes))

    def _time(self, milliseconds: int) -> None:
        self.timers.pass_s(milliseconds / 1000)

    def _lose(self, _: None) -> None:
        self.hub.lose(TOPIC, "log_truncated")

    def _again(self, _: None) -> None:
        self.extra_id += 1
        request = Subscribe(
            id=self.extra_id, channel="quotes", interval="", instruments=(GC,), conflate_ms=0, since=None
        )
        self.hub.subscribe(self.queue, request)

    def finish(self) -> None:
        for _ in range(3):
            self.timers.pass_s(10)
            self.checker.feed(drain_all(self.queue))


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=120), st.sampled_from([0, 50]))
def test_whatever_a_client_reads_its_sequence_has_no_silent_hole_and_no_event_is_lost(
    steps: list[tuple[str, object]], conflate_ms: int
) -> None:
    run = _Run(conflate_ms)
    for name, value in steps:
        run.step(name, value)
    run.finish()
    updates = run.checker.updates
    assert sorted(m["data"]["seq"] for m in updates if m["channel"] == "trades") == run.trades
    bars = [m["data"] for m in updates if m["channel"] == "bars"]
    finals = [((int(d["ts_open"]) - T0_NS) // 60_000_000_000, d["revision"]) for d in bars if d["final"]]
    assert sorted(finals) == sorted(run.finals)
    newest: dict[str, int] = {}
    for message in updates:
        if message["channel"] == "quotes":
            newest[message["instrument"]] = message["data"]["seq"]
    assert newest == run.last_quote
    held = {(int(d["ts_open"]) - T0_NS) // 60_000_000_000: (d["trades"], d["revision"], d["final"]) for d in bars}
    assert held == run.bars
    assert run.queue.queued_bytes == 0
