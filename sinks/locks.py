"""Locks on files, between processes: the kernel lets go of the lock of a process that dies, however it dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, for which it waits."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(file: IO[Any] | int, operation: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file now, until it is closed; return False if somebody has a lock on it that excludes this one.

    `operation`: LOCK_EX or LOCK_SH. Who has one, and is refused the other, has none any more.
    `flock`, not `fcntl` locks: it also excludes another open file of this process.
    """
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
