"""A broker's dump of instruments -> which token is which instrument of ours, and until when. Pure.

A token says nothing by itself, and is used again for another contract after an expiry; so it is resolved by date. What
a lot is comes from our contract master: the dumps say lot size 1 for everything on MCX.

Source: kite.trade/docs/connect/v3/market-quotes, "Retrieving the full instrument list"; the file Angel publishes as
OpenAPIScripMaster.json.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple

import orjson

from connectors.mcx.constants import MIC
from market.instruments import Contract, InstrumentMaster

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_KITE_SYMBOL: Final = re.compile(rf"([A-Z][A-Z0-9]*?)(\d\d)({'|'.join(_MONTHS)})FUT")
_ANGEL_SYMBOL: Final = re.compile(rf"([A-Z][A-Z0-9]*?)(\d\d)({'|'.join(_MONTHS)})(\d\d)FUT")
_TOKEN_END: Final = 1 << 63


class Listing(NamedTuple):
    """What a token is to us, up to and with the day of `expiry`."""

    token: int
    symbol: str
    instrument: str
    commodity: str
    expiry: date
    contract: Contract


class Dump(NamedTuple):
    """The futures of MCX that the contract master knows, and how many rows were something else or unreadable."""

    listings: list[Listing]
    skipped: Counter[str]


class _Named(NamedTuple):
    token: str
    symbol: str
    root: str
    month: str
    expiry: str


def read_kite(text: str, on: date) -> Dump:
    """Read the CSV of `GET /instruments`. Rows that expired before `on` are skipped."""
    try:
        return _dump(_kite_rows(csv.DictReader(text.splitlines())), on)
    except csv.Error:
        return Dump([], Counter(unreadable=1))


def read_angel(text: bytes, on: date) -> Dump:
    """Read the JSON of the scrip master. Rows that expired before `on` are skipped."""
    try:
        rows: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        rows = None
    return _dump(_angel_rows(rows if isinstance(rows, list) else [None]), on)


def _kite_rows(rows: Iterable[Mapping[str, str | None]]) -> Iterator[_Named | str]:
    for row in rows:
        if row.get("exchange") != "MCX" or row.get("instrument_type") != "FUT":
            yield "not_a_future"
            continue
        symbol = row.get("tradingsymbol") or ""
        match = _KITE_SYMBOL.fullmatch(symbol)
        if match is None:
            yield "unreadable"
            continue
        yield _Named(row.get("instrument_token") or "", symbol, match[1], match[3], row.get("expiry") or "")


def _angel_rows(rows: Sequence[Any]) -> Iterator[_Named | str]:
    for row in rows:
        if type(row) is not dict or row.get("exch_seg") != "MCX" or row.get("instrumenttype") != "FUTCOM":
            yield "not_a_future"
            continue
        symbol = str(row.get("symbol"))
        match = _ANGEL_SYMBOL.fullmatch(symbol)
        if match is None:
            yield "unreadable"
            continue
        yield _Named(str(row.get("token")), symbol, match[1], match[3], _iso_date(str(row.get("expiry"))))


def _iso_date(text: str) -> str:
    # 05DEC2026
    try:
        return datetime.strptime(text.title(), "%d%b%Y").date().isoformat()
    except ValueError:
        return ""


def _dump(rows: Iterator[_Named | str], on: date) -> Dump:
    listings: dict[int, Listing] = {}
    skipped: Counter[str] = Counter()
    for row in rows:
        listing = row if isinstance(row, str) else _listing(row, on)
        if isinstance(listing, str):
            skipped[listing] += 1
        elif listing.token in listings:
            skipped["token_twice"] += 1
        else:
            listings[listing.token] = listing
    return Dump(sorted(listings.values(), key=lambda listing: (listing.expiry, listing.token)), skipped)


def _listing(row: _Named, on: date) -> Listing | str:
    try:
        expiry = date.fromisoformat(row.expiry)
    except ValueError:
        return "unreadable"
    if not row.token.isdecimal() or not row.token.isascii() or not 0 < int(row.token[:20]) < _TOKEN_END:
        return "unreadable"
    if expiry < on:
        return "expired"
    master = InstrumentMaster.load()
    contract = master.product(MIC, row.root, on)
    if contract is None:
        return "unknown_product"
    instrument = f"{MIC}:{row.root}:{_contract_month(row.month, expiry)}"
    return Listing(
        int(row.token),
        row.symbol,
        instrument,
        contract.commodity,
        expiry,
        contract,
    )


# The symbol names the contract's month, the expiry the year it is in: a month after it at most.
def _contract_month(month: str, expiry: date) -> str:
    number = _MONTHS.index(month) + 1
    year = expiry.year + (number < expiry.month - 6) - (number > expiry.month + 6)
    return f"{year:04d}{number:02d}"
