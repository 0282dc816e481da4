"""More trading than is usual at this time of day.

The volume of the last WINDOW_S seconds against what is expected: the mean of this half hour of the day over the days
before, or the median of the last minutes, whichever is more. Square roots of volumes are compared, whose spread does
not grow with their size. The spread is that of the windows below the median: a surge that came before enough had been
learnt to know it by is among those above, and must not hide the next one.
"""

import math
from collections import deque
from statistics import median
from typing import Final

from market.detectors.protocol import NS_PER_S, VOLUME_SURGE, Finding, Step

WINDOW_S: Final = 15
TIMES: Final = 4.0
LIMIT: Final = 4.0
_TRADES: Final = 12
_GATE: Final = 4  # windows learnt
_MEMORY: Final = 60  # windows: a quarter of an hour
_LEAST_SHARE: Final = 0.15  # of the mean: how much a root of volume differs from one window to the next, at least
_LEAST: Final = 0.25
_CLIP: Final = 3.0
_DEVIATION: Final = 1.4826  # of a normal distribution, per median of absolute deviations
_SLOT_S: Final = 1_800
_SLOTS: Final = 86_400 // _SLOT_S
_DAYS: Final = 10
_SOME_DAYS: Final = 3
_MOST_EMPTY: Final = 240  # windows without a trade that a silence can stand for
_PER_LOT: Final = 1_000_000


class VolumeDetector:
    """Watch one instrument's volume. State: 15 steps, 60 windows, and a mean for each half hour of the day."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, int, int]] = deque()  # (second, volume, trades) of the window
        self._window = 0  # number of the window that is being filled
        self._roots: deque[float] = deque(maxlen=_MEMORY)  # of the volumes of windows that were usual
        self._usual = 0.0
        self._spread = 0.0
        self._slots: dict[int, tuple[int, float, int, float]] = {}  # day, its mean so far, days, mean of days before

    def score(self, step: Step) -> Finding | None:
        if len(self._roots) < _GATE:
            return None
        volume, trades = self._in_window(step)
        usual = max(self._usual, self._slot_mean(step.at_ns))
        spread = max(self._spread, _LEAST_SHARE * usual, _LEAST)
        root = math.sqrt(volume / _PER_LOT)
        deviations = (root - usual) / (1.25 * spread)
        score = min(deviations / LIMIT, volume / _PER_LOT / max(TIMES * usual**2, 1e-9))
        if trades < _TRADES or score <= 1.0:
            return None
        evidence = {"seconds": WINDOW_S, "trades": trades, "deviations": round(deviations, 1)}
        return Finding(
            kind=VOLUME_SURGE, score=score, value=volume * 1_000, expected=round(usual**2 * NS_PER_S),
            ts_event=step.ts_event, evidence=evidence,
        )  # fmt: skip

    def learn(self, step: Step) -> None:
        self._take(step, learn=True)

    def skip(self, step: Step) -> None:
        self._take(step, learn=False)

    def accept(self, step: Step) -> None:
        volume, _ = self._in_window(step)
        self._roots.clear()
        self._roots.extend([math.sqrt(volume / _PER_LOT)] * _GATE)
        self._compare()

    def reopen(self) -> None:
        self._recent.clear()
        self._window = 0

    def _take(self, step: Step, *, learn: bool) -> None:
        second = step.at_ns // NS_PER_S
        window = second // WINDOW_S
        if self._window and window > self._window and learn:
            self._learn_window(sum(volume for at, volume, _ in self._recent if at // WINDOW_S == self._window))
            for _ in range(min(window - self._window - 1, _MOST_EMPTY)):
                self._learn_window(0)
        self._window = window
        self._recent.append((second, step.volume, step.trades))
        while self._recent and self._recent[0][0] <= second - 2 * WINDOW_S:
            self._recent.popleft()

    def _learn_window(self, volume: int) -> None:
        root = math.sqrt(volume / _PER_LOT)
        self._roots.append(root)
        self._compare()
        self._learn_slot(min(root, self._usual + _CLIP * max(self._spread, _LEAST_SHARE * self._usual, _LEAST)))

    def _compare(self) -> None:
        self._usual = median(self._roots)
        self._spread = _DEVIATION * median(self._usual - root for root in self._roots if root <= self._usual)

    def _learn_slot(self, root: float) -> None:
        second = self._window * WINDOW_S
        day, slot = second // 86_400, second % 86_400 // _SLOT_S
        was, today, days, before = self._slots.get(slot, (day, 0.0, 0, 0.0))
        if was != day:
            days += 1
            before += (today - before) / min(days, _DAYS)
            today = root
        windows = max(1, second % _SLOT_S // WINDOW_S + 1)
        self._slots[slot] = day, today + (root - today) / windows, days, before

    def _slot_mean(self, at_ns: int) -> float:
        found = self._slots.get(at_ns // NS_PER_S % 86_400 // _SLOT_S)
        return found[3] if found is not None and found[2] >= _SOME_DAYS else 0.0

    def _in_window(self, step: Step) -> tuple[int, int]:
        after = step.at_ns // NS_PER_S - WINDOW_S
        inside = [(volume, trades) for at, volume, trades in self._recent if at > after]
        return step.volume + sum(v for v, _ in inside), step.trades + sum(t for _, t in inside)
