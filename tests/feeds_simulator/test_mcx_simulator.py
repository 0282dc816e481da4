"""The simulated brokers by themselves: limits, refusals, the dump, and the market of MCX behind them."""

import csv
import gzip
import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from feeds_simulator.events import BookEvent, Event, Level, Listing, SettleEvent, StatusEvent, TradeEvent
from feeds_simulator.faults import Faults, Wire
from feeds_simulator.mcx import kite
from feeds_simulator.mcx.board import Board
from feeds_simulator.mcx.rest import Rest
from feeds_simulator.mcx.symbols import exchange_tokens, expiry_of, kite_symbol
from feeds_simulator.mcx.venue import AngelDialect, Client, Counters, KiteDialect, Venue
from feeds_simulator.model import PROFILES, MarketModel, ModelConfig

KEYS = ("XIMC:COPPER:202702", "XIMC:GOLD:202702", "XIMC:SILVER:202703")
TICKS = {"COPPER": "0.05", "GOLD": "1", "SILVER": "1"}
T0 = 1_796_884_200_000_000_000  # 10 December 2026, noon in India
DAY = 86_400 * 10**9
ON = date(2026, 12, 10)
HEADERS = {"Authorization": "token demo:demo-token"}


def board() -> Board:
    listed = [Listing(kite_symbol(key), key, Decimal(TICKS[key.split(":")[1]])) for key in KEYS]
    return Board({listing.symbol: listing for listing in listed}, ON)


def quote(ts: int, key: str, bid: int) -> BookEvent:
    side = tuple(Level(bid - n, 2, 1) for n in range(10)), tuple(Level(bid + 1 + n, 3, 1) for n in range(10))
    return BookEvent(ts, kite_symbol(key), *side, True)


def trade(ts: int, key: str, price: int, qty: int) -> TradeEvent:
    return TradeEvent(ts, kite_symbol(key), "t", price, qty, "B")


def asked(rest: Rest, target: str, at_s: float, headers: dict[str, str] = HEADERS) -> tuple[int, Any]:
    answer = rest.get(target, headers, at_s)
    assert answer is not None
    return answer.status, json.loads(answer.body)


def a_rest(contracts: Board, counters: Counters | None = None) -> Rest:
    return Rest(contracts, "demo", "demo-token", 1.0, counters or Counters())


def test_state_of_a_day_and_the_next() -> None:
    contracts = board()
    events: Sequence[Event] = [
        quote(T0, KEYS[0], 27_000),
        trade(T0 + 1, KEYS[0], 27_001, 4),
        trade(T0 + 2, KEYS[0], 26_999, 6),
        SettleEvent(T0 + 3, kite_symbol(KEYS[0]), 27_003, "prelim"),
        StatusEvent(T0 + 4, kite_symbol(KEYS[0]), "CLOSE"),
    ]
    for event in events:
        contracts.apply([event])
    copper = contracts.by_market[kite_symbol(KEYS[0])]
    state = copper.state
    assert (state.open, state.high, state.low, state.last_price) == (135_005, 135_005, 134_995, 134_995)
    assert (state.volume, state.last_qty, state.close) == (10, 6, 135_000)
    assert state.average == (4 * 135_005 + 6 * 134_995) // 10
    assert (state.bids, state.asks) == ((), ())
    assert len(contracts.apply([quote(T0 + DAY, KEYS[0], 27_010)])) == 1
    assert (copper.state.volume, copper.state.open, copper.state.close) == (0, 0, 135_015)
    assert len(copper.state.bids) == 5


def test_an_action_is_one_state() -> None:
    contracts = board()
    contracts.apply([quote(T0, KEYS[1], 1_000)])
    changed = contracts.apply(
        [trade(T0 + 1, KEYS[1], 1_001, 2), trade(T0 + 1, KEYS[1], 1_002, 3), quote(T0 + 1, KEYS[1], 1_002)]
    )
    assert [contract.key for contract in changed] == [KEYS[1]]
    assert (changed[0].state.number, changed[0].state.volume) == (2, 5)


def test_tokens_are_the_same_in_every_run_and_never_alike() -> None:
    keys = [f"XIMC:{root}:2027{month:02d}" for root in TICKS for month in range(1, 13)]
    tokens = exchange_tokens(keys)
    assert tokens == exchange_tokens(reversed(keys))
    assert len(set(tokens.values())) == len(keys)
    assert all(100_000 <= token < 1_000_000 for token in tokens.values())


