"""Case 18 for MCX: the daily price range widens in slabs, from the model through a socket to the anomaly."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from feeds_simulator.events import LIMIT, StatusEvent
from feeds_simulator.mcx.server import ANGEL, KITE
from feeds_simulator.mcx.symbols import kite_symbol
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig
from feeds_simulator.scenarios import SCENARIOS, Shift, When
from market.anomalies import AnomalyKernel
from market.schemas import TICKS
from tests.connectors.mcx.desk import GOLD, NOON_NS, Desk, Exchange, book

E9 = 10**9
MINUTE_NS = 60 * E9
ANGEL_OPTIONS: dict[str, Any] = {"broker": ANGEL, "client_code": "C1", "feed_token": "F1"}


def falling_gold() -> MarketModel:
    """The scenario `limit_move` with a fall that stays: gold of MCX, 12 % down from 20 s on."""
    fall = SCENARIOS["limit_move"].acts[0]
    assert isinstance(fall, Shift)
    return MarketModel(
        ModelConfig(
            start_ns=NOON_NS,
            rate=40.0,
            profiles=tuple(profile for profile in PROFILES["mcx"] if profile.root == "GOLD"),
            symbol_of=kite_symbol,
            always_open=True,
            moves=(replace(fall, when=When(begin_s=20)).move(NOON_NS),),
        )
    )


def said(desk: Desk, key: str = GOLD) -> list[str]:
    """What was said of the limits of a contract."""
    words = ("range", "off the limit")
    return [
        row["reason"]
        for row in desk.ledgers["status"]
        if row["instrument"] == key and any(word in row["reason"] for word in words)
    ]


def last_top(desk: Desk, key: str) -> tuple[int | None, int | None]:
    row = next(row for row in reversed(desk.quotes) if row["instrument"] == key)
    return row["bid_price"], row["ask_price"]


@pytest.mark.parametrize("options", [{"broker": KITE}, ANGEL_OPTIONS], ids=["kite", "angel"])
def test_case_18_the_range_is_relaxed_in_slabs_after_the_cooling(
    exchange: Callable[..., Exchange], desk: Callable[..., Desk], options: dict[str, Any]
) -> None:
    mcx = exchange(market=falling_gold(), **options)
    key = next(iter(mcx.simulator.board.contracts)).key
    (contract,) = (one for one in mcx.simulator.board.contracts if one.key == key)
    one = desk(mcx)
    one.live()
    one.until(lambda: any(row["instrument"] == key for row in one.quotes))
    reference = contract.state.close
    first_slab = contract.state.limits
    assert first_slab[0] == pytest.approx(reference * 0.97, abs=200)

    # It falls past the first slab, which widens at once: 6 %. There it stands for a quarter of an hour, and trades.
    mcx.clock.shift_ns += 45 * E9
    mcx.until(lambda: contract.state.limits != first_slab and not contract.state.bids)
    low, high = contract.state.limits
    assert low == pytest.approx(reference * 0.94, abs=200)
    mcx.clock.shift_ns += 2 * E9  # Kite's range is asked for a second after the book lost its side
    one.until(lambda: any("limit_down" in reason for reason in said(one, key)))
    assert said(one, key)[-1].endswith(f"limit_down, range {low // 100} to {high // 100}")
    one.until(lambda: any(row["instrument"] == key and row["price"] == low * E9 // 100 for row in one.trades))
    mcx.clock.shift_ns += 14 * MINUTE_NS
    quotes = len(one.quotes)
    one.until(lambda: len(one.quotes) > quotes)
    assert contract.state.limits == (low, high)

    # The cooling is over: the third slab, 9 %, and the price goes there.
    mcx.clock.shift_ns += 2 * MINUTE_NS
    mcx.until(lambda: contract.state.limits != (low, high) and contract.state.asks[0][0] == contract.state.limits[0])
    relaxed_low, relaxed_high = contract.state.limits
    assert relaxed_low == pytest.approx(reference * 0.91, abs=200)
    mcx.clock.shift_ns += 11 * E9
    in_words = f"range {relaxed_low // 100} to {relaxed_high // 100}"
    one.until(lambda: any(f"{in_words}, before {low // 100} to {high // 100}" in each for each in said(one, key)))
    one.until(lambda: last_top(one, key) == (None, relaxed_low * E9 // 100))

    # Trading went on all the time: no state but LIVE after the silence of our own leaps, no gap, nothing rejected.
    assert {quality for name, quality in one.qualities if name == key} <= {"LIVE", "STALE"}
    assert one.gaps == []
    assert one.ledgers["rejected"] == []
    limits = expected_of(one, key)
    assert limits[-1] == pytest.approx(relaxed_low * E9 // 100, rel=5e-3)


def expected_of(desk: Desk, key: str) -> list[int]:
    """The limits that `price_limit` named for a contract, in order."""
    kernel = AnomalyKernel()
    rows = sorted(desk.rows, key=lambda row: int(row["ts_recv"]))
    outputs = (kernel.on_batch(pa.RecordBatch.from_pylist(rows, schema=TICKS)), kernel.on_eof())
    found = [row for output in outputs if output for row in output["anomalies"].to_pylist()]
    return [row["expected"] for row in found if row["kind"] == "price_limit" and row["instrument"] == key]


def test_case_18_one_side_within_the_range_is_no_limit(
    exchange: Callable[..., Exchange], desk: Callable[..., Desk]
) -> None:
    mcx = exchange()
    mcx.open()
    one = desk(mcx)
    one.live()
    symbol = kite_symbol(GOLD)
    now = mcx.clock()
    mcx.market.say(StatusEvent(now, symbol, "OPEN", (940, 1_060)), book(now, GOLD, 1_000)._replace(bids=()))
    mcx.until(lambda: mcx.simulator.board.by_market[symbol].state.limits == (94_000, 106_000))
    mcx.clock.shift_ns += 2 * E9
    one.until(lambda: mcx.simulator.counters.quotes_asked)
    assert said(one) == []
    now = mcx.clock()
    mcx.market.say(StatusEvent(now, symbol, LIMIT, (940, 1_060)), book(now, GOLD, 1_060)._replace(asks=()))
    one.until(lambda: said(one))
    mcx.book(GOLD, 1_050)
    one.until(lambda: len(said(one)) == 2)
    assert said(one) == ["limit_up, range 940 to 1060", "off the limit"]
    assert (GOLD, "HALTED") not in one.qualities
