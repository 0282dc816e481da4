"""The cases a connector must survive, over a real socket, between the simulated broker and the feed."""

from collections.abc import Callable
from typing import Any

from feeds_simulator.events import StatusEvent
from feeds_simulator.frames import frame
from feeds_simulator.mcx import angel, kite
from feeds_simulator.mcx.server import ANGEL
from feeds_simulator.mcx.symbols import kite_symbol
from market.schemas import BUY, DELETE, DIRTY, IMAGE
from tests.connectors.dripping import Dripping
from tests.connectors.mcx import wire
from tests.connectors.mcx.desk import CRUDE, DEADLINE_S, GOLD, Desk, Exchange, contract_of, sizes

E9 = 10**9
DAY_NS = 86_400 * E9
OpenExchange = Callable[..., Exchange]
OpenDesk = Callable[..., Desk]
ANGEL_OPTIONS: dict[str, Any] = {"broker": ANGEL, "client_code": "C1", "feed_token": "F1"}


# ---- 8: splits


def test_case_08_a_stream_in_single_bytes_gives_the_same_rows(mcx: Exchange, desk: OpenDesk) -> None:
    relay = Dripping(mcx.simulator.port)
    one = desk(mcx, url=f"ws://127.0.0.1:{relay.port}/")
    one.live()
    for n in range(1, 6):
        mcx.trade(GOLD, 1_000, n)
    one.until(lambda: len(one.trades) == 5)
    assert sizes(one) == [1, 2, 3, 4, 5]
    one.feed.stop()
    relay.close()


# ---- 9: disconnects


def test_case_09_disconnect_in_mid_message_is_a_gap_and_an_image(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 3)
    one.until(lambda: sizes(one) == [3])
    half = frame(wire.frame(wire.full()))[:50]

    def cut() -> None:
        for link in mcx.simulator._links:
            link.websocket.transport.write(half)
            link.abort()

    mcx.do(cut)
    mcx.trade(GOLD, 1_002, 7)  # nobody listens, or somebody listens again: never both, never neither
    one.live(times=2)
    mcx.trade(GOLD, 1_001, 2)
    one.until(lambda: sizes(one)[-1:] == [2])
    (gap,) = one.resolved()
    unseen = int(gap["reason"].partition("; ")[2].partition(" ")[0] or 0)
    assert sum(sizes(one)) + unseen == 12
    assert gap["resolution"] == "snapshot"
    assert gap["seq_from"] <= gap["seq_to"]
    assert (None, "STALE") in one.qualities
    actions = [row["action"] for row in one.depth if row["instrument"] == GOLD]
    assert DIRTY in actions
    assert IMAGE in actions[actions.index(DIRTY) :]
    assert "malformed_frame" not in one.counters


def test_case_09_half_open_socket_is_given_up(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx, dead_after_s=0.6, ping_interval_s=0.2)
    one.live()
    mcx.simulator.faults.half_open = True
    one.until(lambda: (None, "STALE") in one.qualities)
    mcx.simulator.faults.half_open = False
    mcx.trade(GOLD, 1_000, 5)
    one.live(times=2)
    assert mcx.simulator.counters.connections >= 2
    assert "5 lots traded unseen" in one.resolved()[-1]["reason"] or sizes(one) == [5]


# ---- 10: credentials


def test_case_10_refused_credentials_are_no_hot_loop(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx, access_token=lambda: "of yesterday")
    one.until(lambda: (None, "STALE") in one.qualities)
    assert "TokenException" in one.ledgers["status"][0]["reason"]
    assert "of yesterday" not in str(one.ledgers)
    assert mcx.simulator.counters.refused == {403: 1}


def test_case_10_a_token_that_expires_is_asked_for_again_slowly(mcx: Exchange, desk: OpenDesk) -> None:
    token = [mcx.config.access_token]
    one = desk(mcx, access_token=lambda: token[0])
    one.live()
    token[0] = "of yesterday"
    mcx.do(lambda: [link.abort() for link in mcx.simulator._links])
    one.until(lambda: mcx.simulator.counters.refused[403] == 1)
    one.until(lambda: one.feed.min_retry_s() == 5.0)
    assert "of yesterday" not in str(one.ledgers)


# ---- 12: silence


def test_case_12_heartbeat_without_data_is_stale_by_instrument(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx, stale_after_s=0.4, silent_after_s=DEADLINE_S)
    one.live()
    one.until(lambda: (CRUDE, "STALE") in one.qualities)
    assert one.qualities.count((None, "LIVE")) == 1
    assert (None, "STALE") not in one.qualities
    mcx.trade(CRUDE, 1_000, 1)
    one.until(lambda: (CRUDE, "LIVE") in one.qualities)
    assert mcx.simulator.counters.connections == 1


