"""Whether a model has earned its place: clearly better than naive of late, by a Diebold-Mariano test.

The loss is the absolute error in standard units, over origins whose horizons do not overlap, so that differences are
independent if the forecasts are good (Diebold and Mariano, 1995; with the small-sample factor of Harvey, Leybourne and
Newbold, 1997, for one step). Newer ones count more: a model has to keep earning.
"""

import math
from dataclasses import dataclass
from typing import Final

_FORGET: Final = 1 - 1 / 360  # half-life of 250 scores
_LEAST: Final = 30.0
_CLEARLY: Final = 1.75  # standard errors: p < 0.05 to one side with 20 degrees of freedom

FEW: Final = "few_scores"
NO_SKILL: Final = "no_skill"


@dataclass(slots=True)
class Gate:
    """State: five sums."""

    scored: int = 0
    _weight: float = 0.0
    _gain: float = 0.0
    _gain_squared: float = 0.0
    _lost: float = 0.0
    _naive_lost: float = 0.0

    def learn(self, lost: float, naive_lost: float) -> None:
        """Take the losses of a model and of naive on one forecast."""
        gain = naive_lost - lost
        self.scored += 1
        self._weight = _FORGET * self._weight + 1
        self._gain = _FORGET * self._gain + gain
        self._gain_squared = _FORGET * self._gain_squared + gain * gain
        self._lost = _FORGET * self._lost + lost
        self._naive_lost = _FORGET * self._naive_lost + naive_lost

    @property
    def skill(self) -> float | None:
        """1 - error / naive's error; None while neither was ever off."""
        return 1 - self._lost / self._naive_lost if self._naive_lost > 0 else None

    @property
    def sums(self) -> tuple[float, float]:
        """The model's loss and naive's, newer ones counting more."""
        return self._lost, self._naive_lost

    def refusal(self) -> str:
        """Why naive is served; empty if the model has earned its place."""
        if self._weight < _LEAST:
            return FEW
        mean = self._gain / self._weight
        variance = self._gain_squared / self._weight - mean * mean
        error = math.sqrt(max(variance, 0.0) / (self._weight - 1))
        return "" if mean > 0 and mean > _CLEARLY * error else NO_SKILL
