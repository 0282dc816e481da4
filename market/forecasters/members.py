"""The members of the series ensemble: each learns from a history once and forecasts from any origins in it.

Shape: `paths(history, origins, horizon)` -> (origins, horizon); row k uses `history[:origins[k]]` alone.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NAIVE = "naive"


class Member(Protocol):
    """One way to forecast a series."""

    def fit(self, history: Floats) -> "Member":
        """Learn from a history; return itself."""

    def paths(self, history: Floats, origins: Sequence[int], horizon: int) -> Floats:
        """Forecast `horizon` steps from each origin."""


class Naive:
    """Tomorrow is as today: what every other member has to beat."""

    def fit(self, history: Floats) -> "Naive":  # noqa: ARG002 - the protocol's signature
        return self

    def paths(self, history: Floats, origins: Sequence[int], horizon: int) -> Floats:
        return np.repeat(_last(history, origins)[:, None], horizon, axis=1)


class SeasonalNaive:
    """As it was a season ago."""

    def __init__(self, season: int) -> None:
        self._season = season

    def fit(self, history: Floats) -> "SeasonalNaive":  # noqa: ARG002 - the protocol's signature
        return self

    def paths(self, history: Floats, origins: Sequence[int], horizon: int) -> Floats:
        repeats = horizon // self._season + 1
        return np.stack([np.tile(history[at - self._season : at], repeats)[:horizon] for at in origins])


class Drift:
    """On as on average so far."""

    def fit(self, history: Floats) -> "Drift":
        self._step = (history[-1] - history[0]) / max(1, len(history) - 1)
        return self

    def paths(self, history: Floats, origins: Sequence[int], horizon: int) -> Floats:
        ahead: Floats = _last(history, origins)[:, None] + self._step * np.arange(1, horizon + 1)
        return ahead


class AutoRegression:
    """A linear function of chosen lags, by ridge regression, fed its own forecasts."""

    def __init__(self, lags: Sequence[int], shrinkage: float = 1.0) -> None:
        self._lags, self._shrinkage = np.array(sorted(lags)), shrinkage

    def fit(self, history: Floats) -> "AutoRegression":
        self._centre, self._scale = float(history.mean()), float(history.std()) or 1.0
        values, longest = self._scaled(history), int(self._lags[-1])
        rows = len(values) - longest
        columns = [values[longest - lag : longest - lag + rows] for lag in self._lags.tolist()]
        past = np.stack([*columns, np.ones(rows)], axis=1)
        penalty = self._shrinkage * np.eye(past.shape[1])
        penalty[-1, -1] = 0.0
        weights = np.linalg.lstsq(past.T @ past + penalty, past.T @ values[longest:], rcond=None)[0]
        self._weights, self._constant = weights[:-1], weights[-1]
        return self

    def paths(self, history: Floats, origins: Sequence[int], horizon: int) -> Floats:
        longest, values = int(self._lags[-1]), self._scaled(history)
        found = np.empty((len(origins), longest + horizon))
        found[:, :longest] = np.stack([values[at - longest : at] for at in origins])
        for step in range(longest, longest + horizon):
            found[:, step] = found[:, step - self._lags] @ self._weights + self._constant
        ahead: Floats = found[:, longest:] * self._scale + self._centre
        return ahead

    def _scaled(self, history: Floats) -> Floats:
        return (history - self._centre) / self._scale


class Changes:
    """Another member on the changes of the series: never far from where it stands."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def fit(self, history: Floats) -> "Changes":
        self._member.fit(np.diff(history))
        return self

    def paths(self, history: Floats, origins: Sequence[int], horizon: int) -> Floats:
        changes = self._member.paths(np.diff(history), [at - 1 for at in origins], horizon)
        return _last(history, origins)[:, None] + np.cumsum(changes, axis=1)


def members(season: int, rows: int) -> Mapping[str, Member]:
    """Return the members that `rows` of history are enough for."""
    found: dict[str, Member] = {NAIVE: Naive(), "drift": Drift()}
    short = _lags(rows, (1, 2, 3), season)
    if not short:
        return found
    found |= {"short": AutoRegression(short), "short changes": Changes(AutoRegression(short))}
    if season > 1 and rows > 3 * season:
        found["seasonal naive"] = SeasonalNaive(season)
        whole = _lags(rows, range(1, season + 2), season)
        found |= {"season": AutoRegression(whole), "season changes": Changes(AutoRegression(whole))}
        # Five to ten seasons back, as the same hour last week is for hours with a season of a day.
        week = range(7 * season - 8, 7 * season + 8)
        found["long"] = AutoRegression(_lags(rows, (*range(1, 2 * season + 2), *week), season), shrinkage=5.0)
        if rows > 14 * season:
            found["week naive"] = SeasonalNaive(7 * season)
    return found


def _lags(rows: int, wanted: Sequence[int], season: int) -> list[int]:
    seasonal = [] if season <= 1 else [season, season + 1, *(season * n for n in (2, 3, 4, 5, 6, 7))]
    around = [] if season <= 1 else [7 * season - 1, 7 * season + 1]
    return sorted({lag for lag in (*wanted, *seasonal, *around) if 0 < lag <= rows * 2 // 5})


def _last(history: Floats, origins: Sequence[int]) -> Floats:
    last: Floats = history[np.asarray(origins) - 1]
    return last
