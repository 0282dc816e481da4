"""Cases 20 and 28 for MCX: the previous settlement, and what a price can be in the unit of its day."""

import csv
import io
from collections.abc import Callable
from importlib.resources import files

import pytest

from feeds_simulator.events import SettleEvent, StatusEvent
from feeds_simulator.mcx import kite
from feeds_simulator.mcx.symbols import kite_symbol
from market.instruments import InstrumentMaster, read_contracts
from tests.connectors.mcx import wire
from tests.connectors.mcx.desk import CRUDE, GOLD, Desk, Exchange, ScriptedMarket, book, contract_of, sizes, trade

E9 = 10**9
DAY_NS = 86_400 * E9
CANDY, BALES = "XIMC:COTTONCNDY:202702", "XIMC:COTTON:202302"
LAST_DAY_OF_BALES_NS = 1_675_146_600 * E9  # Tuesday 31 January 2023, 12:00 in India
OpenExchange = Callable[..., Exchange]
OpenDesk = Callable[..., Desk]


def closes_told(desk: Desk) -> list[str]:
    return [row["reason"] for row in desk.ledgers["status"] if "previous close" in row["reason"]]


def refused(desk: Desk) -> list[tuple[str, str]]:
    return [(row["reason"], row["detail"]) for row in desk.ledgers["rejected"]]


# ---- 20: the previous settlement


def test_case_20_another_settlement_at_a_session_boundary_is_the_reference(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 1)
    one.until(lambda: sizes(one) == [1])
    symbol, now = kite_symbol(GOLD), mcx.clock()
    mcx.market.say(SettleEvent(now, symbol, 3_000, "final"), StatusEvent(now, symbol, "CLOSE"))
    mcx.clock.shift_ns += DAY_NS
    mcx.trade(GOLD, 5_500, 2)  # more than five times the settlement before, and not twice the new one
    one.until(lambda: sizes(one) == [1, 2])
    mcx.trade(GOLD, 500, 4)  # and this was half of the one before
    one.until(lambda: one.ledgers["rejected"])
    assert refused(one) == [("implausible_price", f"price {500 * E9}e-9 after {3_000 * E9}e-9")]
    assert closes_told(one) == []
    assert one.gaps == []


def test_case_20_a_settlement_that_changes_within_a_session_is_told(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 1)
    one.until(lambda: sizes(one) == [1])

    def settle(paise: int) -> None:
        contract = contract_of(mcx, GOLD)
        contract.state = contract.state._replace(close=paise)

    mcx.do(lambda: settle(101_000))  # the exchange corrects it
    mcx.trade(GOLD, 1_001, 2)
    one.until(lambda: sizes(one) == [1, 2])
    assert closes_told(one) == ["previous close 1010, before 1000"]
    mcx.do(lambda: settle(1_010_000))  # ten times: nobody corrects so much
    mcx.trade(GOLD, 1_002, 4)
    one.until(lambda: sizes(one) == [1, 2, 4])
    mcx.trade(GOLD, 10_030, 8)  # right by the wrong close
    one.until(lambda: refused(one))
    assert refused(one) == [("implausible_price", f"price {10_030 * E9}e-9 after {1_010 * E9}e-9")]
    assert closes_told(one) == [
        "previous close 1010, before 1000",
        "previous close 10100 is not believed after a trade at 1001",
    ]
    assert sizes(one) == [1, 2, 4]
    assert one.gaps == []


# ---- 28: prices


def test_case_28_implausible_prices_are_refused_with_a_reason(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 1)
    one.until(lambda: sizes(one) == [1])
    token = contract_of(mcx, GOLD).token
    now_s = mcx.clock() // E9
    wrong = {"off_tick": 100_050, "implausible_price": 1_000_000, "out_of_range": -100_000}
    for n, price in enumerate([*wrong.values(), 0], 2):
        bad = wire.full(token, price, 1, n, 100_000, now_s, now_s, bids=[(1, 100_000, 1)], asks=[(1, 100_100, 1)])
        mcx.inject(kite.message([bad]))
    one.until(lambda: len(one.ledgers["rejected"]) == 4)
    assert [row["reason"] for row in one.ledgers["rejected"]] == [*wrong, "missing_field"]
    assert all(row["instrument"] == GOLD for row in one.ledgers["rejected"])
    assert sizes(one) == [1]


