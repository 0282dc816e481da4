"""The book kernel against a dict, against a real book, and what it says of books that are not in order."""

from collections.abc import Iterator
from typing import Any

import pytest
from arrivals import joined
from book_rows import book_batch
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared_data

from market.book import DAY_NS, MARKET, TIME, BookKernel
from market.schemas import BUY, DELETE, DIRTY, IMAGE, INSERT, QUALITIES, SELL, SET

GOLD = "XCEC:GC:202612"
MS = 1_000_000
T0 = 20_000 * DAY_NS + 3_600_000 * MS
LOT = 10**9


def told(rows: list[dict[str, Any]], **settings: int) -> list[dict[str, Any]]:
    kernel = BookKernel(**settings)
    return joined([kernel.on_batch(book_batch(rows)), kernel.on_eof()]).get("books", NOTHING).to_pylist()


NOTHING = book_batch([])


def change(at_ms: float, action: int, side: int | None = None, price: int = 0, size: int = 0, **more: Any) -> dict:
    at = T0 + int(at_ms * MS)
    row = {"instrument": GOLD, "ts_event": at, "ts_recv": at, "action": action, "side": side}
    return {**row, "price": price * LOT or None, "size": size * LOT or None, **more}


def ladder(row: dict[str, Any], side: str) -> list[tuple[int, int]]:
    levels = [(row[f"{side}_{n}_price"], row[f"{side}_{n}_size"]) for n in range(1, 11)]
    return [(price // LOT, size // LOT) for price, size in levels if price is not None]


def opened(at_ms: float = 0, bid: int = 99, ask: int = 101) -> list[dict[str, Any]]:
    return [
        change(at_ms, IMAGE, last=False),
        change(at_ms, SET, BUY, bid, 1, last=False),
        change(at_ms, SET, SELL, ask, 3),
    ]


# ---- against a model

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "delete", "image", "dirty"]),
        st.sampled_from([BUY, SELL]),
        st.integers(0, 14),  # which of what is there
        st.integers(1, 40),  # price
        st.integers(1, 9),  # size
    ),
    max_size=30,
)
WAYS = ["price", "level", "entry"]


class Model:
    """A book as a dict of entries, and the rows that tell its changes in one of three ways."""

    def __init__(self, way: str) -> None:
        self.way, self.trusted = way, False
        self.entries: dict[tuple[int, Any], tuple[int, int]] = {}  # (side, name) -> (price, size)

    def levels(self, side: int) -> list[tuple[int, int]]:
        sizes: dict[int, int] = {}
        for (of_side, _), (price, size) in self.entries.items():
            if of_side == side:
                sizes[price] = sizes.get(price, 0) + size
        return sorted(sizes.items(), key=lambda level: -side * level[0])

    def step(self, what: str, side: int, which: int, price: int, size: int) -> dict[str, Any] | None:
        """Apply a step; return what the row of it says, or None if it is not possible."""
        if what in ("image", "dirty"):
            self.trusted = what == "image"
            self.entries.clear()
            return {"action": IMAGE if what == "image" else DIRTY}
        if what == "delete":
            return self._delete(side, which)
        name: Any = f"{side}/{which}" if self.way == "entry" else price
        row = {"action": SET, "side": side, "price": price * LOT, "size": size * LOT}
        if self.way == "entry":
            row["entry_id"] = name
        elif self.way == "level":
            known = [level[0] for level in self.levels(side)]
            row |= {
                "level": 1 + sum(p * side > price * side for p in known),
                "action": SET if price in known else INSERT,
            }
        if self.trusted:
            self.entries[side, name] = (price, size)
        return row

    def _delete(self, side: int, which: int) -> dict[str, Any] | None:
        names = sorted((price, name) for (of_side, name), (price, _) in self.entries.items() if of_side == side)
        if not names:
            return None
        price, name = names[which % len(names)]
        del self.entries[side, name]
        if self.way == "level":
            return {"action": DELETE, "side": side, "level": 1 + sum(p * side > price * side for p, _ in names)}
        key = {"entry_id": name} if self.way == "entry" else {"price": price * LOT}
        return {"action": DELETE, "side": side, **key}


