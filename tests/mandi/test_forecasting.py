"""`mandi forecast`: a row a step for every series, stamped on from its last, and what is wrong said in words."""

import csv
from pathlib import Path

import pytest

from mandi.cli import main
from mandi.stamps import following, season_of


@pytest.fixture
def series(tmp_path: Path) -> Path:
    path = tmp_path / "series.csv"
    rows = [f"{name},{n},{scale * (n % 12)}" for name, scale in (("a", 1), ("b", 5)) for n in range(200)]
    path.write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_series_gets_its_steps(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert main(["forecast", str(series), "--horizon", "6", "--season", "12", "--out", str(out)]) == 0
    rows = read(out)
    assert list(rows[0]) == ["unique_id", "ds", "mean", "lo-90", "hi-90"]
    assert [(row["unique_id"], row["ds"]) for row in rows] == [(name, str(n)) for name in "ab" for n in range(200, 206)]
    for row in rows:
        expected = (int(row["ds"]) % 12) * (5 if row["unique_id"] == "b" else 1)
        assert float(row["mean"]) == pytest.approx(expected, abs=0.1)
        assert float(row["lo-90"]) <= float(row["mean"]) <= float(row["hi-90"])


def test_rows_in_any_order_and_without_a_number(series: Path, tmp_path: Path, capsys) -> None:
    lines = series.read_text().splitlines()
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("\n".join([lines[0], *reversed(lines[1:]), "a,999,"]) + "\n")
    for path in (series, mixed):
        assert main(["forecast", str(path), "--horizon", "3", "--season", "12", "--out", f"{path}.out"]) == 0
    found = [sorted(tuple(row.values()) for row in read(Path(f"{path}.out"))) for path in (series, mixed)]
    assert found[0] == found[1]
    assert "1 row without a number left out: line 402" in capsys.readouterr().err


def test_a_line_that_is_too_short_to_name_its_series(tmp_path: Path, capsys) -> None:
    path = tmp_path / "short.csv"
    path.write_text("ds,y,unique_id\n1,5,x\n2,6,x\n3,nan\n")
    assert main(["forecast", str(path), "--horizon", "1"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1].startswith("x,3,6.0,")
    assert "1 row without a number left out: line 4" in told.err


def test_a_walk_is_said_to_be_served_as_it_stands(tmp_path: Path, capsys) -> None:
    path = tmp_path / "short.csv"
    path.write_text("unique_id,ds,y\nx,1,5\nx,2,6\n")
    assert main(["forecast", str(path), "--horizon", "1"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1].startswith("x,3,6.0,")
    assert "1 of 1 series forecast as their last value" in told.err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "no column unique_id"),
        ("unique_id,ds,y\n", "no row"),
        ("unique_id,ds,y\nx,2026-11-20T10:00,1\nx,2026-11-20T11:00Z,2\n", "series x cannot be put in order"),
        ("unique_id,ds,y\nx,9999-12-31,1\n", "beyond the year 9999"),
    ],
)
def test_another_file_is_refused_in_a_sentence(tmp_path: Path, capsys, text: str, reason: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert main(["forecast", str(path), "--horizon", "1"]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("stamps", "expected", "season"),
    [
        (["2026-11-18", "2026-11-19", "2026-11-20"], ["2026-11-23", "2026-11-24"], 5),
        (["2026-11-20", "2026-11-21", "2026-11-22"], ["2026-11-23", "2026-11-24"], 7),
        (["2026-09-30", "2026-10-31", "2026-11-30"], ["2026-12-31", "2027-01-31"], 12),
        (["2026-10-01", "2026-11-01", "2026-12-01"], ["2027-01-01", "2027-02-01"], 12),
        (["2026-11-20 22:00:00", "2026-11-20 23:00:00", "2026-11-21 00:00:00"], ["2026-11-21 01:00:00"], 24),
        (["2026-11-20T22:00", "2026-11-20T22:15", "2026-11-20T22:30"], ["2026-11-20T22:45"], 96),
        (["5", "7", "9"], ["11", "13"], None),
        (["one", "two", "three"], ["three+1", "three+2"], None),
        (["2026-11-21"], ["2026-11-22"], None),
        (["2026-03-31", "2026-06-30", "2026-09-30"], ["2026-12-31", "2027-03-31"], 4),
        (["2026-04-01", "2026-07-01", "2026-10-01"], ["2027-01-01", "2027-04-01"], 4),
        (["2022-12-31", "2023-12-31", "2024-12-31"], ["2025-12-31", "2026-12-31"], 1),
        (["2026-10", "2026-11", "2026-12"], ["2027-01", "2027-02"], 12),
        (["20261129", "20261130", "20261201"], ["20261202", "20261203"], 7),
        (["1.0", "2.0", "3.0"], ["4.0", "5.0"], None),
        (["2026-11-20T21:00Z", "2026-11-20T22:00Z", "2026-11-20T23:00Z"], ["2026-11-21T00:00Z"], 24),
        (["2026-11-20 21:00:00.250+05:30", "2026-11-20 22:00:00.250+05:30"], ["2026-11-20 23:00:00.250+05:30"], None),
    ],
)
def test_stamps_go_on_as_they_were(stamps: list[str], expected: list[str], season: int) -> None:
    assert following(stamps, len(expected)) == expected
    assert season_of(stamps) == season


def test_of_several_rows_of_one_stamp_the_last_counts(tmp_path: Path, capsys) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("unique_id,ds,y\nx,2026-11-19,5\nx,2026-11-20,6\nx,2026-11-20,7\ny,2026-11-20,nan\n")
    assert main(["forecast", str(path), "--horizon", "1"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1:] == ["x,2026-11-23,7.0,5.0,9.0"]
    assert "1 row left out for a later one of the same series and stamp: line 3" in told.err
    assert "no number in y: not forecast" in told.err


def test_numbered_rows_have_the_season_of_their_values(series: Path, capsys) -> None:
    found = []
    for season in (["--season", "12"], []):
        assert main(["forecast", str(series), "--horizon", "6", *season]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
