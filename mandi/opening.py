"""When a demo begins: at an hour when the products of every simulated venue trade, or as many as possible."""

import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

from feeds_simulator.model import PROFILES
from mandi.clock import FileClock
from market.instruments import Contract, InstrumentMaster
from market.sessions import NS_PER_S, SEARCH_HORIZON_DAYS, NoCommonSession, is_open, next_open

_OPEN_AT_START_S: Final = 2 * 3600.0
_STEP_NS: Final = 3600 * NS_PER_S


def open_market(clock: FileClock, speed: float, say: Callable[[str], None], lead_ns: int = 0) -> None:
    """Set the market clock so that the products of the demo trade now, and go on doing so for a while.

    It stays at the wall's time when the markets are open, and only ever moves forward. `lead_ns` from now it takes
    effect: long enough for every running process to have read it.
    """
    wall_ns = time.time_ns() + lead_ns
    market_ns = clock.clock.at(wall_ns)
    opens_ns = best_open(simulated_contracts(market_ns), market_ns, _OPEN_AT_START_S)
    clock.set(clock.clock.shifted(wall_ns=wall_ns, market_ns=opens_ns, speed=speed))
    if opens_ns > market_ns:
        hours = (opens_ns - market_ns) / 3.6e12
        say(f"markets are closed at this hour: the market clock runs {hours:.1f} h ahead to an open session")


def closes_soon(market_ns: int, within_s: float) -> bool:
    """Say whether a product of the demo closes within a time, and there is a better hour."""
    return best_open(simulated_contracts(market_ns), market_ns, within_s) > market_ns


def simulated_contracts(market_ns: int) -> list[Contract]:
    """Return what the simulated venues list."""
    master, day = InstrumentMaster.load(), date.fromtimestamp(market_ns // NS_PER_S)
    found = [master.product(profile.mic, profile.root, day) for profiles in PROFILES.values() for profile in profiles]
    return [contract for contract in found if contract is not None]


def best_open(contracts: Sequence[Contract], ts_ns: int, min_open_s: float) -> int:
    """Return the earliest instant >= `ts_ns` when all contracts are open and stay so for `min_open_s`.

    Where there is none within the horizon (holidays follow one another), the first hour with the most of them.
    """
    try:
        return next_open(contracts, ts_ns, min_open_s)
    except NoCommonSession:
        hours = range(ts_ns, ts_ns + SEARCH_HORIZON_DAYS * 24 * _STEP_NS, _STEP_NS)
        return max(hours, key=lambda at_ns: sum(_stays_open(contract, at_ns, min_open_s) for contract in contracts))


def _stays_open(contract: Contract, ts_ns: int, min_open_s: float) -> bool:
    return is_open(contract, ts_ns) and is_open(contract, ts_ns + int(min_open_s * NS_PER_S))
