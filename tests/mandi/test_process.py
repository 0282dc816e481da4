"""What a signal does to a service, and what it must not do."""

import subprocess
import sys
from pathlib import Path

IS_TOLD_TO_STOP = """
import os, signal, sys, threading
from pathlib import Path
from mandi.process import service
from mandi.settings import load

directory, stop = Path(sys.argv[1]), threading.Event()
with service(load(directory), stop):
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


def test_a_signal_after_the_first_writes_into_no_file(tmp_path: Path) -> None:
    """Python writes a signal's number to a file descriptor: it must stay ours, or SIGTERM is a byte 15 in a segment."""
    done = subprocess.run(
        [sys.executable, "-c", IS_TOLD_TO_STOP, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([0] * 20)
