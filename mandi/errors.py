"""What the command line says when it cannot go on.

MandiError          exit code 1: it failed
├── UsageError      exit code 2: it was asked wrongly
└── Interrupted     exit code 130: somebody ended it (Ctrl-C) where it matters what was done by then
"""


class MandiError(Exception):
    """One clear sentence for the person at the terminal, with what to do next."""

    exit_code = 1


class UsageError(MandiError):
    exit_code = 2


class Interrupted(MandiError):
    exit_code = 130
