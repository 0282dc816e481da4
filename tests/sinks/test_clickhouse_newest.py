"""Rows that are newer than all the store has of them are not looked for; others are, whoever wrote what is there."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from store_rows import NOW_NS, batch_of, expected, read_clickhouse, rows_of

from sinks import clickhouse
from sinks.archive import dump_clickhouse, empty_clickhouse, loaded_clickhouse
from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_newest import TIMES

Row = dict[str, Any]


@pytest.fixture
def url(empty_stores: tuple[str, str]) -> str:
    return empty_stores[1]


@pytest.fixture
def looked_for(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each look for keys was for."""
    read, found = clickhouse._read, list[int]()

    def counted(client: Any, spec: Any, columns: Any, table: pa.Table) -> Iterator[Any]:
        found.append(table.num_rows)
        yield from read(client, spec, columns, table)

    monkeypatch.setattr(clickhouse, "_read", counted)
    return found


def _row(table: str, ns: int, **changes: Any) -> Row:
    row = rows_of(table, 1)[0]
    return row | {TIMES[table]: NOW_NS + ns} | changes


def _write(sink: ClickHouseSink, table: str, *rows: Row) -> int:
    return sink.write({table: [batch_of(table, rows)]}).total_written


@pytest.mark.parametrize("table", TIMES)
def test_newer_rows_are_not_looked_for(url: str, looked_for: list[int], table: str) -> None:
    with closing(ClickHouseSink(url)) as sink:
        for ns in range(0, 40, 10):
            assert _write(sink, table, _row(table, ns), _row(table, ns + 5)) == 2
        assert looked_for == []
        assert _write(sink, table, _row(table, 30), _row(table, 35), _row(table, 40)) == 1
    assert looked_for == [2]


@pytest.mark.parametrize("table", TIMES)
def test_what_was_there_before_is_looked_for(url: str, looked_for: list[int], table: str) -> None:
    with closing(ClickHouseSink(url)) as sink:
        _write(sink, table, _row(table, 0), _row(table, 5))
    with closing(ClickHouseSink(url)) as sink:
        assert _write(sink, table, _row(table, 0), _row(table, 5), _row(table, 6)) == 1
        assert _write(sink, table, _row(table, 5), _row(table, 7)) == 1
    assert looked_for == [2, 1]


def test_each_instrument_has_its_own_time(url: str, looked_for: list[int]) -> None:
    with closing(ClickHouseSink(url)) as sink:
        for ns, instrument in ((90, "XCEC:GC:202612"), (10, "XIMC:GOLD:202612"), (91, "XCEC:GC:202612")):
            assert _write(sink, "trades", _row("trades", ns, instrument=instrument)) == 1
        assert looked_for == []
        assert _write(sink, "trades", _row("trades", 10, instrument="XIMC:GOLD:202612")) == 0
    assert looked_for == [1]


def test_a_late_row_is_not_taken_for_the_newest(url: str) -> None:
    with closing(ClickHouseSink(url)) as sink:
        assert _write(sink, "trades", _row("trades", 20), _row("trades", 30)) == 2
        assert _write(sink, "trades", _row("trades", 10)) == 1
        assert _write(sink, "trades", _row("trades", 20), _row("trades", 30)) == 0


@pytest.mark.parametrize(("table", "changes"), [("trades", {"seq": 9}), ("bars", {"revision": 9})])
def test_another_row_of_the_newest_instant_is_looked_for(url: str, table: str, changes: Row) -> None:
    first, second = _row(table, 0), _row(table, 0, **changes)
    with closing(ClickHouseSink(url)) as sink:
        assert _write(sink, table, first) == 1
        assert _write(sink, table, first, second) == 1
        assert _write(sink, table, second) == 0


def test_what_another_wrote_meanwhile_is_looked_for(url: str) -> None:
    rows = [_row("trades", ns) for ns in range(10)]
    with closing(ClickHouseSink(url)) as one, closing(ClickHouseSink(url)) as other:
        assert _write(one, "trades", *rows[:4]) == 4
        assert _write(other, "trades", *rows[4:8]) == 4
        assert _write(one, "trades", *rows[5:]) == 2
    assert read_clickhouse(url, "trades") == expected("trades", rows)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_and_any_cuts_give_each_row_once(url: str, seed: int) -> None:
    chance, rows = random.Random(seed), rows_of("trades", 120)
    with closing(ClickHouseSink(url)) as one, closing(ClickHouseSink(url)) as other:
        at = 0
        while at < len(rows):
            first = max(0, at - chance.randrange(12))
            at += chance.randrange(1, 20)
            batch = chance.sample(rows[first:at], len(rows[first:at]))
            chance.choice([one, one, one, other]).write({"trades": [batch_of("trades", batch)]})
            if chance.random() < 0.1:
                one.close()
    assert read_clickhouse(url, "trades") == expected("trades", rows)


def test_what_was_restored_meanwhile_is_looked_for(url: str, tmp_path: Path) -> None:
    rows = [_row("trades", ns) for ns in (0, 5, 10)]
    with closing(ClickHouseSink(url)) as sink:
        _write(sink, "trades", *rows)
    dump_clickhouse(url, tmp_path / "kept")
    empty_clickhouse(url)
    with closing(ClickHouseSink(url)) as sink:
        _write(sink, "trades", _row("trades", 1))  # now it knows how far trades reach
        empty_clickhouse(url)
        with loaded_clickhouse(url, tmp_path / "kept"):
            pass
        assert _write(sink, "trades", *rows, _row("trades", 12)) == 1
    assert read_clickhouse(url, "trades") == expected("trades", [*rows, _row("trades", 12)])
