"""A price that comes near the daily limit of its contract.

The bands are data with sources (`market/data/price_limits.csv`): fractions of a reference, or quote units. The
reference is the last price of the session before; where that was not seen, the first of this one. A price well beyond a
band says that the venue has widened it: the next one holds until the session ends, wherever the price goes.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Final

from market.detectors.protocol import PRICE_LIMIT, Finding, Step
from market.instruments import to_fixed
from market.schemas import PRICE_SCALE

NEAR: Final = 0.8
"""Of the way from the reference to the limit."""
_OVER_PERCENT: Final = 110
"""Of the way: no further is still at the limit, for our reference is not to the tick the venue's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The limits of a product: each step from the reference, in 1e-9 of it or of a quote unit."""

    steps: tuple[int, ...]
    absolute: bool


@cache
def price_limits() -> Mapping[tuple[str, str], Bands]:
    """Return the packaged table, by venue and root."""
    text = files("market").joinpath("data/price_limits.csv").read_text(encoding="utf-8")
    return {
        (row["mic"], row["root"]): Bands(
            steps=tuple(to_fixed(Decimal(step)) for step in row["steps"].split(";")), absolute=row["unit"] == "price"
        )
        for row in csv.DictReader(text.splitlines())
    }


class LimitDetector:
    """Watch how near one instrument is to its limit."""

    def __init__(self, bands: Bands) -> None:
        self._bands = bands
        self._reference: int | None = None
        self._last: int | None = None
        self._passed = 0  # bands that have widened

    def score(self, step: Step) -> Finding | None:
        price, reference = _of(step), self._reference
        if price is None or reference is None or reference <= 0:
            return None
        move, reaches = abs(price - reference), self._reaches(reference)
        band = max(_passed(move, reaches), self._passed)
        if band == len(reaches) or not reaches[band] or move < NEAR * reaches[band]:
            return None
        reach = reaches[band]
        limit = reference + (reach if price > reference else -reach)
        evidence = {"band": band + 1, "of_the_way": round(move / reach, 3), "reference": str(reference)}
        return Finding(
            kind=PRICE_LIMIT, score=move / reach / NEAR, value=price, expected=limit, ts_event=step.ts_event,
            evidence=evidence,
        )  # fmt: skip

    def learn(self, step: Step) -> None:
        self._last = _of(step) or self._last
        if self._reference is None:
            self._reference = self._last
        elif self._last is not None and self._reference > 0:
            passed = _passed(abs(self._last - self._reference), self._reaches(self._reference))
            self._passed = max(self._passed, min(passed, len(self._bands.steps) - 1))

    def skip(self, step: Step) -> None:
        pass

    def accept(self, step: Step) -> None:
        pass

    def reopen(self) -> None:
        self._reference, self._passed = self._last, 0

    def _reaches(self, reference: int) -> list[int]:
        return [size if self._bands.absolute else reference * size // PRICE_SCALE for size in self._bands.steps]


def _passed(move: int, reaches: list[int]) -> int:
    return sum(move * 100 > reach * _OVER_PERCENT for reach in reaches)


def _of(step: Step) -> int | None:
    # At a limit the book has one side; that side is the price.
    return step.price or step.bid or step.ask or step.last
