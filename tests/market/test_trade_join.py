"""The market joined to the desk's trades, against brute force, and case by case."""

from collections import Counter
from typing import Any

from arrivals import joined
from hypothesis import given
from hypothesis import strategies as st
from join_rows import is_event, joins
from reference import SECOND, Row
from strategies import T0, rows

from market.schemas import PRICE_LIMIT
from market.trade_join import AFTER_NS, MARKOUTS, TradeJoinKernel

GC, VENUE = "XCEC:GC:202612", "XCEC"
JOINED = ("arrival_price", "slippage", *MARKOUTS)


def versions(found: list[Row], kernel: TradeJoinKernel | None = None) -> list[dict[str, Any]]:
    kernel = kernel or TradeJoinKernel()
    outputs = joined([kernel.on_batch(joins(found)), kernel.on_eof()])
    return outputs["trade_events"].to_pylist() if outputs else []


def last(found: list[dict[str, Any]]) -> dict[str, tuple]:
    return {row["event_id"]: tuple(row[name] for name in JOINED) for row in found}


def brute(found: list[Row]) -> dict[str, tuple]:
    """Every event against every accepted quote, in plain integers."""
    high: dict[str, int] = {}
    quotes, events = [], []
    for row in found:
        mark = high.get(row.venue, -(10**30)) - SECOND
        if is_event(row):
            events.append((row, mark))
        elif row.ts <= row.recv + 300 * SECOND:
            if row.kind == "quote" and row.ts >= mark - 60 * SECOND:
                quotes.append(row)
            if row.kind == "clock" or row.ts >= mark - 60 * SECOND:
                high[row.venue] = max(high.get(row.venue, row.ts), row.ts)
    expected = {}
    for row, mark in events:
        mids = []
        for after in AFTER_NS:
            due = row.ts + after
            known = high.get(row.venue, -(10**30)) - SECOND > due >= mark - 60 * SECOND
            seen = [quote for quote in quotes if quote.instrument == row.instrument and quote.ts <= due]
            mids.append(max(seen, key=lambda quote: quote.ts, default=None) if known else None)
            for quote in seen:  # of one time the last to arrive
                mids[-1] = quote if mids[-1] is not None and quote.ts == mids[-1].ts else mids[-1]
        side = 1 if row.name % 2 else -1
        prices = [None if mid is None else mid.price for mid in mids]
        amounts = [None if price is None else side * (price - row.price) for price in prices]
        slippage = None if amounts[0] is None else -amounts[0]
        within = [x if x is None or abs(x) < PRICE_LIMIT else None for x in (slippage, *amounts[1:])]
        expected[f"e-{row.name}-{row.ts}"] = (prices[0], *within)
    return expected


@st.composite
def stragglers(draw: st.DrawFn) -> list[Row]:
    """One instrument within some minutes, most of it out of order."""
    found, now = [], 0
    for number in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 1, 5, 20, 70]))
        ts = T0 + (now - draw(st.sampled_from([0, 0, 1, 3, 10, 30, 61, 62]))) * SECOND
        kind = draw(st.sampled_from(["trade", "quote", "quote", "clock"]))
        name = 3 * number + (kind != "trade")
        found.append(Row(kind, VENUE, None if kind == "clock" else GC, ts, T0 + now * SECOND, number, 5, name=name))
    return found


@given(arrivals=rows(received=True) | stragglers())
def test_as_of_joins_equal_brute_force(arrivals) -> None:
    stateless = [row for row in arrivals if row.kind != "state"]
    assert last(versions(stateless)) == brute(stateless)


@given(arrivals=rows(received=True))
def test_versions_of_an_event_rise_and_nothing_known_is_unsaid_silently(arrivals) -> None:
    by_event: dict[str, list] = {}
    for row in versions(arrivals):
        by_event.setdefault(row["event_id"], []).append(row)
    assert len(by_event) == sum(map(is_event, arrivals))
    for found in by_event.values():
        times = [row["as_known_at"] for row in found]
        assert times[0] is None
        assert times[1:] == sorted(set(times[1:]))


