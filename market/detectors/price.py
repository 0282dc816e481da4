"""Moves of a price that its own volatility does not explain, and prices that are none: fat fingers, slips of scale.

- return_spike  the price went further within 1, 5 or 20 s than LIMIT of its standard deviations, its own spread, and
                MOVE_BPS
- scale_error   the price is off by a power of ten, or by ounces taken for ten grams: no market moves to there
- fat_finger    one trade OUTLIER away from the last price, while the quotes (or the other trades) stay where they are

Units: volatility in log price per square root of a second.
Source: the 3 % of a clearly erroneous trade are FINRA rule 11892's for prices above 50 USD (before 2013).
"""

import math
from collections import deque
from typing import Final

from market.detectors.protocol import (
    FAT_FINGER,
    NS_PER_S,
    RETURN_SPIKE,
    SCALE_ERROR,
    Finding,
    Print,
    Step,
)

LIMIT: Final = 12.0
MOVE_BPS: Final = 15.0
OUTLIER: Final = 0.03
_OUTLIER_LOG: Final = math.log1p(OUTLIER)
_HORIZONS_S: Final = (1, 5, 20)
_GATE: Final = 15  # steps learnt before a volatility means anything
_OPENING: Final = 5  # steps after the opening that are not judged
_KNOWN: Final = 3  # steps before a last price is one
_ROUGH: Final = 5  # from here on a step that is far out teaches little
_MEMORY: Final = 900
_CLIP: Final = 5.0  # one step teaches at most this many standard deviations
_PATH: Final = 32
_NEAR: Final = math.log(1.02)

SCALES: Final = (10.0, 100.0, 1_000.0, 10 / 31.1034768, 31.1034768)
"""Slips of decimals; an ounce for ten grams; an ounce for a gram. Each also the other way round."""


class PriceDetector:
    """Watch one instrument's price."""

    def __init__(self, tick: int | None) -> None:
        self._tick = tick or 0
        self._variance = 0.0
        self._learnt = 0
        self._since_open = 0
        self._path: deque[tuple[int, int]] = deque(maxlen=_PATH)  # accepted (time, price)

    @property
    def reference(self) -> int | None:
        """The last price that was not odd."""
        return self._path[-1][1] if self._path else None

    def score(self, step: Step) -> Finding | None:
        if not self._path or self._path[-1][1] <= 0 or self._since_open < _KNOWN:
            return None
        return self._misprice(step) or self._spike(step)

    def learn(self, step: Step) -> None:
        price = step.price
        if price is None or price <= 0:
            return
        if self._path and self._path[-1][1] > 0:
            before, last = self._path[-1]
            seconds = max(1.0, (step.at_ns - before) / NS_PER_S)
            square = math.log(price / last) ** 2 / seconds
            if self._learnt >= _ROUGH:
                square = min(square, _CLIP**2 * max(self._variance, 1e-12))
            self._learnt += 1
            self._variance += (square - self._variance) / min(self._learnt, _MEMORY)
        self._since_open += 1
        self._path.append((step.at_ns, price))

    def skip(self, step: Step) -> None:
        pass

    def accept(self, step: Step) -> None:
        self._path.clear()
        if step.price is not None:
            self._path.append((step.at_ns, step.price))

    def reopen(self) -> None:
        self._path.clear()
        self._since_open = 0

    def _spike(self, step: Step) -> Finding | None:
        price = step.price
        if price is None or price <= 0 or self._learnt < _GATE or self._since_open < _OPENING:
            return None
        least = MOVE_BPS / 1e4
        if step.bid is not None and step.ask is not None:
            least = max(least, (step.ask - step.bid) / price)
        least = max(least, 3 * self._tick / price)
        sigma = math.sqrt(self._variance)
        worst, found = 1.0, None
        for base_ns, base in self._bases(step.at_ns):
            seconds = (step.at_ns - base_ns) / NS_PER_S
            move = math.log(price / base)
            score = abs(move) / max(least, LIMIT * sigma * math.sqrt(seconds))
            if score > worst:
                worst, found = score, (base_ns, base, move, seconds)
        if found is None:
            return None
        base_ns, base, move, seconds = found
        evidence = {
            "move_bps": round(move * 1e4, 2),
            "seconds": round(seconds, 1),
            "sigma_bps": round(sigma * 1e4, 3),
            "deviations": round(abs(move) / max(sigma * math.sqrt(seconds), 1e-9), 1),
        }
        return Finding(
            kind=RETURN_SPIKE, score=worst, value=price, expected=base, ts_event=step.ts_event, evidence=evidence,
            base=(base_ns, base),
        )  # fmt: skip

    def _bases(self, at_ns: int) -> list[tuple[int, int]]:
        found = []
        for horizon in _HORIZONS_S:
            old = [point for point in self._path if at_ns - point[0] >= horizon * NS_PER_S and point[1] > 0]
            if old:
                found.append(old[-1])
        return found

    def _misprice(self, step: Step) -> Finding | None:
        reference = self._path[-1][1]
        price = step.price
        steady = price is not None and price > 0 and abs(math.log(price / reference)) < _OUTLIER_LOG
        if step.quoted and price is not None and price > 0 and scale_of(price / reference) is not None:
            return self._off(SCALE_ERROR, Print(price, step.ts_event, None), "quotes", reference, step)
        worst = max(
            (trade for trade in (step.low, step.high) if trade is not None and trade.price > 0),
            key=lambda trade: abs(math.log(trade.price / reference)),
            default=None,
        )
        if worst is None or abs(math.log(worst.price / reference)) < _OUTLIER_LOG:
            return None
        if step.quoted:
            return self._off(FAT_FINGER, worst, "trade", reference, step) if steady else None
        if scale_of(worst.price / reference) is not None:
            return self._off(SCALE_ERROR, worst, "trade", reference, step)
        # Of trades alone one that the next ones do not follow is an error; what is followed is a move.
        return self._off(FAT_FINGER, worst, "trade", reference, step) if steady else None

    def _off(self, kind: str, odd: Print, what: str, reference: int, step: Step) -> Finding:
        ratio = odd.price / reference
        evidence = {"what": what, "ratio": round(ratio, 6), "scale": scale_of(ratio)}
        if step.bid is not None and step.ask is not None:
            evidence["quotes_stayed"] = what == "trade"
        return Finding(
            kind=kind, score=abs(math.log(ratio)) / _OUTLIER_LOG, value=odd.price, expected=reference,
            ts_event=odd.ts_event, evidence=evidence, base=self._path[-1], trade_id=odd.trade_id,
        )  # fmt: skip


def scale_of(ratio: float) -> float | None:
    """Return the slip of scale that explains a ratio of prices, None if none does.

    Example:
        >>> scale_of(0.0999), scale_of(1.5)
        (0.1, None)
    """
    for scale in SCALES:
        for known in (scale, 1 / scale):
            if abs(math.log(ratio / known)) < _NEAR:
                return round(known, 6)
    return None
