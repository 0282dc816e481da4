"""FIX market data messages -> entries, and our requests. Pure.

What an entry consists of, and where, is worked out once per layout (connectors/fix/fields.py) and kept as a `Plan`; an
entry is then one call that picks its values. No object is made for a field.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, cast

from connectors.cme.constants import BID, OFFER
from connectors.cme.dialects import Dialect
from connectors.fix.fields import Layout
from connectors.fix.outgoing import Body
from connectors.fix.values import parse_time
from market.instruments import MONTH_CODES, InstrumentKey
from market.schemas import BUY, SELL, UNKNOWN_SIDE

ENTRIES: Final = 268

ENTRY_TAGS: Final = (279, 269, 278, 280, 290, 1023, 270, 271, 346, 272, 273, 60, 277, 1003, 5797, 2446)
"""What an entry is picked as, in this order, followed by its RptSeq and the fields that name its instrument."""

RawEntry = tuple[bytes | None, ...]
Pick = Callable[[Sequence[Any]], RawEntry]

_SIDES: Final = {None: UNKNOWN_SIDE, b"0": UNKNOWN_SIDE, b"1": BUY, b"2": SELL}


class Plan:
    """How to pick the entries out of a message of one layout.

    Values must end with a None, which a pick takes where an entry lacks a field.
    """

    __slots__ = ("own_symbol", "picks", "symbol")

    def __init__(self, layout: Layout, symbol: tuple[int, ...]) -> None:
        tags = (*ENTRY_TAGS, 83, *symbol)
        entries = layout.groups.get(ENTRIES, [])
        self.picks: tuple[Pick, ...] = tuple(
            cast(Pick, itemgetter(*(entry.get(tag, -1) for tag in tags))) for entry in entries
        )
        self.own_symbol = tuple(all(tag in entry for tag in symbol) for entry in entries)
        """Whether each entry names its instrument itself; else it is that of the entry before."""
        self.symbol: Pick = _named(layout, symbol)


# Of one tag itemgetter gives the value, of several a tuple: both serve as a key, but only if they are alike everywhere.
def _named(layout: Layout, symbol: tuple[int, ...]) -> Pick:
    return cast(Pick, itemgetter(*(layout.at.get(tag, -1) for tag in symbol), -1))


def plan_of(layout: Layout, symbol: tuple[int, ...]) -> Plan:
    """Return the layout's plan, made at first sight."""
    plan = layout.plan
    if type(plan) is not Plan:
        plan = layout.plan = Plan(layout, symbol)
    return plan


def side_of(raw: bytes | None) -> int | None:
    """Return the aggressor's side of an AggressorSide value; None if there is no such value."""
    return _SIDES.get(raw)


def entry_time(date: bytes, time: bytes) -> int:
    """Return MDEntryDate and MDEntryTime as ns. Raises: ValueRefused."""
    return parse_time(b"%b-%b" % (date, time))


# ---- symbols


def symbol_fields(key: str, symbol: tuple[int, ...]) -> Body:
    """Return the fields that name an instrument in a request.

    Example:
        >>> symbol_fields("XCEC:GC:202612", (55,))
        [(55, 'GCZ6')]
        >>> symbol_fields("XCEC:GC:202612", (207, 55, 200))
        [(55, 'GC'), (200, '202612'), (207, 'XCEC')]
        >>> symbol_fields("XCEC:GC:202612", (48,))
        [(55, 'GC'), (48, 'GCZ6'), (22, '8')]
    """
    parsed = InstrumentKey.parse(key)
    raw = f"{parsed.root}{MONTH_CODES[int(parsed.expiry[4:]) - 1]}{parsed.expiry[3]}"
    if symbol == (55,):
        return [(55, raw)]
    if symbol == (48,):
        return [(55, parsed.root), (48, raw), (22, "8")]  # 8: exchange symbol
    return [(55, parsed.root), (200, parsed.expiry), (207, parsed.mic)]


def symbol_key(key: str, symbol: tuple[int, ...]) -> tuple[bytes, ...]:
    """Return what the fields `symbol` hold in a message about an instrument.

    Example:
        >>> symbol_key("XCEC:GC:202612", (207, 55, 200))
        (b'XCEC', b'GC', b'202612')
    """
    fields = dict(symbol_fields(key, symbol))
    return tuple(str(fields[tag]).encode() for tag in symbol)


# ---- requests


def market_data_request(
    request_id: str,
    instruments: Iterable[str],
    dialect: Dialect,
    *,
    kind: str,
    entry_types: Iterable[bytes],
    depth: int,
) -> Body:
    """Return the body of a MarketDataRequest. `kind`: 0 an image, 1 an image and what follows, 2 no more."""
    types, keys = list(entry_types), list(instruments)
    body: Body = [(262, request_id), (263, kind), (264, depth), (265, 1 if dialect.incremental else 0)]
    body += [(266, "Y"), (267, len(types))]
    body += [(269, entry_type.decode()) for entry_type in types]
    body.append((146, len(keys)))
    for key in keys:
        body += symbol_fields(key, dialect.symbol)
    return body


def security_status_request(request_id: str, key: str, dialect: Dialect) -> Body:
    """Return the body of a SecurityStatusRequest with updates."""
    return [(324, request_id), *symbol_fields(key, dialect.symbol), (263, 1)]


def session_status_request(request_id: str) -> Body:
    """Return the body of a TradingSessionStatusRequest with updates, of all sessions."""
    return [(335, request_id), (263, 1)]


BOOK_TYPES: Final = (BID, OFFER)