def test_case_28_crude_may_be_negative(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.book(CRUDE, -2_885)
    mcx.trade(CRUDE, -2_884, 3)
    one.until(lambda: sizes(one, CRUDE) == [3])
    assert one.trades[0]["price"] == -2_884 * E9
    assert one.quotes[-1]["bid_price"] == -2_885 * E9
    assert one.ledgers["rejected"] == []


def with_new_unit() -> InstrumentMaster:
    """The contract table in which MCX quotes the candy contract a bale up to the day of the test, in other ticks."""
    text = files("market").joinpath("data/contracts.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    candy = next(row for row in rows if row["root"] == "COTTONCNDY")
    rows.append(candy | {"quote_unit": "bale_in", "tick_size": "10", "effective_to": "2026-12-10"})
    candy["effective_from"] = "2026-12-11"
    out = io.StringIO()
    writer = csv.DictWriter(out, list(candy))
    writer.writeheader()
    writer.writerows(rows)
    return InstrumentMaster(read_contracts(out.getvalue()))


def test_case_28_from_the_day_of_another_unit_prices_in_the_old_one_are_refused(
    exchange: OpenExchange, desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = with_new_unit()
    monkeypatch.setattr(InstrumentMaster, "load", staticmethod(lambda: master))
    mcx = exchange(market=ScriptedMarket((CANDY,)))
    now = mcx.clock()
    mcx.market.say(StatusEvent(now, kite_symbol(CANDY), "OPEN"), book(now, CANDY, 2_500))
    one = desk(mcx)
    one.live()
    mcx.trade(CANDY, 2_501, 1)
    one.until(lambda: sizes(one, CANDY) == [1])
    assert one.quotes[-1]["bid_price"] == 25_000 * E9

    mcx.clock.shift_ns += DAY_NS  # Friday 11 December: INR a candy, in ticks of 20
    one.until(lambda: refused(one))  # the image, of the day before
    for ticks, lots in ((2_504, 2), (5_231, 4), (5_232, 8), (5_236, 16), (2_502, 32)):
        mcx.market.say(trade(mcx.clock(), CANDY, ticks, lots))
    one.until(lambda: len(refused(one)) == 4)
    assert [(row["price"] // E9, row["size"] // E9) for row in one.trades] == [(25_010, 1), (52_320, 8), (52_360, 16)]
    assert [(reason, detail.split()[1]) for reason, detail in refused(one)] == [
        ("implausible_price", "25000"),
        ("implausible_price", "25040"),
        ("off_tick", f"{52_310 * E9}e-9"),
        ("implausible_price", "25020"),
    ]
    assert refused(one)[0][1].endswith("is one a bale_in, and not a candy")
    assert closes_told(one)[-1].startswith("previous close 25010 a bale_in, so 52317.4")


def test_case_28_a_unit_that_ends_with_its_contract_is_not_spliced(exchange: OpenExchange, desk: OpenDesk) -> None:
    """Cotton by the bale ended in January 2023; from February on the candy is what is known."""
    candy = "XIMC:COTTONCNDY:202302"
    mcx = exchange(LAST_DAY_OF_BALES_NS, market=ScriptedMarket((BALES, candy)))
    for key, bid in ((BALES, 2_900), (candy, 6_000)):
        now = mcx.clock()
        mcx.market.say(StatusEvent(now, kite_symbol(key), "OPEN"), book(now, key, bid))
    one = desk(mcx)
    one.live()
    (client,) = mcx.simulator.venue.clients
    bales, candies = contract_of(mcx, BALES), contract_of(mcx, candy)
    assert set(client.modes) == {bales.token}
    mcx.trade(BALES, 2_901, 1)
    one.until(lambda: sizes(one, BALES) == [1])

    mcx.clock.shift_ns += DAY_NS
    mcx.until(lambda: set(client.modes) == {candies.token})
    mcx.inject(kite.message([kite.packet(bales, kite.FULL)]))
    one.until(lambda: len(refused(one)) == 2)  # that packet, and the image: its levels are in ticks of 10
    for ticks, lots in ((6_003, 2), (6_002, 4)):
        mcx.trade(candy, ticks, lots)
    one.until(lambda: sizes(one, candy))
    assert {row["instrument"]: row["price"] // E9 for row in one.trades} == {BALES: 29_010, candy: 60_020}
    assert sorted(reason for reason, _ in refused(one)) == ["off_tick", "off_tick", "unknown_instrument"]
