"""Cases 19 and 30 over several venues: daylight saving, sessions of one venue alone, clocks that are wrong."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from bloomberg_server import Clock

from feeds_simulator.mcx.server import ANGEL
from market.bars import BarsKernel
from market.kernel import arrivals
from market.quality import QualityKernel
from market.schemas import TICKS
from tests.connectors.mcx.desk import GOLD, Desk, Exchange, trade
from tests.connectors.mcx.venues import Venue, comex, ice, mcx, ns

E9 = 10**9
IST_NS = 19_800 * E9
SUGAR, MCX_GOLD, COMEX_GOLD = "IFUS:SB:202703", "XIMC:GOLD:202702", "XCEC:GC:202612"
COMEX_SPRING = "XCEC:GC:202604"
Moment = tuple[str, str, tuple[str, str] | None]
ANGEL_OPTIONS: dict[str, Any] = {"broker": ANGEL, "client_code": "C1", "feed_token": "F1"}

# 2026: London is on winter time from 25 October, New York and Chicago from 1 November. UTC.
# When, what, and the trade date's window, or none where the product does not trade then.
WEEKS: tuple[Moment, ...] = (
    ("2026-10-23T07:45", SUGAR, ("2026-10-23T07:00", "2026-10-23T18:00")),  # 03:45 in New York
    ("2026-10-23T18:10", MCX_GOLD, None),  # it ended at 23:30
    ("2026-10-25T22:30", COMEX_GOLD, ("2026-10-25T22:00", "2026-10-26T22:00")),  # Sunday 17:30 in Chicago
    ("2026-10-26T07:45", SUGAR, None),  # 03:45 again, but London's morning is an hour later
    ("2026-10-26T08:45", SUGAR, ("2026-10-26T08:00", "2026-10-26T18:00")),
    ("2026-10-30T17:30", SUGAR, None),  # 13:30 in New York
    ("2026-10-30T17:50", MCX_GOLD, ("2026-10-30T03:00", "2026-10-30T19:00")),
    ("2026-10-30T18:10", MCX_GOLD, None),
    ("2026-11-01T22:30", COMEX_GOLD, None),  # 16:30 in Chicago
    ("2026-11-01T23:30", COMEX_GOLD, ("2026-11-01T23:00", "2026-11-02T23:00")),
    ("2026-11-02T08:45", SUGAR, ("2026-11-02T08:00", "2026-11-02T19:00")),  # 03:45 in New York: in step again
    ("2026-11-02T17:30", SUGAR, ("2026-11-02T08:00", "2026-11-02T19:00")),
    ("2026-11-02T18:10", MCX_GOLD, ("2026-11-02T03:00", "2026-11-02T19:00")),  # until 23:55
)

BUDGET: tuple[Moment, ...] = (
    ("2026-01-30T10:00", MCX_GOLD, ("2026-01-30T03:00", "2026-01-30T19:00")),
    ("2026-01-31T10:00", MCX_GOLD, None),
    ("2026-02-01T10:00", COMEX_SPRING, None),
    ("2026-02-01T10:01", MCX_GOLD, ("2026-02-01T03:00", "2026-02-01T12:00")),  # 09:00 to 17:00
    ("2026-02-01T12:30", MCX_GOLD, None),
    ("2026-02-01T23:30", COMEX_SPRING, ("2026-02-01T23:00", "2026-02-02T23:00")),
)


class Shard:
    """The kernels that know the hours, fed what the venues' feeds wrote."""

    def __init__(self) -> None:
        self.quality, self.bars = QualityKernel(), BarsKernel(intervals=("1d",))
        self.states: dict[str | None, str] = {}
        self.days: list[dict[str, Any]] = []
        self._rows = 0

    def take(self, batches: list[pa.RecordBatch]) -> None:
        for batch in batches:
            rows = pa.array(range(self._rows, self._rows + batch.num_rows), pa.int64())
            self._rows += batch.num_rows
            arrived = arrivals(batch, "test", rows, rows)
            found = self.quality.on_batch(arrived).get("status")
            if found is not None:
                self.states |= {row["instrument"]: row["quality"] for row in found.to_pylist()}
            self._keep(self.bars.on_batch(arrived))
        batches.clear()

    def end(self) -> None:
        self._keep(self.bars.on_eof())

    def _keep(self, outputs: Any) -> None:
        self.days += outputs["bars"].to_pylist() if "bars" in outputs else []


