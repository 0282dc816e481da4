"""Bloomberg's names of instruments: `USDINR Curncy`, `GCZ6 Comdty`.

Source: Bloomberg ticker conventions, general knowledge: a month code and the last digit of the year; a root of one
letter is padded with a blank (`W Z6 Comdty`); a pricing source may stand before the yellow key (`USDINR BGN Curncy`).
"""

from typing import Final

from market.instruments import MONTH_CODES, SPOT, InstrumentKey

PRICING_SOURCES: Final = frozenset(("BGN", "CMPN", "BGNL"))
_PREFIXES: Final = ("ticker", "topic")


def security_of(key: str) -> str:
    """Return the security of an instrument key.

    Example:
        >>> security_of("BBG:USDINR:SPOT"), security_of("BBG:GC:202612"), security_of("BBG:W:202703")
        ('USDINR Curncy', 'GCZ6 Comdty', 'W H7 Comdty')
    """
    parsed = InstrumentKey.parse(key)
    if parsed.expiry == SPOT:
        return f"{parsed.root} Curncy"
    month = MONTH_CODES[int(parsed.expiry[4:]) - 1]
    return f"{parsed.root:<2}{month}{parsed.expiry[3]} Comdty"


def normalised(instrument: str) -> str:
    """Return what a topic's instrument part asks for, without prefix and pricing source, as `security_of` names it.

    Example:
        >>> normalised("/ticker/usdinr BGN curncy")
        'USDINR Curncy'
    """
    prefix, _, rest = instrument.strip("/").partition("/")
    name = rest if prefix in _PREFIXES else instrument.strip("/")
    root, _, yellow_key = name.strip().rpartition(" ")
    words = root.upper().split(" ")
    if len(words) > 1 and words[-1] in PRICING_SOURCES:
        words.pop()
    return f"{' '.join(words)} {yellow_key.capitalize()}".strip()
