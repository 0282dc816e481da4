"""Tell the readers of the embedded log that there is something new: words of eight bytes in a shared mapping.

The first word changes at every flush, and one of the others for each topic-partition that was written: a reader that
was woken looks only at what has changed.

Why several writer processes may share them without a lock: nobody adds to the old value. Each writer stores its own
sequence, which starts at a random 64-bit number, so that no store ever repeats what another one left there. A reader
remembers what it last saw; any later store, by whomever, differs from it, and comes after the data it announces. A
store that is overwritten at once is not lost either: the one that replaced it also differs, and one look at the log
finds what both have announced.

Readers sleep on the low four bytes with a futex, which the kernel compares once more before it lets them sleep. Two
writers might agree in those four by chance (1 in 2^32), and one that was killed may have written without announcing
it: readers never sleep long, and then look at everything.
Source: futex(2), section "FUTEX_WAIT".
"""

import ctypes
import mmap
import os
import platform
import secrets
import sys
from collections.abc import Iterable
from typing import Final

from market.segments import FUTEX_NUMBERS, SIGNAL_BYTES, SIGNAL_WORD_BYTES

_FUTEX_WAKE: Final = 1
_EVERYBODY: Final = 2**31 - 1


class Signal:
    """A writer's end of the signal file, which is made if it is not there."""

    def __init__(self, path: str) -> None:
        self._value = secrets.randbits(64)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(file).st_size < SIGNAL_BYTES:
                # Written, not only made longer: a store into a hole of a full disk would be a SIGBUS.
                words = self._value.to_bytes(SIGNAL_WORD_BYTES, sys.byteorder)
                os.pwrite(file, words.ljust(SIGNAL_BYTES, b"\0"), 0)
            self._map = mmap.mmap(file, SIGNAL_BYTES)
        finally:
            os.close(file)
        self._words = memoryview(self._map).cast("Q")  # an item is stored with one aligned 8-byte move
        self._number = FUTEX_NUMBERS.get((sys.platform, platform.machine()))
        self._address = ctypes.c_void_p(_address(self._map))
        self._syscall = ctypes.CDLL(None).syscall

    def bump(self, slots: Iterable[int]) -> None:
        """Announce what was written so far, to these slots."""
        self._value = (self._value + 1) % (1 << 64)
        for slot in slots:
            self._words[slot] = self._value
        self._words[0] = self._value
        if self._number is not None:  # 1 us; a failure only means that readers look a little later
            self._syscall(self._number, self._address, _FUTEX_WAKE, _EVERYBODY, None, None, 0)

    def close(self) -> None:
        self._words.release()
        self._map.close()


def _address(mapping: mmap.mmap) -> int:
    view = ctypes.c_char.from_buffer(mapping)
    return ctypes.addressof(view)  # stays good while the mapping is open; the view would keep it from closing
