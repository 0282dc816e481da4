"""One instrument as the forecaster sees it: what it learnt, what it has promised, and what became of that.

Of every bar: first what was promised for now is scored, then members learn the bar, then the next promises are made.
Nothing that was not known at the end of a bar is in a promise. Floats live here alone; the kernel rounds them.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from market.forecasters.conformal import LEVELS, Conformal
from market.forecasters.crash import DEVIATIONS, Crash
from market.forecasters.gate import Gate
from market.forecasters.mixture import Mixture
from market.forecasters.online import HORIZONS, NAIVE, Member, Seen, clipped, members

ENSEMBLE: Final = "ensemble"

_QUICKLY: Final = 1 / 29  # half-life of 20 bars: 15 to 40 cover as well, the worst quarter is best here
_SLOWLY: Final = 1 / 173  # of 120 bars
_QUICK_SHARE: Final = 0.6  # of both together: intervals are a few per cent narrower than by the quick one alone
_JUMP: Final = 4.0  # standard units: a greater step counts as that, or one jump would widen intervals for weeks
_TOO_FAR: Final = 5.0  # standard units: a member that says more is not listened to
_PROMISES: Final = 64  # a horizon: more are open only where bars come outside of sessions


class Promise(NamedTuple):
    """What was said at the end of a bar of one horizon. `spread`: how far the price moves within it.

    A tuple, since there are 26 of an instrument, and they are pickled with it after each of its bars.
    """

    made_ns: int
    target_ns: int
    price: float
    spread: float
    moves: tuple[float | None, ...]  # of every member, naive first, then of the ensemble
    reaches: tuple[tuple[float, ...], tuple[float, ...]]  # of naive and the ensemble, by level
    crash: tuple[float, float]  # as the regression says, and as frequent as it was
    crash_served: float
    served: str
    reason: str
    alone: bool  # its horizon does not overlap with that of the one before it that was alone
    features: tuple[float, ...]


class Score(NamedTuple):
    """What became of a promise. `held`: of naive and the ensemble, by level."""

    promise: Promise
    horizon: int
    actual: float
    crashed: bool
    held: tuple[tuple[bool, ...], tuple[bool, ...]]


@dataclass(slots=True)
class Horizon:
    """What is learnt of one horizon."""

    mixture: Mixture
    gates: list[Gate]
    """Of every member but naive, and of the ensemble."""
    intervals: tuple[Conformal, Conformal]
    """Of naive and of the ensemble."""
    crash: Crash = field(default_factory=Crash)
    hits: list[float] = field(default_factory=lambda: [0.0] * len(LEVELS))
    scored: float = 0.0
    open: deque[Promise] = field(default_factory=lambda: deque(maxlen=_PROMISES))
    since_alone: int = 10**9

    def coverage(self) -> list[float | None]:
        """How many of the served intervals of late held what came, by level."""
        return [hits / self.scored if self.scored else None for hits in self.hits]


_FORGET: Final = 1 - 1 / 360


@dataclass(slots=True)
class Movement:
    """How much the price moves in a bar: forgetting, and never nothing."""

    least: float
    fast: float = 0.0
    slow: float = 0.0
    seen: int = 0

    @property
    def scale(self) -> float:
        return max(self.least, math.sqrt(_QUICK_SHARE * self.fast + (1 - _QUICK_SHARE) * self.slow))

    @property
    def stretch(self) -> float:
        """How much more it moves than usual, as a logarithm."""
        return math.log(self.scale / max(self.least, math.sqrt(self.slow)))

    def learn(self, step: float) -> None:
        self.seen += 1
        square = step * step if self.seen <= 20 else min(step * step, (_JUMP * self.scale) ** 2)
        self.fast += (square - self.fast) * max(_QUICKLY, 1 / self.seen)
        self.slow += (square - self.slow) * max(_SLOWLY, 1 / self.seen)


class Outlook:
    """Forecast one instrument, bar by bar.

    State: some 20 kB: 250 misses of two forecasters at three horizons, and the promises that are open.
    """

    def __init__(self, least_move: float) -> None:
        self.members: dict[str, Member] = members()
        self.names = (NAIVE, *self.members, ENSEMBLE)
        experts = len(self.members) + 1
        self.horizons = [
            Horizon(Mixture(experts), [Gate() for _ in range(experts)], (Conformal(bars), Conformal(bars)))
            for bars in HORIZONS
        ]
        self.moving = Movement(least_move)
        self.prices: deque[float] = deque(maxlen=HORIZONS[-1] + 1)
        self._range, self._volume = Movement(least_move), Movement(1e-9)

    @property
    def ready(self) -> bool:
        """Whether it has seen enough to say anything: how much the price moves."""
        return self.moving.seen >= 3

    def see(self, price: float, width: float, volume: float, book: Sequence[float]) -> Seen:
        """Take a bar: its close, high less low, volume, and imbalance, microprice less mid, and spread of the book."""
        step, before = (price - self.prices[-1] if self.prices else 0.0), self.moving.scale
        if self.prices:
            self.moving.learn(step)
        self._range.learn(width)
        self._volume.learn(volume)
        self.prices.append(price)
        scale = self.moving.scale
        imbalance, micro, spread = book
        features = (
            clipped(step / scale),
            *(clipped(self._moved(bars) / (scale * math.sqrt(bars))) for bars in HORIZONS[1:]),
            clipped(self.moving.stretch),
            clipped(width / self._range.scale - 1),
            clipped(volume / self._volume.scale - 1),
            imbalance,
            clipped(micro / scale),
            clipped(spread / scale),
        )
        seen = Seen(price, step, before, scale, features)
        for member in self.members.values():
            member.learn(seen)
        return seen

    def promise(self, seen: Seen, made_ns: int, targets: Sequence[int]) -> list[Promise]:
        """Say what comes, by horizon; it will be held to it."""
        paths = [member.ahead(seen) for member in self.members.values()]
        made = []
        for at, (horizon, target_ns) in enumerate(zip(self.horizons, targets, strict=True)):
            spread = seen.scale * math.sqrt(HORIZONS[at])
            alone = horizon.since_alone + 1 >= HORIZONS[at]
            horizon.since_alone = 0 if alone else horizon.since_alone + 1
            moves = [0.0, *(_sound(None if path is None else path[at], spread) for path in paths)]
            weights = horizon.mixture.weights([move is not None for move in moves])
            mixed = math.fsum(weight * move for weight, move in zip(weights, moves, strict=True) if move is not None)
            says = horizon.crash.probabilities(seen.features)
            reason = horizon.gates[-1].refusal()
            promise = Promise(
                made_ns=made_ns,
                target_ns=target_ns,
                price=seen.price,
                spread=spread,
                moves=(*moves, mixed),
                reaches=(
                    tuple(reach * spread for reach in horizon.intervals[0].reach()),
                    tuple(reach * spread for reach in horizon.intervals[1].reach()),
                ),
                crash=says,
                crash_served=says[0] if horizon.crash.earned() else says[1],
                served=NAIVE if reason else ENSEMBLE,
                reason=reason,
                alone=alone,
                features=seen.features,
            )
            horizon.open.append(promise)
            made.append(promise)
        return made

    def due(self, now_ns: int, price: float) -> Iterator[Score]:
        """Score what was promised for a time up to now; before the bar that ends now is seen.

        A promise for the very end of the bar is held against its close, one for an earlier time against the last close.
        """
        for at, horizon in enumerate(self.horizons):
            while horizon.open and horizon.open[0].target_ns <= now_ns:
                promise = horizon.open.popleft()
                actual = price if promise.target_ns == now_ns else self.prices[-1]
                yield self._score(at, horizon, promise, actual)

    def forgive(self, now_ns: int) -> None:
        """Drop what was promised for a time up to now: what came is not to be trusted."""
        for horizon in self.horizons:
            while horizon.open and horizon.open[0].target_ns <= now_ns:
                horizon.open.popleft()

    def _score(self, at: int, horizon: Horizon, promise: Promise, actual: float) -> Score:
        came = actual - promise.price
        losses = [None if move is None else abs(came - move) / promise.spread for move in promise.moves]
        naive, mixed = losses[0], losses[-1]
        assert naive is not None
        assert mixed is not None
        held = tuple(
            tuple(lost * promise.spread <= reach for reach in reaches)
            for lost, reaches in zip((naive, mixed), promise.reaches, strict=True)
        )
        for interval, lost, hit in zip(horizon.intervals, (naive, mixed), held, strict=True):
            interval.learn(lost, hit)
        horizon.mixture.learn(losses[:-1])
        if promise.alone:
            for gate, loss in zip(horizon.gates, losses[1:], strict=True):
                if loss is not None:
                    gate.learn(loss, naive)
        served = held[promise.served == ENSEMBLE]
        horizon.hits = [_FORGET * hits + hit for hits, hit in zip(horizon.hits, served, strict=True)]
        horizon.scored = _FORGET * horizon.scored + 1
        crashed = came < -DEVIATIONS * promise.spread
        horizon.crash.learn(promise.features, promise.crash, crashed)
        for member in self.members.values():
            member.came(at, promise.features, came / promise.spread)
        return Score(promise=promise, horizon=at, actual=actual, crashed=crashed, held=(held[0], held[1]))

    def _moved(self, bars: int) -> float:
        return self.prices[-1] - self.prices[max(0, len(self.prices) - 1 - bars)]


def _sound(move: float | None, spread: float) -> float | None:
    return move if move is not None and abs(move) <= _TOO_FAR * spread else None
