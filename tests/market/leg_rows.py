"""Builds the arbitrage kernel's input where books change among the ticks: of plain rows, and of imagined markets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from arrivals import batch
from book_rows import change_of
from reference import Row

from market.book import MARKET
from market.legs import LEG_ARRIVALS, with_changes
from market.schemas import DEPTH, IMAGE, SET

_DEFAULTS: dict[str, Any] = dict.fromkeys(DEPTH.names) | {"last": True}


def depth_batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of DEPTH; a column that is left out is null."""
    return pa.RecordBatch.from_pylist([{**_DEFAULTS, **row} for row in rows], schema=DEPTH)


def image(name: str, at: int, *levels: tuple[int, int, int]) -> list[dict[str, Any]]:
    """The image of a book: (side, price, size) each."""
    common = {"venue": name.partition(":")[0], "instrument": name, "ts_event": at, "ts_recv": at}
    rows = [{**common, "action": SET, "side": s, "price": p, "size": n, "last": False} for s, p, n in levels]
    rows = [{**common, "action": IMAGE, "last": False}, *rows]
    rows[-1]["last"] = True
    return rows


def interleaved(ticks: pa.RecordBatch, depth: Sequence[dict[str, Any]], before: Sequence[int]) -> pa.RecordBatch:
    """Ticks with changes of books among them; `before` is how many ticks come before each, rising."""
    at = [(float(row), row) for row in range(ticks.num_rows)]
    at += [(count - 0.5, ticks.num_rows + row) for row, count in enumerate(before)]
    order = np.array([row for _, row in sorted(at, key=lambda each: each[0])], np.int64)
    return with_changes(ticks, depth_batch(depth), order, "test")


def is_change(row: Row) -> bool:
    return row.kind in ("trade", "bust", "correction") and row.name % 3 > 0


def legs(rows: list[Row]) -> pa.RecordBatch:
    """The ticks of an imagined market; in place of most of its trades, changes of books."""
    depth = [change_of(row) for row in rows if is_change(row)]
    assert all(row["action"] < MARKET for row in depth)
    before = np.cumsum([not is_change(row) for row in rows])
    counts = [int(count) for row, count in zip(rows, before, strict=True) if is_change(row)]
    found = interleaved(batch([row for row in rows if not is_change(row)]), depth, counts)
    assert found.schema.equals(LEG_ARRIVALS)
    return found
