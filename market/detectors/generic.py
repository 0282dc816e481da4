"""What no rule has a name for: a step that lies where few of this instrument's steps have been.

Half-space trees (river's) hold how much of the past lies in each cell of a random cut of the space of a step's
features: how far the price moved, how wide the book is, how much was traded, how much was said. Each is measured in
deviations from its own usual, so that units do not matter. A step is unusual when its cell is far emptier than those
of the steps before it.

Source: Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data" (2011).
"""

import math
from importlib import import_module
from typing import Any, Final

from market.detectors.protocol import UNUSUAL, Finding, Step

FEATURES: Final = ("move", "spread", "volume", "pace")
LIMIT: Final = 3.5  # deviations of the score from its mean: 2.5 is the most in a thousand steps of a random walk
GATE: Final = 240  # steps learnt; the trees begin to say something after _WINDOW
_WINDOW: Final = 120
_TREES: Final = 5
_HEIGHT: Final = 4
_MEMORY: Final = 900
_SEED: Final = 7
_LEAST: Final = 0.02  # deviation of a score
_SQUASH: Final = 3.0  # so many deviations are half of the way to the edge


class _Usual:
    """A mean and a mean deviation. State: three numbers."""

    def __init__(self) -> None:
        self.mean, self.off, self.learnt = 0.0, 0.0, 0

    def deviations(self, value: float) -> float:
        return (value - self.mean) / (1.25 * self.off) if self.off > 0.0 else 0.0

    def learn(self, value: float) -> None:
        self.learnt += 1
        share = 1 / min(self.learnt, _MEMORY)
        off = abs(value - self.mean)
        self.mean += (value - self.mean) * share
        self.off += (off - self.off) * share


class GenericDetector:
    """Watch one instrument. State: 5 trees of 31 nodes (9 kB), a mean and a deviation for each feature.

    river is imported when the first one is made: it takes a second, and 100 MB.
    """

    def __init__(self) -> None:
        limits = dict.fromkeys(FEATURES, (0.0, 1.0))
        make = import_module("river.anomaly").HalfSpaceTrees
        self._trees: Any = make(n_trees=_TREES, height=_HEIGHT, window_size=_WINDOW, seed=_SEED, limits=limits)
        self._usual = {name: _Usual() for name in FEATURES}
        self._scores = _Usual()
        self._price: int | None = None

    def score(self, step: Step) -> Finding | None:
        features = self._features(step)
        if features is None or self._scores.learnt < GATE:
            return None
        found = self._trees.score_one(self._squashed(features))
        deviations = (found - self._scores.mean) / max(1.25 * self._scores.off, _LEAST)
        if deviations <= LIMIT:
            return None
        evidence = {name: round(self._usual[name].deviations(value), 1) for name, value in features.items()}
        return Finding(
            kind=UNUSUAL, score=deviations / LIMIT, value=None, expected=None, ts_event=step.ts_event,
            evidence={"emptiness": round(found, 3), **evidence},
        )  # fmt: skip

    def learn(self, step: Step) -> None:
        features = self._features(step)
        if features is not None:
            squashed = self._squashed(features)
            if self._usual["pace"].learnt > _WINDOW:
                self._scores.learn(self._trees.score_one(squashed))
            self._trees.learn_one(squashed)
            for name, value in features.items():
                self._usual[name].learn(value)
        self._price = step.price

    def skip(self, step: Step) -> None:
        self._price = step.price

    def accept(self, step: Step) -> None:
        self._scores, self._price = _Usual(), step.price

    def reopen(self) -> None:
        self._price = None

    def _features(self, step: Step) -> dict[str, float] | None:
        price, spread = step.price, step.least_spread
        if not (step.trades or step.quotes) or price is None or self._price is None or price <= 0 or self._price <= 0:
            return None
        return {
            "move": abs(math.log(price / self._price)),
            "spread": math.log1p(max(spread or 0, 0)),
            "volume": math.sqrt(step.volume),
            "pace": math.sqrt(step.trades + step.quotes),
        }

    def _squashed(self, features: dict[str, float]) -> dict[str, float]:
        found = {}
        for name, value in features.items():
            far = self._usual[name].deviations(value)
            found[name] = 0.5 * (1.0 + far / (abs(far) + _SQUASH))
        return found
