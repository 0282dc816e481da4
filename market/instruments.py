"""Instrument keys, the contract master, and exact prices.

A key is `MIC:ROOT:YYYYMM` (`XCEC:GC:202612`), or `BBG:USDINR:SPOT` for spot. What a contract is (size, tick,
hours) is data in `market/data/contracts.csv`, effective-dated: a key resolves to the row valid on a date. A key
the master does not know is admitted with defaults; only text that is no key is refused.

Units: prices and sizes as int64 are multiples of 1e-9 (`PRICE_SCALE`); `tick_value` is in the major currency
per lot, so a contract quoted in US cents (currency `USX`) has a tick value in dollars.
Errors:

    ValueError
    ├── BadInstrumentKey   the text is no key
    ├── BadPrice           the number is not exact in 1e-9, not finite or out of range
    └── BadContractData    the packaged table contradicts itself
"""

import csv
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Final

from market.calendars import calendar
from market.schemas import PRICE_LIMIT, PRICE_SCALE
from market.sessions import ALWAYS_OPEN, Hours, parse_hours

SPOT: Final = "SPOT"
MONTH_CODES: Final = "FGHJKMNQUVXZ"
"""Futures month codes, January first."""
NEGATIVE_COMMODITIES: Final = frozenset({"wti", "brent", "natgas"})
"""WTI settled at -37.63 on 20 April 2020, and MCX crude below zero with it."""

_VENUE: Final = re.compile(r"[A-Z0-9]{1,8}")  # a MIC has four; Bloomberg, which has none, is BBG
_ROOT: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")  # becomes part of a topic name
_EXPIRY: Final = re.compile(r"\d{4}(0[1-9]|1[0-2])", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DECIMALS: Final = 9
_EXACT: Final = Context(prec=10_000)


class BadInstrumentKey(ValueError):
    """Text that is no instrument key. Carries `value` and `reason`."""

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"{value!r} is not an instrument key: {reason}")
        self.value, self.reason = value, reason


class BadPrice(ValueError):
    """A number that no scaled int64 can hold exactly. Carries `value` and `reason`."""

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(f"{value[:80]!r} is not a price: {reason}")
        self.value, self.reason = value, reason


class BadContractData(ValueError):
    """The contract table contradicts itself. Carries `row` and `reason`."""

    def __init__(self, row: str, reason: str) -> None:
        super().__init__(f"contract table, {row}: {reason}")
        self.row, self.reason = row, reason


@dataclass(frozen=True, slots=True, order=True)
class InstrumentKey:
    """Venue, root and expiry (`YYYYMM` or `SPOT`).

    Example:
        >>> InstrumentKey.parse("XCEC:GC:202612").root
        'GC'
        >>> str(InstrumentKey("BBG", "USDINR", "SPOT"))
        'BBG:USDINR:SPOT'
    """

    mic: str
    root: str
    expiry: str

    @staticmethod
    def parse(text: str) -> "InstrumentKey":
        """Read a key. Cached. Raises: BadInstrumentKey."""
        return _parse_key(text)

    def __str__(self) -> str:
        return f"{self.mic}:{self.root}:{self.expiry}"


