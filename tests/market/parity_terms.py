"""Terms of the packaged routes, for tests."""

from datetime import date
from fractions import Fraction
from functools import cache

from market.instruments import InstrumentMaster
from market.parity import Terms, terms_of
from market.reference import Reference
from market.units import to_scaled

NOW = date(2026, 11, 23)
EVERY = ("GOLD", "GOLDM", "SILVER", "COPPER", "CRUDEOIL", "NATURALGAS", "COTTONCNDY")


@cache
def terms(root: str, on: date = NOW) -> Terms:
    """The terms of the route whose local contract has this root."""
    reference = Reference.load()
    for commodity in reference.commodities:
        for route in reference.routes_of(commodity, on):
            if route.value.local[1] == root:
                return terms_of(reference, InstrumentMaster.load(), route, on)
    raise AssertionError(root)


def scaled(text: str) -> int:
    return to_scaled(Fraction(text))