@pytest.mark.parametrize("way", WAYS)
@given(steps=STEPS)
def test_every_snapshot_equals_a_dict(way, steps) -> None:
    model, rows, expected = Model(way), [], []
    dirty = True
    for number, step in enumerate(steps):
        row = model.step(*step)
        if row is None:
            continue
        at = T0 + number
        rows.append({"instrument": GOLD, "ts_event": at, "ts_recv": at, "seq": number, **row})
        if model.trusted or not dirty:
            state = "DIRTY" if not model.trusted else None
            expected.append((at, state, model.levels(BUY)[:10], model.levels(SELL)[:10]))
        dirty = not model.trusted
    found = told(rows, every_ns=1, hold_ns=0)
    assert [(row["ts_event"], ladder(row, "bid"), ladder(row, "ask")) for row in found] == [
        (at, bids, asks) for at, _, bids, asks in expected
    ]
    assert [row["state"] == "DIRTY" for row in found] == [state == "DIRTY" for _, state, _, _ in expected]


# ---- against a real book

_LOBSTER = "AAPL_2012-06-21_34200000_57600000"
_NEW, _HIDDEN = 1, 5


@pytest.mark.parametrize("way", ["price", "level"])
def test_a_real_book_is_followed_message_by_message(way) -> None:
    """LOBSTER: 1,000 messages of orders, and the ten best levels after each."""
    messages = _csv(shared_data("lobster-aapl-1000", "data", f"{_LOBSTER}_message_10.csv"))
    books = list(_csv(shared_data("lobster-aapl-1000", "data", f"{_LOBSTER}_orderbook_10.csv")))
    window, rows = _Window(way), []
    for number, (message, book) in enumerate(zip(messages, books, strict=True)):
        sides = {SELL: _pairs(book[0::4], book[1::4]), BUY: _pairs(book[2::4], book[3::4])}
        said = window.image(sides) if number == 0 else window.message(message, sides)
        at = T0 + number
        rows += [{"instrument": GOLD, "ts_event": at, "ts_recv": at, "last": False, **row} for row in said]
        rows.append({"instrument": GOLD, "ts_event": at, "ts_recv": at, **window.again(BUY)})
    assert window.told < 400  # most of the book comes of the messages, not of the file it is compared with
    found = told(rows, every_ns=1)
    assert len(found) == len(books)
    for row, book in zip(found, books, strict=True):
        for side, (prices, sizes) in {"ask": (book[0::4], book[1::4]), "bid": (book[2::4], book[3::4])}.items():
            assert [row[f"{side}_{n}_price"] for n in range(1, 11)] == [price * 10**5 for price in prices]
            assert [row[f"{side}_{n}_size"] for n in range(1, 11)] == [size * LOT for size in sizes]


def _csv(path: Any) -> Iterator[list[int]]:
    for line in path.read_text().splitlines():
        yield [int(float(word)) if "." in word else int(word) for word in line.split(",")]


def _pairs(prices: list[int], sizes: list[int]) -> list[tuple[int, int]]:
    return list(zip(prices, sizes, strict=True))


