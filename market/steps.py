"""Rows as steps of a second of the arrival clock: what every instrument did in each, for detectors that score steps.

Prices and volumes are folded as integers, so a step is the same however the rows were cut into batches. The arrival
clock is the newest `ts_recv` (else `ts_event`) of all rows so far; rows that are late, from the future or replayed move
it, and are no part of a step.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from market.columns import Int64s, codes, dictionary, numbers, valid, values
from market.detectors.protocol import STEP_NS, Print, Step
from market.schemas import BUST, FLAG_REPLAYED, QUOTE, STATE, TRADE
from market.watermark import ACCEPTED, FUTURE, Judged

_PER_MICRO_LOT: Final = 1_000
_MOST_MICRO_LOTS: Final = 10**12
"""A million lots a trade: more is clipped."""

NEVER: Final = -(2**62)


class Part(NamedTuple):
    """Rows of one instrument in one step, in order; without a name those of none."""

    second: int
    name: str | None
    rows: list[int]


class Said(NamedTuple):
    """A STATE row: the venue's word on an instrument, or on all of it."""

    venue: str
    instrument: str | None
    state: int


class Steps:
    """One batch, ready to be taken part by part. `now` is the arrival clock before it, and after it.

    A part has few rows, whatever the size of the batch, so they are gone through one by one.
    """

    def __init__(self, judged: Judged, now: int) -> None:
        rows = self._rows = judged.rows
        self.now = now
        self._second = (self._clock(judged) // STEP_NS).tolist()
        self._kind = values(rows.column("kind")).tolist()
        plain = (judged.verdict == ACCEPTED) & (values(rows.column("flags")) & FLAG_REPLAYED == 0)
        self._plain = plain.tolist()
        self._ts_event = values(rows.column("ts_event")).tolist()
        self._bid, self._ask = numbers(rows.column("bid_price")), numbers(rows.column("ask_price"))
        # Of trades, which have all of it; of other rows anything.
        self._price, self._size = values(rows.column("price")).tolist(), values(rows.column("size")).tolist()

    def parts(self) -> Iterator[Part]:
        """Return the steps in order, and in each its instruments by name; without one where none has rows."""
        column = self._rows.column("instrument")
        names, code, named = dictionary(column), codes(column), valid(column)
        code = code if named is None else np.where(named, code, -1)
        found: dict[tuple[int, str], list[int]] = {}
        for row, key in enumerate(zip(self._second, code.tolist(), strict=True)):
            at = (key[0], names[key[1]] if key[1] >= 0 else "")
            if at in found:
                found[at].append(row)
            else:
                found[at] = [row]
        for second, name in sorted(found):
            yield Part(second, name or None, found[second, name])

    def states(self, part: Part) -> list[Said]:
        stating = [row for row in part.rows if self._kind[row] == STATE]
        venue = self._rows.column("venue")
        return [Said(venue[row].as_py(), part.name, self._size[row]) for row in stating]

    def fold(self, part: Part, step: Step) -> bool:
        """Add the rows of a part to its step; say whether there was any that counts."""
        told = False
        for row in part.rows:
            if not self._plain[row]:
                continue
            kind = self._kind[row]
            if kind == QUOTE:
                self._fold_quote(row, step)
            elif kind == TRADE:
                self._fold_trade(row, step)
            else:
                if kind == BUST:
                    trade_id = self._trade_id(row)
                    step.busted += [trade_id] if trade_id is not None else []
                continue
            told = True
            if self._ts_event[row] > step.ts_event:
                step.ts_event = self._ts_event[row]
        return told

    def _fold_trade(self, row: int, step: Step) -> None:
        price = self._price[row]
        step.trades += 1
        step.volume += min(self._size[row] // _PER_MICRO_LOT, _MOST_MICRO_LOTS)
        step.last = price
        if step.low is None or price < step.low.price:
            step.low = Print(price, self._ts_event[row], self._trade_id(row))
        if step.high is None or price > step.high.price:
            step.high = Print(price, self._ts_event[row], self._trade_id(row))

    def _fold_quote(self, row: int, step: Step) -> None:
        bid, ask = self._bid[row], self._ask[row]
        if bid is not None and ask is not None and bid <= ask:
            spread = ask - bid
            step.least_spread = spread if step.least_spread is None else min(step.least_spread, spread)
        step.quotes += 1
        step.quoted = True
        step.bid, step.ask = bid, ask

    def _trade_id(self, row: int) -> str | None:
        found: str | None = self._rows.column("trade_id")[row].as_py()
        return found

    def _clock(self, judged: Judged) -> Int64s:
        timed = judged.verdict != FUTURE
        received = valid(judged.rows.column("ts_recv"))
        timed |= True if received is None else received
        known = np.where(timed, judged.known_at, NEVER)
        known[0] = max(int(known[0]), self.now)
        clock: Int64s = np.maximum.accumulate(known)
        self.now = int(clock[-1])
        return clock
