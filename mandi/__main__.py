"""`python -m mandi` is the `mandi` command."""

import sys

from mandi.cli import main

if __name__ == "__main__":
    sys.exit(main())
