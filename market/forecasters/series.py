"""Forecast any one series: an ensemble of simple members, weighed by what they were worth, with honest intervals.

Every member learns from the beginning of the history and forecasts from up to 120 origins in the rest of it. A member
is served only while it did better there than naive (tomorrow is as today) by more than luck explains; if none did,
naive is served, and the result says so. Those served weigh by the fourth power of their accuracy, and learn again from
everything.

The interval comes from the same rehearsal: how far off the ensemble was at each step, in units of how much the series
was moving then, scaled to how much it moves now; and somewhat wider where there were few independent rehearsals.
docs/forecast.md has the figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from market.forecasters.members import NAIVE, Floats, Member, members

_ORIGINS: Final = 120
_REHEARSAL_ROWS: Final = 250
_MUST_BEAT: Final = 0.95  # of naive's error: less is luck
_SIGMAS: Final = 1.5  # standard errors, by origins that do not overlap: of eight members one is lucky
_POWER: Final = 4.0
_HALF_LIFE: Final = 40.0  # values over which "how much it moves" forgets half
_FURTHEST: Final = 3.0  # times the worst miss: one step of a series that stood still is no measure of the next
_WIDENING: Final = 1.0  # per step ahead that fits into the rehearsal once


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesForecast:
    """What comes next. `mean, lo, hi` by step; `weights` by member, naive alone where nothing beat it."""

    mean: Floats
    lo: Floats
    hi: Floats
    weights: Mapping[str, float]

    @property
    def is_naive(self) -> bool:
        """Whether no model has earned its place."""
        return set(self.weights) == {NAIVE}


def forecast(history: Sequence[float], horizon: int, season: int = 1, level: float = 0.9) -> SeriesForecast:
    """Forecast `horizon` steps after a history.

    Units: those of the series; `season` in steps. Errors: ValueError for an empty history, a value that is not finite,
    or a horizon, season or level that cannot be.
    """
    values = np.asarray(history, np.float64)
    _check(values, horizon, season, level)
    rehearsal = _rehearsal_rows(len(values), horizon, season)
    steps = min(horizon, rehearsal // 2)  # of a short history only the first of them can be rehearsed
    if not steps or len(values) - rehearsal < 4:
        return _naive(values, horizon, level)
    first = len(values) - rehearsal
    origins = np.unique(np.linspace(first, len(values) - steps, min(_ORIGINS, rehearsal - steps + 1)).astype(int))
    actual = np.stack([values[at : at + steps] for at in origins])
    rehearsed = {
        name: member.fit(values[:first]).paths(values, origins.tolist(), steps)
        for name, member in members(season, first).items()
    }
    errors = {name: np.abs(paths - actual).mean(axis=1) for name, paths in rehearsed.items()}
    weights = _weights(errors, independent=rehearsal / steps)
    missed = np.abs(actual - sum(weight * rehearsed[name] for name, weight in weights.items()))
    moving = _moving(values)
    reach = _reach(missed / moving[origins - 1][:, None], level) * moving[-1]
    reach *= 1 + _WIDENING * np.arange(1, steps + 1) / rehearsal
    reach = _onwards(np.minimum(reach, _FURTHEST * missed.max()), horizon)
    mean = _served(weights, members(season, first), values, horizon)
    return SeriesForecast(mean=mean, lo=mean - reach, hi=mean + reach, weights=weights)


def _check(values: Floats, horizon: int, season: int, level: float) -> None:
    if values.ndim != 1 or not len(values):
        raise ValueError("there is no history to forecast from")
    if not np.isfinite(values).all():
        raise ValueError("the history has a value that is no finite number")
    if horizon < 1 or season < 1 or not 0 < level < 1:
        raise ValueError(f"horizon {horizon} and season {season} must be 1 or more, and level {level} within 0 and 1")


def _rehearsal_rows(rows: int, horizon: int, season: int) -> int:
    # Enough origins to know the intervals and to tell skill from luck, and two thirds of the history to learn from.
    enough = max(_REHEARSAL_ROWS, 6 * horizon)
    wanted = max(2 * horizon, min(rows // 4, enough) if season > 1 else enough)
    return min(rows // 3, wanted)


def _weights(errors: Mapping[str, Floats], independent: float) -> dict[str, float]:
    """Weights from the errors by origin; so many of the origins' paths do not overlap."""
    naive = errors[NAIVE]
    better = {}
    for name, error in errors.items():
        luck = _SIGMAS * float((naive - error).std()) / np.sqrt(independent)
        if error.mean() < naive.mean() * _MUST_BEAT - luck:
            better[name] = float(error.mean())
    if not better:
        return {NAIVE: 1.0}
    least = min(better.values())
    if least == 0.0:  # a perfect repetition
        return {min(better, key=better.__getitem__): 1.0}
    raw = {name: (least / error) ** _POWER for name, error in better.items()}
    return {name: weight / sum(raw.values()) for name, weight in raw.items()}


def _served(weights: Mapping[str, float], known: Mapping[str, Member], values: Floats, horizon: int) -> Floats:
    mean = np.zeros(horizon)
    for name, weight in weights.items():
        mean += weight * known[name].fit(values).paths(values, [len(values)], horizon)[0]
    return mean


def _moving(values: Floats) -> Floats:
    """How much the series moves a step, forgetting slowly; by value, of the past alone."""
    steps, keep = np.abs(np.diff(values)), 0.5 ** (1 / _HALF_LIFE)
    found, now = np.empty(len(values)), float(steps[:20].mean())
    found[0] = now
    for at, step in enumerate(steps.tolist(), start=1):
        now = keep * now + (1 - keep) * step
        found[at] = now
    least = float(found.mean()) * 1e-3
    return np.maximum(found, least or 1.0)


def _reach(missed: Floats, level: float) -> Floats:
    """The `level` quantile of the misses of each step, smoothed over the steps beside it."""
    exact = np.quantile(missed, min(1.0, level * (1 + 1 / len(missed))), axis=0)
    if len(exact) < 3:
        return exact
    # The first step has no neighbour on one side, and the next one misses more: it is as it is.
    return np.concatenate([exact[:1], np.convolve(exact, (0.25, 0.5, 0.25), "valid"), exact[-1:]])


def _onwards(reach: Floats, horizon: int) -> Floats:
    # Beyond what was rehearsed: as far as a walk would be off.
    known = len(reach)
    return np.concatenate([reach, reach.max() * np.sqrt(np.arange(known + 1, horizon + 1) / known)])


def _naive(values: Floats, horizon: int, level: float) -> SeriesForecast:
    """Too short to rehearse anything: a random walk, as wide as the steps there were."""
    steps = np.abs(np.diff(values))
    reach = (np.quantile(steps, level) if len(steps) else 0.0) * np.sqrt(np.arange(1, horizon + 1))
    mean = np.full(horizon, values[-1])
    return SeriesForecast(mean=mean, lo=mean - reach, hi=mean + reach, weights={NAIVE: 1.0})
