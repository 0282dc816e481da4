"""The market clock of this machine: wall time through the anchors in the data directory's clock file."""

import os
import time
from pathlib import Path
from typing import Final

from mandi.errors import MandiError
from market.clock import BadClock, MarketClock

_CHECK_EVERY_S: Final = 0.25


class FileClock:
    """`now()` in ns of market time. A change of the file takes effect in every process within half a second.

    Anchors are written to take effect a little in the future, so that all processes change over together.

    Raises: MandiError if the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = MarketClock.identity()
        self._stamp: tuple[int, int] | None = None
        self._checked_at = -1e9

    def __call__(self) -> int:
        if time.monotonic() >= self._checked_at + _CHECK_EVERY_S:
            self._checked_at = time.monotonic()
            self._reload()
        return self._clock.at(time.time_ns())

    @property
    def clock(self) -> MarketClock:
        self._reload()
        return self._clock

    def set(self, clock: MarketClock) -> None:
        """Replace the anchors for every process that uses this file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(clock.to_json())
            file.flush()
            os.fsync(file.fileno())  # or a power failure may leave the name without its content
        fresh.replace(self._path)
        self._reload()

    def _reload(self) -> None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._clock = MarketClock.from_json(self._path.read_bytes())
            except BadClock as bad:
                text = f"{self._path} is damaged: {bad}. Delete it: market time is wall time then, or what a demo sets"
                raise MandiError(text) from bad
