"""`mandi reconcile`: whether both stores hold the same rows, and the first difference if not."""

from mandi.settings import Settings
from mandi.stores import open_stores
from sinks.reconcile import Difference, reconcile


def report(settings: Settings, *, wall_clock: bool) -> int:
    """Compare and print the verdict; return 0 if they are equal, 1 if not."""
    with open_stores(settings) as stores:
        found = reconcile(stores.timescale, stores.clickhouse, wall_clock=wall_clock)
    if found.first is None:
        print(f"equal: {found.rows} rows in {found.parts} parts (table, instrument, day)")
        return 0
    print("\n".join(_lines(found.first)))
    print(f"{found.differing} of {found.parts} parts (table, instrument, day) differ; the first is above")
    return 1


def _lines(first: Difference) -> list[str]:
    ours, theirs = first.timescale_line, first.clickhouse_line
    head = [f"{first.part}: TimescaleDB has {first.timescale.rows} rows, ClickHouse {first.clickhouse.rows}"]
    if ours is None and theirs is None:
        return [*head, "  every row is in both: one of them has a row twice"]
    if ours is None or theirs is None:
        only, line = ("ClickHouse", theirs) if ours is None else ("TimescaleDB", ours)
        named = ", ".join(f"{name}={value}" for name, value in zip(first.columns, line or (), strict=True))
        return [*head, f"  only in {only}: {named}"]
    return [
        *head,
        f"  {', '.join(f'{name}={a}' for name, a, b in zip(first.columns, ours, theirs, strict=True) if a == b)}",
        *(
            f"  {name}: TimescaleDB {a}, ClickHouse {b}"
            for name, a, b in zip(first.columns, ours, theirs, strict=True)
            if a != b
        ),
    ]
