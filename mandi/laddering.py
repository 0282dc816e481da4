"""`mandi parity`: the ladder of a commodity from a foreign price to its landed cost, and from gross to net."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import orjson
import psycopg
from rich.console import Console
from rich.table import Table

from mandi.clock import FileClock
from mandi.errors import MandiError, UsageError
from mandi.settings import Settings
from mandi.stores import open_stores
from market.instruments import BadPrice, InstrumentKey, InstrumentMaster, to_fixed
from market.parity import BUY_FOREIGN, COSTS, DIRECTIONS, Terms, foreign_key, ladder, land, terms_of
from market.reference import Dated, MissingReference, Reference, Route
from market.schemas import PRICE_SCALE
from market.sizes import hedged, least_lots
from market.units import from_scaled, to_decimal

_FX: Final = "BBG:USDINR:SPOT"
_INDIA: Final = timedelta(hours=5, minutes=30)
_NEWEST: Final = (
    "SELECT bid_price, bid_size, ask_price, ask_size, ts_event_ns FROM market.quotes WHERE instrument = %s"
    " AND bid_price IS NOT NULL AND ask_price IS NOT NULL ORDER BY ts_event DESC, ts_event_ns DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityOptions:
    """What was asked. Prices as text, exact; `price`, `fx` and `local` are given, or read from the stores."""

    product: str
    price: str | None = None
    fx: str | None = None
    local: str | None = None
    month: str | None = None
    on: date | None = None
    as_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quote:
    """Both sides of a book's top; lots are None for a price that was typed."""

    bid: int
    ask: int
    bid_lots: int | None = None
    ask_lots: int | None = None
    ts_event: int | None = None


def parity(settings: Settings, options: ParityOptions) -> int:
    """Print the ladder of every route of a product or commodity.

    Raises: UsageError for one that has no route, or numbers that are none; MandiError without quotes in the stores.
    """
    now = FileClock(settings.clock_file)()
    on = options.on or (datetime.fromtimestamp(now / 1e9, UTC) + _INDIA).date()
    routes = _routes(options.product, on)
    given = (options.price, options.fx)
    if any(given) and not all(given):
        raise UsageError("--price and --fx belong together; --local is what the contract trades at in India")
    if options.local and not options.price:
        raise UsageError("--local needs --price and --fx")
    try:
        found = _typed(routes, options, on) if options.price else _stored(settings, routes, options, on, now)
    except (MissingReference, BadPrice) as error:
        raise MandiError(str(error)) from error
    if options.as_json:
        sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        for shown in found:
            _print(shown)
    return 0


def _routes(product: str, on: date) -> list[Dated[Route]]:
    reference = Reference.load()
    every = [route for commodity in reference.commodities for route in reference.routes_of(commodity, on)]
    of_root = [route for route in every if route.value.local[1] == product.upper()]
    found = of_root or [route for route in every if route.value.commodity == product.lower()]
    if not found:
        if not every:
            raise UsageError(f"no route is known on {on}")
        names = ", ".join(route.value.local[1] for route in every)
        raise UsageError(f"there is no route for '{product}' on {on}; choose among {names}")
    return found


def _typed(routes: Sequence[Dated[Route]], options: ParityOptions, on: date) -> list[dict[str, Any]]:
    try:
        asked = (options.price, options.fx, options.local)
        price, fx, local = (None if text is None else to_fixed(text) for text in asked)
    except BadPrice as error:
        raise UsageError(str(error)) from error
    assert price is not None
    assert fx is not None
    if fx <= 0:
        raise UsageError(f"--fx {options.fx} is no exchange rate")
    found = []
    for route in routes:
        terms = terms_of(Reference.load(), InstrumentMaster.load(), route, on)
        quotes = {"foreign": _Quote(bid=price, ask=price), "fx": _Quote(bid=fx, ask=fx)}
        if local is not None:
            quotes["local"] = _Quote(bid=local, ask=local)
        names = {"local": ":".join(route.value.local), "foreign": ":".join(route.value.foreign)}
        found.append(_shown(terms, names, quotes))
    return found


def _stored(
    settings: Settings, routes: Sequence[Dated[Route]], options: ParityOptions, on: date, now: int
) -> list[dict[str, Any]]:
    master, found = InstrumentMaster.load(), []
    with (
        open_stores(settings, migrate=False, only=("timescale",)) as stores,
        _connected(stores.timescale) as connection,
    ):
        for route in routes:
            terms = terms_of(Reference.load(), master, route, on)
            for key in _months(route.value, options.month, on):
                names = {"local": key, "foreign": foreign_key(route.value, master, InstrumentKey.parse(key), on) or ""}
                quotes = {leg: _newest(connection, name) for leg, name in (*names.items(), ("fx", _FX))}
                known = {leg: quote for leg, quote in quotes.items() if quote is not None}
                if len(known) == len(quotes):
                    ages = {leg: (now - (quote.ts_event or now)) / 1e9 for leg, quote in known.items()}
                    found.append(_shown(terms, names, known) | {"age_s": ages})
    if not found:
        raise MandiError(
            "the stores hold no quotes of both legs and USDINR: run `mandi demo`, or give --price, --fx and --local"
        )
    return found


