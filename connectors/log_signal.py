"""Sleep until a writer of the embedded log has something new (sinks/log_signal.py says why this is safe).

On Linux the reader sleeps in the kernel until it is woken: no processor time, and some 0.1 ms until it runs. Elsewhere,
or where the system call is forbidden, it looks at the first word about every millisecond.
"""

import ctypes
import errno
import mmap
import os
import platform
import sys
import time
from contextlib import suppress
from typing import Final

import numpy as np

from market.segments import FUTEX_NUMBERS, SIGNAL_BYTES

_FUTEX_WAIT: Final = 0
_LONGEST_SLEEP_S: Final = 0.1  # how long an announcement can be missed at the very worst
_POLL_S: Final = 0.0005
_PATIENT_POLL_S: Final = 0.001  # half the looks in quiet times: 2.5 % of a core
_PATIENT_AFTER_S: Final = 0.050
_ORDINARY: Final = (0, errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Signal:
    """A reader's end of the signal file. The file need not be there yet; the first writer makes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self._words: memoryview[int] | None = None
        self._seen = 0
        self._number = FUTEX_NUMBERS.get((sys.platform, platform.machine()))
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the value differs from the one last seen; False at the time-out."""
        started_s = time.monotonic()
        while not self._changed():
            waited_s = time.monotonic() - started_s
            if waited_s >= timeout_s:
                return False
            if self._map is None or self._number is None:
                poll_s = _POLL_S if waited_s < _PATIENT_AFTER_S else _PATIENT_POLL_S
                time.sleep(min(poll_s, timeout_s - waited_s))
            else:
                self._sleep(min(_LONGEST_SLEEP_S, timeout_s - waited_s))
        return True

    def word(self, slot: int) -> int | None:
        """Return what was last announced to a slot, to be compared; None while there is no signal."""
        return None if self._words is None else self._words[slot]

    def close(self) -> None:
        if self._words is not None:
            self._words.release()
        self._words = None
        if self._map is not None:
            self._map.close()
        self._map = None

    def _changed(self) -> bool:
        if self._words is None and not self._open():
            return False
        assert self._words is not None
        value = self._words[0]
        if value == self._seen:
            return False
        self._seen = value
        return True

    def _open(self) -> bool:
        # The first writer makes the file, and then writes its bytes.
        with suppress(FileNotFoundError), open(self._path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size >= SIGNAL_BYTES:
                self._map = mmap.mmap(file.fileno(), SIGNAL_BYTES, access=mmap.ACCESS_READ)
                self._words = memoryview(self._map).cast("Q")
                self._address = ctypes.c_void_p(np.frombuffer(self._map, np.uint8).ctypes.data)
        return self._map is not None

    def _sleep(self, longest_s: float) -> None:
        seconds = int(longest_s)
        longest = _Timespec(seconds, int((longest_s - seconds) * 1e9))
        low = ctypes.c_uint32(self._seen)  # its low four bytes: both machines are little-endian
        ctypes.set_errno(0)
        self._syscall(self._number, self._address, _FUTEX_WAIT, low, ctypes.byref(longest), None, 0)
        if ctypes.get_errno() not in _ORDINARY:
            self._number = None  # forbidden here: poll
