"""Each scenario does what its name says to the stream of events or to the switchboard of the wire, and says so."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from feeds_simulator.events import BookEvent, BustEvent, Event, StatusEvent, TradeEvent
from feeds_simulator.faults import Faults
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from feeds_simulator.scenarios import SCENARIOS, Script, UnknownScenario, Wire, parse
from feeds_simulator.stage import Stage

S = 1_000_000_000
START_NS = int(datetime(2026, 11, 24, 14, 40, tzinfo=UTC).timestamp()) * S
ROOT = Path(__file__).parents[2]
VENUES = ("ice", "mcx", "cme", "bloomberg")


def stage(venue: str, names: str, *, rate: float = 150.0, seed: int = 7, venues: Sequence[str] = VENUES) -> Stage:
    script = Script(parse(names), START_NS, tuple(venues))
    model = MarketModel(
        ModelConfig(
            start_ns=START_NS,
            seed=seed,
            rate=rate,
            profiles=PROFILES[venue],
            moves=script.moves(),
            bust_every=script.bust_every,
            correct_every=script.correct_every,
        )
    )
    return Stage(venue, model, script, Faults())


def events(on: Stage, seconds: float) -> list[Event]:
    return [event for action in on.pull(START_NS + int(seconds * S)) for event in action]


def of(found: Sequence[Event], key: str, kind: type) -> list[Event]:
    return [event for event in found if event.symbol == key and isinstance(event, kind)]


def at_s(event: Event) -> float:
    return (event.ts_event - START_NS) / S


def digest(venue: str, names: str, pieces: int) -> str:
    """The stream of half a minute, pulled in so many pieces, as one hash."""
    on, found = stage(venue, names), hashlib.sha256()
    for piece in range(1, pieces + 1):
        for action in on.pull(START_NS + 30 * S * piece // pieces):
            found.update(repr(list(action)).encode())
    return found.hexdigest()


GC, GOLD, CT, B = "XCEC:GC:202612", "XIMC:GOLD:202612", "IFUS:CT:202612", "IFEU:B:202701"


class TestNames:
    def test_all_that_are_promised(self) -> None:
        wire = {"gap", "duplicate", "out_of_order", "late", "future_stamp", "clock_skew", "disconnect", "half_open"}
        market = {"halt", "limit_move", "crossed", "fat_finger", "bust_and_correct", "spike", "volume_surge", "spoof"}
        more = {"stall", "garbled", "venue_down", "fx_freeze", "duty_step", "roll", "news_shock"}
        assert set(SCENARIOS) == wire | market | more

    def test_several(self) -> None:
        assert parse("spike, fx_freeze,spike") == ("spike", "fx_freeze")
        assert parse(None) == parse("") == ()

    def test_unknown_lists_the_names(self) -> None:
        with pytest.raises(UnknownScenario, match=r"'earthquake'.*gap.*news_shock"):
            parse("spike,earthquake")


class TestDeterminism:
    def test_how_it_is_pulled_changes_nothing(self) -> None:
        names = "halt,crossed,spoof,fat_finger,volume_surge,bust_and_correct,limit_move"
        whole = stage("ice", names).pull(START_NS + 50 * S)
        random, pieces, on, until_ns = Random(1), [], stage("ice", names), START_NS
        while until_ns < START_NS + 50 * S:
            until_ns = min(until_ns + random.choice([0, 1, S // 1000, S // 3, 2 * S]), START_NS + 50 * S)
            while taken := on.pull(until_ns, random.randint(1, 50)):
                pieces += taken
        assert [list(action) for action in pieces] == [list(action) for action in whole]
        assert all(one[0].ts_event <= other[0].ts_event for one, other in pairwise(whole))

    def test_another_process_says_the_same_byte_for_byte(self) -> None:
        names = "spike,halt,spoof,bust_and_correct"
        said = subprocess.run(
            [sys.executable, "-c", f"from test_scenarios import *; print(digest('mcx', {names!r}, pieces=7))"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])},
        ).stdout
        assert said.strip() == digest("mcx", names, pieces=1)
        assert said.strip() != digest("mcx", "spike", pieces=1)

    def test_without_scenarios_it_is_the_bare_market(self) -> None:
        bare = MarketModel(ModelConfig(start_ns=START_NS, rate=150.0)).pull(START_NS + 5 * S)
        assert stage("ice", "").pull(START_NS + 5 * S) == bare


class TestOnTheWire:
    @pytest.mark.parametrize(
        "name", [name for name, scenario in SCENARIOS.items() if any(isinstance(act, Wire) for act in scenario.acts)]
    )
    def test_switched_on_and_off_at_its_time(self, name: str) -> None:
        act = next(act for act in SCENARIOS[name].acts if isinstance(act, Wire))
        venue = act.first_of[0] if act.first_of else "ice"
        on = stage(venue, name)
        faults, normal = on._faults, Faults()
        begin_s, length_s = act.when.begin_s, act.when.length_s
        on.pull(START_NS + int((begin_s - 0.01) * S))
        assert all(getattr(faults, field) == getattr(normal, field) for field in act.faults)
        on.pull(START_NS + int((begin_s + 0.01) * S))
        assert all(getattr(faults, field) == value for field, value in act.faults.items())
        if length_s:
            on.pull(START_NS + int((begin_s + length_s + 0.01) * S))
            others = [two for two in SCENARIOS[name].acts if isinstance(two, Wire) and two is not act]
            assert others or all(getattr(faults, field) == getattr(normal, field) for field in act.faults)
        assert on.truth[0]["what"] == name
        assert on.truth[0]["from"] == str(START_NS + int(begin_s * S))

    def test_stretches_that_touch_take_over_from_each_other(self) -> None:
        on = stage("ice", "late")
        seen = []
        for at in (10, 50, 110, 170, 230, 290):
            on.pull(START_NS + at * S)
            seen.append((on._faults.late_every, on._faults.late_s))
        assert seen == [(0, 0.0), (20, 20.0), (20, 90.0), (20, 20.0), (20, 90.0), (20, 20.0)]

    def test_only_one_venue_where_it_says_so(self) -> None:
        for venues, struck in ((VENUES, "mcx"), (("ice",), "ice"), (("cme", "ice"), "ice"), (("cme",), None)):
            acts = [act for act in SCENARIOS["clock_skew"].acts if isinstance(act, Wire)]
            script = Script(("clock_skew",), START_NS, venues)
            found = [venue for act in acts for venue in venues if script.strikes(act, venue)]
            assert found == ([struck] if struck else [])


class TestPlays:
    def test_halt(self) -> None:
        found = events(stage("ice", "halt"), 90)
        halted = [event for event in found if event.symbol == CT and 20 < at_s(event) < 79.9]
        assert halted == []
        states = [(event.state, round(at_s(event))) for event in of(found, CT, StatusEvent)]  # type: ignore[attr-defined]
        assert states == [("OPEN", 0), ("HALT", 20), ("OPEN", 80)]
        assert of(found, "IFUS:KC:202612", TradeEvent)  # the others trade on

    def test_crossed_for_three_seconds(self) -> None:
        books = of(events(stage("ice", "crossed"), 40), CT, BookEvent)
        crossed = [at_s(book) for book in books if book.bids[0].price >= book.asks[0].price]  # type: ignore[attr-defined]
        assert 20 <= min(crossed) < 20.01
        assert 22 < max(crossed) < 23

    def test_fat_finger_is_busted(self) -> None:
        found = events(stage("ice", "fat_finger"), 40)
        (fat,) = [event for event in of(found, CT, TradeEvent) if event.trade_id.startswith("FF")]  # type: ignore[attr-defined]
        (bust,) = of(found, CT, BustEvent)
        assert isinstance(fat, TradeEvent)
        assert isinstance(bust, BustEvent)
        assert bust.trade_id == fat.trade_id
        assert 4.9 < at_s(bust) - at_s(fat) < 5.1
        usual = [event.price for event in of(found, CT, TradeEvent) if event is not fat]  # type: ignore[attr-defined]
        assert fat.price < 0.2 * min(usual)

    def test_spoof_is_large_and_gone(self) -> None:
        books = of(events(stage("ice", "spoof"), 30), CT, BookEvent)
        during = [max(one.qty for one in book.bids) for book in books if 20 < at_s(book) < 22]  # type: ignore[attr-defined]
        after = [max(one.qty for one in book.bids) for book in books if 22.1 < at_s(book) < 29]  # type: ignore[attr-defined]
        assert np.mean(during) > 3 * np.mean(after)

    def test_fx_freezes_while_gold_goes_on(self) -> None:
        found = events(stage("bloomberg", "fx_freeze"), 60)
        frozen = [at_s(event) for event in found if event.symbol == "BBG:USDINR:SPOT"]
        assert max(at for at in frozen if at < 60) <= 20.01
        assert max(at_s(event) for event in found if event.symbol == "BBG:GC:202612") > 58

    def test_busts_and_corrections(self) -> None:
        on = stage("ice", "bust_and_correct")
        found = events(on, 60)
        assert sum(isinstance(event, BustEvent) for event in found) > 10
        assert sum(isinstance(event, TradeEvent) and event.corrects for event in found) > 5


def mean_price(found: Sequence[Event], key: str, from_s: float, to_s: float) -> float:
    books = [book for book in of(found, key, BookEvent) if from_s <= at_s(book) < to_s]
    mids = [(book.bids[0].price + book.asks[0].price) / 2 for book in books if book.bids and book.asks]  # type: ignore[attr-defined]
    return float(np.mean(mids))


class TestMarket:
    def test_spike_is_at_one_venue_and_short(self) -> None:
        mcx, bloomberg = (events(stage(venue, "spike", rate=400), 35) for venue in ("mcx", "bloomberg"))
        up = mean_price(mcx, GOLD, 21.5, 23) / mean_price(mcx, GOLD, 15, 20)
        assert up == pytest.approx(1.015, abs=0.004)
        assert mean_price(mcx, GOLD, 28, 35) / mean_price(mcx, GOLD, 15, 20) == pytest.approx(1, abs=0.003)
        elsewhere = mean_price(bloomberg, "BBG:GC:202612", 21.5, 23) / mean_price(bloomberg, "BBG:GC:202612", 15, 20)
        assert elsewhere == pytest.approx(1, abs=0.002)

    def test_news_shock_reaches_every_venue_and_stays(self) -> None:
        for venue, key in (("ice", B), ("cme", "XNYM:CL:202701"), ("mcx", "XIMC:CRUDEOIL:202612")):
            found = events(stage(venue, "news_shock"), 60)
            assert mean_price(found, key, 50, 60) / mean_price(found, key, 10, 20) == pytest.approx(1.03, abs=0.008)

    def test_volume_surges(self) -> None:
        found = of(events(stage("ice", "volume_surge"), 60), B, TradeEvent)
        surge, usual = (sum(a <= at_s(event) < a + 20 for event in found) for a in (25, 0))
        assert surge > 4 * usual

    def test_duty_step_moves_indian_gold_only(self) -> None:
        script = Script(("duty_step",), START_NS, VENUES)
        duty = 1373 * 96.80 * (0.15 - 0.06) * 0.995 / 0.9999 * 1.001  # INR per 10 g of 995
        times = np.array([START_NS + 19 * S, START_NS + 21 * S])
        for venue, root, fall in (("mcx", "GOLD", duty), ("cme", "GC", 0.0)):
            model = ModelConfig(start_ns=START_NS, profiles=PROFILES[venue], moves=script.moves())
            line = next(product.line for product in MarketModel(model).products if product.profile.root == root)
            before, after = (line.at(times[n : n + 1]).months[0][0] for n in (0, 1))
            assert before - after == pytest.approx(fall, abs=60)  # two seconds of the market's own moves
        found = events(stage("mcx", "duty_step"), 60)
        assert "LIMIT" in [event.state for event in of(found, GOLD, StatusEvent)]  # type: ignore[attr-defined]

    def test_roll_moves_trading_to_the_next_month(self) -> None:
        found = events(stage("ice", "roll"), 80)
        front, back = (of(found, key, TradeEvent) for key in (B, "IFEU:B:202702"))
        for from_s, to_s, low, high in ((0, 20, 0.55, 0.85), (42, 80, 0.05, 0.3)):
            mine, other = (sum(from_s <= at_s(event) < to_s for event in events) for events in (front, back))
            assert low < mine / (mine + other) < high

    def test_limit_move_locks_the_book_on_one_side(self) -> None:
        on = stage("mcx", "limit_move")
        found = events(on, 60)
        states = [event.state for event in of(found, GOLD, StatusEvent)]  # type: ignore[attr-defined]
        assert states[0] == "OPEN"
        assert "LIMIT" in states
        opened = next(book for book in of(found, GOLD, BookEvent))
        locked = [book for book in of(found, GOLD, BookEvent) if not book.bids]  # type: ignore[attr-defined]
        assert locked  # sellers only
        assert isinstance(opened, BookEvent)
        low = round((opened.bids[0].price + opened.asks[0].price) // 2 * 0.94)  # 3 % widens to 6 % at once
        assert all(abs(book.asks[0].price - low) < 30 for book in locked[-20:])  # type: ignore[attr-defined]
        limits = {record["instrument"] for record in on.truth if record["what"] == "limit"}
        assert GOLD in limits

    def test_limits_of_mcx_are_relaxed_in_slabs_and_told(self) -> None:
        on = stage("mcx", "limit_move", rate=10)
        found = of(events(on, 950), GOLD, StatusEvent)  # the third fall, when the cooling of the first is over
        told = [(event.limits, at_s(event)) for event in found]  # type: ignore[attr-defined]
        reaches = {(limits[1] - limits[0]) / (limits[1] + limits[0]): at for limits, at in reversed(told)}
        assert sorted(reaches) == pytest.approx([0.03, 0.06, 0.09], abs=1e-4)
        first, second, third = (reaches[reach] for reach in sorted(reaches))
        assert first < 20 < second < 40  # at once
        assert second + 900 <= third < second + 930  # after a quarter of an hour, with the next that happens

    def test_no_book_goes_beyond_the_limits_told(self) -> None:
        low = high = 0
        for event in events(stage("mcx", "limit_move", rate=40), 60):
            if event.symbol == GOLD and isinstance(event, StatusEvent) and event.limits is not None:
                low, high = event.limits
            elif event.symbol == GOLD and isinstance(event, BookEvent):
                assert all(low <= side[0].price <= high for side in (event.bids, event.asks) if side)

    def test_rule_589_halts_for_two_minutes(self) -> None:
        found = events(stage("cme", "limit_move", rate=100), 165)
        states = [(event.state, at_s(event)) for event in of(found, GC, StatusEvent)]  # type: ignore[attr-defined]
        assert [state for state, _ in states][:3] == ["OPEN", "HALT", "OPEN"]
        assert states[2][1] - states[1][1] >= 120


def test_what_was_said_is_counted() -> None:
    on = stage("ice", "halt,fat_finger")
    actions = on.pull(START_NS + 60 * S)
    on.count(actions)
    found = [event for action in actions for event in action]
    for what, kind in (("trades", TradeEvent), ("books", BookEvent), ("busts", BustEvent), ("states", StatusEvent)):
        for key in (CT, B):
            assert on.said[key, what] == len(of(found, key, kind))


def test_the_page_lists_them() -> None:
    page = (ROOT / "docs" / "market-model.md").read_text()
    for name, scenario in SCENARIOS.items():
        assert f"| `{name}` | {scenario.text} |" in page


class TestClosing:
    def test_nothing_more_happens_and_the_wire_is_whole(self) -> None:
        on = stage("ice", "gap,stall,clock_skew", venues=("ice",))
        on.pull(START_NS + 25 * S)
        assert on._faults.drop_every
        said, offset_ns = dict(on.said), on._faults.clock_offset_ns
        on.close()
        assert on.pull(START_NS + 300 * S) == []
        assert on.next_ns > START_NS + 300 * S
        assert dict(on.said) == said
        assert (on._faults.drop_every, on._faults.stall) == (0, False)
        assert on._faults.clock_offset_ns == offset_ns != 0
