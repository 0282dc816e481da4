"""How likely a crash is: a fall of more than two deviations within the horizon, as the market moves now.

The base is how frequent falls have been. A logistic regression on bar and book (river's) is served instead only while
its Brier score was clearly below that of the base: "accuracy" of so rare an event means nothing.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

from market.forecasters.online import FEATURES, of_river

DEVIATIONS: Final = 2.0
_FORGET: Final = 1 - 1 / 1000
_PRIOR: Final = 0.03  # of market moves beyond two deviations downwards, before any was seen
_PRIOR_WEIGHT: Final = 50.0
_MUST_BEAT: Final = 0.98  # of the base's Brier score
_MUST_HAVE_SEEN: Final = 300


def _model() -> Any:
    learning = of_river("optim", "SGD")(0.005)
    model = of_river("linear_model", "LogisticRegression")
    return model(optimizer=learning, intercept_init=math.log(_PRIOR), intercept_lr=0.005, l2=0.01)


@dataclass(slots=True)
class Crash:
    """The probability of a crash within one horizon.

    State: the regression, four sums.
    """

    _regression: Any = field(default_factory=_model)
    _came: float = _PRIOR * _PRIOR_WEIGHT
    _seen: float = _PRIOR_WEIGHT
    _brier: float = 0.0
    _brier_base: float = 0.0

    def probabilities(self, features: tuple[float, ...]) -> tuple[float, float]:
        """Return what the regression says, and the base."""
        says: float = self._regression.predict_proba_one(_row(features))[True]
        return says, self._came / self._seen

    def earned(self) -> bool:
        """Whether the regression has earned its place."""
        return self._seen > _MUST_HAVE_SEEN and self._brier < _MUST_BEAT * self._brier_base

    def learn(self, features: tuple[float, ...], said: tuple[float, float], came: bool) -> None:
        """Take what became of what was said at the time."""
        self._brier = _FORGET * self._brier + (said[0] - came) ** 2
        self._brier_base = _FORGET * self._brier_base + (said[1] - came) ** 2
        self._came = _FORGET * self._came + came
        self._seen = _FORGET * self._seen + 1
        self._regression.learn_one(_row(features), came)


def _row(features: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(FEATURES, features, strict=True))
