"""Quality: the kernel against its oracle, and each rule by example."""

import pickle
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_oracle import QualityOracle, Tick, batch
from reference import SECOND

from market.days import hours_of
from market.quality import QualityKernel
from market.schemas import QUALITIES
from market.sessions import next_window
from market.watch import Patience

GOLD, MCX, ODD = "XCEC:GC:202612", "XIMC:GOLD:202612", "QQQQ:ZZ:202612"
QUICK = Patience(learn=2, intervals=3, memory=4)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


FRIDAY = ns("2026-11-20T12:00:00")  # all are open; MCX until 18:25, COMEX until 22:00


def rows(kernel: QualityKernel, ticks: list[Tick]) -> list[tuple]:
    found = kernel.on_batch(batch(ticks)).get("status")
    return [] if found is None else [tuple(row.values()) for row in found.to_pylist()]


def seconds(first: int, n: int, *, at: int = FRIDAY, name: str = GOLD, delay: int = 0) -> list[Tick]:
    """A quote each second."""
    venue = name.partition(":")[0]
    stamps = [at + (first + i) * SECOND for i in range(n)]
    return [Tick("quote", venue, name, stamp - delay, stamp + 1_000_000) for stamp in stamps]


@st.composite
def markets(draw: st.DrawFn) -> list[Tick]:
    now = draw(
        st.sampled_from([FRIDAY, ns("2026-11-20T18:20:00"), ns("2026-11-20T21:57:00"), ns("2026-11-23T03:20:00")])
    )
    offset = {"XCEC": 0, "XIMC": draw(st.sampled_from([0, 0, 11, 3600, -3, -19_800])), "QQQQ": 0}
    ticks = []
    for _ in range(draw(st.integers(1, 30))):
        now += draw(
            st.sampled_from(
                [0, 1, SECOND // 3, SECOND, SECOND, 2 * SECOND, 4 * SECOND, 300 * SECOND, 5 * 3600 * SECOND]
            )
        )
        name = draw(st.sampled_from([GOLD, MCX, ODD]))
        venue = name.partition(":")[0]
        kind = draw(st.sampled_from(["quote"] * 6 + ["trade", "clock", "state"]))
        if kind == "trade" and name != ODD:
            kind = "quote"  # trades outside the calendar: by example below
        back = draw(st.sampled_from([0, 0, 0, SECOND, 70 * SECOND]))
        whole = draw(st.booleans())
        tick = Tick(kind, venue, name, now - back - offset[venue] * SECOND, now + draw(st.sampled_from([0, 5_000_000])))
        tick.crossed = draw(st.sampled_from([False, False, True]))
        tick.state = draw(st.sampled_from([0, 0, 0, 2, 3, 5, 6]))
        if kind == "clock" or (kind == "state" and whole):
            tick.instrument = None
        ticks.append(tick)
    return ticks


@settings(max_examples=60)  # the oracle asks the calendar at every step
@given(ticks=markets())
def test_it_equals_the_oracle(ticks) -> None:
    oracle = QualityOracle(learn=2, intervals=3, memory=4)
    for tick in ticks:
        oracle.feed(tick)
    assert rows(QualityKernel(patience=QUICK), ticks) == oracle.out


@given(ticks=markets(), data=st.data())
def test_it_does_not_depend_on_cuts_and_restarts(ticks, data) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(ticks)), max_size=8)))
    whole = rows(QualityKernel(patience=QUICK), ticks)
    kernel, found = QualityKernel(patience=QUICK), []
    for first, last in zip([0, *cuts], [*cuts, len(ticks)], strict=True):
        found += rows(kernel, ticks[first:last])
        saved = pickle.dumps(kernel.snapshot())
        kernel = QualityKernel(patience=QUICK)
        kernel.restore(pickle.loads(saved))
    assert found == whole


