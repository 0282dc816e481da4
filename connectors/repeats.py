"""Rows of a file that came before: one trade is one row, however often the file has it.

Two rows are the same trade if they have the same instrument, trade date and `trade_id`; without an id, and for quotes,
if they have the same instrument, `ts_event` and `seq`. That is the natural key by which the stores tell rows apart, so
what is stored and what is counted in bars agree. A trade id is unique within a trade date, not for ever: some venues
use theirs again.
"""

from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from market.columns import Bools, Int64s
from market.days import day_of, hours_of
from market.schemas import QUOTE, TRADE
from market.sessions import Hours

REMEMBERED_ROWS: Final = 2**20
"""At least so many rows back a repetition is found: more than any one of our products trades in a day."""

_LEAST_SLOTS: Final = 2**16

Keys = npt.NDArray[np.uint64]
"""Shape (2, n): 128 bits of hash for each row. That two rows share them by chance is not to be expected."""


@dataclass(slots=True)
class Repeats:
    """Tell the rows that came before, over all files of one replay.

    State: 40 to 80 bytes for each of the last `remembered` to 2 x `remembered` rows: 80 MiB at most, as they come.
    """

    remembered: int = REMEMBERED_ROWS
    _now: "_Generation" = field(default_factory=lambda: _Generation())
    _before: "_Generation" = field(default_factory=lambda: _Generation())

    def among(self, rows: pl.DataFrame) -> Bools:
        """Say of each row whether an earlier one was the same, and remember all of them.

        Shape: instrument, kind_code, ts_event_ns, seq_number, trade_id, in file order -> one bool a row; False for
            busts and corrections, which have an order and effects of their own (market.tape).
        """
        repeated = np.zeros(rows.height, np.bool_)
        kinds = rows["kind_code"].to_numpy()
        picked = np.flatnonzero((kinds == TRADE) | (kinds == QUOTE))
        keys = _keys(rows if len(picked) == rows.height else rows[picked])
        at = 0
        while at < len(picked):  # cut where a generation is full, wherever the rows were cut
            end = min(len(picked), at + self.remembered - self._now.rows)
            part = keys[:, at:end]
            repeated[picked[at:end]] = self._now.add(part) | self._before.has(part)
            if self._now.rows >= self.remembered:
                self._before, self._now = self._now, _Generation()
            at = end
        return repeated


class _Generation:
    # Keys that came one after the other: a hash table of open addresses, at most half full.

    __slots__ = ("_one", "_other", "_owner", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._make(_LEAST_SLOTS)

    def add(self, keys: Keys) -> Bools:
        """Add keys; say which of them were here, or came earlier among themselves."""
        self.rows += keys.shape[1]
        if 2 * self.rows > len(self._one):
            kept = self._other != 0
            found = np.stack((self._one[kept], self._other[kept]))
            self._make(1 << (2 * self.rows - 1).bit_length())
            self._add(found)
        return self._add(keys)

    def has(self, keys: Keys) -> Bools:
        known = np.zeros(keys.shape[1], np.bool_)
        left, slot = np.arange(keys.shape[1] if self.rows else 0), self._first_slot(keys)
        while len(left):
            other = self._other[slot]
            same = (other == keys[1, left]) & (self._one[slot] == keys[0, left])
            known[left[same]] = True
            on = ~same & (other != 0)
            left, slot = left[on], (slot[on] + 1) & (len(self._one) - 1)
        return known

    def _make(self, slots: int) -> None:
        self._one, self._other = np.zeros(slots, np.uint64), np.zeros(slots, np.uint64)  # 0: nothing is here
        self._owner = np.zeros(slots, np.int32)  # which row of the last batch put it there

    def _first_slot(self, keys: Keys) -> npt.NDArray[np.intp]:
        slot: npt.NDArray[np.intp] = (keys[0] & np.uint64(len(self._one) - 1)).astype(np.intp)
        return slot

    def _add(self, keys: Keys) -> Bools:
        known = np.zeros(keys.shape[1], np.bool_)
        left, slot = np.arange(keys.shape[1]), self._first_slot(keys)
        while len(left):
            one, other = keys[0, left], keys[1, left]
            free = self._other[slot] == 0
            # Backwards: of those that want one slot the last to be written has it, which is then the first of them.
            at, by = slot[free][::-1], left[free][::-1]
            self._one[at], self._other[at], self._owner[at] = one[free][::-1], other[free][::-1], by
            same = (self._other[slot] == other) & (self._one[slot] == one)
            known[left[same]] = ~free[same] | (self._owner[slot[same]] != left[same])
            left, slot = left[~same], (slot[~same] + 1) & (len(self._one) - 1)
        return known


def _keys(rows: pl.DataFrame) -> Keys:
    named = ((rows["kind_code"] == TRADE) & rows["trade_id"].is_not_null()).to_numpy()
    when, number = rows["ts_event_ns"].to_numpy(), rows["seq_number"].to_numpy()
    if named.any():
        when, number = np.where(named, _trade_dates(rows), when), np.where(named, 0, number)
    # Always the same columns, of the same types: a hash is of all of them.
    identity = rows.select(
        "instrument",
        "kind_code",
        pl.when(pl.Series(named)).then(pl.col("trade_id")).alias("trade_id"),
        pl.Series("when", when, pl.Int64),
        pl.Series("number", number, pl.Int64),
    )
    one, other = (identity.hash_rows(seed).to_numpy() for seed in (1, 2))
    return np.stack((one, other | np.uint64(1)))  # never 0


def _trade_dates(rows: pl.DataFrame) -> Int64s:
    """When the trade date of each row began."""
    instruments = rows["instrument"]
    names = instruments.unique(maintain_order=True)
    code = instruments.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64).to_numpy()
    return day_of([_hours(name) for name in names.to_list()], code, rows["ts_event_ns"].to_numpy())[0]


@cache
def _hours(key: str) -> Hours:
    return hours_of(key, date.max)
