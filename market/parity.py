"""Landed-cost parity: what a foreign price is in Indian terms, every cost by name, and what a gap leaves.

Two directions, both held against the landed cost (docs/arbitrage.md):

- BUY_FOREIGN  buy abroad, land it, sell in India: the landing costs are paid.
- BUY_LOCAL    buy in India what would else be landed, sell abroad: the landing costs are saved, so they are negative.
  It is no export: bullion cannot freely leave India. It is a basis trade, as both are on paper.

Units: per unit of the local quote (10 g, kg, bbl, candy ...) in INR, exact Fractions until `Ladder`, whose numbers are
multiples of 1e-9, each rounded half to even, so that gross less all costs is net to the last digit. Prices come
in the quote of their own contract (US cents where it has them), FX as INR per USD.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from math import lcm
from typing import Final

from market.instruments import MONTH_CODES, SPOT, Contract, InstrumentKey, InstrumentMaster
from market.reference import ASSUMED, Amount, Dated, MissingReference, Reference, Route, lot_unit
from market.units import factor, from_scaled, to_scaled

BUY_FOREIGN: Final = "buy_foreign"
BUY_LOCAL: Final = "buy_local"
DIRECTIONS: Final = (BUY_FOREIGN, BUY_LOCAL)

LANDING: Final = ("freight", "duty", "bank", "inland")
TRADING: Final = ("fees", "taxes", "financing", "margin", "fx_hedge", "slippage")
COSTS: Final = (*LANDING, *TRADING)
"""Every cost by name, in the order of the ladder."""

_YEAR_DAYS: Final = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that is in force between a local and a foreign product on a day."""

    route: Route
    on: date
    content: Fraction
    """Foreign units in a local unit, by fine content."""
    dollars: Fraction
    """USD in the foreign contract's quote currency: 1/100 for one that is quoted in cents."""
    freight: Fraction  # USD per foreign unit
    duty_fixed: Fraction  # INR per local unit, on the tariff value
    duty_rate: Fraction  # of the assessable value
    bank: Fraction
    inland: Fraction
    local_lot: Fraction  # local units
    foreign_lot: Fraction  # local units
    local_tick: Fraction
    foreign_tick: Fraction
    local_fees: tuple[Amount, ...]
    foreign_fees: tuple[Amount, ...]
    carry: Mapping[str, Fraction]
    assumed: tuple[str, ...]
    """Names of the rows that are not verified."""

    @property
    def ratio(self) -> Fraction:
        """Local lots that hold as much as a foreign lot."""
        return self.foreign_lot / self.local_lot


def duty_on_tariff(tariff_usd: Fraction, customs_fx: Fraction, rate: Fraction) -> Fraction:
    """Return the duty that is charged on a notified value at a notified exchange rate, in INR per its unit.

    Example:
        >>> from market.units import to_decimal
        >>> to_decimal(duty_on_tariff(Fraction(1373), Fraction("96.80"), Fraction("0.15")))
        Decimal('19935.96')
    """
    return tariff_usd * customs_fx * rate


def terms_of(reference: Reference, master: InstrumentMaster, route: Dated[Route], on: date) -> Terms:
    """Gather what is in force. Raises: MissingReference for anything that a ladder needs and that is not."""
    way, used = route.value, list[Dated[object]]([route])  # type: ignore[list-item]
    local, foreign = (_contract(master, product, on) for product in (way.local, way.foreign))
    content = factor(way.local_unit, way.foreign_unit) * way.purity
    freight = bank = inland = Fraction(0)
    if way.settlement == "delivery":
        rows = [reference.landing.get(f"{way.commodity}/{item}", on) for item in ("freight", "bank", "inland")]
        used += rows  # type: ignore[arg-type]
        freight, bank, inland = (row.value.value for row in rows)
    fixed, rate, duty_rows = _duty(reference, way, on)
    local_fees, foreign_fees = reference.fees_of(*way.local, on), reference.fees_of(*way.foreign, on)
    items = ("days", "financing_rate", "financed_share", "margin_rate", "fx_hedge_rate", "slippage_ticks")
    carry = {item: reference.carry.get(f"{way.settlement}/{item}", on) for item in items}
    used += [*duty_rows, *local_fees, *foreign_fees, *carry.values()]  # type: ignore[list-item]
    return Terms(
        route=way,
        on=on,
        content=content,
        dollars=Fraction(1, 100) if foreign.currency == "USX" else Fraction(1),
        freight=freight,
        duty_fixed=fixed,
        duty_rate=rate,
        bank=bank,
        inland=inland,
        local_lot=_lot(local, way.local_unit),
        foreign_lot=_lot(foreign, way.foreign_unit) / content,
        local_tick=Fraction(local.tick_size or 0),
        foreign_tick=Fraction(foreign.tick_size or 0),
        local_fees=tuple(row.value for row in local_fees),
        foreign_fees=tuple(row.value for row in foreign_fees),
        carry={item: row.value for item, row in carry.items()},
        assumed=tuple(dict.fromkeys(row.name for row in used if row.evidence == ASSUMED)),
    )


