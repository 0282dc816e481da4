"""Put written files on disk: in groups behind the writer's back, in every flush, or only when asked.

A failed fsync is final. The kernel may have thrown the dirty pages away and marked them clean, so that a second
fsync would answer "fine" about data that is gone; nothing here tries twice.
Source: Rebello et al., Can Applications Recover from fsync Failures?, USENIX ATC 2020.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from sinks.faults import crash_point

_fdatasync: Final = os.fdatasync if hasattr(os, "fdatasync") else os.fsync  # macOS has no fdatasync


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """One commit: how many files, how long the oldest flush waited for it, how long it took."""

    files: int
    delay_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FsyncPolicy:
    """When flushed records go to disk.

    `group`: in a thread, at most `max_delay_s` after a flush, or when the commit before has ended (a slow disk makes
    larger groups). `always`: inside every flush. `never`: only in `sync()` and when a segment is full. `on_sync`
    hears of every commit, in the thread that made it.
    """

    mode: Literal["group", "always", "never"] = "group"
    max_delay_s: float = 0.010
    on_sync: Callable[[SyncReport], None] | None = None


GROUP_COMMIT: Final = FsyncPolicy()


class Committer:
    """Keeps the set of files written but not yet on disk, by file descriptor.

    The writer's thread calls everything but `_run`. `failure` is set once and never cleared.
    """

    def __init__(self, policy: FsyncPolicy) -> None:
        self.failure: OSError | None = None
        self._policy = policy
        self._dirty: dict[int, None] = {}  # in the order of the writes, and synced in that order
        self._oldest_s = 0.0
        self._set_lock = threading.Lock()  # held for a few instructions
        self._commit_lock = threading.Lock()  # held while a commit is under way
        self._wake = threading.Event()
        self._durable_s = float("-inf")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def written(self, files: Iterable[int]) -> None:
        """Take note that `files` were written to; commit them now, soon or later, as the policy says."""
        with self._set_lock:
            if not self._dirty:
                self._oldest_s = time.monotonic()
            self._dirty.update(dict.fromkeys(files))
        if self._policy.mode == "always":
            self.commit()
        elif self._policy.mode == "group" and not self._wake.is_set():
            self._wake.set()
            self._start()

    def commit(self) -> None:
        """Return when all noted files are on disk.

        Raises: OSError, after it was kept in `failure`.
        """
        with self._commit_lock:
            with self._set_lock:
                files, self._dirty, oldest_s = self._dirty, {}, self._oldest_s
                covers_s = time.monotonic()
            self._sync(files, oldest_s)
            self._durable_s = covers_s

    def durable_until(self) -> float:
        """Monotonic time before which everything that was noted is on disk."""
        with self._set_lock:
            nothing_waits = not self._dirty and not self._commit_lock.locked()
            return time.monotonic() if nothing_waits or self._policy.mode == "never" else self._durable_s

    def close_file(self, file: int) -> None:
        """Put `file` on disk and close it, when no commit is using it."""
        with self._commit_lock:
            with self._set_lock:
                self._dirty.pop(file, None)
            self._sync((file,), time.monotonic())
            os.close(file)

    def stop(self) -> None:
        """End the thread. What is not committed stays so."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _sync(self, files: Iterable[int], oldest_s: float) -> None:
        started_s = time.monotonic()
        count = 0
        try:
            for file in files:
                _fdatasync(file)
                count += 1
        except OSError as error:
            self.failure = error
            raise
        if count == 0:
            return
        crash_point("log.sync.after")
        if self._policy.on_sync is not None:
            seconds = time.monotonic() - started_s
            self._policy.on_sync(SyncReport(files=count, delay_s=started_s - oldest_s, seconds=seconds))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-group-commit", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.wait()
                self._wake.clear()
                # Half the delay for gathering; the other half is for the interpreter lock (switch interval 5 ms).
                self._stop.wait(self._policy.max_delay_s / 2)
                self.commit()
        except OSError:
            pass  # kept in `failure`: the writer's next call raises it
        finally:
            if not self._stop.is_set() and self.failure is None:  # `on_sync` raised: nobody would sync any more
                self.failure = OSError("the thread that syncs the log has died")