class _Window:
    """The ten levels a venue shows: what comes in at the far end is told, what falls out is deleted."""

    def __init__(self, way: str) -> None:
        self.way, self.told = way, 0
        self.sides: dict[int, dict[int, int]] = {BUY: {}, SELL: {}}

    def image(self, sides: dict[int, list[tuple[int, int]]]) -> list[dict[str, Any]]:
        return [{"action": IMAGE}] + [self._set(side, *level) for side in sides for level in sides[side]]

    def message(self, message: list[int], sides: dict[int, list[tuple[int, int]]]) -> list[dict[str, Any]]:
        _, kind, _, size, price, side = message
        rows = []
        if kind < _HIDDEN:
            left = self.sides[side].get(price, 0) + (size if kind == _NEW else -size)
            rows.append(self._set(side, price, left) if left else self._delete(side, price))
        for of_side, levels in sides.items():
            for level in levels:
                if level[0] not in self.sides[of_side]:
                    assert all(level[0] * of_side < known * of_side for known in self.sides[of_side])
                    self.told += 1
                    rows.append(self._set(of_side, *level))
            gone = set(self.sides[of_side]) - {level[0] for level in levels}
            rows += [self._delete(of_side, price_out) for price_out in sorted(gone)]
        return rows

    def again(self, side: int) -> dict[str, Any]:
        price = max(self.sides[side])
        return self._set(side, price, self.sides[side][price])

    def _position(self, side: int, price: int) -> int:
        return 1 + sum(known * side > price * side for known in self.sides[side])

    def _set(self, side: int, price: int, size: int) -> dict[str, Any]:
        assert size > 0
        row = {"action": SET, "side": side, "price": price * 10**5, "size": size * LOT}
        if self.way == "level":
            row |= {"level": self._position(side, price), "action": SET if price in self.sides[side] else INSERT}
        self.sides[side][price] = size
        return row

    def _delete(self, side: int, price: int) -> dict[str, Any]:
        where = {"level": self._position(side, price)} if self.way == "level" else {"price": price * 10**5}
        del self.sides[side][price]
        return {"action": DELETE, "side": side, **where}


# ---- trust


def test_nothing_is_said_before_an_image_nor_between_dirty_and_the_next() -> None:
    rows = [change(0, SET, BUY, 99, 1), *opened(300), change(600, DIRTY), change(900, SET, BUY, 98, 1)]
    found = told([*rows, *opened(1200)])
    assert [row["state"] for row in found] == ["NORMAL", "DIRTY", "NORMAL"]
    assert [row["ts_event"] - T0 for row in found] == [300 * MS, 600 * MS, 1200 * MS]
    assert ladder(found[1], "bid") == ladder(found[1], "ask") == []
    assert found[1]["mid_price"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        change(300, DELETE, BUY, 50),
        change(300, SET, BUY, 98, 0),
        change(300, INSERT, BUY, 98, 1),
        change(300, SET, BUY, 98, 1, entry_id="A"),
    ],
    ids=["delete of nothing", "no size", "insert by price", "another way"],
)
def test_a_change_that_does_not_fit_makes_the_book_dirty(wrong) -> None:
    kernel = BookKernel()
    found = kernel.on_batch(book_batch([*opened(), wrong]))["books"].to_pylist()
    assert [row["state"] for row in found] == ["NORMAL", "DIRTY"]
    assert kernel.counters == {"applied": 2, "broken": 1}
    assert kernel.book(GOLD) is None


def test_a_level_out_of_order_makes_the_book_dirty() -> None:
    rows = [change(0, IMAGE), change(1, SET, BUY, 99, 1, level=1), change(300, INSERT, BUY, 100, 1, level=2)]
    assert [row["state"] for row in told(rows)] == ["NORMAL", "DIRTY"]


# ---- locked and crossed


def test_a_crossed_book_is_held_while_it_trades_and_told_after_that() -> None:
    rows = [*opened(), change(300, SET, BUY, 102, 1), change(600, SET, BUY, 98, 1), change(1300, SET, BUY, 97, 1)]
    found = told([*rows, change(1600, DELETE, BUY, 102), change(1900, TIME)])
    assert [(row["state"], row["ts_event"] - T0) for row in found] == [
        ("NORMAL", 0),
        ("CROSSED", 600 * MS),
        ("CROSSED", 1300 * MS),
        ("NORMAL", 1600 * MS),
    ]
    assert found[1]["mid_price"] is found[1]["micro_price"] is None


