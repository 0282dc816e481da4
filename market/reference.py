"""Reference data of landed-cost parity: dated rows with sources, from the CSV files in `market/data`.

What is in force on a day is one row a series; rows of a series neither overlap nor leave a hole between them. A row
says where it comes from, and whether it was verified there or is assumed; what rests on an assumption says so.

    parity.csv         which local contract is compared with which foreign one: units, purity, months, duty, patience
    duties.csv         components of customs duty
    tariff_values.csv  what customs charge gold and silver on, in USD
    customs_fx.csv     the exchange rate customs use; it is neither spot, nor futures, nor reference rate
    landing.csv        freight and insurance, bank charges, inland costs
    fees.csv           fees and taxes of trading, by venue; a root's own row takes the place of the row of `*`
    carry.csv          financing, margin, hedge, slippage

Units: rates are shares (0.15 is 15 %); amounts are in the currency and unit of their column or basis.
Errors:

    ValueError
    └── BadReference       a row is not what its file promises, or two contradict each other
    LookupError
    └── MissingReference   there is no row for a name on a day
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Final, Generic, Literal, TypeVar, cast

from market.instruments import Contract, InstrumentMaster
from market.units import BadUnit, factor

VERIFIED: Final = "verified"
ASSUMED: Final = "assumed"

Row = Mapping[str, str]


class BadReference(ValueError):
    """A reference row that cannot be. Carries `file`, `row` and `reason`."""

    def __init__(self, file: str, row: str, reason: str) -> None:
        super().__init__(f"{file}, {row}: {reason}")
        self.file, self.row, self.reason = file, row, reason


class MissingReference(LookupError):
    """Nothing is in force. Carries `what` and `on`."""

    def __init__(self, what: str, on: date) -> None:
        super().__init__(f"no {what} on {on}")
        self.what, self.on = what, on


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated(Generic[T]):
    """A value in force from `effective_from` to `effective_to`, both inclusive."""

    name: str
    value: T
    effective_from: date
    effective_to: date
    evidence: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A local contract and the foreign one it is held against."""

    commodity: str
    local: tuple[str, str]  # MIC and root
    local_unit: str
    foreign: tuple[str, str]
    foreign_unit: str
    purity: Fraction
    """Fine content of the local contract's grade over that of the foreign one's."""
    month_shift: int
    settlement: Literal["delivery", "cash"]
    duty: Literal["tariff", "assessable", "none"]
    max_age_ns: int
    """A quote of either leg that is older is not compared any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A cost as its row says: how much, of what."""

    basis: str
    value: Fraction
    side: str = "both"
    group: str = ""
    cap: Fraction | None = None
    currency: str = ""


