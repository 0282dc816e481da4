"""128-bit sums against Python's integers."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from market import wide

int64s = st.integers(-(2**62), 2**62) | st.integers(-1000, 1000)
sizes = st.integers(1, 10**18 - 1)
prices = st.integers(-(10**18) + 1, 10**18 - 1)


def starts_of(draw, n: int) -> np.ndarray:
    return np.array(sorted({0, *draw(st.sets(st.integers(0, n - 1), max_size=5))}), np.intp)


def by_group(numbers: list[int], starts: np.ndarray) -> list[int]:
    ends = [*starts.tolist()[1:], len(numbers)]
    return [sum(numbers[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)]


@given(st.lists(sizes, min_size=1, max_size=50), st.data())
def test_sum_groups(terms, data) -> None:
    starts = starts_of(data.draw, len(terms))
    assert wide.sum_groups(np.array(terms), starts).to_ints() == by_group(terms, starts)


@given(st.lists(st.tuples(prices, sizes), min_size=1, max_size=50), st.data())
def test_sum_product_groups(pairs, data) -> None:
    starts = starts_of(data.draw, len(pairs))
    left, right = (np.array(column) for column in zip(*pairs, strict=True))
    expected = by_group([a * b for a, b in pairs], starts)
    assert wide.sum_product_groups(left, right, starts).to_ints() == expected


def test_a_large_group_of_large_terms_is_exact() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.integers(-(10**15), 10**15, 200_000), rng.integers(1, 10**11, 200_000)
    found = wide.sum_product_groups(left, right, np.array([0], np.intp)).to_ints()[0]
    assert found == sum(a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))


wides = st.lists(st.integers(-(2**120), 2**120), min_size=1, max_size=30)


@given(wides, st.data())
def test_reduce_groups_and_round_trip(numbers, data) -> None:
    column = wide.from_ints(numbers)
    assert column.to_ints() == numbers
    starts = starts_of(data.draw, len(numbers))
    assert wide.reduce_groups(column, starts).to_ints() == by_group(numbers, starts)


@given(st.lists(st.tuples(st.integers(-(2**120), 2**120), st.integers(-(2**120), 2**120)), min_size=1))
def test_plus(pairs) -> None:
    left, right = (wide.from_ints(list(column)) for column in zip(*pairs, strict=True))
    assert left.plus(right).to_ints() == [a + b for a, b in pairs]


@given(st.lists(st.tuples(prices, sizes, st.integers(1, 1000)), min_size=1, max_size=20))
def test_divide_half_even_is_pythons_round_of_the_exact_quotient(bars) -> None:
    # A vwap: the quotient of price * size sums, which lies between the prices.
    numerators = [price * size * n + (n // 3) for price, size, n in bars]
    denominators = [size * n for _, size, n in bars]
    quotients = wide.divide_half_even(wide.from_ints(numerators), wide.from_ints(denominators))
    expected = [round(Fraction(a, b)) for a, b in zip(numerators, denominators, strict=True)]
    assert quotients.tolist() == expected


def test_divide_rounds_ties_to_even() -> None:
    quotients = wide.divide_half_even(wide.from_ints([1, 3, 5, -1, -3]), wide.from_ints([2] * 5))
    assert quotients.tolist() == [0, 2, 2, 0, -2]


def test_to_decimal128() -> None:
    decimals = wide.to_decimal128(wide.from_ints([-1, 0, 10**30]), 38, 9)
    assert [str(d) for d in decimals.to_pylist()] == ["-1E-9", "0E-9", "1000000000000000000000.000000000"]
