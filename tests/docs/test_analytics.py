"""docs/analytics.md: every question finds something in a made-up week, the same when each row is inserted twice.

Some answers are computed here again, in the plainest way, from the rows that were stored.
"""

import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from typing import Any

import analyst_rows
import clickhouse_connect
import pytest
from analyst_rows import DAY_NS, MONDAY_NS, SCALE, Row
from clickhouse_connect.driver.client import Client
from docs_pages import read, rows, ticked
from store_rows import batch_of

from sinks.clickhouse import ClickHouseSink, stored_table
from sinks.columns import table_spec

PAGE = read("docs/analytics.md")
QUESTIONS = dict(re.findall(r"^### (\d+\. .+?)$.*?^```sql\n-- clickhouse\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
FRIDAY_NS = MONDAY_NS + 4 * DAY_NS
WEEK = analyst_rows.week()
NET = analyst_rows.net(WEEK["trades"])


@pytest.fixture(scope="module")
def client(clickhouse_url: str) -> Iterator[Client]:
    with closing(ClickHouseSink(clickhouse_url)) as sink:
        sink.write({name: [batch_of(name, given)] for name, given in WEEK.items()})
    with closing(clickhouse_connect.get_client(dsn=clickhouse_url)) as found:
        yield found


def ask(client: Client, number: int) -> list[dict[str, Any]]:
    [query] = [text for title, text in QUESTIONS.items() if title.startswith(f"{number}. ")]
    return list(client.query(query).named_results())


def of_day(given: list[Row], day_ns: int = FRIDAY_NS) -> list[Row]:
    return [row for row in given if day_ns <= row["ts_event"] < day_ns + DAY_NS]


def by_instrument(given: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(given, key=lambda row: (row["ts_event"], row["seq"])):
        found[row["instrument"]].append(row)
    return dict(sorted(found.items()))


def exact(value: int) -> Decimal:
    return Decimal(value).scaleb(-9)


def test_there_are_at_least_twenty() -> None:
    assert [int(title.partition(".")[0]) for title in QUESTIONS] == list(range(1, len(QUESTIONS) + 1))
    assert len(QUESTIONS) >= 20


@pytest.mark.parametrize("title", QUESTIONS)
def test_a_question_finds_something(client: Client, title: str) -> None:
    found = client.query(QUESTIONS[title]).result_rows
    assert found
    assert all(value is not None and value == value for row in found for value in row)  # no null, no NaN


def test_columns_are_those_of_the_views(client: Client) -> None:
    for row in rows(PAGE, "view"):
        [name] = ticked(row["view"])
        assert list(client.query(f"SELECT * FROM market.{name} LIMIT 0").column_names) == ticked(row["columns"]), name


def test_the_day(client: Client) -> None:
    found = {row["instrument"]: row for row in ask(client, 2)}
    expected = by_instrument(of_day(NET))
    assert found.keys() == expected.keys()
    for instrument, trades in expected.items():
        prices, sizes = [row["price"] for row in trades], [row["size"] for row in trades]
        row = found[instrument]
        assert (row["open"], row["close"]) == (exact(prices[0]), exact(prices[-1]))
        assert (row["high"], row["low"]) == (exact(max(prices)), exact(min(prices)))
        assert (row["volume"], row["trades"]) == (exact(sum(sizes)), len(trades))
        assert row["vwap"] == exact(sum(p * s for p, s in zip(prices, sizes, strict=True)) // sum(sizes))


def test_movers(client: Client) -> None:
    closes = {
        (name, day): by_instrument(of_day(NET, MONDAY_NS + day * DAY_NS))[name][-1]["price"]
        for name in by_instrument(NET)
        for day in (3, 4)
    }
    expected = {name: (closes[name, 3], closes[name, 4]) for name, day in closes if day == 3}
    found = ask(client, 1)
    assert {row["instrument"]: (row["previous_close"], row["close"]) for row in found} == {
        name: (exact(before), exact(now)) for name, (before, now) in expected.items()
    }
    moves = [abs(expected[row["instrument"]][1] / expected[row["instrument"]][0] - 1) for row in found]
    assert moves == sorted(moves, reverse=True)


def test_average_true_range(client: Client) -> None:
    daily = [row for row in WEEK["bars"] if row["interval"] == "1d"]
    for row in ask(client, 7):
        bars = sorted((bar for bar in daily if bar["instrument"] == row["instrument"]), key=lambda bar: bar["ts_open"])
        ranges = [
            max(now["high"] - now["low"], abs(now["high"] - before["close"]), abs(now["low"] - before["close"]))
            for before, now in itertools.pairwise(bars)
        ]
        assert float(row["average_true_range"]) == pytest.approx(sum(ranges) / len(ranges) / SCALE, abs=1e-6)
        assert row["days"] == len(ranges) == 4


def test_spread_by_hour(client: Client) -> None:
    total: dict[tuple[str, date, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for day in range(5):
        for instrument, quotes in by_instrument(of_day(WEEK["quotes"], MONDAY_NS + day * DAY_NS)).items():
            for quote, after in zip(quotes, [*quotes[1:], quotes[-1]], strict=True):
                spread = None if quote["ask_price"] is None else quote["ask_price"] - quote["bid_price"]
                if spread is not None and spread >= 0:
                    stood = min(after["ts_event"] - quote["ts_event"], 60 * SCALE)
                    hour = quote["ts_event"] % DAY_NS // (3_600 * SCALE)
                    sums = total[instrument, date(2026, 11, 16 + day), hour]
                    sums[0] += stood
                    sums[1] += spread * stood
                    sums[2] += quote["bid_size"] * stood
    found = client.query("SELECT * FROM market.spread_profile").named_results()
    answers = {(row["instrument"], row["day"], row["hour"]): row for row in found}
    assert answers.keys() == total.keys()
    for key, (seconds, spread, bid_size) in total.items():
        assert answers[key]["mean_spread"] == pytest.approx(spread / seconds / SCALE)
        assert answers[key]["mean_bid_size"] == pytest.approx(bid_size / seconds / SCALE)
        assert answers[key]["seconds"] == pytest.approx(seconds / SCALE)
    crossed = sum((row["ask_price"] or row["bid_price"]) < row["bid_price"] for row in WEEK["quotes"])
    assert sum(row["crossed"] for row in answers.values()) == crossed > 0


def test_value_area(client: Client) -> None:
    for row in ask(client, 12):
        volumes: dict[int, int] = defaultdict(int)
        for trade in by_instrument(of_day(NET))[row["instrument"]]:
            volumes[trade["price"]] += trade["size"]
        ordered = sorted(volumes, key=lambda price: (volumes[price], price), reverse=True)
        taken, area = 0, []
        for price in ordered:
            if taken < 0.7 * sum(volumes.values()):
                area.append(price)
            taken += volumes[price]
        assert row["most_traded"] == exact(ordered[0])
        assert (row["area_low"], row["area_high"]) == (exact(min(area)), exact(max(area)))


def test_effective_spread(client: Client) -> None:
    two_sided = [row for row in of_day(WEEK["quotes"]) if row["ask_price"] is not None]
    quotes = by_instrument(two_sided)
    for row in ask(client, 14):
        cost = lots = 0.0
        times = [quote["ts_event"] for quote in quotes[row["instrument"]]]
        for trade in by_instrument(of_day(NET))[row["instrument"]]:
            quote = quotes[row["instrument"]][bisect.bisect_right(times, trade["ts_event"]) - 1]
            middle = (quote["bid_price"] + quote["ask_price"]) / 2
            cost += abs(trade["price"] - middle) / middle * trade["size"]
            lots += trade["size"]
        assert row["effective_spread_bps"] == pytest.approx(2e4 * cost / lots, abs=1e-4)


def test_the_quality_of_the_days(client: Client) -> None:
    found = {(row["day"], row["venue"]): row for row in ask(client, 21)}
    trades = [row for row in WEEK["trades"] if row["venue"] == "XCEC" and row["ts_event"] < MONDAY_NS + DAY_NS]
    monday = found[date(2026, 11, 16), "XCEC"]
    assert monday["trades"] == sum(row["flags"] == 0 for row in trades)
    assert monday["amendments"] == sum(row["flags"] != 0 for row in trades)
    assert (monday["late"], monday["rejected"], monday["instruments"]) == (1, 0, 2)
    assert found[date(2026, 11, 16), "XIMC"]["rejected"] == 1
    quotes = [row for row in WEEK["quotes"] if row["venue"] == "XCEC" and row["ts_event"] < MONDAY_NS + DAY_NS]
    delays = sorted(row["ts_recv"] - row["ts_event"] for row in trades + quotes)
    assert monday["quotes"] == len(quotes)
    assert monday["p50_ms"] == pytest.approx(delays[len(delays) // 2] / 1e6, rel=0.01)


def test_inserting_every_row_again_changes_no_answer(client: Client) -> None:
    """The last test of the page: it leaves each row twice in the tables, as a replay beside the sink would."""
    client.command("CREATE TABLE market.summed (day Date, size Decimal(38, 9)) ENGINE = SummingMergeTree ORDER BY day")
    client.command(
        "CREATE MATERIALIZED VIEW market.summing TO market.summed AS "
        "SELECT toDate(ts_event) AS day, sum(size) AS size FROM market.trades GROUP BY day"
    )
    client.command("SYSTEM STOP MERGES")
    try:
        before = {title: client.query(query).result_rows for title, query in QUESTIONS.items()}
        for name in WEEK:
            table = stored_table(table_spec(name))
            client.command(f"INSERT INTO {table} SELECT * FROM {table}")
        counted = client.query("SELECT count() FROM market.trades").result_rows
        assert counted == [(2 * len(WEEK["trades"]),)]  # they are there twice
        for title, query in QUESTIONS.items():
            assert client.query(query).result_rows == before[title], title
        client.command("INSERT INTO market.trades SELECT * FROM market.trades FINAL")
        [(summed,)] = client.query("SELECT sum(size) FROM market.summed").result_rows
        [(true,)] = client.query("SELECT sum(size) FROM market.trades FINAL").result_rows
        assert summed == 2 * true  # what a materialised view would say of the same rows
    finally:
        client.command("SYSTEM START MERGES")
        client.command("DROP VIEW market.summing")
        client.command("DROP TABLE market.summed")
