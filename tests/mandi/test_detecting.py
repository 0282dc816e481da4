"""`mandi detect`: the file comes back row by row with a score, and what is wrong is said in words."""

import csv
import io
from pathlib import Path

import pytest

from mandi.cli import main
from mandi.detecting import detect


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
    path = write(tmp_path / "a.csv", "timestamp,value", "1,2.5", "2,", "3,nan", "4", "5,1e308")
    assert main(["detect", str(path)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1:] == ["1,2.5,0.0", "2,,0.0", "3,nan,0.0", "4,,0.0", "5,1e308,0.0"]
    assert "4 rows without a number kept with the score 0: lines 3, 4, 5, 6" in told.err


def test_an_empty_line_is_left_out_and_empty_fields_too_many_are(tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "a.csv", "timestamp,value", "1,2.5", "", "2,2.5,", "")
    assert main(["detect", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["1,2.5,0.0", "2,2.5,0.0"]


@pytest.mark.parametrize("value", ["9e99", "-9e99", "9e-320"])
def test_a_score_is_between_0_and_1_whatever_the_value(tmp_path: Path, capsys, value: str) -> None:
    values = [f"{n},{n % 3}e-300" for n in range(200)]
    path = write(tmp_path / "a.csv", "timestamp,value", *values, f"200,{value}", *values)
    assert main(["detect", str(path)]) == 0
    scores = [float(line.rsplit(",", 1)[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["a,b", "1,2"], "no column timestamp and no column value"),
        ([""], "no column timestamp"),
        (["timestamp,value,anomaly_score", "1,2,0.5"], "has a column anomaly_score already"),
        (["timestamp,value", "1,2", "2,3,4"], "has 3 fields in line 3 and 2 columns"),
    ],
)
def test_another_file_is_refused_in_a_sentence(tmp_path: Path, capsys, lines: list[str], reason: str) -> None:
    assert main(["detect", str(write(tmp_path / "x.csv", *lines))]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert "Traceback" not in error
    assert main(["detect", str(tmp_path / "missing.csv")]) == 1


def test_where_it_cannot_be_written_is_said(series: Path, tmp_path: Path, capsys) -> None:
    for out in (tmp_path / "no" / "such", tmp_path):
        assert main(["detect", str(series), "--out", str(out)]) == 1
        assert f"{out} cannot be written" in capsys.readouterr().err
    assert not list(tmp_path.parent.glob("*.partial"))


def test_a_reader_that_has_seen_enough_is_no_error_of_the_file(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Left())
    with pytest.raises(BrokenPipeError):
        detect(series, None)
