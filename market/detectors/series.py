"""A score for each value of any one series: how unlike its own past it is. Strictly online, and pure.

A value and the few before it (its *shape*, at four lengths) are compared with every shape of the last `window` values:
the mean distance to the nearest few is large where nothing like it was seen. Each length's distance is divided by what
is rare for this series, its own running 99 % quantile, so that 1 means "as unusual as once in a hundred", whatever the
units. The four are averaged: a spike shows in the short shapes, a pattern that breaks in the long ones.

A price wanders, so its shapes are far from each other and a wrong tick among them is nothing rare. So the step from
the value before is compared with all steps in the same way, and counts by itself where it is far beyond what is rare.

An event is told once. After one that is as unusual as that, the next hundred values say nothing unless they are three
times as unusual.

Source: nearest neighbours in lag space as a conformity measure follow Burnaev and Ishimtsev, "Conformalized density-
and distance-based anomaly detection in time-series data" (2016); several lengths, the own quantile as the unit, and the
hold are ours. docs/detect.md has the figures.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Any, Final

import numpy as np

LENGTHS: Final = (1, 3, 8, 19)
"""Values in a shape."""

WINDOW: Final = 3_000
"""Shapes that are remembered: ten days of five minutes."""

_NEIGHBOURS: Final = 5
_RARE: Final = 0.99
_WARM_UP: Final = 30  # distances before their quantile means anything
_FAR: Final = 12.0  # times the rare step: 8 to 20 score alike (docs/detect.md), 4 loses 5 points
_HOLD: Final = 100
_EXCEED: Final = 3.0
_NEVER_SEEN: Final = 2.0
_MOST: Final = 1e9


class SeriesDetector:
    """Score one series, value by value.

    Units: values in any; the score in [0, 1], 0.5 where the value is as unusual as one in a hundred of this series.
    State: `window` x 21 floats (0.5 MB), and five sorted lists of `window` floats; about 0.2 ms a value.
    Errors: ValueError for a value that is not finite.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._past = np.zeros(window)  # newest first: the value `lag` steps ago is at lag - 1
        self._seen = 0
        # Row r: squared steps between the value r steps ago and what was `lag` before it, by lag from 1.
        self._steps = np.zeros((max(LENGTHS), window))
        self._rarity = tuple(_Quantile(window) for _ in LENGTHS)
        self._moves, self._rare_move = np.zeros(window), _Quantile(window)  # steps from value to value, a ring
        self._told, self._told_ago = 0.0, _HOLD

    def score(self, value: float) -> float:
        """Return the score of the next value, then learn it."""
        if not np.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        move = self._rare_move.share(self._move_distance(value))
        distances = self._distances(value)
        unusual = [rarity.share(distance) for rarity, distance in zip(self._rarity, distances, strict=True)]
        return self._once(max(sum(unusual) / len(unusual), move / _FAR))

    def snapshot(self) -> object:
        """Return the state as a picklable value that later calls do not change."""
        return {
            "past": self._past.copy(),
            "seen": self._seen,
            "steps": self._steps.copy(),
            "rarity": [rarity.snapshot() for rarity in self._rarity],
            "moves": (self._moves.copy(), self._rare_move.snapshot()),
            "told": (self._told, self._told_ago),
        }

    def restore(self, state: object) -> None:
        """Continue from a snapshot."""
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self._past, self._seen, self._steps = saved["past"].copy(), saved["seen"], saved["steps"].copy()
        for rarity, values in zip(self._rarity, saved["rarity"], strict=True):
            rarity.restore(values)
        moves, rare_move = saved["moves"]
        self._moves = moves.copy()
        self._rare_move.restore(rare_move)
        self._told, self._told_ago = saved["told"]

    def _move_distance(self, value: float) -> float | None:
        """Mean distance from the step to this value to the nearest steps of the past; None while few."""
        if not self._seen:
            return None
        move, before = value - self._past[0], self._seen - 1
        known, found = min(before, self._window), None
        if known >= _NEIGHBOURS + _WARM_UP:
            found = float(np.partition(np.abs(self._moves[:known] - move), _NEIGHBOURS - 1)[:_NEIGHBOURS].mean())
        self._moves[before % self._window] = move
        return found

    def _distances(self, value: float) -> list[float | None]:
        """Mean distance from the shape that ends here to the nearest in the past, by length; None while few."""
        known = min(self._seen, self._window)
        self._steps[1:] = self._steps[:-1]
        np.subtract(self._past, value, out=self._steps[0])
        np.square(self._steps[0], out=self._steps[0])
        found = [self._nearest(length, known) for length in LENGTHS]
        self._past[1:] = self._past[:-1]
        self._past[0] = value
        self._seen += 1
        return found

    def _nearest(self, length: int, known: int) -> float | None:
        # Shapes that overlap the newest are like it because they are it: they begin at a lag of `length`.
        most = known - length + 1
        if most - length + 1 < _NEIGHBOURS + _WARM_UP:
            return None
        squares = self._steps[:length, length - 1 : most].sum(axis=0)
        return float(np.sqrt(np.partition(squares, _NEIGHBOURS - 1)[:_NEIGHBOURS]).mean())

    def _once(self, unusual: float) -> float:
        self._told_ago += 1
        if self._told_ago < _HOLD and unusual <= self._told * _EXCEED:
            return 0.0
        if unusual >= 1.0:
            self._told, self._told_ago = unusual, 0
        return unusual / (1.0 + unusual)


class _Quantile:
    # The running 99 % quantile of the last values, and how a value compares with it.

    def __init__(self, window: int) -> None:
        self._window = window
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def share(self, value: float | None) -> float:
        """How many times the rare value this one is (0 where nothing is known yet); then learn it."""
        if value is None:
            return 0.0
        count = len(self._sorted)
        rare = self._sorted[min(count - 1, int(_RARE * count))] if count >= _WARM_UP else 0.0
        self._learn(value)
        if rare > 0.0:
            return min(value / rare, _MOST)
        # So far it repeated itself to the letter: whatever is new is unusual, and there is no unit to say by how much.
        return _NEVER_SEEN if count >= _WARM_UP and value > 0.0 else 0.0

    def snapshot(self) -> list[float]:
        return list(self._order)

    def restore(self, values: list[float]) -> None:
        self._order, self._sorted = deque(values), sorted(values)

    def _learn(self, value: float) -> None:
        if len(self._order) == self._window:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(value)
        insort(self._sorted, value)
