"""Time as a market spends it: breaks, nights and holidays take none of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from market.watch import session_at

_STEPS = 40
"""Sessions looked at for one horizon: a fortnight of a market with three a day."""


@dataclass(slots=True)
class TradingTime:
    """The trading time of one instrument, asked about later and later times.

    Example: a minute before the end of a session, five minutes of trading later is four minutes into the next one.
    State: one session.
    """

    name: str
    _session: tuple[int, int] = (0, 0)

    def later(self, at_ns: int, horizons_ns: Sequence[int]) -> list[int]:
        """Return when so much trading time has passed since `at_ns`, by horizon; these rise.

        Outside of a session it begins to pass with the next one. Where hours are not known it passes always.
        """
        if not self._session[0] <= at_ns < self._session[1]:
            self._session = session_at(self.name, at_ns)
        start, end = self._session
        if start <= at_ns and at_ns + horizons_ns[-1] <= end:
            return [at_ns + each for each in horizons_ns]
        found, passed, left = [], 0, list(horizons_ns)
        for _ in range(_STEPS):
            start = max(start, at_ns)
            while left and start + left[0] - passed <= end:
                found.append(start + left.pop(0) - passed)
            if not left:
                return found
            passed += end - start
            start, end = session_at(self.name, end)
        return found + [end] * len(left)