def test_expiry_is_a_weekday_and_never_over() -> None:
    assert expiry_of("XIMC:GOLD:202612", ON) == date(2026, 12, 31)  # its day, the 4th, is over, and it still trades
    assert expiry_of("XIMC:GOLD:202702", ON) == date(2027, 2, 5)
    assert expiry_of("XIMC:CRUDEOIL:202612", ON) == date(2026, 12, 18)  # the 19th is a Saturday


def test_the_dump_is_gzipped_with_lot_size_one() -> None:
    answer = a_rest(board()).get("/instruments", HEADERS, 0.0)
    assert answer is not None
    assert answer.gzipped
    rows = list(csv.DictReader(gzip.decompress(answer.body).decode().splitlines()))
    assert [row["tradingsymbol"] for row in rows] == ["COPPER27FEBFUT", "GOLD27FEBFUT", "SILVER27MARFUT"]
    assert {row["lot_size"] for row in rows} == {"1"}
    assert all(int(row["instrument_token"]) & 0xFF == 7 for row in rows)
    assert all(int(row["instrument_token"]) >> 8 == int(row["exchange_token"]) for row in rows)


def test_quotes_have_a_limit_a_pace_and_missing_keys() -> None:
    contracts, counters = board(), Counters()
    contracts.apply([quote(T0, KEYS[1], 1_000)])
    rest = a_rest(contracts, counters)
    status, body = asked(rest, "/quote?i=MCX:GOLD27FEBFUT&i=MCX:SILVER27MARFUT&i=MCX:NOPE", 0.0)
    assert status == HTTPStatus.OK
    assert list(body["data"]) == ["MCX:GOLD27FEBFUT"]  # no data, or not known: the key is missing
    found = body["data"]["MCX:GOLD27FEBFUT"]
    assert found["timestamp"] == "2026-12-10 12:00:00"
    assert found["depth"]["buy"][0] == {"price": 1_000.0, "quantity": 2, "orders": 1}
    status, body = asked(rest, "/quote/ltp?i=MCX:GOLD27FEBFUT", 0.5)
    assert (status, body["error_type"]) == (HTTPStatus.TOO_MANY_REQUESTS, "NetworkException")
    status, body = asked(rest, "/quote/ohlc?i=MCX:GOLD27FEBFUT", 1.5)
    assert set(body["data"]["MCX:GOLD27FEBFUT"]) == {"instrument_token", "last_price", "ohlc"}
    many = "&".join(f"i=A{n}" for n in range(501))
    status, body = asked(rest, f"/quote?{many}", 3.0)
    assert (status, body["error_type"]) == (HTTPStatus.BAD_REQUEST, "InputException")
    long = "&".join(f"i=MCX:GOLD{n:04d}" for n in range(900))
    assert asked(rest, f"/quote/ltp?{long}", 5.0)[0] == HTTPStatus.REQUEST_URI_TOO_LONG
    status, body = asked(rest, "/quote?i=MCX:GOLD27FEBFUT", 9.0, {"Authorization": "token demo:old"})
    assert (status, body["error_type"]) == (HTTPStatus.FORBIDDEN, "TokenException")
    assert rest.get("/", HEADERS, 9.0) is None
    assert counters.quotes_asked == 4


def kite_venue(faults: Faults | None = None, max_tokens: int = 3_000) -> tuple[Venue, Client, Counters]:
    contracts, counters, faults = board(), Counters(), faults or Faults()
    venue = Venue(contracts, KiteDialect(contracts, counters, max_tokens), faults, heartbeat_s=2.0)
    client = Client(Wire(faults, T0), 0.0)
    venue.clients.add(client)
    return venue, client, counters


def ask(venue: Venue, client: Client, **request: Any) -> None:
    venue.dialect.receive(client, json.dumps(request))


def test_a_subscription_brings_the_state_in_its_mode() -> None:
    venue, client, counters = kite_venue()
    venue.publish([[quote(T0, KEYS[1], 1_000)]])
    assert venue.compose(client, T0, 0.0) == []  # nothing subscribed
    token = venue.board.by_market[kite_symbol(KEYS[1])].token
    ask(venue, client, a="subscribe", v=[token])
    ask(venue, client, a="mode", v=["full", [token]])
    ask(venue, client, a="mode", v=["ltp", [token]])
    (message,) = venue.compose(client, T0, 0.0)
    assert isinstance(message, bytes)
    assert [int.from_bytes(message[at : at + 2]) for at in (0, 2, 48, 234)] == [3, 44, 184, 8]
    ask(venue, client, a="unsubscribe", v=[token])
    venue.publish([[trade(T0 + 1, KEYS[1], 1_001, 5)]])
    assert venue.compose(client, T0, 0.0) == []
    assert counters.trades == {KEYS[1]: 0}


