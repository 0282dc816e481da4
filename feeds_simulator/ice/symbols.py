"""Symbols in ICE style (docs/ice-profile.md)."""

from market.instruments import MONTH_CODES, InstrumentKey


def ice_symbol(key: str) -> str:
    """Return the venue's symbol of an instrument key.

    Example:
        >>> ice_symbol("IFUS:CT:202612")
        'CT Z26'
    """
    parsed = InstrumentKey.parse(key)
    return f"{parsed.root} {MONTH_CODES[int(parsed.expiry[4:]) - 1]}{parsed.expiry[2:4]}"
