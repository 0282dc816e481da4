"""Do two venues' prices of one commodity move at the same time? The lag at which their returns agree best.

A venue whose stamps are off, or that stamps old prices anew, moves when the others have moved already, or before they
do. Receipt need not show it (market.skew). So the returns of every pair of venues are correlated at every lag of a
bounded range. The lag with the highest correlation is theirs, if that is too high to be chance; one longer than
latency can be is said once it was found twice, and taken back once they were found to move together twice.

Of a pair that disagrees the venue that disagrees with more others is meant; where that ties, the one that comes later:
old prices do more harm than early ones.

A return is that of the mean of bid and ask from one step to the next, averaged over the venue's instruments that were
quoted in both. Steps are those of the venue's own stamps.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from itertools import combinations
from math import log
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.columns import Int64s, codes, dictionary, valid, values
from market.instruments import InstrumentMaster

_LARGE: Final = 5.0  # times the median move: a normal one is that large once in 1,300


@dataclass(frozen=True, slots=True, kw_only=True)
class LagLimits:
    """The range, and what is believed."""

    step_ns: int = 5_000_000_000
    window: int = 240  # steps that are compared: 20 minutes
    most: int = 120  # the longest lag that is found, in steps: 10 minutes either way
    latency: int = 2  # steps that two venues may be apart
    least: int = 120  # steps in which both moved; fewer say nothing
    sigmas: float = 6.0  # of the correlation of strangers, 1 / sqrt(steps): by chance once in 2e6 pairs at 241 lags
    times: int = 2


class Behind(NamedTuple):
    """By how much a venue comes after another (negative: before it)."""

    lag_ns: int
    other: str


@dataclass(slots=True)
class _Middle:
    # An instrument: bid + ask at the end of the step that goes on, and of the one before it.
    step: int
    sum: int
    before: int = 0
    before_step: int = -1


@dataclass(slots=True)
class _Agreement:
    # Two venues: the lag that was found last, how often in a row, and what is believed.
    found: int = 0
    times: int = 0
    believed: int = 0


@dataclass(slots=True)
class LeadLag:
    """Finds who is behind whom, of the instruments of one shard.

    State: a float for each step of each venue, at most `window + most` of them, and four integers an instrument.
    """

    limits: LagLimits = field(default_factory=LagLimits)
    _middles: dict[tuple[str, str], _Middle] = field(default_factory=dict)
    _returns: dict[tuple[str, str], dict[int, tuple[float, int]]] = field(default_factory=dict)
    _agreed: dict[tuple[str, str, str], _Agreement] = field(default_factory=dict)
    _master: InstrumentMaster = field(default_factory=InstrumentMaster.load)

    def moved(self, venue: str, instrument: str, step: int, middle: int) -> None:
        """Take the newest price of a step: twice the middle, of rows with rising steps."""
        known = self._middles.get((venue, instrument))
        if known is None:
            self._middles[venue, instrument] = _Middle(step, middle)
        elif step > known.step:
            self._end_step(venue, instrument, known)
            known.before, known.before_step, known.step, known.sum = known.sum, known.step, step, middle
        elif step == known.step:
            known.sum = middle

    def _end_step(self, venue: str, instrument: str, known: _Middle) -> None:
        if known.step != known.before_step + 1 or known.before <= 0 or known.sum <= 0:
            return
        series = self._returns.setdefault((self._master.commodity_of(instrument), venue), {})
        total, count = series.get(known.step, (0.0, 0))
        series[known.step] = (total + log(known.sum / known.before), count + 1)
        kept = self.limits.window + self.limits.most
        if len(series) > 2 * kept:
            newest = max(series)
            for step in [step for step in series if step <= newest - kept]:
                del series[step]

    def judge(self) -> Mapping[str, Behind]:
        """Compare all pairs; return the venues that are not to be compared with others."""
        for (commodity, one), (other_commodity, other) in combinations(sorted(self._returns), 2):
            if commodity != other_commodity:
                continue
            found = self._lag(self._returns[commodity, one], self._returns[commodity, other])
            if found is not None:
                self._believe(self._agreed.setdefault((commodity, one, other), _Agreement()), found)
        return self._blamed()

    def _lag(self, one: Mapping[int, tuple[float, int]], other: Mapping[int, tuple[float, int]]) -> int | None:
        """By how many steps `other` comes after `one`; None if that cannot be said."""
        limits = self.limits
        last = max(max(one), max(other))
        span = limits.window + limits.most
        first, second = (_line(series, last - span + 1, span) for series in (one, other))
        steps = min(np.count_nonzero(first), np.count_nonzero(second))
        if steps < limits.least:
            return None
        every = np.correlate(second, first, "full")[span - 1 - limits.most : span + limits.most]
        highest = int(np.argmax(every))
        size = float(np.sqrt((first @ first) * (second @ second)))
        return highest - limits.most if every[highest] > limits.sigmas / float(np.sqrt(steps)) * size else None

    def _believe(self, agreed: _Agreement, found: int) -> None:
        found = 0 if abs(found) <= self.limits.latency else found
        agreed.times = agreed.times + 1 if abs(found - agreed.found) <= 1 else 1
        agreed.found = found
        if agreed.times >= self.limits.times and abs(found - agreed.believed) > 1:
            agreed.believed = found

    def _blamed(self) -> Mapping[str, Behind]:
        apart = {key: agreed.believed for key, agreed in sorted(self._agreed.items()) if agreed.believed}
        blamed: dict[str, Behind] = {}
        while apart:
            often = Counter(venue for _, *pair in apart for venue in pair)
            later = {other if lag > 0 else one for (_, one, other), lag in apart.items()}
            worst = max(sorted(often), key=lambda venue: (often[venue], venue in later))
            for key, lag in list(apart.items()):
                _, one, other = key
                if worst in (one, other):
                    del apart[key]
                    partner, behind = (other, -lag) if worst == one else (one, lag)
                    blamed.setdefault(worst, Behind(behind * self.limits.step_ns, partner))
        return blamed

    def snapshot(self) -> object:
        return {
            "middles": {key: copy(middle) for key, middle in self._middles.items()},
            "returns": {key: dict(series) for key, series in self._returns.items()},
            "agreed": {key: copy(agreed) for key, agreed in self._agreed.items()},
        }

    def restore(self, state: object) -> None:
        saved: dict[str, Any] = dict(state)  # type: ignore[call-overload]
        self._middles = {key: copy(middle) for key, middle in saved["middles"].items()}
        self._returns = {key: dict(series) for key, series in saved["returns"].items()}
        self._agreed = {key: copy(agreed) for key, agreed in saved["agreed"].items()}


def steps_of(rows: pa.RecordBatch, picked: Int64s, step_ns: int) -> Iterator[tuple[int, str, str, int, int]]:
    """The quotes of `picked` rows as (row, venue, instrument, step, bid + ask), one for each step an instrument begins.

    The row is the first of the step in this batch, the price that of the last: what a step ends at is used only when
    the next one has begun, so it does not matter where a batch is cut.
    """
    bid, ask = rows.column("bid_price"), rows.column("ask_price")
    for side in (valid(bid), valid(ask)):
        picked = picked if side is None else picked[side[picked]]
    if not len(picked):
        return
    middles = values(bid)[picked] + values(ask)[picked]
    steps = values(rows.column("ts_event"))[picked] // step_ns
    venue, instrument = rows.column("venue"), rows.column("instrument")
    venues, instruments = dictionary(venue), dictionary(instrument)
    pair = codes(venue)[picked].astype(np.int64) * len(instruments) + codes(instrument)[picked]
    begin = int(steps.min())
    key = pair * (int(steps.max()) - begin + 1) + steps - begin
    order = np.argsort(pair, kind="stable")
    order = order[key[order] >= np.maximum.accumulate(key[order])]  # a step that is over stays as it is
    first = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] - 1))
    last = np.append(first[1:], len(order)) - 1
    began, ended = order[first], order[last]
    columns = (picked[began].tolist(), pair[began].tolist(), steps[began].tolist(), middles[ended].tolist())
    for row, code, step, middle in zip(*columns, strict=True):
        yield row, venues[code // len(instruments)], instruments[code % len(instruments)], step, middle


def _line(series: Mapping[int, tuple[float, int]], first: int, length: int) -> npt.NDArray[np.float64]:
    # Steps without a return are 0: nothing moved. A leap counts as a large move does: two leaps are no agreement.
    line = np.zeros(length)
    for step, (total, count) in series.items():
        if first <= step < first + length:
            line[step - first] = total / count
    moves = np.abs(line[line != 0])
    limit = _LARGE * float(np.median(moves)) if len(moves) else 0.0
    return np.clip(line, -limit, limit)
