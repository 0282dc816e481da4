"""The members of the live ensemble: each sees one bar after the other, and says how far the price will move.

A move is in units of the price, from the last close, by horizon. Members that learn by gradient see the market in
standard units (moves over how much it moves now), so that one learning rate does for rupees and for dollars.
Naive (no move) is what all of them are measured against, and is not here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

NAIVE: Final = "naive"
HORIZONS: Final = (1, 5, 20)
"""In bars."""

FEATURES: Final = ("step", "five", "twenty", "stretch", "range", "volume", "imbalance", "micro", "spread")
"""Of bar and book, in standard units: the last moves, how much more it moves than usual, and what the book leans to."""

_CLIP: Final = 4.0  # standard units: beyond it a move is an event to survive, not one to learn from


@dataclass(frozen=True, slots=True)
class Seen:
    """A bar as members see it. `scale` is how far the price moves in a bar, before it and after it."""

    price: float
    step: float
    before: float
    scale: float
    features: tuple[float, ...]


class Member(Protocol):
    """One way to forecast. Of each bar it is told first (`learn`), then asked (`ahead`)."""

    def learn(self, seen: Seen) -> None:
        """Take the newest bar."""

    def ahead(self, seen: Seen) -> Sequence[float] | None:
        """Return the move by horizon, None while it knows too little."""

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None:
        """Take what became of a bar of then: the move within a horizon (its index), in standard units."""


class Drift:
    """On as on average of late."""

    _FORGET: Final = 1 / 170  # half-life of 120 bars

    def __init__(self) -> None:
        self._drift, self._weight = 0.0, 0.0

    def learn(self, seen: Seen) -> None:
        self._weight += (1 - self._weight) * self._FORGET
        self._drift += (seen.step - self._drift) * self._FORGET / self._weight

    def ahead(self, seen: Seen) -> Sequence[float] | None:  # noqa: ARG002 - the protocol's signature
        return [self._drift * bars for bars in HORIZONS] if self._weight > 0.1 else None

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None: ...


class Ewma:
    """Back to the mean of the last few bars."""

    _FORGET: Final = 0.3

    def __init__(self) -> None:
        self._level: float | None = None

    def learn(self, seen: Seen) -> None:
        self._level = seen.price if self._level is None else self._level + self._FORGET * (seen.price - self._level)

    def ahead(self, seen: Seen) -> Sequence[float] | None:
        return None if self._level is None else [self._level - seen.price] * len(HORIZONS)

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None: ...


class HoltWinters:
    """river's, without a season: a level and a trend."""

    def __init__(self) -> None:
        self._model, self._learnt = of_river("time_series", "HoltWinters")(alpha=0.7, beta=0.05), 0

    def learn(self, seen: Seen) -> None:
        self._model.learn_one(seen.price)
        self._learnt += 1

    def ahead(self, seen: Seen) -> Sequence[float] | None:
        if self._learnt < 10:
            return None
        path = self._model.forecast(HORIZONS[-1])
        return [path[bars - 1] - seen.price for bars in HORIZONS]

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None: ...


class Snarimax:
    """river's, of the moves in standard units: two of the last, and the last error."""

    def __init__(self) -> None:
        learning = of_river("optim", "SGD")(0.005)
        regressor = of_river("linear_model", "LinearRegression")(optimizer=learning, intercept_lr=0.0)
        self._model, self._learnt = of_river("time_series", "SNARIMAX")(p=2, d=0, q=1, regressor=regressor), 0

    def learn(self, seen: Seen) -> None:
        self._model.learn_one(clipped(seen.step / seen.before))
        self._learnt += 1

    def ahead(self, seen: Seen) -> Sequence[float] | None:
        if self._learnt < 30:
            return None
        moves = self._model.forecast(HORIZONS[-1])
        return [math.fsum(moves[:bars]) * seen.scale for bars in HORIZONS]

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None: ...


class Linear:
    """river's linear regression on bar and book, one for each horizon, told once its target has passed."""

    def __init__(self) -> None:
        learning, model = of_river("optim", "SGD"), of_river("linear_model", "LinearRegression")
        self._models = [model(optimizer=learning(0.002), intercept_lr=0.0, l2=0.01) for _ in HORIZONS]
        self._learnt = [0] * len(HORIZONS)

    def learn(self, seen: Seen) -> None: ...

    def ahead(self, seen: Seen) -> Sequence[float] | None:
        if min(self._learnt) < 30:
            return None
        row = dict(zip(FEATURES, seen.features, strict=True))
        return [
            model.predict_one(row) * seen.scale * math.sqrt(bars)
            for model, bars in zip(self._models, HORIZONS, strict=True)
        ]

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None:
        self._models[horizon].learn_one(dict(zip(FEATURES, features, strict=True)), clipped(move))
        self._learnt[horizon] += 1


@dataclass(slots=True)
class Smoothing:
    """Exponential smoothing as fitted elsewhere (market.forecasters.fitting), carried on bar by bar.

    ETS(A or M; N, A or Ad; N): level and trend follow the one-step error. Theta: the level follows the price, and the
    path leaves it by `offset` and goes on by `slope`.
    """

    level: float
    alpha: float
    trend: float = 0.0
    beta: float = 0.0
    damping: float = 1.0
    offset: float = 0.0
    slope: float = 0.0

    def follow(self, price: float) -> None:
        """Take the next close. Source: Hyndman et al., Forecasting with Exponential Smoothing (2008), table 2.1."""
        expected = self.level + self.damping * self.trend
        missed = price - expected
        self.level = expected + self.alpha * missed
        self.trend = self.damping * self.trend + self.beta * missed

    def path(self, bars: int) -> float:
        """Return the price so many bars ahead."""
        damped, factor = 0.0, 1.0
        for _ in range(bars if self.trend else 0):
            factor *= self.damping
            damped += factor
        return self.level + damped * self.trend + self.offset + (bars - 1) * self.slope


class Fitted:
    """A model that was fitted on the bars up to some time, elsewhere, and follows the price from there."""

    def __init__(self) -> None:
        self._model: Smoothing | None = None

    def take(self, parameters: Mapping[str, Any], since: Sequence[float]) -> None:
        """Take a fit, and the closes since the last one it was made of."""
        self._model = Smoothing(**parameters)
        for price in since:
            self._model.follow(price)

    def learn(self, seen: Seen) -> None:
        if self._model is not None:
            self._model.follow(seen.price)

    def ahead(self, seen: Seen) -> Sequence[float] | None:
        model = self._model
        return None if model is None else [model.path(bars) - seen.price for bars in HORIZONS]

    def came(self, horizon: int, features: tuple[float, ...], move: float) -> None: ...


FITTED: Final = ("auto_ets", "auto_theta")


def of_river(module: str, name: str) -> Any:
    """Return a class of river, which publishes no types, and takes a second to import: not before it is used."""
    return getattr(import_module(f"river.{module}"), name)


def members() -> dict[str, Member]:
    """Return new members by name."""
    return {
        "drift": Drift(),
        "ewma": Ewma(),
        "holt_winters": HoltWinters(),
        "snarimax": Snarimax(),
        "linear": Linear(),
        **{name: Fitted() for name in FITTED},
    }


def clipped(move: float) -> float:
    """Return a move in standard units, an extreme one as the least extreme.

    Example:
        >>> clipped(0.5), clipped(-9.0)
        (0.5, -4.0)
    """
    return max(-_CLIP, min(_CLIP, move))
