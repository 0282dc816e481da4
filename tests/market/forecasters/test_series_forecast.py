"""The series ensemble: better than naive where there is something to know, naive where not, and it knows its error."""

import csv
import gzip
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared_data

from market.forecasters.members import NAIVE, AutoRegression, Changes, Drift, Naive, SeasonalNaive
from market.forecasters.season import season_in
from market.forecasters.series import forecast

DAY = 24


def seasonal(count: int, seed: int = 3, noise: float = 0.5) -> list[float]:
    draw = random.Random(seed)
    return [50 + 10 * math.sin(2 * math.pi * n / DAY) + n * 0.02 + draw.gauss(0, noise) for n in range(count)]


def walk(count: int, seed: int) -> list[float]:
    draw, at, found = random.Random(seed), 100.0, []
    for _ in range(count):
        at += draw.gauss(0, 1)
        found.append(at)
    return found


def test_a_season_is_found_and_naive_is_beaten() -> None:
    values = seasonal(700)
    found = forecast(values[:-48], 48, DAY)
    missed = np.abs(np.array(values[-48:]) - found.mean).mean()
    assert not found.is_naive
    assert missed < 0.7  # the noise alone is 0.4; naive is off by 6.4
    assert np.mean((found.lo <= values[-48:]) & (found.hi >= values[-48:])) > 0.75


@pytest.mark.parametrize("season", [1, 5])
@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_walk_is_served_as_it_stands(seed: int, horizon: int, season: int) -> None:
    values = walk(800, seed)
    found = forecast(values, horizon, season)
    assert found.is_naive
    assert (found.mean == values[-1]).all()


def test_intervals_hold_as_often_as_they_say() -> None:
    values, held = walk(2_600, 11), []
    for at in range(600, 2_590, 10):
        found = forecast(values[at - 600 : at], 3)
        held += ((found.lo <= values[at : at + 3]) & (found.hi >= values[at : at + 3])).tolist()
    assert 0.86 < np.mean(held) < 0.94


def test_intervals_follow_how_much_it_moves() -> None:
    calm = [100 + (n % 7) * 0.1 for n in range(400)]
    wild = calm[:340] + [100 + 10 * math.sin(n * 1.7) for n in range(60)]
    widths = [float((found.hi - found.lo)[0]) for found in (forecast(calm, 1), forecast(wild, 1))]
    assert widths[1] > 3 * widths[0]


def test_nothing_after_the_history_is_looked_at() -> None:
    values = np.array(seasonal(300))
    for member in (
        Naive(),
        SeasonalNaive(DAY),
        Drift(),
        AutoRegression([1, 2, DAY]),
        Changes(AutoRegression([1, DAY])),
    ):
        member.fit(values[:200])
        whole = member.paths(values, [220], 10)
        assert np.array_equal(whole, member.paths(values[:220], [220], 10))


def test_a_level_moves_the_forecast_and_nothing_else() -> None:
    values = seasonal(400)
    plain, moved = forecast(values, 12, DAY), forecast([value + 1_000 for value in values], 12, DAY)
    assert np.allclose(plain.mean + 1_000, moved.mean, atol=1e-6)
    assert np.allclose(plain.hi - plain.lo, moved.hi - moved.lo, atol=1e-6)


@settings(max_examples=60)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=120), st.integers(1, 30), st.integers(1, 30))
def test_any_history_has_a_finite_forecast_within_its_interval(values: list[float], horizon: int, season: int) -> None:
    found = forecast(values, horizon, season)
    assert len(found.mean) == len(found.lo) == len(found.hi) == horizon
    assert np.isfinite(found.mean).all()
    assert (found.lo <= found.mean).all()
    assert (found.mean <= found.hi).all()
    assert sum(found.weights.values()) == pytest.approx(1.0)


def test_a_constant_series_stays_and_a_short_one_is_naive() -> None:
    assert forecast([5.0] * 300, 4, 7).mean.tolist() == pytest.approx([5.0] * 4)
    found = forecast([1.0, 3.0, 2.0], 2)
    assert (found.mean.tolist(), set(found.weights)) == ([2.0, 2.0], {NAIVE})


