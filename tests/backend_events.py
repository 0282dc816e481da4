"""What the tests of the trading backend share: events, outbox tables, and what a log holds of them."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from log_support import read_all
from psycopg import sql

from connectors.log import open_reader
from market import topics
from market.records import TopicPartition
from pipelines.backend import EVENTS

NOW_NS = 1_795_231_397_678_000_000

OUTBOX = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.outbox (
    id bigserial PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    payload text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON {schema}.outbox (xid, id);
CREATE FUNCTION {schema}.notify() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN NOTIFY mandi_outbox; RETURN NULL; END$$;
CREATE TRIGGER wake AFTER INSERT ON {schema}.outbox FOR EACH STATEMENT EXECUTE FUNCTION {schema}.notify();
"""


def event(number: int, **changes: Any) -> dict[str, Any]:
    """An event as a backend writes it."""
    return {
        "version": 1,
        "event_id": f"e-{number}",
        "type": "created",
        "trade_id": f"t-{number}",
        "user": "asha",
        "instrument": "IFUS:CT:202612",
        "side": "buy",
        "quantity": 5,
        "price": 68.21,
        "ts_event": str(NOW_NS + number),
        **changes,
    }


def payload(number: int, **changes: Any) -> bytes:
    return json.dumps(event(number, **changes)).encode()


@contextmanager
def outbox(dsn: str) -> Iterator[str]:
    """An empty outbox of the backend; its table's name."""
    schema = f"backend_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(OUTBOX).format(schema=sql.Identifier(schema)))  # type: ignore[arg-type]
    try:
        yield f"{schema}.outbox"
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def insert(connection: psycopg.Connection, table: str, *payloads: bytes) -> None:
    """Write rows of the outbox in the connection's transaction."""
    name = sql.Identifier(*table.split("."))
    for each in payloads:
        connection.execute(sql.SQL("INSERT INTO {} (payload) VALUES (%s)").format(name), [each.decode()])


def logged(url: str) -> list[str]:
    """Ids of the events in the log, in order."""
    return [json.loads(record.value)["event_id"] for record in read_all(open_reader(url), EVENTS)]


def ledger(url: str, topic: str = topics.REJECTED) -> list[dict[str, Any]]:
    """Rows of the backend in a ledger's topic, those that came twice twice."""
    tp = TopicPartition(topic, topics.FROM_BACKEND)
    reader = open_reader(url)
    if tp not in reader.partitions(topic):
        return []
    return [row for record in read_all(reader, tp) if record.batch is not None for row in record.batch.to_pylist()]
