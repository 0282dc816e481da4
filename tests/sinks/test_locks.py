"""Locks that several open files want, of one process or of many."""

import fcntl
import os
from pathlib import Path

from sinks.locks import locked, try_lock


def test_a_lock_is_shared_or_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("a") as first, path.open("r") as second:
        assert try_lock(first, fcntl.LOCK_SH)
        assert try_lock(second, fcntl.LOCK_SH)
        assert not try_lock(second), "the first shares it"
        assert try_lock(first), "which the second does no more: it was refused"


def test_a_lock_is_free_when_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        descriptor = os.open(path, os.O_RDWR)
        assert not try_lock(descriptor)
        assert not try_lock(descriptor, fcntl.LOCK_SH)
    assert try_lock(descriptor)
    os.close(descriptor)
