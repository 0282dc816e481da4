"""Which segments of compressed chunks late rows open. On a server that compresses: tests/sinks/test_on_timescale.py."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from sinks.compressed import COMPRESSED, STRETCH_NS, Stretch, stretches
from sinks.migrations import read_migrations

DAY = datetime(2026, 11, 2, tzinfo=UTC)
T0 = int(DAY.timestamp()) * 10**9
CHUNKS = [(DAY, DAY + timedelta(days=1)), (DAY + timedelta(days=3), DAY + timedelta(days=4))]


def trades(*rows: tuple[str, int]) -> pa.Table:
    return pa.table({"instrument": [name for name, _ in rows], "ts_event": [T0 + at for _, at in rows]})


def test_rows_close_together_are_one_stretch_and_the_fullest_comes_first() -> None:
    table = trades(("A", 7), ("B", 5), ("A", 3), ("A", STRETCH_NS), ("B", 6), ("B", 5))
    assert stretches("trades", table, CHUNKS) == [
        Stretch(3, ("B",), T0 + 5, T0 + 6),
        Stretch(2, ("A",), T0 + 3, T0 + 7),
        Stretch(1, ("A",), T0 + STRETCH_NS, T0 + STRETCH_NS),
    ]


def test_rows_outside_of_compressed_chunks_open_nothing() -> None:
    day_ns = 86_400 * 10**9
    table = trades(("A", -1), ("A", 0), ("A", day_ns - 1), ("A", day_ns), ("A", 3 * day_ns), ("A", 4 * day_ns))
    assert {stretch.begins_ns - T0 for stretch in stretches("trades", table, CHUNKS)} == {0, day_ns - 1, 3 * day_ns}
    assert stretches("trades", table, []) == []


def test_a_segment_of_bars_is_of_an_interval() -> None:
    table = pa.table({"instrument": ["A", "A"], "interval": ["1s", "1m"], "ts_open": [T0, T0]})
    assert {stretch.segment for stretch in stretches("bars", table, CHUNKS)} == {("A", "1s"), ("A", "1m")}


def test_segments_are_those_of_the_migration() -> None:
    text = next(each.text for each in read_migrations("timescale") if each.name == "0010_pieces")
    listed = text[text.index("FOREACH name IN ARRAY ARRAY['trades', 'quotes', 'books', 'bars']") :]
    assert sorted(COMPRESSED) == ["bars", "books", "quotes", "trades"]
    for words, at in COMPRESSED.values():
        assert all(word in listed for word in (*words, at))
