"""How the processes of this installation open the log: where, what it keeps, what they say while a broker is away."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from connectors.log import open_reader
from mandi.settings import Settings
from market.records import LogReader, LogWriter, Patience
from pipelines import metrics
from sinks.log import open_writer
from sinks.retention import Retention

_log: Final = logging.getLogger(__name__)


def log_reader(settings: Settings, stop: threading.Event) -> Callable[[], LogReader]:
    """Return what opens the log for reading; readers wait for a broker until `stop`."""
    return partial(open_reader, settings.log, patience=_patience(stop))


def log_writer(settings: Settings, stop: threading.Event) -> Callable[[], LogWriter]:
    """Return what opens the log for writing; writers wait for a broker until `stop`."""
    keep = Retention(max_age_s=settings.log_days * 86_400, max_bytes=int(settings.log_gib * 2**30))
    return partial(open_writer, settings.log, retention=keep, patience=_patience(stop))


def _patience(stop: threading.Event) -> Patience:
    return Patience(stopped=stop.is_set, on_wait=_tell)


def _tell(reason: str, pause_s: float) -> None:
    metrics.LOG_AWAY.set(1 if reason else 0)
    if reason:
        metrics.LOG_RETRIES.inc()
        _log.warning("the log cannot be reached (%s); next attempt in %.1f s", reason, pause_s)
    else:
        _log.warning("the log can be reached again")