class TestSilence:
    def test_an_instrument_goes_stale_although_its_venue_lives(self) -> None:
        kernel = QualityKernel()
        assert rows(kernel, seconds(0, 10)) == [("XCEC", GOLD, FRIDAY + 1_000_000, "LIVE", "open")]
        beats = [Tick("clock", "XCEC", None, FRIDAY + i * SECOND, FRIDAY + i * SECOND) for i in range(10, 60)]
        stale = ("XCEC", GOLD, FRIDAY + 30 * SECOND, "STALE", "silent: nothing for 20 s, mean interval 1 s")
        assert rows(kernel, beats) == [stale]
        assert rows(kernel, seconds(60, 1)) == [("XCEC", GOLD, FRIDAY + 60 * SECOND + 1_000_000, "LIVE", "open")]

    def test_a_slow_instrument_may_be_silent_for_long(self) -> None:
        kernel = QualityKernel()
        rows(kernel, [tick for i in range(12) for tick in seconds(60 * i, 1)])
        assert rows(kernel, [Tick("clock", "XCEC", None, FRIDAY, FRIDAY + 1_800 * SECOND)]) == []
        late = rows(kernel, [Tick("clock", "XCEC", None, FRIDAY, FRIDAY + 1_900 * SECOND)])
        assert [row[3] for row in late] == ["STALE"]

    def test_time_alone_says_what_the_next_row_would(self) -> None:
        kernel = QualityKernel()
        rows(kernel, seconds(0, 10))
        wake = kernel.next_wake_ns()
        assert wake is not None
        assert kernel.on_time(wake - 1) == {}
        said = kernel.on_time(wake)["status"].to_pylist()
        assert [(row["ts_event"], row["quality"]) for row in said] == [(FRIDAY + 30 * SECOND, "STALE")]

    def test_nothing_is_stale_while_closed(self) -> None:
        kernel = QualityKernel()
        at = ns("2026-11-20T21:59:50")
        said = rows(kernel, [*seconds(0, 10, at=at), Tick("clock", "XCEC", None, at, at + 40 * 3600 * SECOND)])
        assert [(row[2], *row[3:]) for row in said[1:]] == [(ns("2026-11-20T22:00:00"), "CLOSED", "closed")]
        monday = ns("2026-11-22T23:00:05")
        assert [row[3] for row in rows(kernel, seconds(0, 1, at=monday))] == ["LIVE"]

    def test_a_session_that_opens_and_stays_mute_is_stale(self) -> None:
        kernel = QualityKernel()
        at = ns("2026-11-20T21:59:40")
        rows(kernel, seconds(0, 15, at=at))
        monday = ns("2026-11-22T23:01:00")
        said = rows(kernel, [Tick("clock", "XCEC", None, monday, monday)])
        assert [(row[2], row[3]) for row in said] == [
            (ns("2026-11-20T22:00:00"), "CLOSED"),
            (ns("2026-11-22T23:00:20"), "STALE"),
        ]

    def test_an_expired_contract_is_forgotten(self) -> None:
        kernel = QualityKernel()
        rows(kernel, seconds(0, 3))
        later = FRIDAY + 11 * 86_400 * SECOND
        said = rows(kernel, [Tick("clock", "XCEC", None, later, later)])
        assert said[-1][3:] == ("CLOSED", "expired: nothing for ten days")
        assert not kernel._watched


def test_trades_outside_the_calendar_open_it_until_they_end() -> None:
    kernel = QualityKernel()
    saturday = ns("2026-11-21T12:00:00")
    trades = [Tick("trade", "XCEC", GOLD, saturday + i * SECOND, saturday + i * SECOND) for i in range(10)]
    quote = Tick("quote", "XCEC", GOLD, saturday - SECOND, saturday - SECOND)
    said = rows(kernel, [quote, *trades, Tick("clock", "XCEC", None, saturday, saturday + 600 * SECOND)])
    assert [row[3:] for row in said] == [
        ("CLOSED", "closed"),
        ("LIVE", "outside_calendar"),
        ("STALE", "silent: nothing for 20 s, mean interval 1 s"),
        ("CLOSED", "closed"),
    ]


def test_a_print_just_after_the_close_opens_nothing() -> None:
    kernel = QualityKernel()
    at = ns("2026-11-20T21:59:55")
    print_ = Tick("trade", "XCEC", GOLD, at + 60 * SECOND, at + 60 * SECOND)
    assert [row[3] for row in rows(kernel, [*seconds(0, 5, at=at), print_])] == ["LIVE", "CLOSED"]


class TestCrossed:
    def cross(self, first: int, n: int) -> list[Tick]:
        ticks = seconds(first, n)
        for tick in ticks:
            tick.crossed = True
        return ticks

    def test_held_too_long_it_is_a_gap_until_it_uncrosses(self) -> None:
        kernel = QualityKernel()
        said = rows(kernel, [*seconds(0, 3), *self.cross(3, 4), *seconds(7, 1)])
        assert [(row[2] - FRIDAY, row[3]) for row in said] == [
            (1_000_000, "LIVE"),
            (4 * SECOND + 1_000_000, "GAP"),
            (7 * SECOND + 1_000_000, "LIVE"),
        ]

    def test_for_a_moment_it_is_nothing(self) -> None:
        ticks = [*seconds(0, 3), *self.cross(3, 1)]
        uncross = Tick("quote", "XCEC", GOLD, FRIDAY + 3 * SECOND, FRIDAY + 3 * SECOND + 500_000_000)
        assert len(rows(QualityKernel(), [*ticks, uncross, *seconds(5, 5)])) == 1


