"""Fair values: the same for everyone who asks, with the volatility, season, jumps and clusters they claim."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from feeds_simulator.model.commodities import ANCHOR_DAY, COMMODITIES
from feeds_simulator.model.fair import FairValues
from feeds_simulator.model.paths import SECONDS_PER_DAY, Path, day_of, mean_reverting, minute_weights

ANCHOR = day_of(ANCHOR_DAY)
COTTON = COMMODITIES["cotton"]


def cotton(seed: int = 7) -> Path:
    return Path(seed, "cotton", COTTON.volatility, COTTON.season)


def test_it_does_not_matter_what_was_asked_before() -> None:
    forward, straight = cotton(), cotton()
    for day in range(ANCHOR - 3, ANCHOR + 2):
        forward.day(day)
    assert np.array_equal(forward.day(ANCHOR + 2).prices, straight.day(ANCHOR + 2).prices)


def test_another_process_agrees() -> None:
    asked = (
        "from feeds_simulator.model.fair import FairValues;"
        f"print(FairValues(7).day('gold', {ANCHOR + 4}).prices[12345].hex())"
    )
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert said.strip() == float(FairValues(7).day("gold", ANCHOR + 4).prices[12345]).hex()


def test_days_join_and_the_anchor_is_the_level() -> None:
    path = cotton()
    days = [path.day(day).prices for day in range(ANCHOR, ANCHOR + 8)]
    assert days[0][0] == 0.0
    assert [one[-1] for one in days[:-1]] == [other[0] for other in days[1:]]
    assert float(FairValues(7).day("cotton", ANCHOR).prices[0]) == COTTON.price
    assert not np.array_equal(days[0], cotton(seed=8).day(ANCHOR).prices)


def test_volatility_is_what_the_commodity_says() -> None:
    # Over two hundred days; calm and busy ones, so a single day says little.
    path = cotton()
    moves = [path.day(day).prices[::600] for day in range(ANCHOR, ANCHOR + 280, 2)]
    variance_per_day = np.mean([np.sum(np.diff(day) ** 2) for day in moves]) * 7 / 5  # weekends hardly move
    assert np.sqrt(252 * variance_per_day) == pytest.approx(COTTON.volatility, rel=0.2)


def test_moves_follow_the_season() -> None:
    path = cotton()
    weekdays = [day for day in range(ANCHOR, ANCHOR + 60) if day % 7 not in (2, 3)]  # 1970-01-01 was a Thursday
    by_minute = np.mean([np.diff(path.day(day).prices[::60]) ** 2 for day in weekdays], axis=0)
    new_york_morning, new_york_evening = by_minute[14 * 60 : 16 * 60].mean(), by_minute[21 * 60 : 23 * 60].mean()
    assert new_york_morning > 10 * new_york_evening
    saturday = path.day(ANCHOR + 5).prices
    assert np.std(np.diff(saturday[::60])) < 0.2 * np.std(np.diff(path.day(ANCHOR + 3).prices[::60]))


def test_volatility_clusters_and_tails_are_fat() -> None:
    path = cotton()
    scaled = []
    for day in range(ANCHOR, ANCHOR + 5):
        weights = minute_weights(COTTON.season, day)
        scaled.append(np.diff(path.day(day).prices[::60]) / np.sqrt(weights))
    moves = np.concatenate(scaled)
    size = np.abs(moves - moves.mean())
    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.1  # 0 if volatility did not cluster; minutes apart
    assert np.corrcoef(size[:-15], size[15:])[0, 1] > 0.05
    assert abs(np.corrcoef(moves[:-1], moves[1:])[0, 1]) < 0.06  # the direction is not to be foreseen
    kurtosis = np.mean((moves - moves.mean()) ** 4) / np.var(moves) ** 2
    assert kurtosis > 4  # 3 for a normal


def test_kin_move_together() -> None:
    values = FairValues(7)
    moves = {
        name: np.concatenate([np.diff(np.log(values.day(name, ANCHOR + n).prices[::60])) for n in range(5)])
        for name in ("wti", "brent", "gold")
    }
    assert np.corrcoef(moves["wti"], moves["brent"])[0, 1] > 0.7
    assert abs(np.corrcoef(moves["wti"], moves["gold"])[0, 1]) < 0.1


def test_mean_reverting_goes_on_over_midnight() -> None:
    days = [mean_reverting(7, "x", 1, ANCHOR + n, minutes=30, spread=2.0) for n in range(40)]
    assert all(one[-1] == pytest.approx(other[0]) for one, other in pairwise(days))
    values = np.concatenate([day[:-1] for day in days])
    assert np.std(values) == pytest.approx(2.0, rel=0.15)
    assert abs(np.mean(values)) < 0.4
    assert np.corrcoef(values[:-30], values[30:])[0, 1] == pytest.approx(np.exp(-1), abs=0.1)


def test_a_day_has_a_price_for_every_second() -> None:
    assert cotton().day(ANCHOR).prices.shape == (SECONDS_PER_DAY + 1,)
