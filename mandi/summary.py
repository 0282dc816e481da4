"""What a run ends with: counts that must balance, and a hash of what the stores hold."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import psycopg

from connectors.log import open_reader
from mandi.errors import MandiError
from mandi.stores import Stores
from market import topics
from market.columns import values
from market.records import LogReader, TopicPartition
from market.schemas import QUOTE, TRADE
from sinks.canonical import canonical_hash_clickhouse, canonical_hash_timescale


def output_hash(stores: Stores) -> str:
    """Hash of all tables, ordered by natural key, without wall-clock columns; both stores must agree.

    Raises: MandiError naming the tables that differ between the stores.
    """
    ours = canonical_hash_timescale(stores.timescale, wall_clock=False)
    theirs = canonical_hash_clickhouse(stores.clickhouse, wall_clock=False)
    differing = sorted(table for table in ours if ours[table] != theirs[table])
    if differing:
        raise MandiError(f"the stores differ in {', '.join(differing)}: `mandi doctor` says how to compare them")
    text = "\n".join(f"{table} {ours[table]}" for table in sorted(ours))
    return hashlib.sha256(text.encode()).hexdigest()


def demo_summary(log_url: str, stores: Stores) -> dict[str, Any]:
    """Count what is in the log and what came of it in the stores, over the whole life of the data directory."""
    kinds = count_ticks(log_url)
    stored = _count_tables(stores.timescale)
    early_rejects = stored["rejected"] - stored["future_stamp"]  # refused before the log
    return {
        "rows_in": kinds[TRADE] + kinds[QUOTE] + early_rejects,
        "rows_out": stored["trades"] + stored["quotes"],
        "late": stored["late"],
        "rejected": stored["rejected"],
        "conflated": 0,
        "bars": stored["bars"],
        "output_hash": output_hash(stores),
    }


def count_ticks(log_url: str) -> Counter[int]:
    """Rows of the price topics by kind, as far back as the log goes."""
    reader, kinds = open_reader(log_url), Counter[int]()
    for tp in reader.partitions(topics.PRICES_PATTERN):
        _count_partition(reader, tp, kinds)
    reader.close()
    return kinds


def _count_partition(reader: LogReader, tp: TopicPartition, kinds: Counter[int]) -> None:
    offset = reader.begin_offset(tp)
    while records := reader.read(tp, offset):
        for record in records:
            if record.batch is not None:
                found = np.bincount(values(record.batch.column("kind")), minlength=3)
                kinds.update({kind: int(n) for kind, n in enumerate(found)})
        offset = records[-1].offset + 1


def _count_tables(dsn: str) -> Counter[str]:
    counted = Counter[str]()
    with psycopg.connect(dsn) as connection:
        for table in ("trades", "quotes", "bars", "late", "rejected"):
            row = connection.execute(f"SELECT count(*) FROM market.{table}").fetchone()
            counted[table] = 0 if row is None else row[0]
        row = connection.execute("SELECT count(*) FROM market.rejected WHERE reason = 'future_stamp'").fetchone()
        counted["future_stamp"] = 0 if row is None else row[0]
    return counted
