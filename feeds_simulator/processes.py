"""The random processes behind the market: arrivals that excite themselves, and a fair value that clusters.

Every process draws from one `Draws` in a fixed order, so a run depends on its seed alone.
"""

import math
from typing import Final

import numpy as np

_BLOCK: Final = 4096  # one numpy call per block: 30 ns a draw instead of 500 ns for a scalar call

SECONDS_PER_YEAR: Final = 252 * 14 * 3600
"""Trading seconds a year at 14 hours a day: turns an annual volatility into one per second."""


class Draws:
    """Uniform and normal draws of one seeded stream, taken from numpy in blocks."""

    __slots__ = ("_normals", "_rng", "_uniforms")

    def __init__(self, seed: int, stream: int) -> None:
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
        self._uniforms: list[float] = []
        self._normals: list[float] = []

    def uniform(self) -> float:
        """Return a draw from (0, 1]."""
        if not self._uniforms:
            self._uniforms = (1.0 - self._rng.random(_BLOCK)).tolist()
        return self._uniforms.pop()

    def normal(self) -> float:
        """Return a standard normal draw."""
        if not self._normals:
            self._normals = self._rng.standard_normal(_BLOCK).tolist()
        return self._normals.pop()

    def geometric(self, mean: float) -> int:
        """Return a whole number >= 1 with the given mean (> 1)."""
        return 1 + int(math.log(self.uniform()) / math.log1p(-1.0 / mean))


class Arrivals:
    """Hawkes process with an exponential kernel: each arrival raises the intensity, which decays.

    Units: rates per second; `branching` is the share of arrivals caused by earlier ones. Over windows much longer
    than `1 / (decay * (1 - branching))` the Fano factor of counts tends to `1 / (1 - branching)^2`.
    Source: Dassios and Zhao, "Exact simulation of Hawkes process with exponentially decaying intensity",
    Electronic Communications in Probability 18 (2013), algorithm 3.1: exact, without thinning.
    """

    __slots__ = ("_base", "_decay", "_draws", "_jump", "excess", "mean_rate")

    def __init__(self, draws: Draws, rate: float, *, branching: float = 0.6, decay: float = 2.0) -> None:
        self._draws = draws
        self._base = rate * (1 - branching)
        self._decay = decay
        self._jump = branching * decay
        self.mean_rate = rate
        self.excess = rate * branching  # start in the stationary mean

    @property
    def activity(self) -> float:
        """The intensity relative to its mean."""
        return (self._base + self.excess) / self.mean_rate

    def next_gap_s(self) -> float:
        """Return the time to the next arrival, and move on to it."""
        draws, decay = self._draws, self._decay
        gap = -math.log(draws.uniform()) / self._base
        survival = 1 + decay * math.log(draws.uniform()) / self.excess
        if survival > 0:
            gap = min(gap, -math.log(survival) / decay)
        self.excess = self.excess * math.exp(-decay * gap) + self._jump
        return gap


class FairValue:
    """The price everyone is guessing at: a martingale with stochastic volatility and rare jumps.

    Units: `value` in ticks; volatility annual. The log of the volatility is an Ornstein-Uhlenbeck process, so
    calm and busy stretches alternate; jumps come about every half hour.
    """

    __slots__ = ("_draws", "_per_sqrt_s", "heat", "value")

    _HEAT_TIME_S: Final = 300.0
    _HEAT_SPREAD: Final = 0.5
    _JUMP_EVERY_S: Final = 1800.0
    _JUMP_SIZE: Final = 0.0015
    _OVERNIGHT_SIZE: Final = 0.004

    def __init__(self, draws: Draws, value: float, annual_volatility: float) -> None:
        self._draws = draws
        self._per_sqrt_s = annual_volatility / math.sqrt(SECONDS_PER_YEAR)
        self.value = value
        self.heat = 0.0  # log of the volatility relative to its normal level

    def advance(self, elapsed_s: float, activity: float) -> None:
        """Move on by a gap between arrivals; busy stretches move more."""
        draws = self._draws
        step_s = min(elapsed_s, self._HEAT_TIME_S)
        pull = step_s / self._HEAT_TIME_S
        self.heat += -self.heat * pull + self._HEAT_SPREAD * math.sqrt(2 * pull) * draws.normal()
        self.heat = min(max(self.heat, -2.0), 2.0)
        size = self._per_sqrt_s * math.exp(self.heat) * math.sqrt(elapsed_s * min(activity, 4.0))
        move = size * draws.normal()
        if draws.uniform() < elapsed_s / self._JUMP_EVERY_S:
            move += self._JUMP_SIZE * draws.normal()
        self.value *= math.exp(move)

    def overnight(self) -> None:
        """Move over a closed market."""
        self.value *= math.exp(self._OVERNIGHT_SIZE * self._draws.normal())


class MeanReverting:
    """A discrete Ornstein-Uhlenbeck process, one step per call: the spread in ticks, the basis between months."""

    __slots__ = ("_draws", "_noise", "_pull", "mean", "value")

    def __init__(self, draws: Draws, mean: float, *, pull: float, noise: float) -> None:
        self._draws = draws
        self._pull = pull
        self._noise = noise
        self.mean = mean
        self.value = mean

    def step(self) -> float:
        self.value += self._pull * (self.mean - self.value) + self._noise * self._draws.normal()
        return self.value
