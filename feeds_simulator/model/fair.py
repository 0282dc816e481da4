"""The fair value as one venue sees it: converted to its unit and currency, late, with its own premium and noise.

On the grid of a second, a day at a time; every venue, in whatever process, starts from the same paths. The
premium is a slow mean-reverting process around 0. Dislocations come on top: at a random time the venue is off by
`size` (a fraction of the price), and comes back exponentially within seconds.

Units: values in ticks; times ns UTC; `life_s` the time in which a dislocation falls to 37 %.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from feeds_simulator.model.commodities import ANCHOR_DAY, COMMODITIES
from feeds_simulator.model.moves import Move, MoveKind, Moves
from feeds_simulator.model.paths import SECONDS_PER_DAY, Day, Floats, Path, mean_reverting, minute_weights, stream
from feeds_simulator.model.products import Notified, Profile
from market.instruments import SPOT, InstrumentKey

NS_PER_S: Final = 1_000_000_000
NS_PER_DAY: Final = SECONDS_PER_DAY * NS_PER_S

_BASIS_MINUTES: Final = 30.0
_SPREAD_MINUTES: Final = 5.0
_SPREAD_NOISE: Final = 0.2  # of the log of the spread
_LIFE_S: Final = (1.0, 8.0)
_DISLOCATION_REACH_S: Final = 60  # after which nothing is left of one
_HEAT_DRAWS: Final = 0.15  # how much a hot market trades more
_QUIETEST: Final = 0.15  # of the busiest hours
_NOISE, _BASIS, _SPREAD, _DISLOCATIONS = range(4)

Times = npt.NDArray[np.int64]
Narrow = npt.NDArray[np.float32]


class FairValues:
    """The paths of every commodity of a seed, shared by all venues of the process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._paths: dict[str, Path] = {}
        self.day = lru_cache(maxsize=2 * len(COMMODITIES))(self._day)

    def _day(self, commodity: str, day: int) -> Day:
        # Prices, not their logs: the level times what it shares with its kin and what is its own.
        terms = COMMODITIES[commodity]
        own = self._path(commodity, terms.volatility * (1 - terms.factor_share) ** 0.5, terms.season).day(day)
        logs = own.prices
        if terms.factor:
            kin = self._path(terms.factor, terms.volatility * terms.factor_share**0.5, terms.season)
            logs = logs + kin.day(day).prices
        return Day(terms.price * np.exp(logs), own.heat)

    def _path(self, name: str, volatility: float, season: tuple[float, ...]) -> Path:
        # Kin differ in volatility and season, yet share a factor's draws.
        key = f"{name}/{volatility:.4f}"
        if key not in self._paths:
            self._paths[key] = Path(self.seed, name, volatility, season)
        return self._paths[key]


@cache
def fair_values(seed: int) -> FairValues:
    """Return the one `FairValues` of a seed."""
    return FairValues(seed)


