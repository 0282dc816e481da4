"""What a process of `python -m mandi` does without, and the one that cannot."""

import subprocess
import sys

CONVERTS = """
import sys
from mandi.lean import without_unused
without_unused()
import pyarrow as pa
pa.array([1, 2]).to_pylist(), pa.array(__import__("numpy").arange(3))
assert "pandas" not in sys.modules
"""

FITS = """
from market.forecasters.fitting import fit
closes = [100 + number % 7 + number / 10 for number in range(120)]
print(*sorted(fit(closes)))
"""


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_arrow_alone_imports_no_pandas() -> None:
    _python(CONVERTS)


def test_models_are_fitted_all_the_same() -> None:
    assert _python(CONVERTS + FITS).split() == ["auto_ets", "auto_theta"]
