"""REST parameters, and history read back exactly from a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gateway_support import GC, T0_NS
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import HttpError, StoreDown
from gateway.rest import DEFAULT_LIMIT, Store, parse_query, parse_time
from market.schemas import ARBITRAGE, BOOKS
from sinks.embedded.postgres import EmbeddedPostgres

MINUTE_NS = 60 * 10**9


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_time_is_read_from_ns(ns: int) -> None:
    assert parse_time(str(ns)) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-21T03:03:00Z", 1_795_230_180_000_000_000),
        ("2026-11-21T03:03:00.123456789Z", 1_795_230_180_123_456_789),
        ("2026-11-21T08:33:00+05:30", 1_795_230_180_000_000_000),
        ("2026-11-21T08:33:00 05:30", 1_795_230_180_000_000_000),  # a + that was not encoded
        ("2026-11-21T03:03:00", 1_795_230_180_000_000_000),
        ("2026-11-21", 1_795_219_200_000_000_000),
        ("2026-13-01", None),
        ("now", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_a_time_is_read_from_iso_8601(text: str, ns: int | None) -> None:
    assert parse_time(text) == ns


def test_a_query_has_defaults_and_refuses_the_rest() -> None:
    query = parse_query("bars", {"instrument": GC, "interval": "1m"})
    assert (query.limit, query.revisions) == (DEFAULT_LIMIT, False)
    for table, wrong in (
        ("bars", {"interval": "1m"}),
        ("bars", {"instrument": GC}),
        ("bars", {"instrument": GC, "interval": "1m", "revisions": "some"}),
        ("trades", {"instrument": GC, "interval": "1m"}),
        ("trades", {"instrument": GC, "limit": "0"}),
        ("trades", {"instrument": GC, "limit": "1e3"}),
        ("trades", {"instrument": GC, "to": "99999999999999999999"}),
        ("trades", {"instrument": "x" * 65}),
    ):
        with pytest.raises(HttpError) as caught:
            parse_query(table, wrong)
        assert caught.value.status == 400


MIGRATIONS = Path(__file__).parents[2] / "sql" / "timescale"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("store"))
    dsn = server.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA market")
        for migration in sorted(MIGRATIONS.glob("*.sql")):
            connection.execute(migration.read_bytes())
        for n in range(10):
            _insert_trade(connection, n)
            _insert_bar(connection, n, 0)
        _insert_bar(connection, 9, 1)
        _insert_bar(connection, 3, 1)
        _insert_status(connection, GC, "STALE")
        _insert_status(connection, "", "GAP")
        for n, commodity in enumerate(("gold", "gold", "wti")):
            _insert_opportunity(connection, n, commodity)
        for n, instruments in enumerate((GC, f"BBG:CT:202612 {GC}", "", "BBG:USDINR:SPOT")):
            _insert_news(connection, n, instruments)
    yield server
    server.stop()


def _stamp(ns: int) -> str:
    return f"to_timestamp({ns // 1000}::numeric / 1000000)"


def _insert_trade(connection: psycopg.Connection[Any], n: int) -> None:
    ns = T0_NS + n * MINUTE_NS + 1  # not a whole microsecond
    connection.execute(
        f"INSERT INTO market.trades (instrument, ts_event, ts_event_ns, seq, trade_id, venue, ts_recv, ts_recv_ns,"
        f" price, size, side, flags) VALUES ('{GC}', {_stamp(ns)}, {ns}, {n}, '{'t' * n}', 'XCEC', {_stamp(ns)}, {ns},"
        f" 4150.100000001, 2, {n % 3 - 1}, 0)".encode()
    )


def _insert_bar(connection: psycopg.Connection[Any], n: int, revision: int) -> None:
    ns = T0_NS + n * MINUTE_NS
    connection.execute(
        'INSERT INTO market.bars (instrument, "interval", ts_open, ts_open_ns, ts_close, ts_close_ns, revision, final,'
        " venue, open, high, low, close, volume, vwap, trades, quality, as_known_at, as_known_at_ns)"
        f" VALUES ('{GC}', '1m', {_stamp(ns)}, {ns}, {_stamp(ns + MINUTE_NS)}, {ns + MINUTE_NS}, {revision}, true,"
        f" 'XCEC', 1.5, 2, 1, 1.25, 12345678901234567890.5, 1.3, 7, 'LIVE', {_stamp(ns)}, {ns})".encode()
    )


def _insert_status(connection: psycopg.Connection[Any], instrument: str, quality: str) -> None:
    connection.execute(
        f"INSERT INTO market.status (venue, instrument, ts_event, ts_event_ns, quality, reason)"
        f" VALUES ('XCEC', '{instrument}', {_stamp(T0_NS)}, {T0_NS}, '{quality}', 'a test')".encode()
    )


def _insert_news(connection: psycopg.Connection[Any], n: int, instruments: str) -> None:
    ns = T0_NS + n
    connection.execute(
        f"INSERT INTO market.news VALUES ('N{n}', 'BBG', {_stamp(ns)}, {ns}, {_stamp(ns)}, {ns}, 'headline {n}',"
        f" 'body', 'gold silver', '{instruments}', {n % 3})".encode()
    )


def _insert_opportunity(connection: psycopg.Connection[Any], n: int, commodity: str) -> None:
    ns = T0_NS + n
    connection.execute(
        "INSERT INTO market.arbitrage (opportunity_id, ts_event, ts_event_ns, commodity, direction, buy_instrument,"
        " sell_instrument, state, reason, currency, unit, net, cost_duty, skew_ms, assumed)"
        f" VALUES ('O{n}', {_stamp(ns)}, {ns}, '{commodity}', 'buy_foreign', '{GC}', 'XIMC:X:20261{n}', 'open', '',"
        f" 'INR', '10g', 12.340000001, -1.5, 7, 'a b')".encode()
    )


def read(dsn: str | None, *requests: tuple[str, dict[str, str]]) -> list[Any]:
    async def run() -> list[bytes]:
        store = Store(dsn)
        try:
            return [await store.rows(table, parse_query(table, parameters)) for table, parameters in requests]
        finally:
            await store.close()

    return [json.loads(body, parse_float=Decimal) for body in asyncio.run(run())]


def test_rows_come_back_exact_and_in_order(server: EmbeddedPostgres) -> None:
    (trades,) = read(server.dsn, ("trades", {"instrument": GC}))
    assert [row["seq"] for row in trades] == list(range(10))
    assert trades[0] == {
        "instrument": GC,
        "ts_event": str(T0_NS + 1),
        "seq": 0,
        "venue": "XCEC",
        "ts_recv": str(T0_NS + 1),
        "trade_id": None,
        "price": Decimal("4150.100000001"),
        "size": 2,
        "side": "sell",
        "flags": 0,
    }
    assert [row["trade_id"] for row in trades[1:3]] == ["t", "tt"]
    assert [row["side"] for row in trades[:3]] == ["sell", None, "buy"]


def test_trades_are_as_they_now_stand(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        ns = T0_NS + 30 * MINUTE_NS
        insert = (
            "INSERT INTO market.trades"
            " (instrument, ts_event, ts_event_ns, seq, trade_id, venue, price, size, side, flags)"
            f" VALUES ('XCEC:GC:203012', {_stamp(ns)}, {ns}, %s, %s, 'XCEC', %s, 1, 1, %s)"
        ).encode()
        for row in ((1, "a", 5, 0), (2, "b", 5, 0), (3, "c", 5, 0), (4, "a", None, 8), (5, "b", 6, 16)):
            connection.execute(insert, row)
    (trades,) = read(server.dsn, ("trades", {"instrument": "XCEC:GC:203012"}))
    assert [(row["seq"], row["price"], row["flags"]) for row in trades] == [(2, 6, 16), (3, 5, 0)]


def test_the_newest_of_the_range_are_taken_and_the_range_is_half_open(server: EmbeddedPostgres) -> None:
    key = {"instrument": GC}
    first, bounded, none = read(
        server.dsn,
        ("trades", key | {"limit": "3"}),
        ("trades", key | {"from": str(T0_NS + MINUTE_NS + 1), "to": str(T0_NS + 4 * MINUTE_NS + 1)}),
        ("trades", {"instrument": "XCEC:GC:209912"}),
    )
    assert [row["seq"] for row in first] == [7, 8, 9]
    assert [row["seq"] for row in bounded] == [1, 2, 3]
    assert none == []


def test_bars_are_the_newest_revision_unless_all_are_asked_for(server: EmbeddedPostgres) -> None:
    key = {"instrument": GC, "interval": "1m"}
    newest, every, other = read(
        server.dsn, ("bars", key), ("bars", key | {"revisions": "all"}), ("bars", key | {"interval": "5m"})
    )
    assert [row["revision"] for row in newest] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert [row["revision"] for row in every] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert other == []
    assert newest[0]["volume"] == Decimal("12345678901234567890.5")
    assert (newest[0]["open"], newest[0]["high"], newest[0]["final"]) == (Decimal("1.5"), 2, True)


def test_quotes_and_status_are_read(server: EmbeddedPostgres) -> None:
    quotes, mine, venue = read(
        server.dsn, ("quotes", {"instrument": GC}), ("status", {"instrument": GC}), ("status", {"instrument": "XCEC:*"})
    )
    assert quotes == []
    assert [(row["instrument"], row["quality"]) for row in mine] == [(GC, "STALE")]
    assert [(row["instrument"], row["quality"], row["ts_event"]) for row in venue] == [(None, "GAP", str(T0_NS))]


def test_books_come_back_exact(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for ns in (T0_NS + 1, T0_NS + 2):  # within one microsecond
            connection.execute(
                "INSERT INTO market.books (venue, instrument, ts_event, ts_event_ns, seq, state, quality, imbalance,"
                f" bid_1_price, bid_1_size) VALUES ('XCEC', '{GC}', {_stamp(ns)}, {ns}, 7, 'NORMAL', 'LIVE', -0.2,"
                " 4150.100000001, 2)".encode()
            )
    both, newest = read(server.dsn, ("books", {"instrument": GC}), ("books", {"instrument": GC, "limit": "1"}))
    assert [row["ts_event"] for row in both] == [str(T0_NS + 1), str(T0_NS + 2)]
    (row,) = newest
    assert list(row) == BOOKS.names
    assert (row["bid_1_price"], row["bid_1_size"], row["imbalance"]) == (Decimal("4150.100000001"), 2, Decimal("-0.2"))
    assert (row["ask_10_price"], row["ts_recv"], row["state"]) == (None, None, "NORMAL")


def test_anomalies_of_all_and_of_one_instrument(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for n, instrument in enumerate((GC, "XIMC:GOLD:202612")):
            ns = T0_NS + n
            connection.execute(
                f"INSERT INTO market.anomalies VALUES ('A{n}', 'X', '{instrument}', {_stamp(ns)}, {ns}, NULL, NULL,"
                f" 'fat_finger', 'high', 7.5, 415.6, 4156, 'bad_tick', '{{}}', {_stamp(ns)}, {ns})".encode()
            )
    every, gold = read(server.dsn, ("anomalies", {}), ("anomalies", {"instrument": GC}))
    assert [row["anomaly_id"] for row in every] == ["A0", "A1"]
    (row,) = gold
    assert (row["value"], row["ts_end"], row["detail"], row["witness"]) == (Decimal("415.6"), None, {}, "bad_tick")


def test_forecasts_their_scores_and_the_board(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for n, level in enumerate(("0.8", "0.9", "0.9")):
            ns, horizon = T0_NS, 60 if n < 2 else 300
            connection.execute(
                f"INSERT INTO market.forecasts VALUES ('XCEC', '{GC}', 'naive', {_stamp(ns)}, {ns}, {horizon}, {level},"
                f" {_stamp(ns)}, {ns}, 10, 10.5, 9, 12, 0.02, '', 0.1, 0.9, 7, {_stamp(ns)}, {ns})".encode()
            )
        for n, actual in enumerate((10, 12)):
            ns = T0_NS + n
            connection.execute(
                f"INSERT INTO market.forecast_scores VALUES ('XCEC', '{GC}', 'ensemble', 60, {_stamp(ns)}, {ns},"
                f" {_stamp(ns)}, {ns}, 11, {actual}, 1, 2, {n == 0}, true, {n == 0}, 0.5, 0.25, false,"
                f" {_stamp(ns)}, {ns})".encode()
            )
    made, scores, board = read(
        server.dsn,
        ("forecasts", {"instrument": GC}),
        ("forecast_scores", {}),
        ("forecast_scoreboard", {"instrument": GC}),
    )
    assert [(row["horizon_s"], row["level"]) for row in made] == [
        (60, Decimal("0.9")),
        (60, Decimal("0.8")),
        (300, Decimal("0.9")),
    ]
    assert [(row["actual"], row["covered"]) for row in scores] == [(10, True), (12, False)]
    (row,) = board
    assert (row["scored"], row["skill"], row["coverage"], row["coverage_80"]) == (2, Decimal("0.5"), Decimal("0.5"), 1)
    # (0.5 - 1)^2 + 0.5^2 against (0.25 - 1)^2 + 0.25^2
    assert row["crash_skill"] == Decimal("0.2")


def test_news_of_all_of_one_instrument_and_of_a_time(server: EmbeddedPostgres) -> None:
    every, gold, later = read(
        server.dsn, ("news", {}), ("news", {"instrument": GC}), ("news", {"from": str(T0_NS + 1), "limit": "2"})
    )
    assert [row["news_id"] for row in every] == ["N0", "N1", "N2", "N3"]
    assert [row["news_id"] for row in gold] == ["N0", "N1"]
    assert [row["news_id"] for row in later] == ["N2", "N3"]
    assert (gold[1]["instruments"], gold[1]["topics"]) == (["BBG:CT:202612", GC], ["gold", "silver"])
    assert (every[2]["instruments"], every[2]["ts_event"]) == ([], str(T0_NS + 2))


def test_opportunities_of_all_of_a_leg_and_of_a_commodity(server: EmbeddedPostgres) -> None:
    every, leg, wti = read(
        server.dsn,
        ("arbitrage", {}),
        ("arbitrage", {"instrument": "XIMC:X:202611"}),
        ("arbitrage", {"instrument": "wti"}),
    )
    assert [row["opportunity_id"] for row in every] == ["O0", "O1", "O2"]
    assert [row["opportunity_id"] for row in leg] == ["O1"]
    assert [row["opportunity_id"] for row in wti] == ["O2"]
    assert list(every[0]) == ARBITRAGE.names
    assert (every[0]["net"], every[0]["cost_duty"], every[0]["gross"]) == (
        Decimal("12.340000001"),
        Decimal("-1.5"),
        None,
    )
    assert (every[0]["ts_event"], every[0]["assumed"], every[0]["skew_ms"]) == (str(T0_NS), ["a", "b"], 7)


async def _refused(call: Callable[[], Awaitable[object]]) -> StoreDown:
    with pytest.raises(StoreDown) as caught:
        await call()
    return caught.value


def test_a_store_that_is_not_there_is_said_to_be_down_without_its_password() -> None:
    async def run() -> None:
        assert "no history store" in (await _refused(Store(None).check)).message
        error = await _refused(Store("postgresql://desk:hunter2@127.0.0.1:1/mandi").check)
        assert error.status == 503
        assert "hunter2" not in str(error)

    asyncio.run(run())


def test_after_a_restart_of_the_store_reads_work_again(tmp_path: Path) -> None:
    async def run() -> None:
        server = EmbeddedPostgres(tmp_path)
        store = Store(server.start())
        try:
            await store.check()
            await asyncio.to_thread(server.stop)
            await _refused(store.check)
            await asyncio.to_thread(server.start)
            await store.check()
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await store.check()  # the kept connection is dead, a new one is made
        finally:
            await store.close()
            await asyncio.to_thread(server.stop)

    asyncio.run(run())
