"""The feed against the simulated broker over a real socket: what is told is what was traded."""

from collections.abc import Callable

from market.schemas import FLAG_CONFLATED, FLAG_SNAPSHOT
from tests.connectors.mcx.desk import CRUDE, GOLD, NOON_NS, Desk, Exchange, trade

E9 = 10**9


def test_trades_and_quotes_arrive_as_the_board_shows_them(
    exchange: Callable[..., Exchange], desk: Callable[..., Desk]
) -> None:
    mcx = exchange()
    mcx.open()
    one = desk(mcx)
    one.live()
    mcx.trade(GOLD, 1_001, 4)
    mcx.book(GOLD, 1_001)
    mcx.trade(CRUDE, 1_000, 2)
    one.until(lambda: len(one.trades) == 2 and len(one.quotes) == 3)
    first = one.trades[0]
    assert (first["instrument"], first["price"], first["size"], first["side"], first["flags"]) == (
        GOLD,
        1_001 * E9,
        4 * E9,
        0,
        0,
    )
    assert first["ts_event"] % E9 == 0  # the venue has seconds
    assert NOON_NS - E9 <= first["ts_event"] <= first["ts_recv"]
    assert first["seq"] >= first["ts_recv"]
    assert [row["flags"] for row in one.quotes] == [FLAG_SNAPSHOT, FLAG_SNAPSHOT, 0]
    assert one.quotes[2]["bid_price"] == 1_001 * E9
    seqs = [row["seq"] for row in one.rows if row["seq"] is not None]
    assert seqs == sorted(seqs)
    counters = mcx.simulator.counters
    assert counters.trades == {GOLD: 1, CRUDE: 1}
    assert counters.quotes == {GOLD: 2, CRUDE: 1}


def test_several_trades_of_one_state_are_one_row(exchange: Callable[..., Exchange], desk: Callable[..., Desk]) -> None:
    mcx = exchange()
    mcx.open()
    one = desk(mcx)
    one.live()
    now = mcx.clock()
    mcx.market.say(trade(now, GOLD, 1_001, 4), trade(now, GOLD, 1_002, 5))
    one.until(lambda: one.trades)
    assert [(row["price"], row["size"], row["flags"]) for row in one.trades] == [(1_002 * E9, 9 * E9, FLAG_CONFLATED)]


def test_depth_is_the_image_and_then_its_changes(exchange: Callable[..., Exchange], desk: Callable[..., Desk]) -> None:
    mcx = exchange()
    mcx.open()
    one = desk(mcx, roots=("GOLD",))
    one.live()
    one.until(lambda: one.depth)
    image = len(one.depth)
    assert [row["action"] for row in one.depth] == [0] + [1] * 10
    assert [row["last"] for row in one.depth] == [False] * 10 + [True]
    mcx.book(GOLD, 1_001)
    one.until(lambda: len(one.depth) > image)
    books: dict[int, dict[int, tuple[int, int]]] = {1: {}, -1: {}}
    for row in one.depth:
        if row["action"] == 1:
            books[row["side"]][row["price"]] = (row["size"], row["orders"])
        elif row["action"] == 2:
            del books[row["side"]][row["price"]]
    assert books[1] == {(1_001 - n) * E9: ((3 + n) * E9, 1 + n) for n in range(5)}
    assert books[-1] == {(1_002 + n) * E9: ((3 + n) * E9, 1 + n) for n in range(5)}
