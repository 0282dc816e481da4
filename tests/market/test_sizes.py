"""Sizes: whole lots that hedge each other, and of what two books hold the size that earns most, against all sizes."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_terms import EVERY, scaled, terms

from market.parity import BUY_FOREIGN, COSTS, DIRECTIONS, Bound, Ladder, bound_of, ladder
from market.sizes import executable, hedged, least_lots
from market.units import to_decimal


@pytest.mark.parametrize(
    ("root", "least", "ratio"),
    [
        ("GOLD", (3, 1), "3.126"),
        ("GOLDM", (31, 1), "31.257"),
        ("SILVER", (5, 1), "5.184"),
        ("COPPER", (9, 2), "4.536"),
        ("CRUDEOIL", (10, 1), "10.000"),
        ("NATURALGAS", (8, 1), "8.000"),
        ("COTTONCNDY", (4, 3), "1.329"),
    ],
)
def test_whole_lots_that_hedge_each_other(root: str, least: tuple[int, int], ratio: str) -> None:
    assert least_lots(terms(root)) == least
    assert to_decimal(terms(root).ratio, 3) == Decimal(ratio)


@pytest.mark.parametrize(
    ("there", "expected"), [((3, 1), (3, 1)), ((2, 9), (0, 0)), ((9, 0), (0, 0)), ((7, 5), (6, 2)), ((100, 4), (13, 4))]
)
def test_the_most_lots_that_are_there_on_both_sides(there: tuple[int, int], expected: tuple[int, int]) -> None:
    assert hedged(terms("GOLD"), *there) == expected


@settings(max_examples=25)
@given(local=st.integers(0, 400), foreign=st.integers(0, 60), root=st.sampled_from(EVERY))
def test_the_most_lots_equal_a_search_over_all(local: int, foreign: int, root: str) -> None:
    ratio = terms(root).ratio
    fits = [
        (a, b) for b in range(1, foreign + 1)
        if 0 < (a := round(b * ratio)) <= local and abs(a - b * ratio) * 20 <= b * ratio
    ]  # fmt: skip
    assert hedged(terms(root), local, foreign) == (max(fits, key=lambda pair: pair[1]) if fits else (0, 0))


def test_depth_is_taken_while_it_pays() -> None:
    way, fx = terms("CRUDEOIL"), scaled("95.8")
    fair = 88.5 * 95.8
    local = [(scaled(str(fair + 40)), 10), (scaled(str(fair + 30)), 10), (scaled(str(fair - 50)), 10)]
    foreign = [(scaled("88.5"), 30)]
    found = executable(way, BUY_FOREIGN, local, foreign, fx)
    assert found is not None
    assert (found.local_lots, found.foreign_lots) == (20, 2)
    assert found.local_price == (local[0][0] + local[1][0]) // 2
    assert executable(way, BUY_FOREIGN, [(local[0][0], 9)], foreign, fx) is None


def averaged(levels: list[tuple[int, int]], lots: int, *, buys: bool) -> int:
    """Lot by lot; rounded against us."""
    each = [price for price, size in levels for _ in range(size)][:lots]
    return -(-sum(each) // lots) if buys else sum(each) // lots


def sizes(root: str, local: list[tuple[int, int]], foreign: list[tuple[int, int]]) -> list[tuple[int, int]]:
    ratio, most = terms(root).ratio, [sum(lots for _, lots in side) for side in (local, foreign)]
    return [
        (a, b) for b in range(1, min(most[1], 100) + 1)
        if 0 < (a := round(b * ratio)) <= most[0] and abs(a - b * ratio) * 20 <= b * ratio
    ]  # fmt: skip


@st.composite
def books(draw: st.DrawFn) -> tuple[str, str, list[tuple[int, int]], list[tuple[int, int]]]:
    """A local and a foreign side around parity, deeper levels worse: the foreign price is taken as it comes."""
    root, direction = draw(st.sampled_from(EVERY)), draw(st.sampled_from(DIRECTIONS))
    foreign, bound = scaled("60"), bound_of(terms(root), direction)
    worse = 1 if direction == BUY_FOREIGN else -1
    nothing = -((bound.a * foreign + bound.b) * scaled("95") + bound.d) // bound.c  # leaves nothing, as a local price
    steps = st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 30)), min_size=1, max_size=6)
    sides = []
    for first, way in ((nothing + worse * draw(st.integers(0, nothing // 500)), -worse), (foreign, worse)):
        price, side = first, []
        for step, lots in draw(steps):
            side.append((price, lots))
            price += way * max(1, first * step // 10**9)
        sides.append(side)
    return root, direction, sides[0], sides[1]


def left(found: Ladder, usual: int) -> int:
    """What an order leaves, in local lots times 1e-9 a unit."""
    return (found.net - max(usual, 0)) * found.local_lots


@settings(max_examples=150)
@given(case=books(), usual=st.integers(-(10**9), 10**9), least=st.sampled_from([-(10**18), 1, 10**9]))
def test_the_size_earns_most_of_all_that_are_there(case, usual: int, least: int) -> None:
    root, direction, local, foreign = case
    way, fx, sells = terms(root), scaled("95"), direction == BUY_FOREIGN
    ladders = [
        ladder(way, direction, averaged(local, a, buys=not sells), averaged(foreign, b, buys=sells), fx, (a, b))
        for a, b in sizes(root, local, foreign)
    ]
    near = len(COSTS) + 1  # what the steps of a ladder are rounded by, together
    enough = [found for found in ladders if found.net - max(usual, 0) >= least + near]
    found = executable(way, direction, local, foreign, fx, usual=usual, least=(least,))
    if found is None:
        assert not enough
        return
    assert found in ladders
    assert found.gross - sum(found.costs.values()) == found.net
    assert found.net - max(usual, 0) >= least - near
    assert all(
        left(found, usual) >= left(other, usual) - near * (found.local_lots + other.local_lots) for other in enough
    )


@pytest.mark.parametrize("root", EVERY)
@pytest.mark.parametrize("direction", DIRECTIONS)
@given(
    price=st.integers(1, 10**15), foreign=st.integers(1, 10**13), fx=st.integers(10**9, 2 * 10**11),
    lots=st.integers(1, 400),
)  # fmt: skip
@settings(max_examples=25)
def test_the_bound_with_its_caps_is_net_but_for_rounding(
    root: str, direction: str, price: int, foreign: int, fx: int, lots: int
) -> None:
    way, bound = terms(root), bound_of(terms(root), direction)
    exact = Fraction(bound.total(price, foreign, fx, lots), bound.unit * lots)
    assert abs(exact - ladder(way, direction, price, foreign, fx, (lots, 1)).net) <= len(COSTS)


def test_of_several_least_the_first_that_any_size_leaves_holds() -> None:
    way, fx = terms("CRUDEOIL"), scaled("95.8")
    fair = Fraction("88.5") * Fraction("95.8")
    local = [(scaled(str(float(fair + rupees))), 10) for rupees in (40, 12)]
    foreign = [(scaled("88.5"), 30)]
    both = executable(way, BUY_FOREIGN, local, foreign, fx, least=(10**12, 1))
    assert both is not None
    assert (both.local_lots, both.foreign_lots) == (20, 2)
    first = executable(way, BUY_FOREIGN, local, foreign, fx, least=(both.net + len(COSTS), 1))
    assert first is not None
    assert (first.local_lots, first.foreign_lots) == (10, 1)
    assert executable(way, BUY_FOREIGN, local, foreign, fx, least=(10**12,)) is None


def test_an_average_is_rounded_against_us() -> None:
    way, fx = terms("CRUDEOIL"), scaled("95.8")
    local = [(scaled("9000") + 1, 10), (scaled("9000"), 11)]
    foreign = [(scaled("88.5"), 1), (scaled("88.5") + 1, 1)]
    found = executable(way, BUY_FOREIGN, local, foreign, fx)
    assert found is not None
    assert (found.local_lots, found.foreign_lots) == (20, 2)
    assert (found.local_price, found.foreign_price) == (scaled("9000"), scaled("88.5") + 1)


def test_a_bound_beyond_an_amount_and_a_share() -> None:
    bound = Bound(a=1, b=0, c=1, d=0, unit=1)
    taken = bound.beyond(100, 50)
    assert [taken.is_positive(20_000, left, 1) for left in (-19_800, -19_799)] == [False, True]