def test_a_cross_that_is_over_soon_is_not_told() -> None:
    rows = [*opened(), change(300, SET, BUY, 101, 1), change(400, DELETE, BUY, 101), change(600, TIME)]
    assert [row["state"] for row in told(rows)] == ["NORMAL", "NORMAL"]


@pytest.mark.parametrize("quality", ["CLOSED", "HALTED"])
def test_outside_of_trading_a_crossed_book_is_told_at_once(quality) -> None:
    state = change(10, MARKET) | {"size": QUALITIES.index(quality)}
    rows = [*opened(), state, change(20, SET, BUY, 101, 1), change(300, TIME)]
    assert [(row["state"], row["quality"]) for row in told(rows)] == [("LOCKED", quality)]


def test_a_book_has_the_worse_of_its_own_and_its_venues_state() -> None:
    venue = change(310, MARKET) | {"size": QUALITIES.index("GAP"), "instrument": None}
    own = change(610, MARKET) | {"size": QUALITIES.index("STALE")}
    found = told([*opened(), venue, own, change(900, TIME)])
    assert [row["quality"] for row in found] == ["LIVE", "GAP", "GAP"]
    assert len({row["ts_event"] for row in found}) == 3


# ---- the grid


def test_a_book_is_told_once_a_line_of_the_grid_as_it_was_before() -> None:
    found = told([*opened(), *(change(at, SET, BUY, 90 + at % 9, 1) for at in range(1, 1000))])
    assert [row["ts_event"] - T0 for row in found] == [249 * MS, 499 * MS, 749 * MS, 999 * MS]


def test_a_change_that_is_not_complete_is_not_told() -> None:
    rows = [*opened(), change(100, SET, BUY, 100, 1, last=False), change(300, TIME), change(600, SET, BUY, 99, 2)]
    (row,) = told(rows)
    assert row["ts_event"] == T0 + 600 * MS
    assert ladder(row, "bid") == [(100, 1), (99, 2)]


def test_at_a_change_of_day_every_book_is_told_again_and_old_ones_are_forgotten() -> None:
    day_ms = DAY_NS // MS
    kernel = BookKernel()
    found = joined([kernel.on_batch(book_batch([*opened(), *(change(n * day_ms, TIME) for n in range(1, 14))]))])
    stamps = [row["ts_event"] for row in found["books"].to_pylist()]
    assert stamps == [T0, *((T0 // DAY_NS + n) * DAY_NS for n in range(1, 11))]
    assert kernel.snapshot()["books"] == []


def test_what_was_said_of_an_instrument_before_its_first_change_holds_however_the_rows_are_cut() -> None:
    later_ms = 400 * DAY_NS / MS
    state = change(0, MARKET) | {"size": QUALITIES.index("STALE")}
    rows = [state, change(later_ms, TIME), *(row | {"ts_recv": row["ts_recv"] + 400 * DAY_NS} for row in opened())]
    whole, kernel = told(rows), BookKernel()
    parts = joined([*(kernel.on_batch(book_batch([row])) for row in rows), kernel.on_eof()])
    assert whole == parts["books"].to_pylist()
    assert {row["quality"] for row in whole} == {"STALE"}


def test_a_stamp_from_the_future_stops_nothing() -> None:
    year = 365 * DAY_NS
    ahead = change(300, SET, BUY, 98, 1) | {"ts_event": T0 + year}
    found = told([*opened(), ahead, change(600, SET, BUY, 97, 1), change(900, TIME)])
    assert [row["ts_event"] - T0 for row in found] == [0, 300 * MS, 600 * MS]


def test_what_a_book_is_worth_stands_in_its_row() -> None:
    (row,) = told([*opened(bid=99, ask=101), change(0, SET, BUY, 98, 4)])
    assert row["mid_price"] == 100 * LOT
    assert row["micro_price"] == 99_500_000_000  # (99 * 3 + 101 * 1) / 4
    assert row["imbalance"] == 250_000_000  # (5 - 3) / (5 + 3)
