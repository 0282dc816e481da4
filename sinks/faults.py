"""Named points at which a test makes the process die, so that every commit boundary can be crashed on purpose.

`MANDI_CRASH_AT=point:n` ends the process with exit code 9, without any clean-up, the n-th time `point` is passed.
Without the variable a point costs one dictionary look-up.
"""

import os
from collections import Counter
from typing import Final

_ENV: Final = "MANDI_CRASH_AT"
_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Die here if the environment says so. Called right before and right after each commit."""
    spec = os.environ.get(_ENV)
    if not spec:
        return
    wanted, _, nth = spec.rpartition(":")
    _passed[name] += name == wanted
    if name == wanted and _passed[name] == int(nth):
        os._exit(9)
