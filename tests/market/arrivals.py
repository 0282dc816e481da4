"""Builds kernel input from oracle rows, and reads kernel output back as the oracle's tuples."""

import pyarrow as pa
from reference import Row

from market.columns import concat_batches
from market.kernel import ARRIVALS
from market.schemas import BUST, CLOCK, CORRECTION, QUALITIES, QUOTE, STATE, TRADE

NAME_SHIFT = 8
"""A row's name is in its flags, above the bits that mean something: kernels pass them on."""

_KIND = {"trade": TRADE, "quote": QUOTE, "clock": CLOCK, "bust": BUST, "correction": CORRECTION, "state": STATE}
_TERMS = ("trade", "correction")


def batch(rows: list[Row]) -> pa.RecordBatch:
    def quoted(row: Row, value: int) -> int | None:
        return value if row.kind == "quote" else None

    columns = {
        "kind": [_KIND[row.kind] for row in rows],
        "venue": [row.venue for row in rows],
        "instrument": [row.instrument for row in rows],
        "ts_event": [row.ts for row in rows],
        "ts_recv": [row.recv for row in rows],
        "seq": [row.seq for row in rows],
        "price": [row.price if row.kind in _TERMS else None for row in rows],
        "size": [row.size if row.kind in (*_TERMS, "state") else None for row in rows],
        "side": [0 if row.kind in _TERMS else None for row in rows],
        "trade_id": [row.trade_id for row in rows],
        "bid_price": [quoted(row, row.price) for row in rows],
        "bid_size": [quoted(row, 1) for row in rows],
        "ask_price": [quoted(row, row.price + 1) for row in rows],
        "ask_size": [quoted(row, 1) for row in rows],
        "flags": [row.name << NAME_SHIFT for row in rows],
        "source": ["test"] * len(rows),
        "source_offset": [0] * len(rows),
        "source_row": [row.name for row in rows],
    }
    arrays = []
    for field in ARRIVALS:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array(columns[field.name], plain)
        if pa.types.is_dictionary(field.type):
            encoded = array.dictionary_encode()
            array = pa.DictionaryArray.from_arrays(encoded.indices.cast(field.type.index_type), encoded.dictionary)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=ARRIVALS)


def names(rows: list[dict]) -> list[int]:
    """Which rows of the input these trades or quotes are."""
    return [row["flags"] >> NAME_SHIFT for row in rows]


def bar_tuples(bars: pa.RecordBatch | None) -> list[tuple]:
    """Final bars and revisions as Oracle.published has them."""
    if bars is None:
        return []
    return [
        (
            row["venue"], row["instrument"], row["interval"], row["ts_open"], row["revision"],
            row["open"], row["high"], row["low"], row["close"], int(row["volume"].scaleb(9)), row["vwap"],
            row["trades"], row["as_known_at"], QUALITIES.index(row["quality"]),
        )
        for row in bars.to_pylist()
        if row["final"]
    ]  # fmt: skip


def joined(outputs: list[dict[str, pa.RecordBatch]]) -> dict[str, pa.RecordBatch]:
    """The outputs of several calls, one after the other, per name."""
    names = {name for output in outputs for name in output}
    return {name: concat_batches([output[name] for output in outputs if name in output]) for name in names}
