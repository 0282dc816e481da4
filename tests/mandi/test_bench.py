"""What `mandi bench` runs can be called as it calls it: with a directory to write in, and nothing more."""

import inspect
from pathlib import Path

import pytest

from benchmarks import SUITE


@pytest.mark.parametrize("name", SUITE)
def test_a_benchmark_takes_the_directory_it_is_given(name: str, tmp_path: Path) -> None:
    bound = inspect.signature(SUITE[name][0]()).bind(tmp_path)
    assert [each.lstrip("_") for each in bound.arguments] == ["directory"]