@pytest.mark.parametrize(
    ("values", "horizon", "season", "reason"),
    [
        ([], 1, 1, "no history"),
        ([1.0, math.nan], 1, 1, "no finite"),
        ([1.0], 0, 1, "horizon 0"),
        ([1.0], 1, 0, "season 0"),
    ],
)
def test_what_cannot_be_forecast_is_refused(values: list[float], horizon: int, season: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        forecast(values, horizon, season)


def test_on_hours_of_m4_it_is_better_than_the_best_published_of_its_kind() -> None:
    """A sixteenth of the series, the last 48 hours held back; AutoARIMA is published at a MASE (m = 24) of 1.03."""
    text = gzip.decompress(shared_data("m4-hourly", "Hourly-train.csv.gz").read_bytes()).decode()
    errors, seasonal, held = [], [], []
    for row in list(csv.reader(text.splitlines()))[1::16]:
        values = np.array([float(value) for value in row[1:] if value])
        past, actual = values[:-48], values[-48:]
        found, scale = forecast(past.tolist(), 48, DAY), np.abs(past[DAY:] - past[:-DAY]).mean()
        errors.append(np.abs(found.mean - actual).mean() / scale)
        seasonal.append(np.abs(np.tile(past[-DAY:], 2) - actual).mean() / scale)
        held.append(((found.lo <= actual) & (actual <= found.hi)).mean())
    assert len(errors) == 26
    assert np.mean(errors) < min(1.03, 0.8 * np.mean(seasonal))
    assert 0.82 < np.mean(held) < 0.96


@pytest.mark.parametrize(("rows", "horizon", "season"), [(48, 18, 12), (60, 18, 12), (20, 8, 4)])
def test_a_season_is_forecast_further_than_a_short_history_can_be_rehearsed(
    rows: int, horizon: int, season: int
) -> None:
    errors, naive, held = [], [], []
    for seed in range(10):
        draw = random.Random(seed)
        shape = [draw.uniform(0, 30) for _ in range(season)]
        values = [100 + shape[n % season] + 0.2 * n + draw.gauss(0, 2) for n in range(rows + horizon)]
        found, actual = forecast(values[:rows], horizon, season), np.array(values[rows:])
        errors.append(np.abs(found.mean - actual).mean())
        naive.append(np.abs(values[rows - 1] - actual).mean())
        held.append(((found.lo <= actual) & (actual <= found.hi)).mean())
        assert (np.diff((found.hi - found.lo)[horizon // 2 :]) > 0).all()
    assert np.mean(errors) < 0.6 * np.mean(naive)
    assert np.mean(held) > 0.75


def test_an_interval_after_a_long_standstill_is_of_the_size_of_the_move() -> None:
    found = forecast([0.0] * 370 + [1000.0] * 30, 30)
    assert (found.hi - found.lo).max() <= 6_000


@pytest.mark.parametrize("season", [4, 7, 24])
def test_a_season_is_seen_in_the_values(season: int) -> None:
    draw = random.Random(4)
    shape = [draw.uniform(0, 10) for _ in range(season)]
    assert season_in([100 + shape[n % season] + n * 0.01 + draw.gauss(0, 0.3) for n in range(30 * season)]) == season


@pytest.mark.parametrize("season", [24, 48, 168])
@pytest.mark.parametrize("seed", range(5))
def test_a_slow_wave_has_the_season_of_the_wave_and_not_of_the_noise_on_it(season: int, seed: int) -> None:
    draw = random.Random(seed)
    wave = [10 * math.sin(2 * math.pi * n / season) + draw.gauss(0, 12 / season) for n in range(12 * season)]
    assert season_in(wave) == pytest.approx(season, rel=0.02)


@pytest.mark.parametrize(
    "values", [walk(400, 5), [5.0] * 90, [float(n) for n in range(90)], [1.0], [1e90 * n * n for n in range(90)]]
)
def test_no_season_is_seen_where_there_is_none(values: list[float]) -> None:
    assert season_in(values) == 1