def _contract(master: InstrumentMaster, product: tuple[str, str], on: date) -> Contract:
    found = master.product(*product, on)
    if found is None:
        raise MissingReference(f"contract {':'.join(product)}", on)
    return found


def _lot(contract: Contract, quote_unit: str) -> Fraction:
    return Fraction(contract.contract_size or 0) * factor(lot_unit(contract, quote_unit), quote_unit)


def _duty(reference: Reference, way: Route, on: date) -> tuple[Fraction, Fraction, list[Dated[object]]]:
    """Duty per local unit on the tariff value, rate on the assessable value, and the rows they come from."""
    if way.duty == "none":
        return Fraction(0), Fraction(0), []
    names = [name for name in reference.duties.names if name.startswith(f"{way.commodity}/")]
    if not names:
        raise MissingReference(f"duties of {way.commodity}", on)
    rows = [reference.duties.get(name, on) for name in names]
    plain = sum((row.value.value for row in rows if row.value.basis == way.duty), Fraction(0))
    rate = plain * (1 + sum((row.value.value for row in rows if row.value.basis == "duties"), Fraction(0)))
    used: list[Dated[object]] = [*rows]  # type: ignore[list-item]
    if way.duty == "assessable":
        return Fraction(0), rate, used
    tariff, fx = reference.tariff_values.get(way.commodity, on), reference.customs_fx.get("USDINR", on)
    usd, unit = tariff.value
    duty = duty_on_tariff(usd * factor(way.local_unit, unit), fx.value[0], rate) * way.purity
    named = (replace(tariff, name=f"{tariff.name}/tariff_value"), replace(fx, name=f"{fx.name}/customs_rate"))
    return duty, Fraction(0), [*used, *named]  # type: ignore[list-item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A foreign price in local terms, step by step."""

    value: Fraction
    freight: Fraction
    duty: Fraction
    bank: Fraction
    inland: Fraction

    @property
    def landed(self) -> Fraction:
        return self.value + self.freight + self.duty + self.bank + self.inland


def land(terms: Terms, foreign_price: Fraction, fx: Fraction) -> Landing:
    """Return what a foreign price costs in India: `((P + cif) x F x units + duty) x (1 + bank) + inland`."""
    value = foreign_price * terms.dollars * fx * terms.content
    freight = terms.freight * fx * terms.content
    duty = terms.duty_fixed + terms.duty_rate * (value + freight)
    return Landing(
        value=value, freight=freight, duty=duty, bank=terms.bank * (value + freight + duty), inland=terms.inland
    )


def costs(
    terms: Terms, direction: str, local_price: Fraction, foreign_price: Fraction, fx: Fraction, lots: int
) -> tuple[Fraction, dict[str, Fraction]]:
    """Return gross and every cost per local unit, exactly, for an order of so many local lots.

    Without lots (0), what has a cap per order is left out: the costs are then the least they can be.
    """
    landing = land(terms, foreign_price, fx)
    sign = 1 if direction == BUY_FOREIGN else -1
    side = "sell" if direction == BUY_FOREIGN else "buy"
    found = {name: sign * getattr(landing, name) for name in LANDING}
    found["fees"], found["taxes"] = _local_fees(terms, side, abs(local_price), lots)
    for fee in terms.foreign_fees:
        found[fee.group] += fee.value * (fx if fee.currency == "USD" else 1) / terms.foreign_lot
    carry, value = terms.carry, abs(landing.value)
    found["financing"] = value * carry["financed_share"] * carry["financing_rate"] * carry["days"] / _YEAR_DAYS
    found["margin"] = value * carry["margin_rate"]
    found["fx_hedge"] = value * carry["fx_hedge_rate"]
    foreign_tick = terms.foreign_tick * terms.dollars * fx * terms.content
    found["slippage"] = carry["slippage_ticks"] * (terms.local_tick + foreign_tick)
    return sign * (local_price - landing.value), found


