"""Builds the join kernel's input: of the rows of an imagined market, every third trade is the desk's own."""

import pyarrow as pa
from arrivals import batch
from reference import Row

from market.schemas import BUY, SELL
from market.trade_join import EVENT, JOIN_ARRIVALS, of_ticks


def is_event(row: Row) -> bool:
    return row.kind == "trade" and row.name % 3 == 0


def joins(rows: list[Row]) -> pa.RecordBatch:
    """A tick for each row, or an event."""
    ticks = of_ticks(batch(rows))
    own = [is_event(row) for row in rows]

    def instead(name: str, values: list) -> list:
        before = ticks.column(name).to_pylist()
        return [mine if own else other for own, mine, other in zip(own, values, before, strict=True)]

    changed = {
        "kind": instead("kind", [EVENT] * len(rows)),
        "ts_recv": instead("ts_recv", [row.recv or row.ts for row in rows]),
        "side": instead("side", [BUY if row.name % 2 else SELL for row in rows]),
        "trade_id": instead("trade_id", [row.trade_id or "" for row in rows]),
        "event_id": instead("event_id", [f"e-{row.name}-{row.ts}" for row in rows]),
        "event_type": instead("event_type", ["matched"] * len(rows)),
        "user_id": instead("user_id", ["asha"] * len(rows)),
    }
    columns = [
        pa.array(changed[field.name], field.type) if field.name in changed else ticks.column(field.name)
        for field in JOIN_ARRIVALS
    ]
    return pa.RecordBatch.from_arrays(columns, schema=JOIN_ARRIVALS)


def nothing() -> pa.RecordBatch:
    return joins([])
