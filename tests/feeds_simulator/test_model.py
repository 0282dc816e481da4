"""The simulated market: the same seed gives the same market however it is pulled, and it looks like one."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from random import Random
from statistics import fmean, pvariance
from typing import Any

import numpy as np
import pytest

from feeds_simulator.book import DEPTH
from feeds_simulator.events import BookEvent, BustEvent, Event, Listing, SettleEvent, StatusEvent, TradeEvent
from feeds_simulator.ice.symbols import ice_symbol
from feeds_simulator.model import MarketModel, ModelConfig
from feeds_simulator.model.products import ICE

S = 1_000_000_000
MONDAY_NOON_NS = int(datetime(2026, 11, 23, 14, tzinfo=UTC).timestamp()) * S


def ice_config(**terms: Any) -> ModelConfig:
    return ModelConfig(symbol_of=ice_symbol, **terms)


def events_of(config: ModelConfig, seconds: float) -> list[Event]:
    actions = MarketModel(config).pull(config.start_ns + int(seconds * S))
    return [event for action in actions for event in action]


@pytest.fixture(scope="module")
def busy() -> list[Event]:
    """Two minutes of an open market at 400 messages/s."""
    return events_of(ice_config(start_ns=MONDAY_NOON_NS), 120)


class TestDeterminism:
    def test_how_it_is_pulled_changes_nothing(self) -> None:
        config = ice_config(start_ns=MONDAY_NOON_NS, seed=11)
        whole = MarketModel(config).pull(MONDAY_NOON_NS + 20 * S)
        random, model, pieces = Random(1), MarketModel(config), []
        until_ns = MONDAY_NOON_NS
        while until_ns < MONDAY_NOON_NS + 20 * S:
            until_ns = min(until_ns + random.choice([0, 1, S // 1000, S // 3, 2 * S]), MONDAY_NOON_NS + 20 * S)
            while taken := model.pull(until_ns, random.randint(1, 50)):
                pieces += taken
        assert pieces == whole

    def test_another_seed_is_another_market(self) -> None:
        one = events_of(ice_config(start_ns=MONDAY_NOON_NS, seed=1), 2)
        other = events_of(ice_config(start_ns=MONDAY_NOON_NS, seed=2), 2)
        assert one != other

    def test_another_start_gives_other_trade_ids(self) -> None:
        runs = [events_of(ice_config(start_ns=MONDAY_NOON_NS + late), 30) for late in (0, S)]
        ids = [{event.trade_id for event in run if isinstance(event, TradeEvent)} for run in runs]
        assert all(ids)
        assert not ids[0] & ids[1]


class TestMarket:
    def test_time_rises_with_every_action(self) -> None:
        actions = MarketModel(ice_config(start_ns=MONDAY_NOON_NS)).pull(MONDAY_NOON_NS + 30 * S)
        for action in actions:
            assert len({event.ts_event for event in action}) == 1
        assert all(one[0].ts_event < other[0].ts_event for one, other in pairwise(actions))

    def test_books_are_sound(self, busy: list[Event]) -> None:
        books = [event for event in busy if isinstance(event, BookEvent)]
        assert books
        for book in books:
            assert book.bids[0].price < book.asks[0].price
            assert len(book.bids) == len(book.asks) == DEPTH
            assert all(one.price > other.price for one, other in pairwise(book.bids))
            assert all(one.price < other.price for one, other in pairwise(book.asks))
            assert all(level.qty >= level.orders >= 1 for level in book.bids + book.asks)

    def test_every_book_event_changes_something(self, busy: list[Event]) -> None:
        last: dict[str, BookEvent] = {}
        for event in busy:
            if isinstance(event, BookEvent):
                before = last.get(event.symbol)
                assert before is None or (before.bids, before.asks) != (event.bids, event.asks)
                last[event.symbol] = event

    def test_trades_take_the_touch_and_its_lots(self, busy: list[Event]) -> None:
        books: dict[str, BookEvent] = {}
        trades = 0
        for event, following in pairwise(busy):
            if isinstance(event, BookEvent):
                books[event.symbol] = event
            elif isinstance(event, TradeEvent):
                trades += 1
                before = books[event.symbol]
                buys = event.aggressor == "B"
                touch = (before.asks if buys else before.bids)[0]
                assert event.price == touch.price
                assert 1 <= event.qty <= touch.qty
                assert isinstance(following, BookEvent)  # the same action says what is left
                left = (following.asks if buys else following.bids)[0]
                assert following.symbol == event.symbol
                assert (left.price == touch.price) is (event.qty < touch.qty)
                if left.price == touch.price:
                    assert left.qty == touch.qty - event.qty
        assert trades > 1_000

    def test_some_actions_take_several_levels(self, busy: list[Event]) -> None:
        assert any(isinstance(event, BookEvent) and not event.eot for event in busy)

    def test_rate_is_what_was_asked(self, busy: list[Event]) -> None:
        # Seeds differ by about 4 % over two minutes: arrivals cluster.
        assert len(busy) / 120 == pytest.approx(400, rel=0.15)

    def test_arrivals_cluster(self, busy: list[Event]) -> None:
        front = [event.ts_event for event in busy if event.symbol == "B F27"]
        counts = [0] * 120
        for ts_event in front:
            counts[min((ts_event - MONDAY_NOON_NS) // S, 119)] += 1
        assert pvariance(counts) / fmean(counts) > 1.2  # 1 if arrivals were independent

    def test_trades_stay_near_the_fair_value(self, busy: list[Event]) -> None:
        for product in MarketModel(ice_config(start_ns=MONDAY_NOON_NS)).products:
            symbols = {listing.symbol: month for month, listing in enumerate(product.listings)}
            mine = [event for event in busy if isinstance(event, TradeEvent) and event.symbol in symbols]
            seen = product.line.at(np.array([event.ts_event for event in mine]))
            away = [event.price - seen.months[symbols[event.symbol]][at] for at, event in enumerate(mine)]
            assert len(away) > 300
            assert abs(fmean(away)) < 1  # ticks
            assert np.std(away) < 5
            assert max(map(abs, away)) < 25

    def test_spreads_are_a_few_ticks(self, busy: list[Event]) -> None:
        spreads = defaultdict(list)
        for event in busy:
            if isinstance(event, BookEvent):
                spreads[event.symbol].append(event.asks[0].price - event.bids[0].price)
        assert len(spreads) == 10
        for ticks in spreads.values():
            assert 1 <= fmean(ticks) < 8

    def test_months_move_together(self, busy: list[Event]) -> None:
        gaps = []
        touch: dict[str, int] = {}
        for event in busy:
            if isinstance(event, BookEvent):
                touch[event.symbol] = event.bids[0].price
                if {"B F27", "B G27"} <= touch.keys():
                    gaps.append(touch["B G27"] - touch["B F27"])
        assert max(gaps) - min(gaps) < 25  # ticks; each month alone may go anywhere


class TestSessions:
    def test_closed_until_the_open(self) -> None:
        sunday_ns = MONDAY_NOON_NS - 24 * 3600 * S
        events = events_of(ice_config(start_ns=sunday_ns), 3600)
        assert {type(event) for event in events} == {StatusEvent}
        assert {event.state for event in events if isinstance(event, StatusEvent)} == {"CLOSE"}
        assert len(events) == 10

    def test_closes_and_settles_at_the_end(self) -> None:
        # Cotton closes at 14:20 New York, 19:20 UTC, and opens again at 02:00 UTC.
        close_ns = int(datetime(2026, 11, 23, 19, 20, tzinfo=UTC).timestamp()) * S
        config = ice_config(start_ns=close_ns - 5 * S, rate=100, profiles=ICE[:1])
        events = events_of(config, 10 + 6.67 * 3600)
        closing = [event for event in events if isinstance(event, StatusEvent | SettleEvent)]
        states = [event.state for event in closing if isinstance(event, StatusEvent)]
        assert states == ["OPEN", "OPEN", "CLOSE", "CLOSE", "OPEN", "OPEN"]
        assert [event.symbol for event in closing if isinstance(event, SettleEvent)] == ["CT Z26", "CT H27"]
        reopen_ns = close_ns + 24_000 * S
        assert not any(close_ns + 10 < event.ts_event < reopen_ns for event in events)

    def test_skips_what_it_slept_through(self) -> None:
        model = MarketModel(ice_config(start_ns=MONDAY_NOON_NS))
        before = model.pull(MONDAY_NOON_NS + S)
        awake_ns = MONDAY_NOON_NS + 3600 * S
        model.skip_to(awake_ns)
        after = model.pull(awake_ns + S)
        assert len(before) > 100
        skipped = [action for action in after if action[0].ts_event < awake_ns]
        assert len(skipped) <= len(ICE)  # those already drawn
        assert len(after) > 100


def test_busts_and_corrections_name_earlier_trades() -> None:
    events = events_of(ice_config(start_ns=MONDAY_NOON_NS, bust_every=5, correct_every=7), 20)
    trades = {event.trade_id: event for event in events if isinstance(event, TradeEvent) and not event.corrects}
    corrections = [event for event in events if isinstance(event, TradeEvent) and event.corrects]
    busts = [event for event in events if isinstance(event, BustEvent)]
    assert len(corrections) > 20
    assert len(busts) > 20
    for later in (*busts, *corrections):
        assert trades[later.trade_id].ts_event < later.ts_event
    for correction in corrections:
        assert correction.price != trades[correction.trade_id].price


@pytest.mark.parametrize(
    ("key", "tick", "ticks", "symbol", "text"),
    [
        ("IFUS:CT:202612", "0.01", 6820, "CT Z26", "68.20"),
        ("IFUS:KC:202703", "0.05", 7601, "KC H27", "380.05"),
        ("IFUS:CC:202612", "1", 6012, "CC Z26", "6012"),
        ("IFEU:B:202701", "0.01", -5, "B F27", "-0.05"),
    ],
)
def test_listing(key: str, tick: str, ticks: int, symbol: str, text: str) -> None:
    listing = Listing(ice_symbol(key), key, Decimal(tick))
    assert listing.symbol == symbol
    assert listing.price_text(ticks) == text