def _local_fees(terms: Terms, side: str, price: Fraction, lots: int) -> tuple[Fraction, Fraction]:
    sums = {"fees": Fraction(0), "taxes": Fraction(0)}
    for fee in terms.local_fees:
        if fee.side not in (side, "both") or fee.basis != "turnover":
            continue
        amount = fee.value * price
        if fee.cap is not None:
            amount = min(amount, fee.cap / (lots * terms.local_lot)) if lots else Fraction(0)
        sums[fee.group] += amount
    on_fees = sum((fee.value for fee in terms.local_fees if fee.basis == "fees"), Fraction(0))
    return sums["fees"], sums["taxes"] + on_fees * sums["fees"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """From gross to net. Per local unit but for the two totals; all multiples of 1e-9."""

    direction: str
    local_price: int
    foreign_price: int
    fx: int
    local_lots: int
    foreign_lots: int
    gross: int
    costs: Mapping[str, int]
    net: int
    total_inr: int
    total_usd: int


def ladder(
    terms: Terms, direction: str, local_price: int, foreign_price: int, fx: int, lots: tuple[int, int]
) -> Ladder:
    """Compute a ladder for so many (local, foreign) lots at these average prices, all multiples of 1e-9."""
    prices = (from_scaled(local_price), from_scaled(foreign_price), from_scaled(fx))
    gross, found = costs(terms, direction, *prices, lots[0])
    rounded = {name: to_scaled(found[name]) for name in COSTS}
    scaled = to_scaled(gross)
    net = scaled - sum(rounded.values())
    total = net * lots[0] * terms.local_lot
    return Ladder(
        direction=direction,
        local_price=local_price,
        foreign_price=foreign_price,
        fx=fx,
        local_lots=lots[0],
        foreign_lots=lots[1],
        gross=scaled,
        costs=rounded,
        net=net,
        total_inr=round(total),
        total_usd=round(total / prices[2]) if fx else 0,
    )


def foreign_key(route: Route, master: InstrumentMaster, local: InstrumentKey, on: date) -> str | None:
    """Return the foreign contract a local month is held against: the first listed at or after month plus shift.

    Example:
        >>> master, on = InstrumentMaster.load(), date(2026, 11, 23)
        >>> (route,) = Reference.load().routes_of("wti", on)
        >>> foreign_key(route.value, master, InstrumentKey.parse("XIMC:CRUDEOIL:202610"), on)
        'XNYM:CL:202611'
    """
    contract = master.product(*route.foreign, on)
    if contract is None or local.expiry == SPOT or contract.months == SPOT:
        return None
    first = int(local.expiry[:4]) * 12 + int(local.expiry[4:]) - 1 + route.month_shift
    for month in range(first, first + 12):
        if MONTH_CODES[month % 12] in contract.months:
            return f"{route.foreign[0]}:{route.foreign[1]}:{month // 12:04d}{month % 12 + 1:02d}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Net of a direction before rounding: `(a P F + b F + c M + d) / unit`, integers, prices being multiples of 1e-9.

    That leaves out what has a cap per order, so it is the most that can be left: above zero is necessary for a profit.
    A kernel asks it for every quote, and computes a ladder only then. Linear, so four values of the exact function
    give it.
    """

    a: int
    b: int
    c: int
    d: int
    unit: int
    caps: tuple[tuple[int, int], ...] = ()
    """Of what has a cap, per order of so many lots: the lesser of the first times price and lots, and the second."""

    def is_positive(self, local_price: int, foreign_price: int, fx: int) -> bool:
        return (self.a * foreign_price + self.b) * fx + self.c * local_price + self.d > 0

    def beyond(self, amount: int, bps: int) -> "Bound":
        """Return the bound of what is left beyond an amount and so many basis points of the local price.

        Of a negative price the basis points are added, so it is necessary all the same.
        """
        c, d = self.c * 10_000 - bps * self.unit, (self.d - amount * self.unit) * 10_000
        return Bound(a=self.a * 10_000, b=self.b * 10_000, c=c, d=d, unit=self.unit * 10_000)

    def total(self, local_price: int, foreign_price: int, fx: int, lots: int) -> int:
        """Return net times local lots times `unit`, caps and all, of an order at these average prices."""
        net = (self.a * foreign_price + self.b) * fx + self.c * local_price + self.d
        return net * lots - sum(min(rate * abs(local_price) * lots, most) for rate, most in self.caps)


def bound_of(terms: Terms, direction: str) -> Bound:
    """Compile the bound of one direction."""

    def net(local: int, foreign: int, fx: int) -> Fraction:
        gross, found = costs(terms, direction, Fraction(local), Fraction(foreign), Fraction(fx), 0)
        return gross - sum(found.values())

    d = net(0, 0, 0)
    c, b = net(1, 0, 0) - d, net(0, 0, 1) - d
    a = net(0, 1, 1) - b - d
    scale = 10**9
    caps = [part * scale for cap in _caps(terms, direction) for part in (cap[0], cap[1] * scale)]
    parts = (a, b * scale, c * scale, d * scale * scale, *caps)
    common = lcm(*(part.denominator for part in parts))
    whole = [int(part * common) for part in parts]
    pairs = tuple(zip(whole[4::2], whole[5::2], strict=True))
    return Bound(a=whole[0], b=whole[1], c=whole[2], d=whole[3], unit=common * scale, caps=pairs)


# Of each fee with a cap, with the taxes on it: the rate, and the cap over the local units of a lot.
def _caps(terms: Terms, direction: str) -> list[tuple[Fraction, Fraction]]:
    side = "sell" if direction == BUY_FOREIGN else "buy"
    on_fees = 1 + sum((fee.value for fee in terms.local_fees if fee.basis == "fees"), Fraction(0))
    return [
        (fee.value * weight, fee.cap * weight / terms.local_lot)
        for fee in terms.local_fees
        if fee.side in (side, "both") and fee.basis == "turnover" and fee.cap is not None
        for weight in (on_fees if fee.group == "fees" else Fraction(1),)
    ]