class TestState:
    def state(self, quality: str, second: int, name: str | None = GOLD) -> Tick:
        at = FRIDAY + second * SECOND
        return Tick("state", "XCEC", name, at, at, state=QUALITIES.index(quality))

    def test_what_the_venue_says_counts_until_it_takes_it_back(self) -> None:
        kernel = QualityKernel()
        said = rows(kernel, [*seconds(0, 9), self.state("HALTED", 9), self.state("LIVE", 300), *seconds(301, 1)])
        assert [row[3] for row in said] == ["LIVE", "HALTED", "LIVE"]

    def test_of_the_whole_venue_it_holds_for_each_instrument(self) -> None:
        other = "XCEC:GC:202702"
        kernel = QualityKernel()
        rows(kernel, [*seconds(0, 2), *seconds(2, 1, name=other)])
        said = rows(kernel, [self.state("STALE", 3, None)])
        assert [(row[1], row[3], row[4]) for row in said] == [
            (GOLD, "STALE", "venue_state: stale"),
            (other, "STALE", "venue_state: stale"),
        ]

    def test_a_venue_that_says_live_of_a_closed_instrument_is_answered(self) -> None:
        at = ns("2026-11-21T12:00:00")
        tick = Tick("state", "XCEC", GOLD, at, at)
        assert [row[3] for row in rows(QualityKernel(), [tick, tick])] == ["CLOSED", "CLOSED"]


class TestSkew:
    @pytest.mark.parametrize(
        ("delay_s", "reason"),
        [
            (900, "clock_skew: stamps are 15 min 0 s behind"),
            (
                3_600,
                "clock_skew: stamps are 1 h 0 min 0 s behind: another time zone, or daylight saving",
            ),
            (-5, "clock_skew: stamps are 5 s ahead"),
            (-19_800, "clock_skew: stamps are 5 h 30 min 0 s ahead: Indian time taken for UTC"),
        ],
    )
    def test_it_is_found_named_and_settled(self, delay_s: int, reason: str) -> None:
        kernel = QualityKernel()
        said = rows(kernel, seconds(0, 31, delay=delay_s * SECOND))
        assert ("XCEC", None, FRIDAY + 20 * SECOND, "DELAYED", reason) in said
        assert ("XCEC", GOLD, FRIDAY + 20 * SECOND, "DELAYED", reason) in said
        assert abs((kernel.skew_ns("XCEC") or 0) - delay_s * SECOND) <= 1_000_000
        settled = rows(kernel, seconds(40, 21))
        assert ("XCEC", None, FRIDAY + 60 * SECOND, "LIVE", "clock_skew: settled") in settled
        assert kernel.skew_ns("XCEC") is None

    def test_heartbeats_that_the_connector_stamps_do_not_hide_it(self) -> None:
        delay = -19_800 * SECOND
        own = [Tick("clock", "XIMC", None, tick.ts, tick.ts) for tick in seconds(0, 31, name=MCX)]
        ticks = [tick for pair in zip(seconds(0, 31, name=MCX, delay=delay), own, strict=True) for tick in pair]
        together, one_by_one = QualityKernel(), QualityKernel()
        said = rows(together, ticks)
        assert ("XIMC", MCX, "DELAYED") in {(venue, name, quality) for venue, name, _, quality, _ in said}
        assert [row for tick in ticks for row in rows(one_by_one, [tick])] == said

    def test_stamps_in_whole_seconds_are_right(self) -> None:
        ticks = [Tick("quote", "XCEC", GOLD, FRIDAY + i // 3 * SECOND, FRIDAY + i * SECOND // 3) for i in range(300)]
        assert [row[3] for row in rows(QualityKernel(), ticks)] == ["LIVE"]

    def test_one_bad_stamp_and_a_slow_minute_decide_nothing(self) -> None:
        ticks = seconds(0, 60)
        ticks[20].ts += 40 * SECOND
        for tick in ticks[30:58:2]:
            tick.ts -= 30 * SECOND
        assert [row[3] for row in rows(QualityKernel(), ticks)] == ["LIVE"]


def test_an_old_file_is_not_stale_for_being_old() -> None:
    """Hourly prices of 2013 without `ts_recv`: the file's own time is the time, and an hour is its pace."""
    start = ns("2013-04-08T12:00:00")
    ticks = []
    for i in range(100):
        at = start + i * 3_600 * SECOND
        if next_window(_Gold, at)[0] <= at:
            ticks.append(Tick("trade", "XCEC", GOLD, at, at))
    said = rows(QualityKernel(), ticks)
    assert {row[3] for row in said} == {"LIVE", "CLOSED"}
    assert len(said) < 12


class _Gold:
    hours = hours_of(GOLD, date(2026, 11, 21))
