"""What is odd about the top of a book: a spread far wider than usual, a side that is gone, a bid above the ask.

A book in the middle of a change may be any of these for an instant: the least spread of a step counts, and a rule of
the kernel says how long it must last (market.episodes).
"""

import math
from typing import Final

from market.detectors.protocol import CROSSED_BOOK, SPREAD_BLOW_OUT, Finding, Step

TIMES: Final = 4.0
LIMIT: Final = 6.0
_TICKS: Final = 4
_GATE: Final = 30
_MEMORY: Final = 900
_LEAST_SPREAD: Final = 0.15  # of the log of a spread: one of two ticks is often three


class SpreadDetector:
    """Watch the spread of one instrument."""

    def __init__(self, tick: int | None) -> None:
        self._tick = tick or 1
        self._mean = 0.0  # of the log of the spread in ticks
        self._spread = 0.0
        self._learnt = 0

    def score(self, step: Step) -> Finding | None:
        if self._learnt < _GATE or not step.quoted:
            return None
        usual = math.exp(self._mean) * self._tick
        if step.bid is None or step.ask is None:
            gone = "bid" if step.bid is None else "ask"
            return Finding(
                kind=SPREAD_BLOW_OUT, score=2.0, value=None, expected=round(usual), ts_event=step.ts_event,
                evidence={"missing": gone if step.bid is not None or step.ask is not None else "both sides"},
            )  # fmt: skip
        now = self._of(step)
        if now is None or now <= 0:
            return None
        deviations = (math.log(now / self._tick) - self._mean) / max(1.25 * self._spread, _LEAST_SPREAD)
        score = min(now / usual / TIMES, deviations / LIMIT, (now - usual) / (_TICKS * self._tick))
        if score <= 1.0:
            return None
        evidence = {"ticks": now // self._tick, "times": round(now / usual, 1), "deviations": round(deviations, 1)}
        return Finding(
            kind=SPREAD_BLOW_OUT, score=score, value=now, expected=round(usual), ts_event=step.ts_event,
            evidence=evidence,
        )  # fmt: skip

    def learn(self, step: Step) -> None:
        now = self._of(step)
        if not step.quotes or now is None or now <= 0:
            return
        log = math.log(now / self._tick)
        self._learnt += 1
        share = 1 / min(self._learnt, _MEMORY)
        off = abs(log - self._mean)
        self._mean += (log - self._mean) * share
        if self._learnt > 1:
            self._spread += (off - self._spread) * share

    def skip(self, step: Step) -> None:
        pass

    def accept(self, step: Step) -> None:
        now = self._of(step)
        if now is not None and now > 0:
            self._mean = math.log(now / self._tick)

    def reopen(self) -> None:
        pass

    @staticmethod
    def _of(step: Step) -> int | None:
        if step.bid is None or step.ask is None:
            return None
        return step.ask - step.bid if step.least_spread is None else max(step.least_spread, 0)


class CrossedDetector:
    """Watch for a bid above the ask. It has nothing to learn."""

    def __init__(self, tick: int | None) -> None:
        self._tick = tick or 1

    def score(self, step: Step) -> Finding | None:
        if step.bid is None or step.ask is None or step.bid <= step.ask:
            return None
        by = step.bid - step.ask
        evidence = {"ticks": by // self._tick}
        return Finding(
            kind=CROSSED_BOOK, score=max(1.0, by / self._tick), value=step.bid, expected=step.ask,
            ts_event=step.ts_event, evidence=evidence,
        )  # fmt: skip

    def learn(self, step: Step) -> None:
        pass

    def skip(self, step: Step) -> None:
        pass

    def accept(self, step: Step) -> None:
        pass

    def reopen(self) -> None:
        pass
