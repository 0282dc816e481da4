"""Runs the trading backend's flow in a thread of the test's process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from backend_events import NOW_NS

from connectors.log import open_reader
from pipelines import backend
from sinks.log import open_writer


class Process:
    """One run of the flow, in a thread."""

    def __init__(self, url: str, open_feed: Any, **settings: Any) -> None:
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        config = backend.BackendFlow(
            open_feed=open_feed,
            open_reader=partial(open_reader, url),
            open_writer=partial(open_writer, url),
            now=lambda: NOW_NS,
            stop=self._stop,
            **settings,
        )
        self._thread = threading.Thread(target=self._run, args=(config,), daemon=True)
        self._thread.start()

    def _run(self, config: backend.BackendFlow) -> None:
        try:
            backend.run(config)
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure


@contextmanager
def flow(url: str, open_feed: Any, **settings: Any) -> Iterator[Process]:
    """The flow over a feed; leaving the block stops it."""
    process = Process(url, open_feed, **settings)
    try:
        yield process
    finally:
        process.stop()
