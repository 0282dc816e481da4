"""Builds the book kernel's input: from plain tuples, and from the rows of an imagined market."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from reference import Row

from market.book import BOOK_ARRIVALS, MARKET, TIME
from market.schemas import BUY, DELETE, DIRTY, IMAGE, INSERT, SELL, SET

_DEFAULTS = dict.fromkeys(BOOK_ARRIVALS.names) | {"venue": "XCEC", "last": True}


def book_batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of BOOK_ARRIVALS; a column that is left out is null."""
    arrays = []
    for field in BOOK_ARRIVALS:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array([{**_DEFAULTS, **row}[field.name] for row in rows], plain)
        if pa.types.is_dictionary(field.type):
            encoded = array.dictionary_encode()
            array = pa.DictionaryArray.from_arrays(encoded.indices.cast(field.type.index_type), encoded.dictionary)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=BOOK_ARRIVALS)


_ACTIONS = {"quote": IMAGE, "bust": DELETE, "correction": SET, "clock": TIME, "state": MARKET}


def changes(rows: list[Row]) -> pa.RecordBatch:
    """A change for each row of a market of ticks: each of its instruments is told in another way."""
    return book_batch([change_of(row) for row in rows])


def change_of(row: Row) -> dict[str, Any]:
    """The change a row of a market of ticks stands for."""
    action = _ACTIONS.get(row.kind, (IMAGE, SET, SET, INSERT, SET, SET, DIRTY, SET)[row.name % 8])
    way: dict[str, Any] = {}
    if row.instrument == "XCEC:GC:202612":
        way["entry_id"] = f"E{row.name % 4}"
    elif row.instrument == "XCEC:GC:202702":
        way["level"] = row.name % 3 + 1
    if action == INSERT and "level" not in way:
        action = SET
    return {
        "venue": row.venue,
        "instrument": row.instrument,
        "ts_event": row.ts,
        "ts_recv": row.recv,
        "seq": row.seq,
        "action": action,
        "side": BUY if row.name % 2 else SELL,
        "price": row.price,
        "size": row.size,
        "last": row.name % 5 != 1,
        **way,
    }
