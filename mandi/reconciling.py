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
        return [*head, "  the same rows when they were read, a moment later: ask again"]
    named = ", ".join(f"{name}={value}" for name, value in zip(first.columns, ours or theirs or (), strict=True))
    if ours == theirs:
        often = [f"{'once' if n == 1 else f'{n} times'} in" for n in (first.timescale_times, first.clickhouse_times)]
        return [*head, f"  {often[0]} TimescaleDB, {often[1]} ClickHouse: {named}"]
    if ours is None or theirs is None:
        return [*head, f"  only in {'ClickHouse' if ours is None else 'TimescaleDB'}: {named}"]
    return [
        *head,
        f"  {', '.join(f'{name}={a}' for name, a, b in zip(first.columns, ours, theirs, strict=True) if a == b)}",
        *(
            f"  {name}: TimescaleDB {a}, ClickHouse {b}"
            for name, a, b in zip(first.columns, ours, theirs, strict=True)
            if a != b
        ),
    ]
