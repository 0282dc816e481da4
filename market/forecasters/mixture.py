"""Weigh experts by what they were worth of late, online, so that the mixture is never much worse than the best.

Exponential weights on the loss beyond naive's, forgotten slowly, with a learning rate of each expert's own that falls
with how much its loss varies (as BOA does), so there is nothing to tune by market. Naive starts with half of the
weight, and a share returns to the start at every step, so that an expert that was bad for long may come back.
Source: Wintenberger, "Optimal learning with Bernstein online aggregation" (2017); Herbster and Warmuth, "Tracking the
best expert" (1998).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_FORGET: Final = 1 - 1 / 400
_SHARED: Final = 1e-3
_NAIVE_SHARE: Final = 0.5
_DEEPEST: Final = 6.0  # a weight of e^-6 of the start's is none, and less would only take longer to return from
_MOST: Final = 5.0  # a loss beyond so many standard units counts as that


@dataclass(slots=True)
class Mixture:
    """The weights of some experts, of which the first is naive.

    State: two numbers an expert.
    """

    experts: int
    _start: list[float] = field(init=False)
    _regret: list[float] = field(init=False)
    _varied: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._regret, self._varied = [0.0] * self.experts, [0.0] * self.experts
        self._start = [_NAIVE_SHARE] + [(1 - _NAIVE_SHARE) / (self.experts - 1)] * (self.experts - 1)

    def weights(self, awake: Sequence[bool]) -> list[float]:
        """Return the weights, which sum to 1; who sleeps has none. Naive is always awake."""
        rates = [_rate(varied) for varied in self._varied]
        gains = [rate * regret for rate, regret in zip(rates, self._regret, strict=True)]
        most = max(gains)
        raw = [
            start * ((1 - _SHARED) * math.exp(gain - most) + _SHARED) * rate if up else 0.0
            for start, gain, rate, up in zip(self._start, gains, rates, awake, strict=True)
        ]
        total = math.fsum(raw)
        return [weight / total for weight in raw]

    def learn(self, losses: Sequence[float | None]) -> None:
        """Take the loss of each expert in standard units, None of who slept."""
        naive = losses[0]
        assert naive is not None
        for at, loss in enumerate(losses):
            if at and loss is not None:
                gain = max(-_MOST, min(_MOST, naive - loss))
                varied = self._varied[at] = _FORGET * self._varied[at] + gain * gain
                rate = _rate(varied)
                self._regret[at] = max(-_DEEPEST / rate, _FORGET * self._regret[at] + gain * (1 - rate * gain))


def _rate(varied: float) -> float:
    return 1 / math.sqrt(4.0 + varied)
