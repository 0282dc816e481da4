"""Rows as steps of a second of the arrival clock: what every instrument did in each, for detectors that score steps.

Prices and volumes are folded as integers, so a step is the same however the rows were cut into batches. The arrival
clock is the newest `ts_recv` (else `ts_event`) of all rows so far; rows that are late, from the future or replayed move
it, and are no part of a step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from market.columns import Bools, Int64s, codes, dictionary, valid, values
from market.detectors.protocol import STEP_NS, Print, Step
from market.schemas import BUST, FLAG_REPLAYED, QUOTE, STATE, TRADE
from market.watermark import ACCEPTED, FUTURE, Judged

_PER_MICRO_LOT: Final = 1_000
_MOST_MICRO_LOTS: Final = 10**12
"""A million lots a trade: more is clipped, so that no sum of a batch leaves 64 bits."""

NEVER: Final = -(2**62)


class Part(NamedTuple):
    """Rows [start, stop) of an order of rows: of one instrument, in one step."""

    second: int
    name: str | None
    rows: Int64s


class Said(NamedTuple):
    """A STATE row: the venue's word on an instrument, or on all of it."""

    venue: str
    instrument: str | None
    state: int


@dataclass(slots=True)
class Steps:
    """One batch, ready to be taken part by part. `now` is the arrival clock before it, and after it."""

    judged: Judged
    now: int
    _columns: dict[str, Int64s] = field(default_factory=dict)
    _plain: Bools | None = None

    def parts(self) -> Iterator[Part]:
        """Return the steps in order, and in each its instruments by name; without one where none has rows."""
        rows, column = self.judged.rows, self.judged.rows.column("instrument")
        second, code = self._clock() // STEP_NS, codes(column).astype(np.int64)
        named = valid(column)
        if named is not None:
            code = np.where(named, code, -1)
        names = dictionary(column)
        rank = np.argsort(np.argsort(np.array(names, dtype=object))) if names else np.empty(0, np.int64)
        code = np.where(code >= 0, rank[code] if names else 0, -1)
        by_rank = {int(at): name for at, name in zip(rank, names, strict=True)}
        order = np.lexsort((np.arange(rows.num_rows), code, second))
        step, who = second[order], code[order]
        starts = np.flatnonzero((np.diff(step, prepend=step[0] - 1) != 0) | (np.diff(who, prepend=who[0] - 1) != 0))
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            yield Part(int(step[start]), by_rank.get(int(who[start])), order[start:stop])

    def states(self, part: Part) -> list[Said]:
        rows, kind = self.judged.rows, self._column("kind")
        stating = part.rows[kind[part.rows] == STATE]
        if not len(stating):
            return []
        found = rows.take(pa.array(stating))
        return [Said(row["venue"], row["instrument"], int(row["size"])) for row in found.to_pylist()]

    def fold(self, part: Part, step: Step) -> bool:
        """Add the rows of a part to its step; say whether there was any that counts."""
        rows = part.rows[self._counts()[part.rows]]
        kind = self._column("kind")[rows]
        self._fold_trades(rows[kind == TRADE], step)
        self._fold_quotes(rows[kind == QUOTE], step)
        for row in rows[kind == BUST].tolist():
            trade_id = self.judged.rows.column("trade_id")[row].as_py()
            step.busted += [trade_id] if trade_id is not None else []
        told = rows[(kind == TRADE) | (kind == QUOTE)]
        if len(told):
            step.ts_event = max(step.ts_event, int(self._column("ts_event")[told].max()))
        return bool(len(told))

    def _fold_trades(self, rows: Int64s, step: Step) -> None:
        if not len(rows):
            return
        price = self._column("price")[rows]
        step.trades += len(rows)
        step.volume += int(np.minimum(self._column("size")[rows] // _PER_MICRO_LOT, _MOST_MICRO_LOTS).sum())
        step.last = int(price[-1])
        least, most = int(price.argmin()), int(price.argmax())
        if step.low is None or price[least] < step.low.price:
            step.low = self._print(int(rows[least]))
        if step.high is None or price[most] > step.high.price:
            step.high = self._print(int(rows[most]))

    def _fold_quotes(self, rows: Int64s, step: Step) -> None:
        if not len(rows):
            return
        sides = self.judged.rows.column("bid_price"), self.judged.rows.column("ask_price")
        bid, ask = self._column("bid_price")[rows], self._column("ask_price")[rows]
        has_bid, has_ask = (np.ones(len(rows), bool) if (mask := valid(side)) is None else mask[rows] for side in sides)
        both = has_bid & has_ask & (bid <= ask)
        if both.any():
            least = int((ask - bid)[both].min())
            step.least_spread = least if step.least_spread is None else min(step.least_spread, least)
        step.quotes += len(rows)
        step.quoted = True
        step.bid, step.ask = int(bid[-1]) if has_bid[-1] else None, int(ask[-1]) if has_ask[-1] else None

    def _print(self, row: int) -> Print:
        rows = self.judged.rows
        return Print(
            int(self._column("price")[row]), int(self._column("ts_event")[row]), rows.column("trade_id")[row].as_py()
        )

    def _clock(self) -> Int64s:
        timed = self.judged.verdict != FUTURE
        received = valid(self.judged.rows.column("ts_recv"))
        timed |= True if received is None else received
        known = np.where(timed, self.judged.known_at, NEVER)
        known[0] = max(int(known[0]), self.now)
        clock: Int64s = np.maximum.accumulate(known)
        self.now = int(clock[-1])
        return clock

    def _counts(self) -> Bools:
        if self._plain is None:
            self._plain = (self.judged.verdict == ACCEPTED) & (self._column("flags") & FLAG_REPLAYED == 0)
        return self._plain

    def _column(self, name: str) -> Int64s:
        if name not in self._columns:
            self._columns[name] = values(self.judged.rows.column(name))
        return self._columns[name]