def quote(second: float, price: int, name: int = 1) -> Row:
    ts = T0 + round(second * SECOND)
    return Row("quote", VENUE, GC, ts, max(ts, T0), price, name=name)


def clock(second: float) -> Row:
    ts = T0 + round(second * SECOND)
    return Row("clock", VENUE, None, ts, ts)


def sold(second: float, price: int, name: int = 0) -> Row:
    """The desk's own; odd names are bought."""
    ts = T0 + round(second * SECOND)
    return Row("trade", VENUE, GC, ts, ts, price, 5, name=3 * name)


def state(second: float, rank: int, instrument: str | None = GC) -> Row:
    ts = T0 + round(second * SECOND)
    return Row("state", VENUE, instrument, ts, ts, size=rank)


def prices_after(found: list[dict[str, Any]]) -> list[tuple]:
    return [tuple(row[name] for name in JOINED) for row in found]


def test_a_sale_is_told_at_once_and_again_as_each_time_comes() -> None:
    market = [quote(0, 100), sold(10, 98), quote(11.5, 97), quote(69, 96), quote(72, 90), quote(400, 95), clock(3600)]
    found = versions(market)
    assert prices_after(found) == [
        (None, None, None, None, None),
        (100, 2, None, None, None),  # sold 2 below the mid
        (100, 2, 2, None, None),  # 96 after a minute: 2 better than waiting
        (100, 2, 2, 8, None),  # 90 after five
        (100, 2, 2, 8, 3),
    ]
    assert [row["as_known_at"] for row in found[1:]] == [T0 + 10 * SECOND + after + SECOND for after in AFTER_NS]


def test_the_one_who_bought_sees_the_signs_turned() -> None:
    found = versions([quote(0, 100), sold(10, 98, name=1), quote(69, 96), clock(99)])
    assert prices_after(found)[-1] == (100, -2, -2, None, None)


def test_what_is_not_due_is_not_said() -> None:
    assert len(versions([quote(0, 100), sold(10, 98), quote(11, 97)])) == 1  # the watermark stands at the event
    assert len(versions([quote(0, 100), sold(10, 98), clock(11.1)])) == 2


def test_a_late_quote_revises_in_a_new_version() -> None:
    found = versions([quote(0, 100), sold(10, 98), clock(30), quote(5, 104)])
    assert prices_after(found) == [
        (None,) * 5,
        (100, 2, None, None, None),
        (104, 6, None, None, None),
    ]
    assert found[-1]["as_known_at"] > found[-2]["as_known_at"]


def test_a_quote_that_changes_nothing_says_nothing() -> None:
    assert len(versions([quote(0, 100), sold(10, 98), clock(30), quote(20, 104)])) == 2


def test_there_is_no_price_while_the_venue_says_so() -> None:
    for instrument in (GC, None):
        market = [quote(0, 100), state(5, 2, instrument), sold(10, 98), clock(12), state(13, 0, instrument), clock(90)]
        assert prices_after(versions(market))[1:] == [(None,) * 5, (None, None, -2, None, None)]


def test_an_event_too_late_for_its_own_time_still_gets_what_is_to_come() -> None:
    market = [quote(0, 100), quote(100, 90), clock(200), sold(10, 98), clock(400)]
    assert prices_after(versions(market))[-1] == (None, None, None, 8, None)


def test_an_event_may_come_before_its_quotes_were_read() -> None:
    market = [sold(10, 98), quote(0, 100), quote(69, 96), clock(99)]
    in_time = [quote(0, 100), sold(10, 98), quote(69, 96), clock(99)]
    assert last(versions(market)) == last(versions(in_time))


def test_of_too_many_that_wait_the_oldest_is_given_up_and_counted() -> None:
    counted: Counter[str] = Counter()
    kernel = TradeJoinKernel(max_open=2, told=lambda what: counted.update([what]))
    found = versions([quote(0, 100), *(sold(10 + n, 98, n) for n in range(5)), clock(12), clock(3600)], kernel)
    assert counted == {"given_up": 3, "joined": 8}
    assert len([row for row in found if row["markout_30m"] is not None]) == 2
    assert kernel.waiting() == 0
