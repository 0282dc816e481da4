"""The backend's tables, and how a change is written: the order, its trade and its event in one transaction.

The ground truth is in the tables: `orders.events` is the number of events that an order has had, so their sum is the
number of different events that were ever put into the outbox, also after somebody has deleted from it.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from feeds_simulator.backend.desk import Change

SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS trading;
CREATE TABLE IF NOT EXISTS trading.orders (
    order_id text PRIMARY KEY,
    user_name text NOT NULL,
    instrument text NOT NULL,
    side text NOT NULL,
    quantity numeric NOT NULL,
    price numeric NOT NULL,
    state text NOT NULL,
    events integer NOT NULL,
    changed_ns bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS trading.trades (
    order_id text PRIMARY KEY REFERENCES trading.orders,
    quantity numeric NOT NULL,
    price numeric NOT NULL,
    matched_ns bigint NOT NULL,
    settled_ns bigint
);
CREATE TABLE IF NOT EXISTS trading.outbox (
    id bigserial PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS outbox_order ON trading.outbox (xid, id);
CREATE OR REPLACE FUNCTION trading.wake() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN NOTIFY mandi_outbox; RETURN NULL; END$$;
CREATE OR REPLACE TRIGGER wake AFTER INSERT ON trading.outbox
    FOR EACH STATEMENT EXECUTE FUNCTION trading.wake();
"""

_ORDER: Final = """
INSERT INTO trading.orders AS o (order_id, user_name, instrument, side, quantity, price, state, events, changed_ns)
VALUES (%(order_id)s, %(user)s, %(instrument)s, %(side)s, %(quantity)s, %(price)s, %(state)s, %(number)s, %(ts)s)
ON CONFLICT (order_id) DO UPDATE
    SET (quantity, price, state, events, changed_ns) =
        ROW(excluded.quantity, excluded.price, excluded.state, excluded.events, excluded.changed_ns)
    WHERE o.events < excluded.events
"""
_MATCHED: Final = """
INSERT INTO trading.trades (order_id, quantity, price, matched_ns)
VALUES (%(order_id)s, %(quantity)s, %(price)s, %(ts)s)
"""
_SETTLED: Final = "UPDATE trading.trades SET settled_ns = %(ts)s WHERE order_id = %(order_id)s"
_EVENT: Final = "INSERT INTO trading.outbox (payload) VALUES (%(payload)s)"


def event_of(change: Change) -> str:
    """The event of a change, as the backend's users read it. Source: docs/venues.md, version 1."""
    return json.dumps(
        {
            "version": 1,
            "event_id": change.event_id,
            "type": change.event_type,
            "trade_id": change.order_id,
            "user": change.user,
            "instrument": change.instrument,
            "side": change.side,
            "quantity": str(change.quantity),
            "price": str(change.price),
            "ts_event": str(change.ts_event),
        }
    )


async def prepare(connection: psycopg.AsyncConnection[Any]) -> None:
    """Make the tables that are not there. Two at a time do no harm."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('trading'))")
        await connection.execute(SCHEMA)


async def write(connection: psycopg.AsyncConnection[Any], changes: Sequence[Change]) -> None:
    """Write changes, all or none. A change that is there already, since its commit was not heard of, is passed over."""
    async with connection.transaction():
        for change in changes:
            await _write_one(connection, change)


async def _write_one(connection: psycopg.AsyncConnection[Any], change: Change) -> None:
    values = {
        "order_id": change.order_id,
        "user": change.user,
        "instrument": change.instrument,
        "side": change.side,
        "quantity": change.quantity,
        "price": change.price,
        "state": change.event_type,
        "number": change.number,
        "ts": change.ts_event,
        "payload": event_of(change),
    }
    if (await connection.execute(_ORDER, values)).rowcount == 0:
        return
    if change.event_type == "matched":
        await connection.execute(_MATCHED, values)
    elif change.event_type == "settled":
        await connection.execute(_SETTLED, values)
    await connection.execute(_EVENT, values)
