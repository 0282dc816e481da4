"""Log prices as a function of (seed, name, market time), so that every process and restart agrees on them.

A UTC day is one block on a grid of a second. Where the days begin is a slow mean-reverting process; inside, a
bridge runs from one to the next. Its variance goes with the hour (the season), with a stochastic volatility that
clusters over days and over tens of minutes, and it has jumps. Between grid points the path is straight: what
happens there is each venue's own noise.

Shape: `Path.day(d)` -> 86,401 log prices from the start of day `d` (days since 1970) to the start of the next.
Units: log price relative to the anchor; volatility annual; season relative weights of 24 New York hours.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zlib import crc32
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from feeds_simulator.model.commodities import ANCHOR_DAY

Floats = npt.NDArray[np.float64]

SECONDS_PER_DAY: Final = 86_400
TRADING_DAYS_PER_YEAR: Final = 252

_EPOCH: Final = date(1970, 1, 1)
_NEW_YORK: Final = ZoneInfo("America/New_York")
_WEEKEND_WEIGHT: Final = 0.02  # what moves from Friday 17:00 to Sunday 17:00 New York, relative to a mean hour
_LEVEL_KEPT: Final = 0.985  # a day: levels return to the anchor with a half-life of 46 days
_LEVEL_DAYS: Final = 250
_CALM_KEPT: Final = 0.9  # a day: busy stretches of days last about ten
_CALM_DAYS: Final = 60
_CALM_SPREAD: Final = 0.3  # of the log volatility between days
_HEAT_MINUTES: Final = 20.0  # busy stretches inside a day
_HEAT_SPREAD: Final = 0.4
_WARM_UP_MINUTES: Final = 240
_JUMPS_PER_DAY: Final = 16.0
_JUMP_SIZE: Final = 0.15  # of a day's volatility
_DAYS_PER_DRAW: Final = 512
_LEVELS, _HEAT, _MOVES = range(3)  # streams of one path


def stream(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """Return the random stream of a name and numbers >= 0: the same in every process."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(crc32(name.encode()), *numbers)))


def day_of(day: date) -> int:
    """Return the days since 1970 of a date."""
    return (day - _EPOCH).days


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a path: log prices by second, and the log of the volatility relative to normal by minute."""

    prices: Floats
    heat: Floats


class Path:
    """One log price. `day` is cached: what is asked for in order of time is computed once."""

    def __init__(self, seed: int, name: str, volatility: float, season: tuple[float, ...]) -> None:
        self._seed, self._name, self._season = seed, name, season
        self._day_volatility = volatility / np.sqrt(TRADING_DAYS_PER_YEAR)
        self._anchor = self._level(day_of(ANCHOR_DAY))
        self.day = lru_cache(maxsize=3)(self._day)

    def _day(self, day: int) -> Day:
        rng = stream(self._seed, self._name, _MOVES, day)
        heat = mean_reverting(self._seed, self._name, _HEAT, day, minutes=_HEAT_MINUTES, spread=_HEAT_SPREAD)
        weights = minute_weights(self._season, day)
        variance = np.repeat(weights * np.exp(2 * heat[:-1]), 60)
        clock = np.concatenate(([0.0], np.cumsum(variance)))
        clock /= clock[-1]
        size = float(self._sizes(day, day + 1)[0])
        moves = size * np.sqrt(np.diff(clock)) * rng.standard_normal(SECONDS_PER_DAY)
        jumps = rng.poisson(_JUMPS_PER_DAY * weights.mean())
        at = np.searchsorted(clock, rng.random(jumps)) - 1
        np.add.at(moves, at, size * _JUMP_SIZE * rng.standard_normal(jumps))
        walk = np.concatenate(([0.0], np.cumsum(moves)))
        start, end = self._level(day) - self._anchor, self._level(day + 1) - self._anchor
        prices = start + walk + (end - start - walk[-1]) * clock
        prices[-1] = end  # exactly where the next day begins
        return Day(prices, heat + self._calm(day, day + 1))

    def _level(self, day: int) -> float:
        # Where a day begins: a moving average over the days before, hence known without a history.
        moves = self._sizes(day - _LEVEL_DAYS, day) * self._daily(day - _LEVEL_DAYS, day)[:, 0]
        return float(moves @ _LEVEL_KEPT ** np.arange(_LEVEL_DAYS - 1, -1, -1))

    def _sizes(self, first: int, end: int) -> Floats:
        # The volatility of each day.
        weights = np.array([minute_weights(self._season, day).mean() for day in range(first, end)])
        calm = self._calm(first, end)
        sizes: Floats = self._day_volatility * np.sqrt(weights) * np.exp(calm - _CALM_SPREAD**2)
        return sizes

    def _calm(self, first: int, end: int) -> Floats:
        # The log of the volatility between days, relative to normal.
        noise = self._daily(first - _CALM_DAYS + 1, end)[:, 1]
        kept = _CALM_KEPT ** np.arange(_CALM_DAYS)
        calm: Floats = _CALM_SPREAD * np.sqrt(1 - _CALM_KEPT**2) * np.convolve(noise, kept, "valid")
        return calm

    def _daily(self, first: int, end: int) -> Floats:
        # Two normals a day: its move and its volatility.
        block = first // _DAYS_PER_DRAW
        blocks = range(block, (end - 1) // _DAYS_PER_DRAW + 1)
        draws = np.concatenate([_daily_draws(self._seed, self._name, one) for one in blocks])
        return draws[first - block * _DAYS_PER_DRAW : end - block * _DAYS_PER_DRAW]


def mean_reverting(seed: int, name: str, kind: int, day: int, *, minutes: float, spread: float) -> Floats:
    """Return a process around 0 by minute, 1,441 values that go on where the day before ended.

    An autoregression that forgets with a time constant of `minutes` (at most 60); `spread` is its deviation.
    """
    today, before, after = (stream(seed, name, kind, one).standard_normal(1440) for one in (day, day - 1, day + 1))
    noise = np.concatenate([before[-_WARM_UP_MINUTES:], today, after[:1]])
    kept = np.exp(-np.arange(_WARM_UP_MINUTES + 1) / minutes)
    values: Floats = spread * np.sqrt(1 - np.exp(-2 / minutes)) * np.convolve(noise, kept, "valid")
    return values


@lru_cache(maxsize=256)
def _daily_draws(seed: int, name: str, block: int) -> Floats:
    return stream(seed, name, _LEVELS, block).standard_normal((_DAYS_PER_DRAW, 2))


def minute_weights(season: tuple[float, ...], day: int) -> Floats:
    """Return the weight of each UTC minute of a day; 1 is the mean of a weekday."""
    midnight = datetime.combine(_EPOCH + timedelta(days=day), datetime.min.time(), ZoneInfo("UTC"))
    offset = (midnight + timedelta(hours=12)).astimezone(_NEW_YORK).utcoffset() or timedelta()
    return _weights(season, midnight.weekday(), offset // timedelta(hours=1))


@lru_cache(maxsize=256)
def _weights(season: tuple[float, ...], weekday: int, utc_offset_h: int) -> Floats:
    local = np.arange(24) + utc_offset_h + 24 * weekday  # New York hours since its Monday began
    hours = np.array(season)[local % 24] / np.mean(season)
    # Closed from Friday 17:00 to Sunday 17:00.
    closed = (local % 168 >= 4 * 24 + 17) & (local % 168 < 6 * 24 + 17)
    return np.repeat(np.where(closed, _WEEKEND_WEIGHT, hours), 60)