@lru_cache(maxsize=65_536)
def _parse_key(text: str) -> InstrumentKey:
    parts = text.split(":")
    if len(parts) != 3:
        raise BadInstrumentKey(text, "expected three parts, MIC:ROOT:YYYYMM")
    mic, root, expiry = parts
    if not _VENUE.fullmatch(mic):
        raise BadInstrumentKey(text, "the venue is 1 to 8 capital letters or digits")
    if not _ROOT.fullmatch(root):
        raise BadInstrumentKey(text, "the root is 1 to 32 letters, digits, - or _")
    if expiry != SPOT and not _EXPIRY.fullmatch(expiry):
        raise BadInstrumentKey(text, "the expiry is YYYYMM or SPOT")
    return InstrumentKey(mic, root, expiry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What one lot of a product is, as valid from `effective_from` to `effective_to` (both inclusive).

    `None` where it is not known, as for an instrument outside the master, whose tick is inferred from prices.
    """

    mic: str
    root: str
    commodity: str
    name: str = ""
    currency: str | None = None
    quote_unit: str | None = None
    contract_size: Decimal | None = None
    size_unit: str | None = None
    tick_size: Decimal | None = None
    tick_value: Decimal | None = None
    months: str = MONTH_CODES
    lead_months: int = 0
    """Trading ends in the month this many months before the contract month (Brent 2, WTI 1)."""
    hours: Hours = ALWAYS_OPEN
    effective_from: date = date.min
    effective_to: date = date.max
    source: str = ""

    @property
    def known(self) -> bool:
        """Whether the contract comes from the master, not from defaults."""
        return bool(self.source)

    @property
    def may_be_negative(self) -> bool:
        """Whether it may trade at zero or less."""
        return self.commodity in NEGATIVE_COMMODITIES

    @property
    def tick_fixed(self) -> int | None:
        """The tick size as a scaled int64."""
        return None if self.tick_size is None else to_fixed(self.tick_size)


class InstrumentMaster:
    """The contract table, by (venue, root) and date. Immutable; get the packaged one with `load()`."""

    __slots__ = ("_commodities", "_rows")

    def __init__(self, contracts: Iterable[Contract]) -> None:
        """Index contracts. Raises: BadContractData if rows of a product overlap or differ in commodity."""
        rows: dict[tuple[str, str], list[Contract]] = {}
        for contract in contracts:
            rows.setdefault((contract.mic, contract.root), []).append(contract)
        for versions in rows.values():
            versions.sort(key=lambda contract: contract.effective_from)
            _check_versions(versions)
        self._rows = {product: tuple(versions) for product, versions in rows.items()}
        self._commodities = {product: versions[0].commodity for product, versions in rows.items()}

    @staticmethod
    def load() -> "InstrumentMaster":
        """Return the master of the packaged table; read once. Raises: BadContractData."""
        return _load_packaged()

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """Every row, by venue, root and date."""
        return tuple(row for product in sorted(self._rows) for row in self._rows[product])

    def contract(self, key: InstrumentKey, on: date) -> Contract | None:
        """Return the row valid on a date, or None if the master has none."""
        return self.product(key.mic, key.root, on)

    def product(self, mic: str, root: str, on: date) -> Contract | None:
        """As `contract`, for a product without an expiry."""
        for contract in self._rows.get((mic, root), ()):
            if contract.effective_from <= on <= contract.effective_to:
                return contract
        return None

    def resolve(self, key: str, on: date) -> Contract:
        """Return the contract of a key on a date, with defaults where the master has none.

        Raises: BadInstrumentKey.
        """
        parsed = InstrumentKey.parse(key)
        return self.contract(parsed, on) or Contract(mic=parsed.mic, root=parsed.root, commodity=self.commodity_of(key))

    def commodity_of(self, key: str) -> str:
        """Return the shard of a key: the commodity, or the root in lower case. Raises: BadInstrumentKey."""
        parsed = _parse_key(key)
        return self._commodities.get((parsed.mic, parsed.root)) or parsed.root.lower()

    def fronts(self, mic: str, root: str, on: date, n: int) -> list[str]:
        """Return the keys of the nearest `n` listed months of a product whose trading is not over.

        The rule is coarse: a contract counts until the last day of the month in which its trading ends (the
        contract month less `lead_months`). It knows neither last trading days nor open interest.
        Spot products give their one key; an unknown product gives an empty list.
        """
        contract = self.product(mic, root, on)
        if contract is None:
            return []
        if contract.months == SPOT:
            return [f"{mic}:{root}:{SPOT}"]
        first = on.year * 12 + on.month - 1 + contract.lead_months
        listed = (month for month in range(first, first + 12 * (n + 1)) if _listed(contract, month))
        return [
            f"{mic}:{root}:{month // 12:04d}{month % 12 + 1:02d}" for month, _ in zip(listed, range(n), strict=False)
        ]


def nearest_by_name(keys: Iterable[str], name_of: Callable[[str], Hashable]) -> list[str]:
    """Keep one key a name that a venue has for them, the nearest month: the names repeat after ten years.

    Example:
        >>> nearest_by_name(["XNYM:CL:203612", "XNYM:CL:202612", "XNYM:CL:202701"], lambda key: (key[:8], key[-3:]))
        ['XNYM:CL:202612', 'XNYM:CL:202701']
    """
    named: dict[Hashable, str] = {}
    for key in keys:
        name = name_of(key)
        named[name] = min(named.get(name, key), key)  # keys of one product are ordered as their months
    return list(named.values())


def _listed(contract: Contract, month: int) -> bool:
    return MONTH_CODES[month % 12] in contract.months


def venue_of(key: str) -> str:
    """Return the MIC of a key. Raises: BadInstrumentKey."""
    return _parse_key(key).mic


def _check_versions(versions: list[Contract]) -> None:
    for contract in versions:
        if contract.effective_to < contract.effective_from:
            raise BadContractData(f"{contract.mic}:{contract.root}", "ends before it begins")
        if contract.commodity != versions[0].commodity:
            raise BadContractData(f"{contract.mic}:{contract.root}", "changes its commodity, hence its shard")
    for earlier, later in pairwise(versions):
        if later.effective_from <= earlier.effective_to:
            raise BadContractData(f"{later.mic}:{later.root}", f"two rows hold on {later.effective_from}")


@cache
def _load_packaged() -> InstrumentMaster:
    text = files("market").joinpath("data/contracts.csv").read_text(encoding="utf-8")
    return InstrumentMaster(read_contracts(text))


def read_contracts(text: str) -> list[Contract]:
    """Read a contract table from CSV text. An empty date means without limit. Raises: BadContractData."""
    return [_contract(row) for row in csv.DictReader(text.splitlines())]


def _contract(row: Mapping[str, str]) -> Contract:
    label = f"{row.get('mic')}:{row.get('root')}"
    try:
        return Contract(
            mic=row["mic"],
            root=row["root"],
            name=row["name"],
            commodity=row["commodity"],
            currency=row["currency"],
            quote_unit=row["quote_unit"],
            contract_size=Decimal(row["contract_size"]),
            size_unit=row["size_unit"],
            tick_size=_optional_decimal(row["tick_size"]),
            tick_value=_optional_decimal(row["tick_value"]),
            months=_months(row["months"]),
            lead_months=int(row["lead_months"]),
            hours=parse_hours(row["timezone"], row["hours"], row["monday_open"], calendar(row["calendar"])),
            effective_from=_date(row["effective_from"], date.min),
            effective_to=_date(row["effective_to"], date.max),
            source=row["source"],
        )
    except KeyError as missing:
        raise BadContractData(label, f"no column {missing}") from None
    except (ValueError, ArithmeticError) as bad:
        raise BadContractData(label, str(bad)) from bad


def _optional_decimal(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def _months(text: str) -> str:
    if text != SPOT and not set(text) <= set(MONTH_CODES):
        raise ValueError(f"{text!r} are not month codes")
    return text


def _date(text: str, default: date) -> date:
    return date.fromisoformat(text) if text else default


def to_fixed(number: str | Decimal) -> int:
    """Return a price or size as an exact int64 multiple of 1e-9.

    Raises: BadPrice if it has more than nine decimals, is not a finite number, or is 1e9 or more in size.

    Example:
        >>> to_fixed("80.15")
        80150000000
    """
    if isinstance(number, str) and not _NUMBER.fullmatch(number):
        raise BadPrice(number, "not a decimal number")
    value = Decimal(number)
    if not value.is_finite():
        raise BadPrice(str(number), "not finite")
    if value.adjusted() >= _DECIMALS and value:
        raise BadPrice(str(number), "out of range")
    if value.adjusted() < -_DECIMALS and value:
        raise BadPrice(str(number), "more than nine decimals")
    scaled = value.scaleb(_DECIMALS, _EXACT) if value else Decimal(0)
    fixed = int(scaled)
    if fixed != scaled:
        raise BadPrice(str(number), "more than nine decimals")
    return fixed


def format_fixed(value: int) -> str:
    """Return a scaled int64 as a plain decimal without trailing zeros.

    Raises: BadPrice if it is out of range.

    Example:
        >>> format_fixed(-80_150_000_000)
        '-80.15'
    """
    if not -PRICE_LIMIT < value < PRICE_LIMIT:
        raise BadPrice(str(value), "out of range")
    whole, part = divmod(abs(value), PRICE_SCALE)
    decimals = f"{part:09d}".rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"
