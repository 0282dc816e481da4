"""Daily closes of the seven commodities that MODELS measured, and its measures."""

import csv

import numpy as np
import numpy.typing as npt
from shared_data import shared_data

NAMES = ("GOLD", "SILVER", "WTI CRUDE", "NATURAL GAS", "COTTON", "WHEAT", "COPPER")
NEGATIVE = ("WTI CRUDE", "2020-04-20")
Floats = npt.NDArray[np.float64]


def closes(name: str, since: str = "2000") -> Floats:
    with shared_data("commodity-daily", "commodity_futures.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row[name] and row["Date"] >= since]
    return np.array([float(row[name]) for row in rows if (name, row["Date"]) != NEGATIVE])


def first_of(year: str, name: str) -> int:
    """How many closes there are before a year."""
    return len(closes(name)) - len(closes(name, year))


def worst_quarter(held: Floats) -> float:
    """The least share of hits in 63 days."""
    return float(np.convolve(held, np.ones(63) / 63, "valid").min())
