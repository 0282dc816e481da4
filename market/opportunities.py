"""One pair of contracts as the arbitrage kernel sees it: its legs, what speaks against it, what is open. No Arrow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Final

from market.ladders import Followed
from market.legs import NEVER, Leg
from market.parity import BUY_FOREIGN, COSTS, DIRECTIONS, Bound, Ladder, Terms, ladder, land
from market.schemas import BUY, PRICE_LIMIT, PRICE_SCALE, SELL
from market.sizes import executable, hedged, least_lots
from market.units import to_scaled

NS_PER_S: Final = 1_000_000_000
_FIRST_S: Final = 5  # seconds after which a basis can be far from the others
_ROUNDED: Final = 16
"""By as much, in 1e-9, can the steps of a ladder be rounded together."""
_LEAST: Final = 1  # what an opportunity that is open has to leave
_EPOCH: Final = date(1970, 1, 1)
_INDIA_NS: Final = 19_800 * NS_PER_S
_DAY_NS: Final = 86_400 * NS_PER_S

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """When to believe a gap, and how often to talk about it."""

    fx_age_ns: int = 5 * NS_PER_S
    ahead_ns: int = 2 * NS_PER_S  # a quote stamped further ahead of its receipt, or further behind, is not compared
    behind_ns: int = 10 * NS_PER_S
    every_ns: int = NS_PER_S
    open_bps: int = 1
    """Opens at this much of the Indian price, closes at nothing: no flapping."""
    thin_ns: int = NS_PER_S
    """So long may too few lots be left before it closes: they come and go with every order."""
    learn_s: int = 20  # seconds of basis to have seen before anything opens
    memory_s: int = 600  # seconds the level of the basis goes back
    shock_bps: int = 300
    """A basis this far from its level is a policy step or a wrong price, and no arbitrage."""
    shock_s: int = 900  # a shock that lasts this long is the new level
    arrival_ns: int = NS_PER_S  # how far behind the market clock `on_time` stays


@dataclass(slots=True)
class Opened:
    """An opportunity that is open. `said` is when a row of it was last written."""

    id: str
    said: int
    thin: int | None = None  # since when there have been too few lots


@dataclass(slots=True)
class Level:
    """Where the basis has been: a mean over a fixed number of seconds. State: four integers."""

    value: int = 0
    seen: int = 0
    second: int = -1
    shocked: int = 0

    def learn(self, basis: int, memory: int) -> None:
        self.seen += 1
        self.value += (basis - self.value) // min(self.seen, memory)


_NO_LEG: Final = Leg()

Depth = tuple[Followed | None, Followed | None]
"""The books of the local and of the foreign leg, where there is one to take size from."""


@dataclass(slots=True)
class Pair:
    """A local contract and the foreign one. State: about 500 bytes; terms are gathered again after a restart."""

    commodity: str
    route: str
    local: str
    foreign: str
    day: int = -1
    reason: str | None = None  # why it is silent; '' while it is not; None before anything was said
    opened: dict[str, Opened] = field(default_factory=dict)
    level: Level = field(default_factory=Level)
    watched: int = -NEVER
    last_ts: int = -NEVER

    # What the kernel keeps here to have it at hand, no state: of the day, and the newest quotes.
    today: int = NEVER  # when it begins
    tomorrow: int = -NEVER
    terms: Terms | None = None
    limit_ns: int = -NEVER  # how old a quote may be
    bounds: tuple[Bound, Bound] | None = None
    opening: tuple[Bound, Bound] | None = None  # of what opens, at this level
    missing: str = ""
    legs: list[Leg] = field(default_factory=lambda: [_NO_LEG] * 3)  # local, foreign, FX

    def oldest(self, caution: Caution) -> int:
        """When one of its quotes becomes too old."""
        local, foreign, fx = self.legs
        return min(local.came + self.limit_ns, foreign.came + self.limit_ns, fx.came + caution.fx_age_ns)

    def due(self, caution: Caution) -> int:
        """When it falls silent because a quote has become too old."""
        return NEVER if self.reason or self.terms is None else self.oldest(caution)

    def usual(self, direction: str) -> int:
        """Net at the level of the basis."""
        return self.level.value if direction == BUY_FOREIGN else -self.level.value


def india_day(ts: int) -> int:
    """The number of the day in India since 1970."""
    return (ts + _INDIA_NS) // _DAY_NS


def begin_ns(day: int) -> int:
    """When a day in India begins."""
    return day * _DAY_NS - _INDIA_NS


def date_of(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def basis_of(terms: Terms, local: Leg, foreign: Leg, fx: Leg) -> int:
    """Mid in India less mid landed."""
    mids = [Fraction(_sum(leg), 2 * PRICE_SCALE) for leg in (local, foreign, fx)]
    return to_scaled(mids[0] - land(terms, mids[1], mids[2]).landed)


def _sum(leg: Leg) -> int:
    assert leg.bid is not None
    assert leg.ask is not None
    return leg.bid + leg.ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one direction of a pair offers now."""

    ladder: Ladder
    executable: bool
    to_level: int
    """Net if the basis only goes back to its level, and not to parity."""


