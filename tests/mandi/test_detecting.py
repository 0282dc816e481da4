"""`mandi detect`: the file comes back row by row with a score, and what is wrong is said in words."""

import csv
from pathlib import Path

import pytest

from mandi.cli import main


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    values = [f"2026-11-21 09:{n // 60:02d}:{n % 60:02d},{n % 7}" for n in range(400)]
    values[300] = "2026-11-21 09:05:00,50"
    return write(tmp_path / "series.csv", "timestamp,value", *values)


def test_every_row_comes_back_with_a_score(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored.csv"
    assert main(["detect", str(series), "--out", str(out)]) == 0
    given, found = (list(csv.reader(path.read_text().splitlines())) for path in (series, out))
    assert found[0] == ["timestamp", "value", "anomaly_score"]
    assert [row[:2] for row in found[1:]] == given[1:]
    numbers = [float(row[2]) for row in found[1:]]
    assert (numbers[299], numbers[300] > 0.5) == (0.0, True)
    assert not list(tmp_path.glob("*.partial"))


def test_without_out_it_goes_to_standard_output(series: Path, capsys) -> None:
    assert main(["detect", str(series)]) == 0
    assert capsys.readouterr().out.count("\n") == 401


def test_a_row_without_a_number_is_kept_and_told(tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "a.csv", "timestamp,value", "1,2.5", "2,", "3,nan", "4", "5,2.5")
    assert main(["detect", str(path)]) == 0
    told = capsys.readouterr()
    assert [line.rsplit(",", 1)[1] for line in told.out.splitlines()[1:]] == ["0.0"] * 5
    assert "3 rows without a number" in told.err
    assert "lines 3, 4, 5" in told.err


@pytest.mark.parametrize(
    ("lines", "reason"),
    [(["a,b", "1,2"], "no column timestamp and no column value"), ([""], "no column timestamp")],
)
def test_another_file_is_refused_in_a_sentence(tmp_path: Path, capsys, lines: list[str], reason: str) -> None:
    assert main(["detect", str(write(tmp_path / "x.csv", *lines))]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert "Traceback" not in error
    assert main(["detect", str(tmp_path / "missing.csv")]) == 1