def check_hours(venues: Sequence[Venue], moments: Sequence[Moment]) -> None:
    """Let venues quote at these moments, and trade where they do; hold state and daily bars to what was expected."""
    shards = {venue.key: Shard() for venue in venues}
    try:
        for venue in venues:
            venue.open(1_500)
        for lots, (at, key, window) in enumerate(moments, 1):
            (venue,) = (one for one in venues if one.key == key)
            venue.clock.ns = ns(at)
            venue.quote(1_500 + lots)
            if window is not None:
                venue.trade(1_500, lots)
            shards[key].take(venue.batches)
            assert (at, shards[key].states[key]) == (at, "LIVE" if window is not None else "CLOSED")
    finally:
        for venue in venues:
            venue.feed.stop()
            venue.down()
    for shard in shards.values():
        shard.end()
    told: Counter[tuple[str, int, int]] = Counter()
    for lots, (_, key, window) in enumerate(moments, 1):
        if window is not None:
            told[key, ns(window[0]), ns(window[1])] += lots
    days = [day for shard in shards.values() for day in shard.days]
    assert {(day["instrument"], day["ts_open"], day["ts_close"]): day["volume"] for day in days} == told


def test_case_19_the_weeks_in_which_london_and_new_york_differ() -> None:
    clock = Clock(ns("2026-10-23T07:40"))
    check_hours([ice(clock, SUGAR, "0.01"), mcx(clock, MCX_GOLD), comex(clock, COMEX_GOLD)], WEEKS)


def test_case_30_a_session_on_a_sunday_and_a_venue_that_has_none() -> None:
    """The budget of 1 February 2026: MCX traded, COMEX did not before its evening, which is Monday's."""
    clock = Clock(ns("2026-01-30T10:00"))
    check_hours([mcx(clock, MCX_GOLD), comex(clock, COMEX_SPRING)], BUDGET)


def test_case_19_a_second_that_comes_twice_is_no_gap(
    exchange: Callable[..., Exchange], desk: Callable[..., Desk]
) -> None:
    """Angel's stamps are in ms: with a leap second they run back by up to one, while the numbers go on."""
    venue = exchange(**ANGEL_OPTIONS)
    venue.open()
    one = desk(venue)
    one.until(lambda: len(one.quotes) == 2)
    second = (venue.clock() // E9 + 1) * E9
    stamps = [second + ms * 10**6 for ms in (100, 900, 0, 500, 999, 1_000)]
    for lots, at in enumerate(stamps, 1):
        venue.market.say(trade(at, GOLD, 1_000, lots))
    one.until(lambda: len(one.trades) == len(stamps))
    assert [row["size"] // E9 for row in one.trades] == [1, 2, 3, 4, 5, 6]
    assert [row["ts_event"] for row in one.trades] == [at // E9 * E9 for at in stamps]  # of a trade: seconds
    arrived = [(row["seq"], row["ts_recv"]) for row in one.trades]
    assert arrived == sorted(arrived)
    assert one.gaps == []
    assert "backwards" not in one.counters
    venue.market.say(trade(second - 2 * E9, GOLD, 1_000, 7))  # more than a second is a state of before
    one.until(lambda: one.counters.get("backwards"))
    assert one.gaps[0]["reason"].endswith("s back")


def test_case_19_indian_time_taken_for_utc_is_named(
    exchange: Callable[..., Exchange], desk: Callable[..., Desk]
) -> None:
    venue = exchange()
    venue.open()
    one = desk(venue)
    one.live()
    for _ in range(4):  # a verdict takes two windows of ten seconds, and a row behind them
        for lots in range(1, 6):
            venue.market.say(trade(venue.clock() + IST_NS, GOLD, 1_000, lots))
        seen = len(one.trades)
        one.until(lambda seen=seen: len(one.trades) == seen + 5)
        venue.clock.shift_ns += 10 * E9
    assert all(0 <= row["ts_event"] + E9 - row["ts_recv"] - IST_NS < 2 * E9 for row in one.trades)
    batch = pa.RecordBatch.from_pylist([row for row in one.rows if row["instrument"] == GOLD], schema=TICKS)
    rows = pa.array(range(batch.num_rows), pa.int64())
    said = QualityKernel().on_batch(arrivals(batch, "test", rows, rows))["status"].to_pylist()
    skewed = [row["reason"] for row in said if "clock_skew" in row["reason"]]
    assert skewed
    assert all("5 h 30 min" in reason and "Indian time taken for UTC" in reason for reason in skewed)
