"""Exact 128-bit sums over numpy columns: what volume and notional need, and numpy does not have.

A `Wide` column is two's complement in two 64-bit limbs, the memory layout of Arrow's decimal128. Group sums use
that int64 arithmetic wraps: the low limb of a sum is exact modulo 2**64, and a float64 sum of the same terms, good to
far better than 2**63, says which multiple of 2**64 belongs to it. Where it could not be that good, Python's
integers do the work.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.columns import Int64s

_TWO_64: Final = float(2**64)
# A float64 sum of n <= 2**22 terms is off by at most n * 2**-52 * sum|x|: under 2**63 while sum|x| of a group < 2**92.
_SAFE_MAGNITUDE: Final = float(2**92)
_SAFE_VOLUME: Final = 2**52
_MASK_64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Wide:
    """A column of 128-bit integers: value = hi * 2**64 + lo."""

    hi: Int64s
    lo: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.lo)

    def __getitem__(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Wide":
        return Wide(self.hi[index], self.lo[index])

    def plus(self, other: "Wide") -> "Wide":
        """Element-wise sum."""
        lo = self.lo + other.lo
        return Wide(self.hi + other.hi + (lo < self.lo), lo)

    def to_ints(self) -> list[int]:
        """Python integers; for output of few rows and for tests."""
        return [(h << 64) + low for h, low in zip(self.hi.tolist(), self.lo.tolist(), strict=True)]


def empty() -> Wide:
    return Wide(np.empty(0, np.int64), np.empty(0, np.uint64))


def from_ints(numbers: list[int]) -> Wide:
    return Wide(
        np.array([number >> 64 for number in numbers], np.int64),
        np.array([number & _MASK_64 for number in numbers], np.uint64),
    )


def concat(parts: list[Wide]) -> Wide:
    return Wide(np.concatenate([p.hi for p in parts]), np.concatenate([p.lo for p in parts]))


def sum_groups(terms: Int64s, starts: npt.NDArray[np.intp]) -> Wide:
    """Sum int64 terms over the groups that begin at `starts`.

    Terms are sizes, below 2**60 each, so the float sum of 2**22 of them is always safe.
    """
    lo = np.add.reduceat(terms.view(np.uint64), starts)
    if int(terms.min()) >= 0 and int(terms.max()) * len(terms) <= _MASK_64:
        return Wide(np.zeros(len(lo), np.int64), lo)
    return _lift(lo, np.add.reduceat(terms.astype(np.float64), starts))


def sum_product_groups(left: Int64s, right: Int64s, starts: npt.NDArray[np.intp]) -> Wide:
    """Sum left * right, exactly, over the groups that begin at `starts`."""
    estimates = left.astype(np.float64)
    estimates *= right
    sums = np.add.reduceat(estimates, starts)
    magnitudes = sums if float(estimates.min()) >= 0 else np.add.reduceat(np.abs(estimates), starts)
    if float(magnitudes.max()) >= _SAFE_MAGNITUDE:
        return _sum_products_slowly(left, right, starts)
    return _lift(np.add.reduceat(left.view(np.uint64) * right.view(np.uint64), starts), sums)


def reduce_groups(column: Wide, starts: npt.NDArray[np.intp]) -> Wide:
    """Sum a Wide column over the groups that begin at `starts`."""
    carried = _lift(np.add.reduceat(column.lo, starts), np.add.reduceat(column.lo.astype(np.float64), starts))
    return Wide(carried.hi + np.add.reduceat(column.hi, starts), carried.lo)


def _lift(lo: npt.NDArray[np.uint64], estimate: npt.NDArray[np.float64]) -> Wide:
    """Give exact low limbs the high limb that brings the value nearest to its estimate."""
    return Wide(np.rint((estimate - lo) / _TWO_64).astype(np.int64), lo)


def _sum_products_slowly(left: Int64s, right: Int64s, starts: npt.NDArray[np.intp]) -> Wide:
    products = [a * b for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    ends = [*starts.tolist()[1:], len(products)]
    return from_ints([sum(products[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)])


def divide_half_even(numerator: Wide, denominator: Wide) -> Int64s:
    """Exact quotients rounded half to even; the quotient must fit int64, the denominator be positive."""
    small = (denominator.hi == 0) & (denominator.lo < _SAFE_VOLUME)
    if not bool(small.all()):
        pairs = zip(numerator.to_ints(), denominator.to_ints(), strict=True)
        return np.array([_divide_ints(n, d) for n, d in pairs], np.int64)
    # The float quotient is off by less than 2**10, so the true remainder of it fits int64 and is right modulo 2**64.
    by = denominator.lo.view(np.int64)
    quotient = np.rint((numerator.hi * _TWO_64 + numerator.lo) / by).astype(np.int64)
    remainder = (numerator.lo - quotient.view(np.uint64) * denominator.lo).view(np.int64)
    step: Int64s = remainder // by
    quotient, remainder = quotient + step, remainder - step * by
    doubled = 2 * remainder
    up = (doubled > by) | ((doubled == by) & ((quotient & 1) == 1))
    rounded: Int64s = quotient + up
    return rounded


def _divide_ints(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    doubled = 2 * remainder
    return quotient + (doubled > denominator or (doubled == denominator and quotient & 1 == 1))


def to_decimal128(column: Wide, precision: int, scale: int) -> pa.Array:
    """The column as Arrow decimals of value / 10**scale."""
    limbs = np.empty((len(column), 2), np.uint64)
    limbs[:, 0] = column.lo
    limbs[:, 1] = column.hi.view(np.uint64)
    return pa.Array.from_buffers(pa.decimal128(precision, scale), len(column), [None, pa.py_buffer(limbs.tobytes())])
