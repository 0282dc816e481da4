"""QuickFIX/J, an independent FIX engine, as the other side of a test: `Counterpart.java` on its published jars.

`counterpart("acceptor", port)` stands for a venue, `counterpart("initiator", port, password)` for a desk.
"""

import hashlib
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.services.base import HERE, Missing, fetch, package, tool

_POM: Final = HERE / "quickfixj.xml"
_SOURCE: Final = HERE / "Counterpart.java"
_JVM: Final = ("-Xms32m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_WITHIN_S: Final = 60.0


def classes() -> Path:
    """Return the directory of the jars and the compiled class, made by the first call. Raises: Missing."""
    javac = tool("javac", "install a Java 17 development kit (Debian: openjdk-17-jdk-headless)")
    version = hashlib.sha256(_POM.read_bytes() + _SOURCE.read_bytes()).hexdigest()[:12]
    with package(f"quickfixj-{version}") as (target, part):
        if part is not None:
            maven = tool("mvn", "install Maven (Debian: maven); it fetches the jars of QuickFIX/J")
            shutil.copy(_POM, part / "pom.xml")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={part}"]
            fetch("the jars of QuickFIX/J", [maven, "-B", "-q", *goal], part)
            compiled = subprocess.run(
                [javac, "--release", "17", "-cp", f"{part}/*", "-d", str(part), str(_SOURCE)],
                capture_output=True,
                text=True,
                check=False,
            )
            if compiled.returncode != 0:
                raise RuntimeError(compiled.stderr)
    return target


class Counterpart:
    """A running engine: what it said, and a way to tell it what to do."""

    def __init__(self, words: list[str]) -> None:
        where = classes()
        command = ["java", *_JVM, "-cp", f"{where}:{where}/*", "Counterpart", *words]
        self.said: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Hear what it says until the condition on all it said holds."""
        deadline_s = time.monotonic() + _WITHIN_S
        while not condition(self.said):
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"not in time; it said {self.said[-20:]}"
            try:
                self.said.append(self._lines.get(timeout=min(left_s, 1.0)))
            except queue.Empty:
                assert self._process.poll() is None, f"QuickFIX/J ended; it said {self.said[-20:]}"
        return self.said

    def hears(self, word: str, times: int = 1) -> None:
        """Wait for lines that hold a word."""
        self.until(lambda said: sum(word in line for line in said) >= times)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def counterpart(*words: str) -> Iterator[Counterpart]:
    """A running engine for as long as the block lasts. Skips the test if it cannot be had, saying why."""
    try:
        classes()
    except Missing as error:
        pytest.skip(f"no QuickFIX/J: {error}")
    engine = Counterpart(list(words))
    try:
        yield engine
    finally:
        engine.close()
