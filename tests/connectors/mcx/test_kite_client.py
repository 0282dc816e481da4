"""An unmodified client library against the simulator: what it decodes is the state of the board, tick by tick."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feeds_simulator.mcx import kite
from feeds_simulator.mcx.board import Contract, State
from tests.connectors.mcx.desk import CRUDE, DEADLINE_S, GOLD, Exchange

E9 = 10**9
CLIENT = Path(__file__).with_name("kite_client.py")


def as_the_library_says(token: int, state: State) -> dict[str, Any]:
    def side(levels: tuple[tuple[int, int, int], ...]) -> list[dict[str, float]]:
        shown = [{"quantity": qty, "price": price / 100, "orders": orders} for price, qty, orders in levels]
        return shown + [{"quantity": 0, "price": 0.0, "orders": 0}] * (5 - len(shown))

    return {
        "tradable": True,
        "mode": "full",
        "instrument_token": token,
        "last_price": state.last_price / 100,
        "last_traded_quantity": state.last_qty,
        "average_traded_price": state.average / 100,
        "volume_traded": state.volume,
        "total_buy_quantity": sum(qty for _, qty, _ in state.bids),
        "total_sell_quantity": sum(qty for _, qty, _ in state.asks),
        "ohlc": {name: getattr(state, name) / 100 for name in ("open", "high", "low", "close")},
        "last_trade_time": state.traded_ns // E9,
        "oi": state.interest,
        "oi_day_high": state.interest_high,
        "oi_day_low": state.interest_low,
        "exchange_timestamp": state.stamped_ns // E9,
        "depth": {"buy": side(state.bids), "sell": side(state.asks)},
    }


def test_unmodified_kite_ticker_decodes_the_simulators_states(exchange: Callable[..., Exchange]) -> None:
    mcx = exchange()
    mcx.open()
    contracts = {contract.token: contract for contract in mcx.simulator.board.contracts}
    mcx.until(lambda: all(contract.state.stamped_ns for contract in contracts.values()))
    truth: list[tuple[int, State]] = [(token, contract.state) for token, contract in contracts.items()]

    def tap(contract: Contract) -> None:
        truth.append((contract.token, contract.state))

    mcx.do(lambda: setattr(mcx.simulator.venue, "tap", tap))
    changes = 40
    images = 2 * len(contracts)  # in the mode of the subscription, then in the one asked for
    command = [sys.executable, str(CLIENT), mcx.url.rstrip("/"), mcx.config.api_key, mcx.config.access_token]
    client = subprocess.Popen(
        [*command, str(changes + images), *map(str, contracts)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert client.stdout is not None
    lines: list[dict[str, Any]] = []
    while len(lines) < 1 + images:  # connected, and has its images
        lines.append(json.loads(client.stdout.readline()))
    mcx.inject(kite.text("message", "good morning"))
    mcx.inject(kite.text("error", "only a test"))
    for n in range(changes // 2):
        mcx.trade(GOLD, 1_000 + n % 3, 1 + n)
        mcx.book(CRUDE, 900 + n)
    rest, _ = client.communicate(timeout=DEADLINE_S)
    lines += [json.loads(line) for line in rest.splitlines()]
    assert client.returncode == 0

    assert lines[0] == {"connected": True}
    ticks = [line for line in lines if "instrument_token" in line]
    assert [tick["mode"] for tick in ticks[:images]] == ["quote"] * len(contracts) + ["full"] * len(contracts)
    live = ticks[len(contracts) :]
    for tick in live:
        tick.pop("change")  # the library's own figure
    assert live == [as_the_library_says(token, state) for token, state in truth[: len(live)]]
    assert len(live) == changes + len(contracts)
    said = lines[-1]["said"]
    assert any("good morning" in text for text in said)
    assert any("only a test" in text and text.startswith("error") for text in said)


def test_unmodified_kite_ticker_is_refused_with_a_wrong_token(exchange: Callable[..., Exchange]) -> None:
    mcx = exchange()
    command = [sys.executable, str(CLIENT), mcx.url.rstrip("/"), mcx.config.api_key, "wrong", "1", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    (last,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("403" in text for text in last["said"])
