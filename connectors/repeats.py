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

REMEMBERED_ROWS: Final = 2**21
"""At least so many rows back a repetition is found: more than any one of our products trades in a day."""

Keys = npt.NDArray[np.uint64]
"""Shape (2, n): 128 bits of hash for each row. That two rows share them by chance is not to be expected."""


@dataclass(slots=True)
class Repeats:
    """Tell the rows that came before, over all files of one replay.

    State: 16 bytes for each of the last `remembered` to 2 x `remembered` rows: 64 MiB at most, as it comes.
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
            repeated[picked[at:end]] = self._now.add(keys[:, at:end], self._before)
            if self._now.rows >= self.remembered:
                self._before, self._now = self._now, _Generation()
            at = end
        return repeated


@dataclass(slots=True)
class _Generation:
    # Keys that came one after the other. A few sorted runs, each more than twice as long as the next.
    rows: int = 0
    _runs: list[Keys] = field(default_factory=list)

    def add(self, keys: Keys, before: "_Generation") -> Bools:
        """Add keys; say which of them were here, in `before`, or earlier among themselves."""
        order = np.argsort(keys[0], kind="stable")
        rising = keys[:, order]
        found = self.has(rising)
        found[1:] |= (rising[:, 1:] == rising[:, :-1]).all(axis=0)
        self.rows += len(order)
        self._runs.append(rising[:, ~found])
        found |= before.has(rising)  # and here from now on
        while len(self._runs) > 1 and self._runs[-2].shape[1] <= 2 * self._runs[-1].shape[1]:
            self._runs[-2:] = [_merged(self._runs[-2], self._runs[-1])]
        repeated = np.empty(len(order), np.bool_)
        repeated[order] = found
        return repeated

    def has(self, rising: Keys) -> Bools:
        found = np.zeros(rising.shape[1], np.bool_)
        for run in self._runs:
            if run.size:
                at = np.minimum(np.searchsorted(run[0], rising[0]), run.shape[1] - 1)
                found |= (run[:, at] == rising).all(axis=0)
        return found


def _merged(one: Keys, other: Keys) -> Keys:
    both = np.concatenate((one, other), axis=1)
    merged: Keys = both[:, np.argsort(both[0], kind="stable")]
    return merged


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
    return np.stack([identity.hash_rows(seed).to_numpy() for seed in (1, 2)])


def _trade_dates(rows: pl.DataFrame) -> Int64s:
    """When the trade date of each row began."""
    instruments = rows["instrument"]
    names = instruments.unique(maintain_order=True)
    code = instruments.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64).to_numpy()
    return day_of([_hours(name) for name in names.to_list()], code, rows["ts_event_ns"].to_numpy())[0]


@cache
def _hours(key: str) -> Hours:
    return hours_of(key, date.max)
