"""What a scenario does to the market itself: prices that jump, volume that surges, a roll, a step of the duty.

A `Move` holds from `from_ns` to `to_ns`, and again every `every_ns` if that is not 0. Every venue is told of the
same moves, so that a shock to a commodity reaches all of them, each with its own latency.

Units: times ns UTC by the market clock; `size` as its kind says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from feeds_simulator.model.products import Profile

FOR_EVER_NS: Final = 1 << 62

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class MoveKind(Enum):
    """What a move changes, and what its size is."""

    PRICE = "price"  # the log of the fair value is this much higher
    ACTIVITY = "activity"  # there are so many times the usual actions
    ROLL = "roll"  # the share of the front month is this
    DUTY = "duty"  # the rate of the duty is this


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move of the commodities and products (`MIC:ROOT`) that it names."""

    kind: MoveKind
    names: frozenset[str]
    from_ns: int
    to_ns: int = FOR_EVER_NS
    every_ns: int = 0
    size: float
    ramp_s: float = 1.0
    """A price gets there, and back, with this time constant."""

    def concerns(self, profile: Profile) -> bool:
        return profile.commodity in self.names or f"{profile.mic}:{profile.root}" in self.names

    def holds(self, ts_ns: int) -> bool:
        since_ns = ts_ns - self.from_ns
        return since_ns >= 0 and (since_ns % self.every_ns if self.every_ns else since_ns) < self.to_ns - self.from_ns

    def next_change_ns(self, ts_ns: int) -> int:
        """Return when it begins or ends next, after `ts_ns`."""
        since_ns, length_ns = ts_ns - self.from_ns, self.to_ns - self.from_ns
        if since_ns < 0:
            return self.from_ns
        if self.every_ns:
            began_ns = self.from_ns + since_ns // self.every_ns * self.every_ns
            return began_ns + (length_ns if ts_ns < began_ns + length_ns else self.every_ns)
        return self.to_ns if since_ns < length_ns else FOR_EVER_NS

    def shift(self, times_ns: Times) -> Floats:
        """Return what a PRICE move adds to the log of the fair value at these times."""
        since_s = (times_ns - self.from_ns) / 1e9
        length_s = (self.to_ns - self.from_ns) / 1e9
        phase_s = np.where(since_s > 0, since_s % (self.every_ns / 1e9) if self.every_ns else since_s, 0.0)
        there = 1 - np.exp(-np.minimum(phase_s, length_s) / self.ramp_s)
        back = np.exp(-np.maximum(phase_s - length_s, 0.0) / self.ramp_s)
        shift: Floats = self.size * there * back
        return shift


class Moves:
    """The moves that concern one product."""

    def __init__(self, moves: Sequence[Move], profile: Profile) -> None:
        mine = [move for move in moves if move.concerns(profile)]
        self._by_kind = {kind: [move for move in mine if move.kind is kind] for kind in MoveKind}

    def shift(self, times_ns: Times) -> Floats | float:
        """Return the sum of the price moves at these times: logs."""
        total: Floats | float = 0.0
        for move in self._by_kind[MoveKind.PRICE]:
            total = total + move.shift(times_ns)
        return total

    def value(self, kind: MoveKind, ts_ns: int) -> float | None:
        """Return the size of the latest move of a kind that holds; None if there is none."""
        return next((move.size for move in reversed(self._by_kind[kind]) if move.holds(ts_ns)), None)

    def next_change_ns(self, ts_ns: int) -> int:
        """Return when anything but a price changes next."""
        steps = (move for kind, moves in self._by_kind.items() if kind is not MoveKind.PRICE for move in moves)
        return min((move.next_change_ns(ts_ns) for move in steps), default=FOR_EVER_NS)