def prices(direction: str, legs: Sequence[Leg]) -> tuple[int, int, int]:
    """Prices (local, foreign, FX) that an order would meet first."""
    local, foreign, fx = legs
    if direction == BUY_FOREIGN:
        return local.bid or 0, foreign.ask or 0, fx.ask or 0
    return local.ask or 0, foreign.bid or 0, fx.bid or 0


def least(local_price: int, caution: Caution) -> int:
    """What an opportunity has to leave to open, at the first price of the local leg."""
    return max(abs(local_price) * caution.open_bps // 10_000, _LEAST)


def offer(pair: Pair, direction: str, depth: Depth, caution: Caution) -> Found:
    """Compute the ladder of the size that earns most of those that are enough to open; once open, else of any left.

    If no whole lots leave anything: that of what is at the top of both quotes, else of the fewest lots that match.
    """
    assert pair.terms is not None
    assert pair.bounds is not None
    local, foreign, fx = prices(direction, pair.legs)
    sides = (BUY, SELL) if direction == BUY_FOREIGN else (SELL, BUY)
    here, abroad = (leg.levels(side, book) for leg, side, book in zip(pair.legs, sides, depth, strict=False))
    usual, opens = pair.usual(direction), least(local, caution)
    found = executable(
        pair.terms,
        direction,
        here,
        abroad,
        fx,
        bound=pair.bounds[DIRECTIONS.index(direction)],
        usual=usual,
        least=(opens, _LEAST) if direction in pair.opened else (opens,),
    )
    if found is not None:
        return Found(ladder=found, executable=True, to_level=found.net - usual)
    lots = hedged(pair.terms, _lots_at(here, local), _lots_at(abroad, foreign))
    found = ladder(pair.terms, direction, local, foreign, fx, lots if lots[0] else least_lots(pair.terms))
    return Found(ladder=found, executable=bool(lots[0]), to_level=found.net - usual)


def _lots_at(levels: Sequence[tuple[int, int]], price: int) -> int:
    return levels[0][1] if levels and levels[0][0] == price else 0


def best(pair: Pair, depth: Depth, caution: Caution) -> Found:
    """The direction that leaves more, with what is needed for a sample."""
    return max((offer(pair, direction, depth, caution) for direction in DIRECTIONS), key=lambda found: found.ladder.net)


def of_interest(pair: Pair, caution: Caution) -> list[str]:
    """The directions in which there is something open, or enough to open can be left at the top of both; cheap."""
    local, foreign, fx = pair.legs
    opening = pair.opening or _opening(pair, caution)
    found = []
    if opening[0].is_positive(local.bid or 0, foreign.ask or 0, fx.ask or 0) or BUY_FOREIGN in pair.opened:
        found.append(DIRECTIONS[0])
    if opening[1].is_positive(local.ask or 0, foreign.bid or 0, fx.bid or 0) or DIRECTIONS[1] in pair.opened:
        found.append(DIRECTIONS[1])
    return found


def _opening(pair: Pair, caution: Caution) -> tuple[Bound, Bound]:
    assert pair.bounds is not None
    first, second = (
        bound.beyond(max(pair.usual(direction), 0) - _ROUNDED, caution.open_bps)
        for bound, direction in zip(pair.bounds, DIRECTIONS, strict=True)
    )
    pair.opening = first, second
    return pair.opening


def row_of(pair: Pair, found: Found | None, now: int, *, name: str, state: str, reason: str) -> Row:
    """A row of ARBITRAGE; without numbers where there are none."""
    direction = found.ladder.direction if found is not None else BUY_FOREIGN
    buys = (pair.foreign, pair.local) if direction == BUY_FOREIGN else (pair.local, pair.foreign)
    row: Row = {
        "opportunity_id": name,
        "ts_event": now,
        "commodity": pair.commodity,
        "direction": direction,
        "buy_instrument": buys[0],
        "sell_instrument": buys[1],
        "state": state,
        "reason": reason,
        "currency": "INR",
        "unit": "" if pair.terms is None else pair.terms.route.local_unit,
        "assumed": "" if pair.terms is None else " ".join(pair.terms.assumed),
        **_ages(direction, pair.legs, now),
    }
    if found is not None:
        row |= _numbers(found)
        row["basis"], row["level"] = _basis(pair), _fits(pair.level.value)
    return row


def _numbers(found: Found) -> Row:
    steps = found.ladder
    prices = (steps.foreign_price, steps.local_price)
    buy, sell = prices if steps.direction == BUY_FOREIGN else prices[::-1]
    numbers = {
        "buy_price": buy,
        "sell_price": sell,
        "fx_price": steps.fx,
        "gross": steps.gross,
        **{f"cost_{name}": steps.costs[name] for name in COSTS},
        "net": steps.net,
        "size": steps.local_lots * PRICE_SCALE if found.executable else 0,
        "foreign_size": steps.foreign_lots * PRICE_SCALE if found.executable else 0,
        "net_inr": steps.total_inr if found.executable else 0,
        "net_usd": steps.total_usd if found.executable else 0,
    }
    return {name: _fits(value) for name, value in numbers.items()}


def _basis(pair: Pair) -> int | None:
    assert pair.terms is not None
    return _fits(basis_of(pair.terms, *pair.legs))


def _ages(direction: str, legs: Sequence[Leg], now: int) -> Row:
    local, foreign, fx = legs
    buy, sell = (foreign, local) if direction == BUY_FOREIGN else (local, foreign)
    ages: Row = {
        f"{name}_age_ms": None if leg.came == -NEVER else (now - leg.came) // 1_000_000
        for name, leg in (("buy", buy), ("sell", sell), ("fx", fx))
    }
    known = local.came != -NEVER and foreign.came != -NEVER
    ages["skew_ms"] = abs(local.ts_event - foreign.ts_event) // 1_000_000 if known else None
    return ages


def _fits(value: int) -> int | None:
    """Null for what no store's decimal holds: sums that only a wrong price can make."""
    return value if -PRICE_LIMIT < value < PRICE_LIMIT else None


def shocked(pair: Pair, now: int, caution: Caution) -> str:
    """Follow the basis once a second; return why it is not to be believed, or ''."""
    level, second = pair.level, now // NS_PER_S
    if second > level.second:
        _follow(pair, second, caution)
        level = pair.level
    if level.shocked:
        return _shock(caution)
    return "" if level.seen >= caution.learn_s else "learning: the level of the basis"


def _follow(pair: Pair, second: int, caution: Caution) -> None:
    assert pair.terms is not None
    level, local = pair.level, pair.legs[0].bid or 1
    basis = basis_of(pair.terms, *pair.legs)
    far = abs(basis - level.value) * 10_000 > caution.shock_bps * abs(local)
    level.second, pair.opening = second, None
    if level.seen >= _FIRST_S and far:
        level.shocked += 1
        if level.shocked >= caution.shock_s:
            pair.level = Level(second=second)
    else:
        level.shocked = 0
        if not pair.opened:
            level.learn(basis, caution.memory_s)


def beyond(pair: Pair, directions: Iterable[str], caution: Caution) -> str:
    """Return why what is at the top is too good to be true, or ''. At once: a wrong price need not last for a second.

    By the top, whatever is behind it: one lot at a wrong price would vanish in an average.
    """
    assert pair.bounds is not None
    for direction in directions:
        bound = pair.bounds[DIRECTIONS.index(direction)].beyond(pair.usual(direction), caution.shock_bps)
        if bound.is_positive(*prices(direction, pair.legs)):
            return _shock(caution)
    return ""


def _shock(caution: Caution) -> str:
    return f"policy_shock: the basis is more than {caution.shock_bps / 100:g} % off its level"


def is_fit(pair: Pair, now: int, caution: Caution) -> bool:
    """Whether nothing is blocked; cheap."""
    local, foreign, fx = pair.legs
    return local.fit and foreign.fit and fx.fit and now <= pair.oldest(caution)


def blocked(pair: Pair, now: int, caution: Caution) -> str:
    """Why no quote of the pair is to be compared now, or ''; the qualities of its instruments are the kernel's."""
    local, foreign, fx = pair.legs
    if pair.terms is None:
        return f"missing: {pair.missing}"
    for name, leg in (("USDINR", fx), (pair.local, local), (pair.foreign, foreign)):
        if leg.came == -NEVER:
            return f"no_quote: of {name} yet"
    if now > fx.came + caution.fx_age_ns:
        return f"fx_old: USDINR is older than {caution.fx_age_ns / 1e9:g} s"
    limit = pair.limit_ns
    for name, leg in (("USDINR", fx), (pair.local, local), (pair.foreign, foreign)):
        if not leg.fit:
            return _unfit(name, leg)
        if leg is not fx and now > leg.came + limit:
            return f"old: {name} is older than {limit / 1e9:g} s"
    return ""


def _unfit(name: str, leg: Leg) -> str:
    if leg.skewed:
        return f"clock_skew: {name} is stamped {leg.skewed}"
    return f"one_sided: {name}" if leg.bid is None or leg.ask is None else f"crossed: {name}"
