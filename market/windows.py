"""The windows of bars: which one holds a time, for every width; a day is the trade date of its product.

A window of less than a day is a multiple of its width in UTC. A 1d window is a whole number of 1h windows
(market.days), so each width is folded of the next narrower one whatever the hours of a product are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np

from market.columns import Int64s
from market.days import DAY_NS, day_of, hours_of
from market.sessions import Hours


@dataclass(slots=True)
class Windows:
    """Windows by width and instrument number. `names` gives the instrument keys, by number.

    State: the day last asked for of each instrument, as a shortcut.
    """

    widths: Sequence[int]
    names: Callable[[], Sequence[str]]
    _hours: list[Hours] = field(default_factory=list)
    _opens: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    _closes: Int64s = field(default_factory=lambda: np.empty(0, np.int64))

    def of(self, at: int, number: int, ts: int) -> tuple[int, int]:
        """Return the window `[ts_open, ts_close)` of one instrument that holds a time."""
        opens, closes = self.around(at, np.array([number], np.int64), np.array([ts], np.int64))
        return int(opens[0]), int(closes[0])

    def around(self, at: int, numbers: Int64s, ts: Int64s) -> tuple[Int64s, Int64s]:
        """Return the beginnings and ends of the windows that hold the times."""
        width = self.widths[at]
        if width != DAY_NS:
            opens = ts // width * width
            return opens, opens + width
        self._learn()
        opens, closes = self._opens[numbers], self._closes[numbers]
        if not ((opens <= ts) & (ts < closes)).all():
            opens, closes = day_of(self._hours, numbers, ts)
            one, row = np.unique(numbers, return_index=True)
            self._opens[one], self._closes[one] = opens[row], closes[row]
        return opens, closes

    def _learn(self) -> None:
        names = self.names()
        if len(names) > len(self._hours):
            self._hours += [hours_of(name, _NEWEST) for name in names[len(self._hours) :]]
            missing = np.zeros(len(names) - len(self._opens), np.int64)
            self._opens, self._closes = np.append(self._opens, missing), np.append(self._closes, missing)


_NEWEST: Final = date.max  # a product's newest row of the contract table