class Table(Generic[T]):
    """Series of dated values by name. Raises on building: BadReference for an overlap or a hole."""

    __slots__ = ("_file", "_series")

    def __init__(self, file: str, rows: Iterable[Dated[T]]) -> None:
        self._file = file
        self._series: dict[str, list[Dated[T]]] = {}
        for row in rows:
            self._series.setdefault(row.name, []).append(row)
        for name, series in self._series.items():
            series.sort(key=lambda row: row.effective_from)
            for earlier, later in pairwise(series):
                if later.effective_from <= earlier.effective_to:
                    raise BadReference(file, name, f"two rows hold on {later.effective_from}")
                if later.effective_from != earlier.effective_to + timedelta(days=1):
                    raise BadReference(file, name, f"no row holds after {earlier.effective_to}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._series)

    def versions(self, name: str) -> list[Dated[T]]:
        return list(self._series[name])

    def find(self, name: str, on: date) -> Dated[T] | None:
        for row in self._series.get(name, ()):
            if row.effective_from <= on <= row.effective_to:
                return row
        return None

    def get(self, name: str, on: date) -> Dated[T]:
        """Return what is in force. Raises: MissingReference."""
        found = self.find(name, on)
        if found is None:
            raise MissingReference(f"{self._file.removesuffix('.csv')} of {name}", on)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """All tables. Names: `gold/BCD`, `gold/freight`, `XIMC:*/ctt`, `delivery/days` and so on."""

    routes: Table[Route]
    duties: Table[Amount]
    tariff_values: Table[tuple[Fraction, str]]
    customs_fx: Table[tuple[Fraction, Fraction]]
    landing: Table[Amount]
    fees: Table[Amount]
    carry: Table[Fraction]

    @staticmethod
    def load() -> "Reference":
        """Return the packaged data; read and checked once. Raises: BadReference."""
        return _packaged()

    @property
    def commodities(self) -> tuple[str, ...]:
        """What has a route at all, on any day."""
        return tuple(dict.fromkeys(name.partition("/")[0] for name in self.routes.names))

    def routes_of(self, commodity: str, on: date) -> list[Dated[Route]]:
        found = [self.routes.find(name, on) for name in self.routes.names if name.startswith(f"{commodity}/")]
        return [row for row in found if row is not None]

    def fees_of(self, mic: str, root: str, on: date) -> list[Dated[Amount]]:
        """Every fee and tax of a product, its own rows before those of the venue. Raises: MissingReference."""
        items = dict.fromkeys(name.partition("/")[2] for name in self.fees.names if name.startswith(f"{mic}:"))
        if not items:
            raise MissingReference(f"fees of {mic}", on)
        return [self.fees.find(f"{mic}:{root}/{item}", on) or self.fees.get(f"{mic}:*/{item}", on) for item in items]


def read_table(
    file: str, text: str, key: Callable[[Row], str], value: Callable[[Row], T], columns: Iterable[str] = ()
) -> Table[T]:
    """Read one CSV file. Raises: BadReference with file, row and reason."""
    lines = csv.DictReader(text.splitlines())
    needed = ["effective_from", "effective_to", "evidence", "source", *columns]
    missing = [name for name in needed if name not in (lines.fieldnames or ())]
    if missing:
        raise BadReference(file, "header", f"no column {missing[0]}")
    return Table(file, [_dated(file, row, key, value) for row in lines])


def _dated(file: str, row: Row, key: Callable[[Row], str], value: Callable[[Row], T]) -> Dated[T]:
    label = ",".join(str(field) for field in list(row.values())[:3])
    try:
        begin, end = date.fromisoformat(row["effective_from"]), row["effective_to"]
        found = Dated(
            name=key(row),
            value=value(row),
            effective_from=begin,
            effective_to=date.fromisoformat(end) if end else date.max,
            evidence=row["evidence"],
            source=row["source"],
        )
    except (ValueError, ArithmeticError, TypeError) as bad:
        raise BadReference(file, label, str(bad)) from bad
    if not found.source.strip():
        raise BadReference(file, label, "no source")
    if found.evidence not in (VERIFIED, ASSUMED):
        raise BadReference(file, label, f"evidence {found.evidence!r} is neither {VERIFIED} nor {ASSUMED}")
    if found.effective_to < found.effective_from:
        raise BadReference(file, label, "ends before it begins")
    return found


@cache
def _packaged() -> Reference:
    return read_reference(lambda name: files("market").joinpath("data", name).read_text(encoding="utf-8"))


def read_reference(read: Callable[[str], str]) -> Reference:
    """Read all files, by name, and check them against each other and the contract master. Raises: BadReference."""

    def table(file: str, key: Callable[[Row], str], value: Callable[[Row], T], *columns: str) -> Table[T]:
        return read_table(file, read(file), key, value, columns)

    found = Reference(
        routes=table(
            "parity.csv", lambda row: f"{row['commodity']}/{row['local']}", _route,
            "commodity", "local", "local_unit", "local_fineness", "foreign", "foreign_unit", "foreign_fineness",
            "month_shift", "settlement", "duty", "max_age_ms",
        ),
        duties=table("duties.csv", _named("commodity", "component"), _duty, "commodity", "component", "rate", "base"),
        tariff_values=table(
            "tariff_values.csv", _named("commodity"), lambda row: (_positive(row["usd"]), _unit(row["unit"])),
            "commodity", "usd", "unit",
        ),
        customs_fx=table(
            "customs_fx.csv", _named("pair"), _customs_rates, "pair", "import_rate", "export_rate",
        ),
        landing=table("landing.csv", _named("commodity", "item"), _landing, "commodity", "item", "basis", "value"),
        fees=table(
            "fees.csv", lambda row: f"{row['venue']}:{row['root']}/{row['item']}", _fee,
            "venue", "root", "item", "group", "side", "basis", "value", "cap", "currency",
        ),
        carry=table(
            "carry.csv", _named("settlement", "item"), lambda row: _amount(row["value"]), "settlement", "item", "value"
        ),
    )  # fmt: skip
    _check(found, InstrumentMaster.load())
    return found


def _named(*columns: str) -> Callable[[Row], str]:
    return lambda row: "/".join(row[column] for column in columns)


def _route(row: Row) -> Route:
    local, foreign = (_product(row[name]) for name in ("local", "foreign"))
    factor(row["local_unit"], row["foreign_unit"])  # that both measure the same thing
    return Route(
        commodity=row["commodity"],
        local=local,
        local_unit=row["local_unit"],
        foreign=foreign,
        foreign_unit=row["foreign_unit"],
        purity=_positive(row["local_fineness"]) / _positive(row["foreign_fineness"]),
        month_shift=int(row["month_shift"]),
        settlement=cast(Literal["delivery", "cash"], _one_of(row["settlement"], "delivery", "cash")),
        duty=cast(Literal["tariff", "assessable", "none"], _one_of(row["duty"], "tariff", "assessable", "none")),
        max_age_ns=int(_positive(row["max_age_ms"]) * 1_000_000),
    )


def _product(text: str) -> tuple[str, str]:
    mic, colon, root = text.partition(":")
    if not colon or not mic or not root:
        raise ValueError(f"{text!r} is no product such as XIMC:GOLD")
    return mic, root


def _customs_rates(row: Row) -> tuple[Fraction, Fraction]:
    return _positive(row["import_rate"]), _positive(row["export_rate"])


def _duty(row: Row) -> Amount:
    return Amount(basis=_one_of(row["base"], "tariff", "assessable", "duties"), value=_share(row["rate"]))


def _landing(row: Row) -> Amount:
    basis = _one_of(row["basis"], "foreign_unit", "local_unit", "rate")
    expected = {"freight": "foreign_unit", "bank": "rate", "inland": "local_unit"}
    if expected.get(row["item"]) != basis:
        raise ValueError(f"{row['item']!r} is none of {', '.join(expected)} with its own basis")
    return Amount(basis=basis, value=_amount(row["value"]))


def _fee(row: Row) -> Amount:
    basis = _one_of(row["basis"], "turnover", "lot", "fees")
    currency = _one_of(row["currency"], "INR", "USD")
    if row["cap"] and basis != "turnover":
        raise ValueError("only a share of the turnover can have a cap")
    return Amount(
        basis=basis,
        value=_amount(row["value"]) if basis == "lot" else _share(row["value"]),
        side=_one_of(row["side"], "buy", "sell", "both"),
        group=_one_of(row["group"], "fees", "taxes"),
        cap=_positive(row["cap"]) if row["cap"] else None,
        currency=currency,
    )


def _one_of(text: str, *choices: str) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")
    return text


def _unit(text: str) -> str:
    factor(text, text)
    return text


def _amount(text: str) -> Fraction:
    value = Fraction(text)
    if value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _positive(text: str) -> Fraction:
    value = Fraction(text)
    if value <= 0:
        raise ValueError(f"{text} is not positive")
    return value


def _share(text: str) -> Fraction:
    value = _amount(text)
    if value >= 1:
        raise ValueError(f"{text} is no share below 1: 15 % is 0.15")
    return value


CARRY_ITEMS: Final = ("days", "financing_rate", "financed_share", "margin_rate", "fx_hedge_rate", "slippage_ticks")
LANDING_ITEMS: Final = ("freight", "bank", "inland")


def _check(reference: Reference, master: InstrumentMaster) -> None:
    """Hold the files against the contract master and each other."""
    for name in reference.routes.names:
        for route in reference.routes.versions(name):
            _check_route(name, route.value, master)
    files_of: Mapping[str, tuple[str, ...]] = {
        "duties.csv": reference.duties.names,
        "landing.csv": reference.landing.names,
        "tariff_values.csv": reference.tariff_values.names,
    }
    for file, names in files_of.items():
        for name in names:
            if name.partition("/")[0] not in reference.commodities:
                raise BadReference(file, name, "no route is of this commodity")
    for name in reference.carry.names:
        if name.partition("/")[2] not in CARRY_ITEMS:
            raise BadReference("carry.csv", name, f"none of {', '.join(CARRY_ITEMS)}")


def _check_route(name: str, route: Route, master: InstrumentMaster) -> None:
    for product, unit in ((route.local, route.local_unit), (route.foreign, route.foreign_unit)):
        contracts = [row for row in master.contracts if (row.mic, row.root) == product]
        if not contracts:
            raise BadReference("parity.csv", name, f"the contract master has no {':'.join(product)}")
        if contracts[0].commodity != route.commodity:
            raise BadReference("parity.csv", name, f"the contract master has {':'.join(product)} as another commodity")
        _check_units(name, contracts, unit)


def _check_units(name: str, contracts: list[Contract], unit: str) -> None:
    for contract in contracts:
        quoted = contract.quote_unit or ""
        # The master's candy is the venue's own; which one that is, the route says.
        if not (quoted == unit or unit.startswith(f"{quoted}_")):
            raise BadReference("parity.csv", name, f"quoted per {unit!r}, but in the contract master per {quoted!r}")
        try:
            factor(lot_unit(contract, unit), unit)
        except BadUnit as bad:
            raise BadReference("parity.csv", name, str(bad)) from bad


def lot_unit(contract: Contract, quote_unit: str) -> str:
    """The unit of a contract's size; a unit of which there are several kinds is the one it is quoted in."""
    return quote_unit if contract.size_unit == contract.quote_unit else contract.size_unit or quote_unit
