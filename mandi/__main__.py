"""`python -m mandi` is the `mandi` command; the supervisor starts its children this way."""

import sys

from mandi.lean import without_unused

if __name__ == "__main__":
    without_unused()
    from mandi.cli import main

    sys.exit(main())
