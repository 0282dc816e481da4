"""What a signal does to a service, and what it must not do; what it keeps of the memory of a burst."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

IS_TOLD_TO_STOP = """
import os, signal, sys, threading
from pathlib import Path
from mandi.process import service
from mandi.settings import load

directory, stop = Path(sys.argv[1]), threading.Event()
with service(load(directory), "told", stop):
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(10)
    for thread in threading.enumerate():  # one that ends with the signal has ended
        if thread.name == "signals":
            thread.join(0.5)
    files = [(directory / str(number)).open("wb") for number in range(20)]
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    print([os.fstat(file.fileno()).st_size for file in files])
"""

AFTER_A_BURST = """
import ctypes, sys, time
import psutil
from mandi.process import trim_heap

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
here = psutil.Process()
blocks = [libc.malloc(64 << 10) for _ in range(2_000)]
for block in blocks:
    ctypes.memset(block, 1, 64 << 10)
burst = blocks[::2]  # every other one lives on, between what is freed
peak = here.memory_info().rss
for block in burst:
    libc.free(block)
if sys.argv[1] == "trimmed":
    trim_heap(0.05)
end_s = time.monotonic() + float(sys.argv[2])
while peak - here.memory_info().rss < 50 << 20 and time.monotonic() < end_s:
    time.sleep(0.05)
print(peak - here.memory_info().rss >> 20)
"""


def test_a_signal_after_the_first_writes_into_no_file(tmp_path: Path) -> None:
    """Python writes a signal's number to a file descriptor: it must stay ours, or SIGTERM is a byte 15 in a segment."""
    done = subprocess.run(
        [sys.executable, "-c", IS_TOLD_TO_STOP, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([0] * 20)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc: nothing to tell its allocator")
def test_memory_of_a_burst_is_returned() -> None:
    def returned_mib(how: str, within_s: float) -> int:
        words = [sys.executable, "-c", AFTER_A_BURST, how, str(within_s)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert returned_mib("kept", 0.5) < 10
    assert returned_mib("trimmed", 30.0) >= 50
