"""Backup, restore, rebuild and reconcile through the command line, on real stores and a real recovery store."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import clickhouse_connect
import psycopg
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from store_rows import NOW_NS, TABLES, batch_of, rows_of

from mandi import keeping
from mandi.cli import main
from pipelines.engine import recovery
from pipelines.engine.recovery import copy_store, locked, resume_epoch, run_flow
from sinks.archive import empty_clickhouse, empty_timescale
from sinks.canonical import canonical_hash
from sinks.clickhouse import ClickHouseSink
from sinks.embedded.processes import free_port
from sinks.errors import StoreUnavailable
from sinks.timescale import TimescaleSink

Mandi = Callable[..., int]


@pytest.fixture
def mandi(empty_stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mandi:
    """Runs a command on the shared stores and a data directory of its own."""
    monkeypatch.setenv("MANDI_TIMESCALE", empty_stores[0])
    monkeypatch.setenv("MANDI_CLICKHOUSE", empty_stores[1])
    return lambda *words: main([*map(str, words), "--data-dir", str(tmp_path / "data")])


def fill(stores: tuple[str, str], seed: int = 0) -> None:
    """Rows of every table into both stores, some of them replaced by later versions."""
    for sink in (TimescaleSink(stores[0]), ClickHouseSink(stores[1])):
        sink.write({table: [batch_of(table, rows_of(table, 50, seed))] for table in TABLES})
        now_ns = max(row["as_known_at"] for row in rows_of("anomalies", 20, seed)) + 1
        later = [row | {"detail": "later", "as_known_at": now_ns} for row in rows_of("anomalies", 20, seed)]
        sink.write({"anomalies": [batch_of("anomalies", later)]})
        sink.close()


def hashes(stores: tuple[str, str]) -> list[dict[str, str]]:
    return [canonical_hash(address) for address in stores]


def empty(stores: tuple[str, str]) -> None:
    empty_timescale(stores[0])
    empty_clickhouse(stores[1])


def advance(data_dir: Path, flow: str, items: int) -> list[int]:
    """Run a flow that reads the numbers up to `items`, from where it stopped; return what it saw."""
    seen: list[int] = []

    def build() -> Dataflow:
        found = Dataflow(flow)
        numbers = op.input("in", found, TestingSource(range(items), batch_size=1))  # type: ignore[arg-type]
        op.output("out", numbers, TestingSink(seen))
        return found

    run_flow(flow, build, data_dir / "recovery" / flow, epoch=timedelta(0))
    return seen


def test_a_backup_is_restored_to_the_same_hashes_and_positions(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path
) -> None:
    fill(empty_stores)
    assert advance(tmp_path / "data", "bars", 5) == [0, 1, 2, 3, 4]
    before = hashes(empty_stores)
    assert mandi("backup", tmp_path / "kept") == 0

    fill(empty_stores, seed=1)
    advance(tmp_path / "data", "bars", 9)
    assert mandi("restore", tmp_path / "kept") == 1  # the stores have rows
    empty(empty_stores)
    assert mandi("restore", tmp_path / "kept") == 0
    assert hashes(empty_stores) == before
    assert before[0] == before[1]
    assert advance(tmp_path / "data", "bars", 7) == [5, 6]
    assert mandi("reconcile", "--wall-clock") == 0


def test_positions_of_a_backup_are_never_newer_than_its_rows(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(empty_stores)
    advance(tmp_path / "data", "timescale", 3)
    dump = keeping.archive.dump_timescale

    def meanwhile(*words: Any) -> dict[str, int]:
        fill(empty_stores, seed=1)  # the flow goes on while rows are copied
        advance(tmp_path / "data", "timescale", 8)
        return dump(*words)

    monkeypatch.setattr(keeping.archive, "dump_timescale", meanwhile)
    assert mandi("backup", tmp_path / "kept") == 0
    monkeypatch.undo()
    kept, now = tmp_path / "kept" / "recovery" / "timescale", tmp_path / "data" / "recovery" / "timescale" / "store"
    assert (resume_epoch(kept) or 0) < (resume_epoch(now) or 0)
    rows = json.loads((tmp_path / "kept" / "manifest.json").read_text())["rows"]
    assert rows["timescale"]["trades"] == rows["clickhouse"]["trades"] == 100


@pytest.mark.parametrize("away", ["at its beginning", "in the middle"])
def test_a_backup_that_fails_leaves_nothing(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    fill(empty_stores)
    place = tmp_path / "new" / "kept"
    if away == "in the middle":  # once the rows of the other store are there

        def dies(_url: str, _to: Path) -> dict[str, int]:
            assert list(place.with_name("kept.partial").glob("timescale/*"))
            raise StoreUnavailable("clickhouse", "it was killed")

        monkeypatch.setattr(keeping.archive, "dump_clickhouse", dies)
    else:
        monkeypatch.setenv("MANDI_CLICKHOUSE", f"http://127.0.0.1:{free_port()}")
    assert mandi("backup", place) == 1
    assert not place.exists()
    assert not place.with_name("kept.partial").exists()
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("variable", "address", "said"),
    [
        ("MANDI_CLICKHOUSE", "http://u:secret@{}", "clickhouse is not available: http://{}: Connection refused"),
        ("MANDI_TIMESCALE", "postgresql://u:secret@{}/x?password=secret", "timescale is not available: "),
    ],
)
def test_a_store_that_is_away_is_named_with_its_address_and_what_to_do(
    variable: str,
    address: str,
    said: str,
    mandi: Mandi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    where = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(variable, address.format(where))
    assert mandi("backup", tmp_path / "kept") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"mandi: {said.format(where)}")
    assert f"; start it, or correct {variable} ({where}" in line
    assert "Connection refused" in line
    assert "secret" not in line


def test_a_store_that_goes_away_during_a_backup_is_named(
    mandi: Mandi,
    empty_stores: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fill(empty_stores)
    dump = keeping.archive.dump_clickhouse
    gone = f"http://u:secret@127.0.0.1:{free_port()}"
    monkeypatch.setattr(keeping.archive, "dump_clickhouse", lambda _url, to: dump(gone, to))
    assert mandi("backup", tmp_path / "kept") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "clickhouse is not available: http://127.0.0.1:" in line
    assert "Connection refused; start it, or correct MANDI_CLICKHOUSE (" in line
    assert "secret" not in line
    assert list(tmp_path.glob("kept*")) == []


@pytest.mark.parametrize("small_disk", ["32k", "100k", "200k"], indirect=True)  # in positions, and of each store
def test_a_full_disk_during_a_backup_is_named_and_left_empty(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    advance(tmp_path / "data", "bars", 5)
    kept = small_disk / "kept"
    assert mandi("backup", kept) == 1
    said = f"mandi: the backup {kept} cannot be written: No space left on device; make room there, or name a directory "
    assert capfd.readouterr().err == f"{said}elsewhere. Nothing of it is left\n"
    assert list(small_disk.iterdir()) == []


def test_a_damaged_or_unfinished_backup_is_refused_before_anything_is_touched(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    kept = tmp_path / "kept"
    mandi("backup", kept)
    assert mandi("backup", kept) == 2
    empty(empty_stores)
    file = kept / "clickhouse" / "trades.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert mandi("restore", kept) == 1
    assert "trades.parquet is not what was backed up" in capsys.readouterr().err
    file.write_bytes(whole)
    whole_manifest = json.loads((kept / "manifest.json").read_text())
    whole_manifest["migrations"]["timescale"].append("9999_of_tomorrow")
    (kept / "manifest.json").write_text(json.dumps(whole_manifest))
    assert mandi("restore", kept) == 1
    assert "9999_of_tomorrow is unknown here" in capsys.readouterr().err
    (kept / "manifest.json").write_text("{")
    assert mandi("restore", kept) == 1
    assert "manifest.json is not what was backed up" in capsys.readouterr().err
    for manifest, lack in [
        ({}, "it has no 'mandi'"),
        ([], "it holds no object but []"),
        (None, "it holds no object but None"),
        (whole_manifest | {"sha256": None}, "it has no 'sha256'"),
        (whole_manifest | {"migrations": {"timescale": []}}, "it has no 'migrations' of clickhouse"),
    ]:
        (kept / "manifest.json").write_text(json.dumps(manifest))
        assert mandi("restore", kept) == 1
        assert capsys.readouterr().err == f"mandi: {kept / 'manifest.json'} is not what was backed up: {lack}\n"
    (kept / "manifest.json").unlink()
    assert mandi("restore", kept) == 1
    assert len(set(hashes(empty_stores)[0].values())) == 1  # nothing in any table


def garbled(part: Path) -> None:
    part.write_bytes(b"x" * part.stat().st_size)


def with_a_damaged_page(part: Path) -> None:
    """Pages are copied unread, so that only a look at the copy tells."""
    with sqlite3.connect(part) as db:
        db.execute("CREATE TABLE filler AS SELECT randomblob(100000) AS bytes")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with part.open("r+b") as file:
        file.seek(-3 * 4096, 2)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize("damaged", [garbled, with_a_damaged_page, Path.unlink])
def test_a_damaged_position_is_left_out_of_a_backup_and_told(
    damaged: Callable[[Path], None],
    mandi: Mandi,
    empty_stores: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(empty_stores)
    before = hashes(empty_stores)
    for flow in ("bars", "quality", "webhooks", "mirror"):
        advance(tmp_path / "data", flow, 5)
    damaged(next((tmp_path / "data" / "recovery" / "bars" / "store").glob("part-*.sqlite3")))
    kept = tmp_path / "kept"
    assert mandi("backup", kept) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{kept} is not whole: it lacks the position of bars (" in said
    assert "`mandi rebuild bars`" in said
    manifest = json.loads((kept / "manifest.json").read_text())
    assert (manifest["flows"], [*manifest["lacking"]]) == (["mirror", "quality", "webhooks"], ["bars"])

    empty(empty_stores)
    assert mandi("restore", kept) == 0
    assert "from the beginning of the log: bars (" in capsys.readouterr().out
    assert hashes(empty_stores) == before
    assert advance(tmp_path / "data", "bars", 2) == [0, 1]
    for flow in ("quality", "webhooks", "mirror"):
        assert advance(tmp_path / "data", flow, 6) == [5]


def test_a_restore_leaves_no_position_that_the_backup_does_not_have(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    advance(tmp_path / "data", "bars", 3)
    assert mandi("backup", tmp_path / "kept") == 0
    for flow in ("bars", "joins", "mirror"):
        advance(tmp_path / "data", flow, 5)
    assert mandi("restore", tmp_path / "kept") == 1  # the stores have rows: nothing is touched
    assert advance(tmp_path / "data", "joins", 6) == [5]

    empty(empty_stores)
    with locked("joins", tmp_path / "data" / "recovery" / "joins"):
        assert mandi("restore", tmp_path / "kept") == 1
    assert "joins is already running here" in capsys.readouterr().err
    assert mandi("restore", tmp_path / "kept") == 0
    said = capsys.readouterr().out
    assert "joins (the backup does not know it), mirror (the backup does not know it)" in said
    assert advance(tmp_path / "data", "bars", 4) == [3]
    assert advance(tmp_path / "data", "joins", 2) == [0, 1]
    assert advance(tmp_path / "data", "mirror", 2) == [0, 1]


@pytest.mark.parametrize("has_rows", ["timescale", "clickhouse"])
def test_a_restore_that_is_refused_touches_neither_store_nor_a_position(
    has_rows: str, mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    advance(tmp_path / "data", "bars", 3)
    mandi("backup", tmp_path / "kept")
    for flow in ("bars", "webhooks"):
        advance(tmp_path / "data", flow, 5)
    if has_rows == "clickhouse":  # PostgreSQL was lost and made anew
        empty_timescale(empty_stores[0])
    else:
        empty_clickhouse(empty_stores[1])
    before = hashes(empty_stores)
    assert mandi("restore", tmp_path / "kept") == 1
    assert f"{has_rows} rejected the rows: " in capsys.readouterr().err
    assert hashes(empty_stores) == before
    for flow in ("bars", "webhooks"):
        assert advance(tmp_path / "data", flow, 6) == [5]


@pytest.mark.parametrize("busy_with", ["_load_table", "_chunks"])  # of ClickHouse, of PostgreSQL
@pytest.mark.parametrize(("failure", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 1)])
def test_a_restore_that_is_interrupted_or_fails_leaves_empty_stores_and_can_be_repeated(
    busy_with: str,
    failure: BaseException,
    code: int,
    mandi: Mandi,
    empty_stores: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(empty_stores)
    before = hashes(empty_stores)
    advance(tmp_path / "data", "timescale", 3)
    mandi("backup", tmp_path / "kept")
    advance(tmp_path / "data", "timescale", 8)
    empty(empty_stores)
    nothing = hashes(empty_stores)
    work = getattr(keeping.archive, busy_with)

    def busy(*words: Any) -> None:  # on its way to the server, and nobody waits for the answer
        work(*words)
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(keeping.archive, busy_with, busy)
        assert mandi("restore", tmp_path / "kept") == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    if code == 130:
        state = "both stores are empty, as before, and the flows have no positions: restore again"
        assert said == f"mandi: interrupted; {state}\n"
    assert hashes(empty_stores) == nothing
    assert advance(tmp_path / "data", "timescale", 1) == [0]  # beyond the rows that are back it would lose some
    assert mandi("restore", tmp_path / "kept") == 0
    assert hashes(empty_stores) == before


def test_a_restore_that_is_interrupted_at_the_positions_says_that_the_rows_are_back(
    mandi: Mandi,
    empty_stores: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(empty_stores)
    before = hashes(empty_stores)
    for flow in ("bars", "joins"):
        advance(tmp_path / "data", flow, 3)
    mandi("backup", tmp_path / "kept")
    empty(empty_stores)
    look = recovery._damage_of

    def interrupted(copy: sqlite3.Connection) -> str:
        if "joins" in copy.execute("PRAGMA database_list").fetchone()[2]:
            raise KeyboardInterrupt
        return look(copy)

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_damage_of", interrupted)
        assert mandi("restore", tmp_path / "kept") == 130
    said = "the rows are back; a flow whose position is not reads the log from its beginning, which changes no row\n"
    assert capsys.readouterr().err == f"mandi: interrupted; {said}"
    assert hashes(empty_stores) == before
    assert advance(tmp_path / "data", "bars", 4) == [3]
    assert advance(tmp_path / "data", "joins", 2) == [0, 1]


def test_a_restore_that_cannot_clean_up_behind_itself_says_so(
    mandi: Mandi,
    empty_stores: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(empty_stores)
    mandi("backup", tmp_path / "kept")
    empty(empty_stores)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        for name in ("load_timescale", "_truncate"):
            patched.setattr(keeping.archive, name, interrupt)
        assert mandi("restore", tmp_path / "kept") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a part of the backup is in it: `mandi rebuild --stores --yes-delete-all-rows`, then restore again" in said
    assert mandi("restore", tmp_path / "kept") == 1
    assert mandi("rebuild", "--stores", "--yes-delete-all-rows") == 0
    assert mandi("restore", tmp_path / "kept") == 0


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
def test_a_full_disk_is_no_damage_of_what_is_copied(tmp_path: Path, small_disk: Path) -> None:
    advance(tmp_path / "data", "bars", 5)
    store = tmp_path / "data" / "recovery" / "bars" / "store"
    with sqlite3.connect(next(store.glob("part-*.sqlite3"))) as db:
        db.execute("CREATE TABLE filler AS SELECT randomblob(300000) AS bytes")
    db.close()
    with pytest.raises(OSError, match="No space left"):
        copy_store(store, small_disk / "copy")


def test_rebuild_drops_the_position_and_only_that(mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path) -> None:
    fill(empty_stores)
    before = hashes(empty_stores)
    advance(tmp_path / "data", "bars", 5)
    advance(tmp_path / "data", "quality", 5)
    assert mandi("rebuild", "bars") == 0
    assert advance(tmp_path / "data", "bars", 2) == [0, 1]
    assert advance(tmp_path / "data", "quality", 6) == [5]
    assert hashes(empty_stores) == before
    assert mandi("rebuild", "nonsense") == 2


def test_webhooks_are_sent_again_only_to_who_asks_for_it_by_name(mandi: Mandi, tmp_path: Path) -> None:
    for flow in ("bars", "mirror", "webhooks"):
        advance(tmp_path / "data", flow, 5)
    assert mandi("rebuild") == 0
    assert advance(tmp_path / "data", "bars", 1) == advance(tmp_path / "data", "mirror", 1) == [0]
    assert advance(tmp_path / "data", "webhooks", 6) == [5]
    assert mandi("rebuild", "webhooks") == 0
    assert advance(tmp_path / "data", "webhooks", 1) == [0]


def test_rebuild_of_the_stores_needs_a_word_and_leaves_none_of_their_positions(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    advance(tmp_path / "data", "timescale", 5)
    assert mandi("rebuild", "--stores") == 2
    assert "--yes-delete-all-rows" in capsys.readouterr().err
    with psycopg.connect(empty_stores[0]) as connection:
        assert connection.execute("SELECT count(*) FROM market.trades").fetchone() == (50,)
    assert mandi("rebuild", "bars", "--stores", "--yes-delete-all-rows") == 0
    assert len(set(hashes(empty_stores)[0].values())) == 1
    assert advance(tmp_path / "data", "timescale", 1) == [0]


def test_a_rebuild_of_the_stores_that_dies_leaves_no_position_beyond_the_rows(
    mandi: Mandi, empty_stores: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(empty_stores)
    advance(tmp_path / "data", "timescale", 5)

    def interrupt(_url: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keeping.archive, "empty_clickhouse", interrupt)
    assert mandi("rebuild", "--stores", "--yes-delete-all-rows") == 130
    assert advance(tmp_path / "data", "timescale", 1) == [0]


def test_a_flow_that_runs_is_not_rebuilt_under_its_feet(
    mandi: Mandi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    advance(tmp_path / "data", "bars", 5)
    with locked("bars", tmp_path / "data" / "recovery" / "bars"):
        assert mandi("rebuild") == 1
    assert "bars is already running here" in capsys.readouterr().err
    part = next((tmp_path / "data" / "recovery" / "bars" / "store").glob("part-*.sqlite3"))
    assert sqlite3.connect(part).execute("SELECT count(*) FROM snaps").fetchone() != (0,)


def test_reconcile_says_the_row_and_what_differs(
    mandi: Mandi, empty_stores: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    assert mandi("reconcile") == 0
    assert capsys.readouterr().out.startswith(f"equal: {50 * len(TABLES)} rows")
    with psycopg.connect(empty_stores[0]) as connection:
        connection.execute("UPDATE market.bars SET trades = trades + 1 WHERE instrument LIKE 'XIMC%'")
    assert mandi("reconcile") == 1
    said = capsys.readouterr().out
    assert said.startswith("bars, instrument 'XIMC:GOLD:202612', day 2026-")
    assert "\n  trades: TimescaleDB " in said


def test_reconcile_names_a_row_that_is_twice(
    mandi: Mandi, empty_stores: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    with closing(clickhouse_connect.get_client(dsn=empty_stores[1], autogenerate_session_id=False)) as client:
        client.command("SYSTEM STOP MERGES market.trades")
        one = "SELECT * FROM market.trades ORDER BY instrument DESC, ts_event LIMIT 1"
        client.command(f"INSERT INTO market.trades {one}")
        key = client.query(one.replace("*", "instrument, toDate(ts_event), seq, trade_id")).result_rows[0]
        code = mandi("reconcile")
        client.command("SYSTEM START MERGES market.trades")
    assert code == 1
    head, row, _ = capsys.readouterr().out.splitlines()
    assert head.startswith(f"trades, instrument '{key[0]}', day {key[1]}: TimescaleDB has ")
    assert row.startswith("  once in TimescaleDB, 2 times in ClickHouse: ")
    assert f"seq={key[2]}" in row
    assert f"trade_id={key[3]}" in row


def test_prune_deletes_raw_rows_by_their_age(
    mandi: Mandi, empty_stores: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(empty_stores)
    assert mandi("prune") == 0
    assert capsys.readouterr().out.count("0 of trades, 0 of quotes, 0 of books") == 2
    monkeypatch.setattr("mandi.pruning.FileClock", lambda path: lambda: NOW_NS + 130 * 86_400 * 10**9)  # noqa: ARG005
    assert mandi("prune") == 0
    assert capsys.readouterr().out.count("50 of trades, 50 of quotes, 50 of books") == 2
    with psycopg.connect(empty_stores[0]) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM market.{name}").fetchone() for name in ("trades", "bars")]
    assert counts == [(0,), (50,)]
    monkeypatch.setenv("MANDI_RAW_DAYS", "never")
    assert mandi("prune") == 2
