"""What the ladder of a level dialect tells: whoever follows the rows has the same levels, the cut ones gone too."""

import random

from connectors.cme.constants import CHANGE, DELETE, NEW
from connectors.cme.ladder import Change, LevelLadder
from market.ladders import LevelLadder as Follower
from market.schemas import BUY
from market.schemas import DELETE as ROW_DELETE
from market.schemas import INSERT as ROW_INSERT

DEPTH = 3


def change(action: bytes, position: int, price: int | None = None, *, is_bid: bool = True) -> Change:
    return (action, is_bid, position, None, price, None if price is None else 1, 1)


def loaded(follower: Follower, *prices: int) -> LevelLadder:
    ladder = LevelLadder(DEPTH)
    rows = ladder.load([change(NEW, at, price) for at, price in enumerate(prices, 1)])
    assert rows is not None
    follow(follower, rows)
    return ladder


def follow(follower: Follower, rows: list) -> None:
    for action, side, level, _, price, size, _ in rows:
        assert follower.apply(action, side, level, None, price or 0, size or 0) or (action == ROW_DELETE)


def test_a_new_level_of_a_full_ladder_deletes_the_worst() -> None:
    ladder = loaded(Follower(), 100, 99, 98)
    rows = ladder.apply(change(NEW, 2, 99))
    assert rows is None  # no two levels of one price
    ladder = loaded(Follower(), 100, 98, 97)
    assert [(row[0], row[2], row[4]) for row in ladder.apply(change(NEW, 2, 99)) or []] == [
        (ROW_DELETE, 3, None),
        (ROW_INSERT, 2, 99),
    ]


def test_who_follows_the_rows_has_the_same_levels() -> None:
    draws = random.Random(1)
    follower = Follower()
    ladder = loaded(follower, 1_000, 990, 980)
    prices = [1_000, 990, 980]
    for _ in range(2_000):
        if prices and draws.random() < 0.3:
            at = draws.randrange(len(prices))
            del prices[at]
            rows = ladder.apply(change(DELETE, at + 1))
        else:
            price = draws.randrange(900, 1_100)
            if price in prices:
                at = prices.index(price)
                rows = ladder.apply(change(CHANGE, at + 1, price))
            else:
                at = sum(one > price for one in prices)
                if at >= DEPTH:
                    continue
                prices = [*prices[:at], price, *prices[at:]][:DEPTH]
                rows = ladder.apply(change(NEW, at + 1, price))
        assert rows is not None
        follow(follower, rows)
        assert [level[0] for level in follower.best(BUY, 10)] == prices
