"""Real market data that is too large for the repository: tests that want it skip, with this reason, without it."""

import os
from pathlib import Path
from typing import Final

import pytest

_VARIABLE: Final = "MANDI_SHARED_DATA"
_BESIDE_THE_REPOSITORY: Final = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(*parts: str) -> Path:
    """The file or directory below MANDI_SHARED_DATA (default: ../shared/data); skips the test if it is not there."""
    root = Path(os.environ.get(_VARIABLE) or _BESIDE_THE_REPOSITORY)
    found = root.joinpath(*parts)
    if not found.exists():
        pytest.skip(f"the real data {'/'.join(parts)} is not on this machine: set {_VARIABLE} to its directory")
    return found