def test_case_12_missing_heartbeat_is_a_mute_connection(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx, silent_after_s=0.8)
    one.live()
    mcx.simulator.faults.stall = True  # pings are answered, nothing else comes
    one.until(lambda: (None, "STALE") in one.qualities)
    mcx.simulator.faults.stall = False
    one.live(times=2)
    assert any("mute" in gap["reason"] for gap in one.gaps)
    assert one.counters["silences"] >= 1


# ---- 20, 21: days


def test_case_20_counters_may_fall_at_a_session_boundary(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 50)
    one.until(lambda: sizes(one) == [50])
    mcx.market.say(StatusEvent(mcx.clock(), kite_symbol(GOLD), "CLOSE"))
    mcx.clock.shift_ns += DAY_NS
    mcx.book(GOLD, 1_010)
    mcx.trade(GOLD, 1_010, 4)
    one.until(lambda: sizes(one) == [50, 4])
    assert one.gaps == []
    assert "backwards" not in one.counters


def test_case_21_an_expired_contract_is_left_and_its_token_becomes_another(mcx: Exchange, desk: OpenDesk) -> None:
    contract = contract_of(mcx, GOLD)
    token = contract.token
    today = mcx.do(lambda: contract.expiry)
    contract.expiry = today.replace(year=2026, month=12, day=10)  # the day of the test
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 1)
    one.until(lambda: sizes(one) == [1])

    def list_anew() -> None:
        contract.key, contract.symbol = "XIMC:GOLD:202704", "GOLD27APRFUT"
        contract.expiry = today.replace(year=2027, month=4, day=5)

    mcx.do(list_anew)
    mcx.clock.shift_ns += DAY_NS
    (client,) = mcx.simulator.venue.clients
    one.until(lambda: one.counters["packets"] and any(row["instrument"] == "XIMC:GOLD:202704" for row in one.quotes))
    assert token in client.modes
    mcx.trade(GOLD, 1_003, 2)
    one.until(lambda: sizes(one, "XIMC:GOLD:202704") == [2])
    assert sizes(one) == [1]


def test_case_21_an_expired_contract_without_successor_is_unsubscribed(mcx: Exchange, desk: OpenDesk) -> None:
    contract = contract_of(mcx, GOLD)
    contract.expiry = contract.expiry.replace(year=2026, month=12, day=10)
    one = desk(mcx)
    one.live()
    (client,) = mcx.simulator.venue.clients
    assert contract.token in client.modes
    mcx.clock.shift_ns += DAY_NS
    one.until(lambda: contract.token not in client.modes)
    mcx.inject(kite.message([kite.packet(contract, kite.FULL)]))
    one.until(lambda: one.ledgers["rejected"])
    assert [row["reason"] for row in one.ledgers["rejected"]] == ["unknown_instrument"]


# ---- 22: frames


