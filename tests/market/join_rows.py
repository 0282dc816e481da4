"""Builds the join kernel's input: of the rows of an imagined market, every third trade is the desk's own."""

import pyarrow as pa
from arrivals import batch
from reference import Row

from market.columns import concat_batches
from market.schemas import BUY, SELL
from market.trade_events import event_batch
from market.trade_join import of_events, of_ticks


def is_event(row: Row) -> bool:
    return row.kind == "trade" and row.name % 3 == 0


def joins(rows: list[Row]) -> pa.RecordBatch:
    """A tick for each row, or an event."""
    return concat_batches([event(row) if is_event(row) else of_ticks(batch([row])) for row in rows] or [nothing()])


def nothing() -> pa.RecordBatch:
    return of_ticks(batch([]))


def event(row: Row) -> pa.RecordBatch:
    fields = {
        "event_id": f"e-{row.name}-{row.ts}",
        "event_type": "matched",
        "trade_id": row.trade_id or "",
        "user_id": "asha",
        "instrument": row.instrument,
        "side": BUY if row.name % 2 else SELL,
        "quantity": row.size,
        "price": row.price,
        "ts_event": row.ts,
        "ts_recv": row.recv or row.ts,
    }
    return of_events(event_batch([fields]), "trading.events/2", pa.array([row.name]))
