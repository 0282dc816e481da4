"""What a run ends with: counts that must balance, and a hash of what the stores hold."""

import hashlib
from collections import Counter
from typing import Any

import psycopg

from connectors.log import open_reader
from mandi.errors import MandiError
from mandi.stores import Stores
from market import topics
from pipelines.ingest import ROWS_META
from sinks.canonical import canonical_hash_clickhouse, canonical_hash_timescale


def output_hash(stores: Stores) -> str:
    """Hash of all tables, ordered by natural key, without wall-clock columns; both stores must agree.

    Raises: MandiError naming the tables that differ between the stores.
    """
    ours = canonical_hash_timescale(stores.timescale, wall_clock=False)
    theirs = canonical_hash_clickhouse(stores.clickhouse, wall_clock=False)
    differing = sorted(table for table in ours if ours[table] != theirs[table])
    if differing:
        raise MandiError(f"the stores differ in {', '.join(differing)}: docs/runbook.md says how to compare them")
    text = "\n".join(f"{table} {ours[table]}" for table in sorted(ours))
    return hashlib.sha256(text.encode()).hexdigest()


def demo_summary(log_url: str, stores: Stores) -> dict[str, Any]:
    """Count what went into the log and what came of it in the stores, over the whole life of the data directory."""
    stored = _count_tables(stores.timescale)
    early_rejects = stored["rejected"] - stored["rejected_of_log"]  # refused before the log
    return {
        "rows_in": ingested_rows(log_url) + early_rejects,
        "rows_out": stored["trades"] + stored["quotes"],
        "late": stored["late"],
        "rejected": stored["rejected"],
        "conflated": 0,
        "bars": stored["bars"],
        "trade_events": stored["trade_events"],
        "output_hash": output_hash(stores),
    }


def ingested_rows(log_url: str) -> int:
    """Trades and quotes that were ever appended to the price topics, by the count in each one's newest record."""
    reader, rows = open_reader(log_url), 0
    for tp in reader.partitions(topics.PRICES_PATTERN):
        end = reader.end_offset(tp)
        if end > reader.begin_offset(tp):
            rows += int(reader.read(tp, end - 1)[0].meta[ROWS_META])
    reader.close()
    return rows


def _count_tables(dsn: str) -> Counter[str]:
    counted = Counter[str]()
    with psycopg.connect(dsn) as connection:
        for table in ("trades", "quotes", "bars", "late", "rejected", "trade_events"):
            row = connection.execute(f"SELECT count(*) FROM market.{table}").fetchone()
            counted[table] = 0 if row is None else row[0]
        row = connection.execute("SELECT count(*) FROM market.rejected WHERE source LIKE 'market.prices.%'").fetchone()
        counted["rejected_of_log"] = 0 if row is None else row[0]
    return counted