def test_case_22_what_is_no_tick_never_breaks_the_stream(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    gold = contract_of(mcx, GOLD)
    good = kite.packet(gold, kite.FULL)
    broken: list[str | bytes] = [
        b"\0\1",
        b"\0\1\0",
        b"\0\1\0\xb8",
        kite.message([good])[:-1],
        b"\0\5" + kite.message([good])[2:],
        kite.message([good, bytes(99)]),
        kite.message([good]) + b"more",
        b"",
    ]
    for message in (*broken, b"\0", b"\x0a"):
        mcx.inject(message)
    one.until(lambda: len(one.ledgers["rejected"]) == len(broken))
    reasons = [row["reason"] for row in one.ledgers["rejected"]]
    assert reasons.count("unsupported_message") == 1
    assert reasons.count("malformed_frame") == len(broken) - 1
    mcx.trade(GOLD, 1_000, 6)
    one.until(lambda: sizes(one) == [6])
    assert mcx.simulator.counters.connections == 1
    assert one.gaps == []


def test_case_22_text_messages_are_surfaced(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.inject(kite.text("error", "Session is about to end"))
    mcx.inject(kite.text("message", "Margins of SILVER rise to 72 %"))
    mcx.inject(kite.text("order", {"order_id": "1"}))
    one.until(lambda: one.ledgers["news"] and one.ledgers["rejected"])
    assert [row["headline"] for row in one.ledgers["news"]] == ["Margins of SILVER rise to 72 %"]
    assert [row["reason"] for row in one.ledgers["rejected"]] == ["unsupported_message"]
    assert any("Session is about to end" in row["reason"] for row in one.ledgers["status"])


def test_case_22_over_the_limit_is_said_and_the_connection_stays(exchange: OpenExchange, desk: OpenDesk) -> None:
    mcx = exchange(max_tokens=1)
    mcx.open()
    one = desk(mcx)
    one.until(lambda: any("Maximum of 1 instruments" in row["reason"] for row in one.ledgers["status"]))
    one.live()
    assert mcx.simulator.counters.connections == 1


# ---- 23: counters


def test_case_23_an_older_state_is_noticed_and_nothing_is_lost(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 10)
    one.until(lambda: sizes(one) == [10])
    older = mcx.do(lambda: kite.message([kite.packet(contract_of(mcx, GOLD), kite.FULL)]))
    mcx.trade(GOLD, 1_001, 20)
    one.until(lambda: sizes(one) == [10, 20])
    mcx.inject(older)
    one.until(lambda: one.gaps)
    mcx.trade(GOLD, 1_002, 30)
    one.until(lambda: one.resolved())
    one.until(lambda: sum(sizes(one)) == 60)
    assert one.gaps[0]["reason"] == "volume 10 after 30"
    assert one.gaps[0]["channel"] == GOLD
    assert (GOLD, "GAP") in one.qualities
    assert (GOLD, "LIVE") in one.qualities
    assert mcx.simulator.counters.quotes_asked >= 1
    assert sizes(one, CRUDE) == []


def test_case_23_a_day_volume_that_the_venue_took_back_is_believed(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 100)
    one.until(lambda: sizes(one) == [100])

    def take_back() -> None:
        contract = contract_of(mcx, GOLD)
        contract.state = contract.state._replace(volume=60)

    mcx.do(take_back)
    mcx.book(GOLD, 1_001)
    one.until(lambda: one.resolved())
    mcx.trade(GOLD, 1_001, 5)
    one.until(lambda: sizes(one) == [100, 5])


def test_case_23_last_trade_time_running_back_is_noticed(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_000, 1)
    one.until(lambda: sizes(one) == [1])

    def back() -> None:
        contract = contract_of(mcx, GOLD)
        contract.state = contract.state._replace(traded_ns=contract.state.traded_ns - 60 * E9)

    mcx.do(back)
    mcx.book(GOLD, 1_001)
    one.until(lambda: one.resolved())
    assert one.gaps[0]["reason"] == "last trade 60 s back"


def test_case_23_without_an_answer_the_next_state_is_the_image(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx, rest_url="http://127.0.0.1:9")
    one.until(lambda: (None, "STALE") in one.qualities)  # not even the instruments can be had
    assert "no instruments" in one.ledgers["status"][0]["reason"]
    two = desk(mcx)
    two.live()
    two.feed._connect.__self__._rest._base_url = "http://127.0.0.1:9"  # type: ignore[attr-defined]
    mcx.trade(GOLD, 1_000, 10)
    two.until(lambda: sizes(two) == [10])
    mcx.inject(kite.message([wire.full(token=contract_of(mcx, GOLD).token, volume=1, last=100_000, close=100_000)]))
    two.until(lambda: two.counters.get("rest_unreachable", 0) >= 3)
    mcx.trade(GOLD, 1_001, 5)
    two.until(lambda: two.resolved())
    mcx.trade(GOLD, 1_001, 7)
    two.until(lambda: sizes(two) == [10, 7])


def test_case_23_too_many_requests_are_waited_out(exchange: OpenExchange, desk: OpenDesk) -> None:
    mcx = exchange(rest_interval_s=0.5)
    mcx.open()
    one = desk(mcx)
    one.live()
    for number in (1, 2):
        mcx.trade(GOLD, 1_000, 10)
        one.until(lambda want=number: sizes(one) == [10] * want)
        mcx.inject(kite.message([wire.full(token=contract_of(mcx, GOLD).token, volume=1, last=100_000, close=100_000)]))
        one.until(lambda want=number: len(one.resolved()) == want)
    assert mcx.simulator.counters.refused[429] >= 1
    assert one.counters["rest_NetworkException"] >= 1


def test_case_23_an_empty_book_before_the_open_is_absent_prices(mcx: Exchange, desk: OpenDesk) -> None:
    one = desk(mcx, roots=("GOLD",))
    one.live()
    one.until(lambda: one.quotes)
    mcx.market.say(StatusEvent(mcx.clock(), kite_symbol(GOLD), "CLOSE"))
    one.until(lambda: len(one.quotes) == 2)
    assert [one.quotes[-1][name] for name in ("bid_price", "bid_size", "ask_price", "ask_size")] == [None] * 4
    changes = [row for row in one.depth if row["seq"] == one.quotes[-1]["seq"]]
    assert {row["action"] for row in changes} == {DELETE}
    assert len(changes) == 10
    assert {row["side"] for row in changes if row["price"] <= 1_000 * E9} == {BUY}


# ---- 24: Angel


def test_case_24_angel_gap_and_repeat_by_token(exchange: OpenExchange, desk: OpenDesk) -> None:
    mcx = exchange(**ANGEL_OPTIONS)
    mcx.open()
    one = desk(mcx)
    one.until(lambda: len(one.quotes) == 2)
    mcx.trade(GOLD, 1_000, 1)
    mcx.trade(CRUDE, 1_000, 2)
    one.until(lambda: len(one.trades) == 2)
    repeated = mcx.do(lambda: angel.packet(contract_of(mcx, GOLD), angel.SNAP))
    mcx.inject(repeated)
    one.until(lambda: one.counters.get("repeated"))

    def skip() -> None:
        contract = contract_of(mcx, GOLD)
        contract.state = contract.state._replace(number=contract.state.number + 3, volume=contract.state.volume + 40)

    mcx.do(skip)
    mcx.trade(GOLD, 1_001, 4)
    one.until(lambda: one.counters.get("number_gaps"))
    mcx.trade(GOLD, 1_001, 5)
    one.until(lambda: sizes(one) == [1, 5])  # what traded in the hole has no price that anybody knows
    assert sizes(one, CRUDE) == [2]
    first, resolved = one.gaps
    assert "are missing" in first["reason"]
    assert first["channel"] == resolved["channel"] == GOLD
    assert resolved["resolution"] == "snapshot"
    assert one.ledgers["rejected"] == []


def test_case_24_angel_modes_in_one_stream_and_padded_tokens(exchange: OpenExchange, desk: OpenDesk) -> None:
    mcx = exchange(**ANGEL_OPTIONS)
    mcx.open()
    one = desk(mcx)
    one.until(lambda: len(one.quotes) == 2)
    gold = contract_of(mcx, GOLD)
    assert len(str(gold.exchange_token)) == 6  # 19 of the 25 bytes are padding

    def mixed() -> None:
        for mode in (angel.LTP, angel.QUOTE, angel.SNAP):
            gold.state = gold.state._replace(number=gold.state.number + 1, volume=gold.state.volume + 1)
            gold.state = gold.state._replace(last_price=100_000, last_qty=1)
            for client in mcx.simulator.venue.clients:
                client.out.append(angel.packet(gold, mode))

    mcx.do(mixed)
    one.until(lambda: sum(sizes(one)) == 3)
    assert sizes(one) == [2, 1]  # the first of the three had no volume
    assert one.gaps == []
    assert one.counters["without_volume"] == 1


def test_case_24_angel_errors_and_damaged_packets_are_surfaced(exchange: OpenExchange, desk: OpenDesk) -> None:
    mcx = exchange(**ANGEL_OPTIONS, max_tokens=1)
    mcx.open()
    one = desk(mcx)
    one.until(lambda: any("E1002" in row["reason"] for row in one.ledgers["status"]))
    mcx.inject(bytes(51))
    mcx.inject(angel.packet(contract_of(mcx, GOLD), angel.SNAP)[:-1])
    one.until(lambda: len(one.ledgers["rejected"]) == 2)
    assert [row["reason"] for row in one.ledgers["rejected"]] == ["unsupported_message", "malformed_frame"]


# ---- a restart


def test_a_restart_is_a_gap_and_numbers_go_on_rising(mcx: Exchange, desk: OpenDesk) -> None:
    first = desk(mcx)
    first.live()
    mcx.trade(GOLD, 1_000, 1)
    first.until(lambda: sizes(first) == [1])
    assert first.flush is not None
    positions = dict(first.flush.positions)
    assert "session" not in positions
    first.feed.stop()
    mcx.trade(GOLD, 1_000, 8)
    mcx.until(lambda: contract_of(mcx, GOLD).state.volume == 9)
    second = desk(mcx, positions)
    second.until(second.resolved)
    mcx.trade(GOLD, 1_000, 2)
    second.until(lambda: sizes(second) == [2])
    (gap,) = second.resolved()
    assert gap["reason"] == "restart"
    assert gap["seq_from"] == positions["seq"] + 1
    assert second.trades[0]["seq"] > gap["seq_to"] >= gap["seq_from"] > first.trades[0]["seq"]


def test_a_gap_left_open_by_a_stop_is_resolved_by_the_next_process(mcx: Exchange, desk: OpenDesk) -> None:
    first = desk(mcx)
    first.live()
    first.feed.stop()
    first.take()
    (left,) = first.gaps
    assert left["ts_resolved"] is None
    assert first.flush is not None
    second = desk(mcx, dict(first.flush.positions))
    second.until(second.resolved)
    assert [gap["gap_id"] for gap in second.gaps] == [left["gap_id"]]
    assert second.gaps[0]["ts_detected"] == left["ts_detected"]
