"""What the venues said of their instruments, over time, and the worst of it within a window.

A STATE row says that from its `ts_event` on an instrument, or with a null instrument the venue as a whole, is in
QUALITIES[size]. Both count: an instrument is in the worse of its own state and its venue's (QUALITIES, worst last).
Before anything was said, LIVE. The order of rows is the order of effect, whatever their stamps: a state begins no
later than it was heard, and no earlier than the one said before it, since some are told by our clock, some by theirs.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from market.columns import Int64s

_Said = list[tuple[int, int]]  # (from, quality), in order of time


@dataclass(slots=True)
class States:
    """The states of one shard.

    State: two integers for each change that a window which can still be published may contain: ten days, with 1d bars.
    """

    _said: dict[tuple[str, str | None], _Said] = field(default_factory=dict)

    def say(self, venue: str, instrument: str | None, ts: int, quality: int, *, oldest_ts: int) -> None:
        """Take a row; what ended before `oldest_ts` is forgotten."""
        said = self._said.setdefault((venue, instrument), [])
        begin = max(ts, said[-1][0]) if said else ts
        if len(said) > 1 and said[-2][0] == begin:
            # Three of one time: the worst of them is enough, and the last, which goes on.
            worse = max(said[-2][1], said.pop()[1])
            said[-1] = begin, worse
        if quality != (said[-1][1] if said else 0):
            said.append((begin, quality))
        past = bisect_right(said, oldest_ts, key=_start) - 1
        del said[: max(past, 0)]

    def worst(
        self, names: Sequence[tuple[str, str]], instrument: Int64s, ts_open: Int64s, ts_close: Int64s
    ) -> npt.NDArray[np.int8]:
        """The worst state within each window [ts_open, ts_close), of the instrument `names[instrument]`."""
        found = np.zeros(len(ts_open), np.int8)
        if self._said:
            windows = zip(instrument.tolist(), ts_open.tolist(), ts_close.tolist(), strict=True)
            found[:] = [self._worst(names[number], begin, end) for number, begin, end in windows]
        return found

    def _worst(self, name: tuple[str, str], begin: int, end: int) -> int:
        worst = 0
        for key in ((name[0], None), name):
            said = self._said.get(key)
            if said:
                first = max(bisect_right(said, begin, key=_start) - 1, 0)
                within = said[first : bisect_left(said, end, key=_start)]
                worst = max(worst, max((quality for _, quality in within), default=0))
        return worst

    def snapshot(self) -> object:
        return {key: list(said) for key, said in self._said.items()}

    def restore(self, state: object) -> None:
        saved: dict[tuple[str, str | None], _Said] = state  # type: ignore[assignment]
        self._said = {key: list(said) for key, said in saved.items()}


def _start(said: tuple[int, int]) -> int:
    return said[0]