def _connected(dsn: str) -> "psycopg.Connection[Any]":
    try:
        return psycopg.connect(dsn, options="-c default_transaction_read_only=on")
    except psycopg.Error as error:
        raise MandiError(f"TimescaleDB: {str(error).strip().splitlines()[0]}") from error


def _months(route: Route, month: str | None, on: date) -> list[str]:
    keys = InstrumentMaster.load().fronts(*route.local, on, 2)
    return [f"{':'.join(route.local)}:{month}"] if month else keys


def _newest(connection: "psycopg.Connection[Any]", key: str) -> _Quote | None:
    try:
        row = connection.execute(_NEWEST, (key,)).fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise MandiError("the stores are empty: run `mandi demo` or `mandi migrate`") from error
    if row is None:
        return None
    bid, bid_lots, ask, ask_lots, ts_event = row
    return _Quote(
        bid=to_fixed(bid), ask=to_fixed(ask), bid_lots=int(bid_lots), ask_lots=int(ask_lots), ts_event=ts_event
    )


def _shown(terms: Terms, names: Mapping[str, str], quotes: Mapping[str, _Quote]) -> dict[str, Any]:
    """One route's ladder as plain values; numbers are text, exact."""
    foreign, fx = quotes["foreign"], quotes["fx"]
    landing = land(terms, from_scaled(foreign.ask), from_scaled(fx.ask))
    steps = {name: getattr(landing, name) for name in ("value", "freight", "duty", "bank", "inland", "landed")}
    return {
        **names,
        "on": str(terms.on),
        "unit": f"INR per {terms.route.local_unit}",
        "landing": {name: str(to_decimal(amount)) for name, amount in steps.items()},
        "directions": [_direction(terms, direction, quotes) for direction in DIRECTIONS] if "local" in quotes else [],
        "assumed": list(terms.assumed),
    }


def _direction(terms: Terms, direction: str, quotes: Mapping[str, _Quote]) -> dict[str, Any]:
    local, foreign, fx = quotes["local"], quotes["foreign"], quotes["fx"]
    if direction == BUY_FOREIGN:
        prices, there = (local.bid, foreign.ask, fx.ask), (local.bid_lots, foreign.ask_lots)
    else:
        prices, there = (local.ask, foreign.bid, fx.bid), (local.ask_lots, foreign.bid_lots)
    executable = None if there[0] is None or there[1] is None else hedged(terms, there[0], there[1])
    size = executable if executable and executable != (0, 0) else least_lots(terms)
    found = ladder(terms, direction, *prices, size)
    return {
        "direction": direction,
        "local_price": _text(found.local_price),
        "foreign_price": _text(found.foreign_price),
        "fx": _text(found.fx),
        "gross": _text(found.gross),
        "costs": {name: _text(found.costs[name]) for name in COSTS},
        "net": _text(found.net),
        "net_bps": str(to_decimal(Fraction(found.net * 10_000, abs(found.local_price)))) if found.local_price else None,
        "lots": {"local": found.local_lots, "foreign": found.foreign_lots},
        "executable": None if executable is None else executable != (0, 0),
        "total_inr": _text(found.total_inr),
        "total_usd": _text(found.total_usd),
    }


def _text(value: int) -> str:
    return f"{to_decimal(Fraction(value, PRICE_SCALE), 4):f}".rstrip("0").rstrip(".")


def _print(shown: Mapping[str, Any]) -> None:
    console = Console()
    console.print(_both_ways(shown) if shown["directions"] else _landing_only(shown))
    if "age_s" in shown:
        console.print("age: " + ", ".join(f"{leg} {age:,.1f} s" for leg, age in shown["age_s"].items()))
    if shown["assumed"]:
        console.print(f"assumed, not verified: {', '.join(shown['assumed'])}", highlight=False)


def _both_ways(shown: Mapping[str, Any]) -> Table:
    table = Table(title=f"{shown['local']} against {shown['foreign']}, {shown['unit']}, {shown['on']}")
    table.add_column("")
    for each in shown["directions"]:
        table.add_column(each["direction"].replace("_", " "), justify="right")
    for name in ("local_price", "foreign_price", "fx", "gross"):
        table.add_row(name.replace("_", " "), *(_aligned(each[name]) for each in shown["directions"]))
    table.add_section()
    for name in COSTS:
        table.add_row(name.replace("_", " "), *(_aligned(each["costs"][name]) for each in shown["directions"]))
    table.add_section()
    for name in ("net", "net_bps", "total_inr", "total_usd"):
        table.add_row(name.replace("_", " "), *(_aligned(each[name]) for each in shown["directions"]))
    table.add_row("lots, local and foreign", *(_lots(each) for each in shown["directions"]))
    return table


def _aligned(number: str | None) -> str:
    return "" if number is None else f"{Decimal(number):.4f}"


def _landing_only(shown: Mapping[str, Any]) -> Table:
    table = Table(title=f"{shown['foreign']} landed as {shown['local']}, {shown['on']}")
    table.add_column("")
    table.add_column(shown["unit"], justify="right")
    for name, amount in shown["landing"].items():
        table.add_row(name, amount, end_section=name == "inland")
    return table


def _lots(each: Mapping[str, Any]) -> str:
    text = f"{each['lots']['local']} and {each['lots']['foreign']}"
    return text if each["executable"] is not False else f"{text}, more than is there"
