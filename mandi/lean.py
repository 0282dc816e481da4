"""Start a process without what its libraries would only pull in because it is installed.

pyarrow imports pandas at its first conversion. None of our processes uses it but the one that fits models, and each of
a dozen would pay a third of a second of processor at every start, and 35 MB for ever.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final

UNUSED: Final = "pandas"
UNLESS: Final = "statsforecast"
"""It cannot do without; it is there, half imported, when it asks."""


class _Finder(PathFinder):
    # Finds what is installed, but for one package.

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == UNUSED and UNLESS not in sys.modules:
            return None
        return super().find_spec(fullname, path, target)


def without_unused() -> None:
    """Call it first of all, in the entry of a process: never in a library."""
    sys.meta_path[:] = [_Finder if finder is PathFinder else finder for finder in sys.meta_path]