@dataclass(frozen=True, slots=True)
class Dislocation:
    """A venue is off by `size` at `ts_ns`, and by ever less after it."""

    ts_ns: int
    size: float
    life_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a venue believes at some times: the fair value of each month, and how wide and busy it is."""

    months: list[Floats]
    half_spread: Floats


class FairLine:
    """One product's view. `at` wants times of one order of magnitude in order: a day is kept at a time."""

    def __init__(
        self, profile: Profile, keys: Iterable[str], tick: float, seed: int, moves: Sequence[Move] = ()
    ) -> None:
        self._profile, self._tick, self._values = profile, tick, fair_values(seed)
        self.moves = Moves(moves, profile)
        self._name = f"{profile.mic}:{profile.root}"
        slope = COMMODITIES[profile.commodity].curve
        self._carry = [np.exp(slope * _years_ahead(key, profile.month_shift)) for key in keys]
        self._loaded = lru_cache(maxsize=2)(self._load)

    def at(self, times_ns: Times) -> Seen:
        """Return the view at rising times (at least one) within a day of each other."""
        seen_ns = times_ns - self._profile.latency_ms * 1_000_000
        parts = [self._within(day, seen_ns[seen_ns // NS_PER_DAY == day]) for day in _days(seen_ns)]
        if len(parts) == 1:
            return parts[0]
        months = [np.concatenate(values) for values in zip(*(part.months for part in parts), strict=True)]
        return Seen(months, np.concatenate([part.half_spread for part in parts]))

    def activity(self, ts_ns: int) -> float:
        """Return how busy the venue is, relative to its busiest hours at normal volatility."""
        day, second = ts_ns // NS_PER_DAY, ts_ns % NS_PER_DAY // NS_PER_S
        return float(self._loaded(day).activity[second // 60])

    def dislocations(self, day: int) -> list[Dislocation]:
        """Return the dislocations that begin on a day, in order."""
        profile = self._profile
        rng = stream(self._values.seed, self._name, _DISLOCATIONS, day)
        weights = minute_weights(COMMODITIES[profile.commodity].season, day)
        count = rng.poisson(profile.dislocations_per_day * weights.mean())
        clock = np.cumsum(weights) / weights.sum()
        seconds = np.searchsorted(clock, rng.random(count)) * 60 + rng.integers(0, 60, count)
        sizes = rng.choice([-1e-4, 1e-4], count) * profile.dislocation_bps * (0.5 + rng.exponential(0.5, count))
        lives = rng.uniform(*_LIFE_S, count)
        found = zip((day * NS_PER_DAY + seconds * NS_PER_S).tolist(), sizes.tolist(), lives.tolist(), strict=True)
        return sorted((Dislocation(*one) for one in found), key=lambda one: one.ts_ns)

    def _within(self, day: int, times_ns: Times) -> Seen:
        loaded = self._loaded(day)
        since_ns = times_ns - day * NS_PER_DAY
        second = since_ns // NS_PER_S
        part = (since_ns - second * NS_PER_S) / NS_PER_S
        scaled = loaded.scaled[second] * (1 - part) + loaded.scaled[second + 1] * part
        scaled = scaled * np.exp(self.moves.shift(times_ns))
        fixed = loaded.fixed[second] + self._duty_step(int(times_ns[-1])) if loaded.fixed.size else 0.0
        noise = loaded.noise[second] * (1 - part) + loaded.noise[second + 1] * part
        half_spread = loaded.half_spread[second // 60]
        return Seen([carry * scaled + fixed + noise for carry in self._carry], half_spread)

    def _duty_step(self, ts_ns: int) -> float:
        # What a scenario's rate adds to the duty, in ticks. Everything charged on the duty is charged on this, too.
        rate = self.moves.value(MoveKind.DUTY, ts_ns)
        conversion = self._profile.conversion
        now = _notified(conversion.duty, ts_ns // NS_PER_DAY)
        if rate is None or now is None:
            return 0.0
        return (rate / now.rate - 1) * now.duty * conversion.purity * (1 + conversion.charges) / self._tick

    def _load(self, day: int) -> "_Loaded":
        profile, terms = self._profile, COMMODITIES[self._profile.commodity]
        fair, conversion = self._values.day(profile.commodity, day), profile.conversion
        fx = self._values.day(conversion.fx, day).prices if conversion.fx else np.ones(1)
        per_unit = conversion.factor * conversion.purity * (1 + conversion.charges) * fx / self._tick
        off = np.exp(self._premium(day))
        scaled = fair.prices * per_unit * off
        fixed = np.empty(0)
        if conversion.fx:
            now = _notified(conversion.duty, day)
            duty = (now.duty if now else 0.0) * conversion.purity * (1 + conversion.charges) + conversion.addition
            fixed = (conversion.cif * per_unit + duty / self._tick) * off
        noise = profile.noise_ticks * stream(self._values.seed, self._name, _NOISE, day).standard_normal(scaled.size)
        spread = self._mean_reverting(_SPREAD, day, _SPREAD_MINUTES, _SPREAD_NOISE)
        half = np.maximum(0.0, profile.spread_ticks * np.exp(fair.heat / 3 + spread) - 1) / 2
        weights = minute_weights(terms.season, day)
        activity = _usual(terms.season, weights) * np.exp(_HEAT_DRAWS * fair.heat[:-1])
        return _Loaded(_narrow(scaled), _narrow(fixed), _narrow(noise), half, activity)

    def _premium(self, day: int) -> Floats:
        # The log of what the venue is away from parity, by second; dislocations of the evening before included.
        seconds = np.arange(SECONDS_PER_DAY + 1)
        basis = self._mean_reverting(_BASIS, day, _BASIS_MINUTES, self._profile.basis_bps * 1e-4)
        premium: Floats = np.interp(seconds / 60, np.arange(1441), basis)
        for one in (*self.dislocations(day - 1), *self.dislocations(day)):
            second = (one.ts_ns - day * NS_PER_DAY) // NS_PER_S
            first, end = max(second, 0), min(second + _DISLOCATION_REACH_S, SECONDS_PER_DAY + 1)
            if first < end:
                premium[first:end] += one.size * np.exp((second - seconds[first:end]) / one.life_s)
        return premium

    def _mean_reverting(self, kind: int, day: int, minutes: float, spread: float) -> Floats:
        return mean_reverting(self._values.seed, self._name, kind, day, minutes=minutes, spread=spread)


@dataclass(frozen=True, slots=True)
class _Loaded:
    # One day: what scales with the month's carry and what does not, noise (by second); spread and activity (by minute).
    scaled: Narrow
    fixed: Narrow
    noise: Narrow
    half_spread: Floats
    activity: Floats


def usual_activity(commodity: str, ts_ns: int) -> float:
    """Return how busy an hour is at normal volatility, relative to the busiest ones."""
    season = COMMODITIES[commodity].season
    weights = minute_weights(season, ts_ns // NS_PER_DAY)
    return float(_usual(season, weights)[ts_ns % NS_PER_DAY // (60 * NS_PER_S)])


def _usual(season: tuple[float, ...], weights: Floats) -> Floats:
    usual: Floats = np.clip(weights / _busy(season), _QUIETEST, 1.0)
    return usual


def _narrow(values: Floats) -> Narrow:
    # Half the memory; a price of 10^6 ticks is still right to a tenth of a tick.
    return values.astype(np.float32)


def _notified(rows: Sequence[Notified], day: int) -> Notified | None:
    on = date(1970, 1, 1) + timedelta(days=day)
    return next((row for row in reversed(rows) if row.effective_from <= on), None)


def _years_ahead(key: str, month_shift: int) -> float:
    # From the anchor to the benchmark's contract month.
    expiry = InstrumentKey.parse(key).expiry
    if expiry == SPOT:
        return 0.0
    months = int(expiry[:4]) * 12 + int(expiry[4:]) - 1 + month_shift
    return (months - ANCHOR_DAY.year * 12 - ANCHOR_DAY.month + 1) / 12


@lru_cache(maxsize=16)
def _busy(season: tuple[float, ...]) -> float:
    # The weight of a busy hour: the fourth busiest, so that several count as the busiest.
    return sorted(season)[-4] / (sum(season) / len(season))


def _days(times_ns: Times) -> range:
    return range(int(times_ns[0]) // NS_PER_DAY, int(times_ns[-1]) // NS_PER_DAY + 1)
