"""The simulated backend: the same orders for the same seed, whole lives, and a truth that can be counted."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from feeds_simulator.backend.database import event_of, prepare, write
from feeds_simulator.backend.desk import USERS, Change, Desk, DeskConfig
from feeds_simulator.backend.server import BackendConfig, serve
from market.instruments import InstrumentMaster
from market.trade_events import parse_event

START_NS = 1_795_104_000_000_000_000  # Thursday 2026-11-19 16:00 UTC: all ICE products trade
HOUR_NS = 3_600_000_000_000


def changes(hours: float = 1.0, **settings: Any) -> list[Change]:
    config = DeskConfig(**{"start_ns": START_NS, **settings})
    return Desk(config).pull(START_NS + int(hours * HOUR_NS), most=10**6)


def test_the_same_seed_gives_the_same_stream_however_it_is_pulled() -> None:
    desk, pulled = Desk(DeskConfig(start_ns=START_NS)), list[Change]()
    for step in range(600):
        pulled += desk.pull(START_NS + step * HOUR_NS // 1200, most=3)
    pulled += desk.pull(START_NS + HOUR_NS // 2, most=10**6)
    assert pulled == changes(0.5)
    assert pulled != changes(0.5, seed=8)


def test_the_rate_is_what_was_asked_for() -> None:
    found = changes(1.0, rate=2.0)
    assert 6_300 < len(found) < 8_100
    assert [change.ts_event for change in found] == sorted(change.ts_event for change in found)


def test_a_life_is_a_life() -> None:
    lives: dict[str, list[Change]] = {}
    for change in changes():
        lives.setdefault(change.order_id, []).append(change)
    ends = Counter[str]()
    for life in lives.values():
        assert [change.number for change in life] == list(range(1, len(life) + 1))
        assert len({(change.user, change.instrument, change.side) for change in life}) == 1
        names = [change.event_type for change in life]
        full = ["created", *(["amended"] if "amended" in names else []), *_end(names)]
        assert names == full[: len(names)]
        ends[names[-1]] += 1
    assert ends["settled"] > 3 * ends["cancelled"] > 0


def _end(names: list[str]) -> list[str]:
    return ["cancelled"] if "cancelled" in names else ["matched", "settled"]


def test_prices_are_on_the_tick_and_near_the_market() -> None:
    found = [change for change in changes() if change.instrument.startswith("IFUS:CT:")]
    prices = [change.price for change in found]
    assert all(price % Decimal("0.01") == 0 for price in prices)
    assert max(prices) < min(prices) * Decimal("1.05")
    for kind in ("buy", "sell"):
        assert any(change.side == kind for change in found)


def test_nobody_orders_on_a_closed_market() -> None:
    saturday_ns = START_NS + 48 * HOUR_NS
    assert Desk(DeskConfig(start_ns=saturday_ns)).pull(saturday_ns + HOUR_NS) == []


def test_time_that_is_skipped_has_no_orders_and_loses_none() -> None:
    desk = Desk(DeskConfig(start_ns=START_NS))
    before = desk.pull(START_NS + 60_000_000_000)
    desk.skip_to(START_NS + HOUR_NS)
    after = desk.pull(START_NS + HOUR_NS + 600_000_000_000)
    assert min(change.ts_event for change in after) >= START_NS + HOUR_NS
    lives = Counter(change.order_id for change in [*before, *after])
    newest = {change.order_id: change for change in [*before, *after]}
    assert all(newest[order].number == count for order, count in lives.items())


def test_every_event_is_one_that_the_pipeline_takes() -> None:
    master = InstrumentMaster.load()
    found = changes(0.1)
    events = [parse_event(event_of(change).encode(), change.ts_event, master) for change in found]
    assert len({event.event_id for event in events}) == len(found) > 500
    assert {event.user_id for event in events} == set(USERS)


@pytest.fixture
def backend_dsn(postgres_dsn: str) -> Iterator[str]:
    yield postgres_dsn
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS trading CASCADE")


def ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_order_trade_and_event_are_one(backend_dsn: str) -> None:
    found = changes(0.1)

    async def write_all() -> None:
        async with await psycopg.AsyncConnection.connect(backend_dsn, autocommit=True) as connection:
            await prepare(connection)
            await prepare(connection)
            for at in range(0, len(found), 50):
                await write(connection, found[at : at + 50])
                await write(connection, found[at : at + 50])  # the answer to the first was not heard

    asyncio.run(write_all())
    counted = Counter(change.event_type for change in found)
    assert ask(backend_dsn, "SELECT sum(events) FROM trading.orders") == [(len(found),)]
    assert ask(backend_dsn, "SELECT count(*) FROM trading.trades") == [(counted["matched"],)]
    assert ask(backend_dsn, "SELECT count(settled_ns) FROM trading.trades") == [(counted["settled"],)]
    payloads = ask(backend_dsn, "SELECT payload::text FROM trading.outbox ORDER BY xid, id")
    assert [json.loads(row[0]) for row in payloads] == [json.loads(event_of(change)) for change in found]


def test_the_service_trades_until_it_is_stopped(backend_dsn: str) -> None:
    clock = iter(range(START_NS, START_NS + HOUR_NS, 5_000_000_000))

    async def run() -> None:
        stop, ready = asyncio.Event(), asyncio.Event()

        def now() -> int:
            at = next(clock)
            if at > START_NS + 100_000_000_000:
                stop.set()
            return at

        await serve(BackendConfig(dsn=backend_dsn, rate=20.0), now, stop, ready.set)
        assert ready.is_set()

    asyncio.run(run())
    ((events,),) = ask(backend_dsn, "SELECT sum(events) FROM trading.orders")
    assert ask(backend_dsn, "SELECT count(*) FROM trading.outbox") == [(events,)]
    assert events > 500


def test_a_database_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, stop.set)
        await serve(BackendConfig(dsn="postgresql://nobody@127.0.0.1:9/none"), lambda: START_NS, stop)

    asyncio.run(run())
    assert "away" in caplog.text