def test_over_the_limit_is_an_error_and_the_rest_stays() -> None:
    venue, client, _ = kite_venue(max_tokens=2)
    ask(venue, client, a="subscribe", v=[1, 2, 3, 4])
    (error,) = venue.compose(client, T0, 0.0)
    assert json.loads(error)["type"] == "error"
    assert set(client.modes) == {1, 2}
    for wrong in (
        "no JSON",
        "[]",
        '{"a":"buy","v":[1]}',
        '{"a":"subscribe","v":["1"]}',
        '{"a":"mode","v":["deep",[1]]}',
    ):
        venue.dialect.receive(client, wrong)
        assert json.loads(venue.compose(client, T0, 0.0)[0]) == {"type": "error", "data": "Invalid request"}


def test_a_heartbeat_is_one_byte_when_nothing_else_was_said() -> None:
    venue, client, _ = kite_venue()
    assert venue.compose(client, T0, 1.9) == []
    assert venue.compose(client, T0, 2.0) == [kite.HEARTBEAT]
    venue.announce("hello")
    assert len(venue.compose(client, T0, 3.9)) == 1
    assert venue.compose(client, T0, 4.1) == []


def test_faults_strike_whole_messages() -> None:
    venue, client, _ = kite_venue(Faults(drop_every=2))
    venue.publish([[quote(T0, KEYS[1], 1_000)]])
    ask(venue, client, a="subscribe", v=[venue.board.by_market[kite_symbol(KEYS[1])].token])
    assert len(venue.compose(client, T0, 0.0)) == 1
    venue.publish([[quote(T0 + 1, KEYS[1], 1_001)]])
    assert venue.compose(client, T0, 0.0) == []
    venue.publish([[quote(T0 + 2, KEYS[1], 1_002)]])
    assert len(venue.compose(client, T0, 0.0)) == 1


def test_angel_answers_and_refuses() -> None:
    contracts, counters = board(), Counters()
    venue = Venue(contracts, AngelDialect(contracts, counters, 1, 0), Faults(), heartbeat_s=2.0)
    client = Client(Wire(Faults(), T0), 0.0)
    venue.clients.add(client)
    contracts.apply([quote(T0, KEYS[1], 1_000)])
    tokens = [str(contract.exchange_token) for contract in contracts.contracts]
    gold = str(contracts.by_market[kite_symbol(KEYS[1])].exchange_token)

    def request(mode: int, *some: str, identity: str = "x") -> str:
        listed = [{"exchangeType": 5, "tokens": list(some)}]
        return json.dumps({"correlationID": identity, "action": 1, "params": {"mode": mode, "tokenList": listed}})

    venue.dialect.receive(client, "ping")
    venue.dialect.receive(client, request(3, gold))
    venue.dialect.receive(client, request(3, *tokens))
    venue.dialect.receive(client, request(9, gold))
    venue.dialect.receive(client, request(3, gold, identity="longer than ten"))
    said = venue.compose(client, T0, 9.0)
    texts = [message for message in said if isinstance(message, str)]
    assert texts[0] == "pong"
    assert [json.loads(text)["errorCode"] for text in texts[1:]] == ["E1002", "E1001", "E1001"]
    assert [len(message) for message in said if isinstance(message, bytes)] == [379]
    assert venue.compose(client, T0, 99.0) == []  # this broker sends no heartbeat


def test_the_market_behind_it_lists_every_product_of_the_venue() -> None:
    config = ModelConfig(start_ns=T0, rate=2_000.0, profiles=PROFILES["mcx"], symbol_of=kite_symbol, always_open=True)
    market = MarketModel(config)
    contracts = Board(market.listings, ON)
    roots = {contract.key.split(":")[1] for contract in contracts.contracts}
    assert roots == {"GOLD", "GOLDM", "SILVER", "COPPER", "CRUDEOIL", "NATURALGAS", "COTTONCNDY", "KAPAS"}
    for action in market.pull(T0 + 20 * 10**9, 1_000_000):
        contracts.apply(action)
    traded = {contract.key.split(":")[1] for contract in contracts.contracts if contract.state.volume}
    assert {"GOLD", "SILVER", "CRUDEOIL"} <= traded
    for contract in contracts.contracts:
        state = contract.state
        if state.bids and state.asks:
            assert 0 < state.bids[0][0] < state.asks[0][0]
            assert all(price % contract.tick_paise == 0 for price, _, _ in (*state.bids, *state.asks))
