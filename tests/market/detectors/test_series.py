"""The series detector: against the definition written out, and what a person would call unusual."""

import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.detectors.series import LENGTHS, SeriesDetector


def scores(values: list[float], window: int = 60) -> list[float]:
    detector = SeriesDetector(window)
    return [detector.score(value) for value in values]


def wave(count: int, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [10 + math.sin(n / 5) + draw.gauss(0, 0.05) for n in range(count)]


def plain_distance(values: list[float], at: int, length: int, window: int) -> float | None:
    """Mean distance from the shape ending at `at` to the five nearest earlier ones, as the words say it."""
    oldest = max(0, at - window)
    ends = range(oldest + length - 1, at - length + 1)
    if len(ends) < 35:
        return None
    found = sorted(math.dist(values[at - length + 1 : at + 1], values[end - length + 1 : end + 1]) for end in ends)
    return sum(found[:5]) / 5


@pytest.mark.parametrize("window", [50, 80, 500])
def test_distances_are_those_of_the_definition(window: int) -> None:
    values, detector = wave(160), SeriesDetector(window)
    for at, value in enumerate(values):
        found = detector._distances(value)
        expected = [plain_distance(values, at, length, window) for length in LENGTHS]
        assert [each is None for each in found] == [each is None for each in expected]
        assert np.allclose([x or 0.0 for x in found], [x or 0.0 for x in expected], rtol=1e-9, atol=1e-9)


def test_a_spike_and_a_pattern_that_breaks_stand_out() -> None:
    values = wave(1_200)
    values[800] += 8
    values[1_000:1_030] = [10.0] * 30
    found = scores(values, window=600)
    assert found[800] == max(found[:1_000])
    assert max(found[1_000:1_030]) == max(found[900:1_200]) > 0.5


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_wrong_tick_and_a_jump_stand_out_of_a_price_that_wanders(stays: bool, seed: int) -> None:
    draw, price, at = random.Random(seed), 500.0, 900
    prices = [price := price + draw.gauss(0, 1) for _ in range(1_000)]
    prices[at:] = [each + 16 * (stays or n == 0) for n, each in enumerate(prices[at:])]
    found = scores(prices, 3_000)
    assert max(found[at : at + 2]) >= 0.5
    assert sum(score >= 0.5 for score in found[200:at]) <= 2


def test_an_event_is_told_once_unless_it_grows() -> None:
    values = wave(1_000)
    values[700:760] = [25.0] * 60
    found = scores(values, window=600)
    assert found[700] > 0.9
    assert max(found[701:760]) == 0.0


def test_what_breaks_a_perfect_repetition_is_unusual() -> None:
    values = [float(n % 7) for n in range(400)]
    values[300] = 50.0
    found = scores(values)
    assert max(found[:300]) == 0.0
    assert found[300] > 0.5


def test_a_constant_series_and_one_that_begins_say_nothing() -> None:
    assert max(scores([3.0] * 200)) == 0.0
    assert max(scores(wave(40))) == 0.0


@given(st.lists(st.floats(-1e6, 1e6), max_size=150))
def test_a_score_is_in_the_unit_interval_and_depends_on_the_past_alone(values: list[float]) -> None:
    found = scores(values)
    assert all(0.0 <= score <= 1.0 for score in found)
    half = len(values) // 2
    assert scores(values[:half]) == found[:half]


def test_units_do_not_matter() -> None:
    values = wave(500)
    values[400] += 5
    assert np.allclose(scores(values), scores([value * 1024 - 4096 for value in values]), atol=1e-6)


def test_a_restored_detector_goes_on_as_if_nothing_happened() -> None:
    values = wave(400)
    values[300] += 4
    first = SeriesDetector(100)
    begun = [first.score(value) for value in values[:299]]
    state = pickle.dumps(first.snapshot())
    first.score(1e9)
    second = SeriesDetector(100)
    second.restore(pickle.loads(state))
    assert begun + [second.score(value) for value in values[299:]] == scores(values, 100)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        SeriesDetector().score(value)
