"""Who else saw it: a move at one venue, against the same commodity elsewhere.

Moves are compared as returns over the same time, so units cancel; between an INR contract and one in dollars the return
of USDINR stands in between. A venue is no witness of itself. The label of a move:

- real_move    another venue moved at least HALF as far, the same way
- fx_move      the rupee did
- policy_step  nobody did, and it is no wrong price: what bears an Indian duty moved for good, or to its limit
- bad_tick     somebody fresh looked on for GRACE_S and explains less than a QUARTER of it
- unconfirmed  nobody fresh, or something between; or a move that nobody else saw, and that stayed
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from market.columns import codes, dictionary, is_few, valid, values
from market.detectors.protocol import NS_PER_S, STEP_NS
from market.episodes import BAD_TICK, FX_MOVE, REAL_MOVE, UNCONFIRMED
from market.schemas import QUOTE

GRACE_S: Final = 3
"""The slowest venue of the simulated market is 1.5 s behind; a broker's feed of MCX tells its state once a second."""

HALF: Final = 0.5
QUARTER: Final = 0.25
_FRESH_S: Final = 10
_FOUND_OUT_S: Final = 5  # after a start, all venues have said something by then
_RATES_KEPT: Final = 1_800


class Peer(Protocol):
    """An instrument that may be a witness."""

    @property
    def name(self) -> str: ...

    @property
    def in_rupees(self) -> bool: ...

    @property
    def path(self) -> "Path":
        """Its prices."""

    @property
    def fresh_ns(self) -> int:
        """When it last said something."""


@dataclass(slots=True)
class Rates:
    """USDINR over the last half hour, by the second, as it became known. Never moves the clock of the others."""

    names: frozenset[str]
    _seconds: list[int] = field(default_factory=list)
    _prices: list[int] = field(default_factory=list)

    def take(self, arrivals: pa.RecordBatch) -> pa.RecordBatch:
        """Keep the rates of a batch, and return its other rows."""
        column = arrivals.column("instrument")
        wanted = [code for code, name in enumerate(dictionary(column)) if name in self.names]
        if not wanted:
            return arrivals
        code = codes(column)
        is_rate = np.array([each in wanted for each in code.tolist()]) if is_few(arrivals) else np.isin(code, wanted)
        named = valid(column)
        is_rate = is_rate if named is None else is_rate & named
        rates = int(is_rate.sum())
        if not rates:
            return arrivals
        if rates == arrivals.num_rows:  # as most are: the rate has records of its own
            self._keep(arrivals)
            return arrivals.slice(0, 0)
        self._keep(arrivals.filter(pa.array(is_rate)))
        return arrivals.filter(pa.array(~is_rate))

    def move(self, from_ns: int, to_ns: int) -> float | None:
        """The log return of the rate between two times; None where it is not known."""
        before, after = self._at(from_ns), self._at(to_ns)
        return None if before is None or after is None else math.log(after / before)

    def snapshot(self) -> object:
        return list(self._seconds), list(self._prices)

    def restore(self, state: object) -> None:
        saved: tuple[list[int], list[int]] = state  # type: ignore[assignment]
        seconds, prices = saved
        self._seconds, self._prices = list(seconds), list(prices)

    def _keep(self, rows: pa.RecordBatch) -> None:
        bid, ask = (values(rows.column(name)) for name in ("bid_price", "ask_price"))
        kind = values(rows.column("kind")) == QUOTE
        for side in ("bid_price", "ask_price"):
            known = valid(rows.column(side))
            kind = kind if known is None else kind & known
        received = valid(rows.column("ts_recv"))
        at = values(rows.column("ts_recv"))
        at = at if received is None else np.where(received, at, values(rows.column("ts_event")))
        for row in np.flatnonzero(kind & (bid <= ask) & (bid > 0)).tolist():
            second, price = int(at[row]) // STEP_NS, (int(bid[row]) + int(ask[row])) // 2
            if self._seconds and second <= self._seconds[-1]:
                self._prices[-1] = price
            else:
                self._seconds.append(second)
                self._prices.append(price)
        del self._seconds[:-_RATES_KEPT], self._prices[:-_RATES_KEPT]

    def _at(self, at_ns: int) -> int | None:
        found = bisect_right(self._seconds, at_ns // STEP_NS - 1)
        return self._prices[found - 1] if found else None


@dataclass(slots=True)
class Path:
    """An instrument's prices over the last minutes, at the ends of the steps in which they changed."""

    _points: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=128))

    def add(self, at_ns: int, price: int) -> None:
        if not self._points or self._points[-1][1] != price:
            self._points.append((at_ns, price))

    def at(self, at_ns: int) -> int | None:
        for when, price in reversed(self._points):
            if when <= at_ns:
                return price
        return None

    def since(self, at_ns: int) -> tuple[int, int]:
        """A time and the price then: that time, or where the path is younger, soon after it began. 0: no price."""
        if self._points:
            at_ns = max(at_ns, self._points[0][0] + _FOUND_OUT_S * NS_PER_S)
        return at_ns, self.at(at_ns) or 0

    def extreme(self, since_ns: int, *, above: bool) -> int | None:
        """The highest (or lowest) price since a time, and as it stood then."""
        inside = [price for when, price in self._points if when > since_ns]
        stood = self.at(since_ns)
        inside += [] if stood is None else [stood]
        return (max(inside) if above else min(inside)) if inside else None


def judge_move(
    own: Peer, base: tuple[int, int], price: int, peers: Iterable[Peer], rates: Rates, now_ns: int
) -> tuple[str, dict[str, Any], bool]:
    """Label a move of `own` from `base` to `price`; with the evidence, and whether that somebody fresh looked on."""
    if base[1] <= 0 or price <= 0 or price == base[1]:
        return UNCONFIRMED, {}, False
    move, seen, shares = math.log(price / base[1]), [], [(0.0, 0.0)]
    for peer in peers:
        # A witness may have moved a little earlier, and may have come back since.
        since_ns = base[0] - GRACE_S * NS_PER_S
        before, now = peer.path.at(since_ns), peer.path.extreme(since_ns, above=move > 0)
        if before is None or now is None or before <= 0 or now <= 0 or now_ns - peer.fresh_ns > _FRESH_S * NS_PER_S:
            continue
        elsewhere, fx = math.log(now / before), 0.0
        if own.in_rupees != peer.in_rupees:
            rate = rates.move(since_ns, now_ns)
            if rate is None:
                continue
            fx = rate if own.in_rupees else -rate
        shares.append((elsewhere / move, fx / move))
        seen.append({"instrument": peer.name, "bps": _bps(elsewhere), "fx_bps": _bps(fx)})
    evidence = {"move_bps": _bps(move), "peers": seen}
    market, fx = max(share for share, _ in shares), max(share for _, share in shares)
    if market >= HALF:
        return REAL_MOVE, evidence, True
    if fx >= HALF:
        return FX_MOVE, evidence, True
    whole = max(market + fx for market, fx in shares)
    return (BAD_TICK if seen and whole < QUARTER else UNCONFIRMED), evidence, bool(seen)


def _bps(log_return: float) -> float:
    return round(log_return * 1e4, 2)
