"""What a run ends with: counts that must balance, and a hash of what the stores hold."""

import hashlib

from mandi.errors import MandiError
from mandi.stores import Stores
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
