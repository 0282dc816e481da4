"""`mandi replay` of a real day, from the command line to what both stores answer.

Every expectation comes from the row-by-row oracle over the lines of the file, never from another run of the product.
"""

import signal
from pathlib import Path

import pytest
from log_support import until
from shared_data import shared_data

from tests.acceptance.command import CRASHED, replay, run, start
from tests.acceptance.files import (
    YEAR,
    FileOracle,
    Line,
    bars_of,
    latest,
    oracle_of,
    read_lines,
    shuffled,
    straggling,
    with_copies,
    with_future_stamp,
    write_lines,
)
from tests.acceptance.stores import BothStores

SLICE_LINES = 6_000
WITHIN_LATENESS_S = 50
TOO_LATE_S = 90


@pytest.fixture(scope="module")
def day() -> Path:
    return shared_data("replay", "comex-gc-20131007.csv.gz")


@pytest.fixture(scope="module")
def lines(day: Path) -> list[Line]:
    """The first hours of the day: enough for every width but the day to have many bars."""
    return read_lines(day)[:SLICE_LINES]


@pytest.fixture(scope="module")
def in_order(lines: list[Line]) -> FileOracle:
    """What the slice comes to when its lines arrive in order."""
    return oracle_of(lines)


@pytest.fixture
def stores(empty_stores: tuple[str, str]) -> BothStores:
    return BothStores(*empty_stores)


def test_a_day_twice_is_the_oracles_bars_in_both_stores(day, stores, tmp_path) -> None:
    first = replay(day, tmp_path, env=stores.environment)
    expected = oracle_of(read_lines(day))
    assert (first["rows_in"], first["rejected"], first["late"]) == (40_192, 147, 0)
    assert first["bars"] == len(expected.published)
    assert stores.bars() == bars_of(expected)
    assert stores.latest() == latest(bars_of(expected))
    assert set(stores.ledger_rows("rejected", "reason").values()) == {"size_not_positive"}
    assert (stores.count("trades"), stores.count("rejected")) == (first["rows_out"], 147)

    again = replay(day, tmp_path, "--batch-rows", 7_777, "--workers", 2, env=stores.environment)
    assert again["output_hash"] == first["output_hash"]
    assert stores.bars() == bars_of(expected)


@pytest.fixture(scope="module")
def undisturbed(lines, tmp_path_factory) -> tuple[dict, Path]:
    """Summary of a replay of the slice into servers of its own, and the file."""
    directory = tmp_path_factory.mktemp("undisturbed")
    path = write_lines(directory / "slice.csv", lines)
    return replay(path, directory / "data"), path


@pytest.mark.parametrize("options", [("--batch-rows", "1000"), ("--workers", "2"), ("--batch-rows", "173")])
def test_neither_batches_nor_workers_nor_servers_show_in_the_output(options, undisturbed, stores, tmp_path) -> None:
    summary, path = undisturbed
    other = replay(path, tmp_path, *options, env=stores.environment)
    timing = {"seconds": 0}
    assert other | timing == summary | timing


def test_a_shuffled_copy_ends_in_the_same_bars(lines, in_order, stores, tmp_path) -> None:
    mixed = shuffled(lines, WITHIN_LATENESS_S)
    assert mixed != lines
    summary = replay(write_lines(tmp_path / "shuffled.csv", mixed), tmp_path, env=stores.environment)
    expected = bars_of(in_order)
    assert summary["late"] == 0
    assert stores.latest() == latest(expected)
    assert stores.bars() == bars_of(oracle_of(mixed))  # and each revision on the way there
    assert len(stores.bars()) > len(expected)


def test_rows_beyond_the_lateness_are_in_the_ledger_and_nowhere_else(lines, stores, tmp_path) -> None:
    mixed = straggling(lines, count=200, by_s=TOO_LATE_S)
    oracle = oracle_of(mixed)
    assert 100 < len(oracle.late) <= 200
    summary = replay(write_lines(tmp_path / "straggling.csv", mixed), tmp_path, env=stores.environment)
    assert summary["late"] == len(oracle.late)
    assert stores.ledger_rows("late", "seq") == {number: int(mixed[number].seq) for number in oracle.late}
    assert stores.bars() == bars_of(oracle)


def test_lines_that_come_again_count_once(lines, in_order, stores, tmp_path) -> None:
    good = [line for line in lines if line.is_good]
    mixed, copies = with_copies(good, share=0.1)
    summary = replay(write_lines(tmp_path / "twice.csv", mixed), tmp_path, env=stores.environment)
    assert len(copies) > len(good) // 10
    assert stores.ledger_rows("rejected", "reason") == dict.fromkeys(copies, "duplicate")
    assert (summary["rejected"], summary["late"], summary["rows_out"]) == (len(copies), 0, len(good))
    assert stores.bars() == bars_of(in_order)


def test_the_allowed_lateness_is_what_was_asked_for(lines, stores, tmp_path) -> None:
    mixed = shuffled(lines, WITHIN_LATENESS_S)
    oracle = oracle_of(mixed, allowed_s=10)
    path = write_lines(tmp_path / "shuffled.csv", mixed)
    summary = replay(path, tmp_path, "--allowed-lateness", "10s", env=stores.environment)
    assert summary["late"] == len(oracle.late) > 0
    assert set(stores.ledger_rows("late", "seq")) == set(oracle.late)
    assert stores.bars() == bars_of(oracle)


@pytest.mark.parametrize("at", [0, SLICE_LINES // 2, SLICE_LINES], ids=["first", "middle", "last"])
def test_a_stamp_a_year_ahead_harms_nothing(at, lines, in_order, stores, tmp_path) -> None:
    wrong = with_future_stamp(lines, at)
    summary = replay(write_lines(tmp_path / "future.csv", wrong), tmp_path, env=stores.environment)
    refused = {row: why for row, why in stores.ledger_rows("rejected", "reason").items() if why == "future_stamp"}
    assert wrong[at].ts - lines[min(at, SLICE_LINES - 1)].ts == YEAR
    assert refused == {at: "future_stamp"}
    assert stores.bars() == bars_of(in_order)
    assert (summary["late"], summary["bars"]) == (0, len(in_order.published))


@pytest.mark.parametrize(
    "point",
    ["timescale.write.before_commit:1", "timescale.write.after:1", "clickhouse.write.between_tables:1"],
)
def test_a_replay_that_died_is_completed_by_another(point, undisturbed, stores, tmp_path) -> None:
    summary, path = undisturbed
    words = ("replay", path, "--data-dir", tmp_path)
    run(*words, env=stores.environment | {"MANDI_CRASH_AT": point}, code=CRASHED)
    again = replay(path, tmp_path, env=stores.environment)
    assert again["output_hash"] == summary["output_hash"]


def test_a_replay_killed_half_way_is_completed_by_another(undisturbed, stores, tmp_path) -> None:
    summary, path = undisturbed
    killed = start("replay", path, "--data-dir", tmp_path, "--batch-rows", "100", env=stores.environment)
    try:
        until(stores.is_written_to)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    finally:
        killed.kill()
        killed.communicate()
    assert replay(path, tmp_path, env=stores.environment)["output_hash"] == summary["output_hash"]
