"""How the processes of this installation open the log: where, what it keeps, what they say while a broker is away."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from connectors.log import open_reader
from mandi.errors import UsageError
from mandi.pulse import waiting
from mandi.settings import Settings
from market.kafka_log import is_kafka, kafka_log
from market.records import LogReader, LogWriter, Patience
from pipelines import metrics
from sinks.log import open_writer
from sinks.retention import Retention

if TYPE_CHECKING:
    from sinks.kafka_json import JsonMirror

_log: Final = logging.getLogger(__name__)


def log_reader(settings: Settings, stop: threading.Event) -> Callable[[], LogReader]:
    """Return what opens the log for reading; readers wait for a broker until `stop`."""
    return partial(open_reader, settings.log, patience=_patience(stop))


def log_writer(settings: Settings, stop: threading.Event) -> Callable[[], LogWriter]:
    """Return what opens the log for writing; writers wait for a broker until `stop`."""
    return partial(open_writer, settings.log, retention=_retention(settings), patience=_patience(stop))


def json_mirror(settings: Settings, stop: threading.Event) -> Callable[[], "JsonMirror"]:
    """Return what opens the JSON mirror of the log. Raises: UsageError if the log is not on Kafka."""
    if not is_kafka(settings.log):
        raise UsageError("the flow mirror needs the log on Kafka: set MANDI_LOG to kafka://host:port")
    from sinks.kafka_json import JsonMirror  # 0.2 s that no other flow shall cost

    return partial(JsonMirror, kafka_log(settings.log), _retention(settings), time.time_ns, _patience(stop))


def _retention(settings: Settings) -> Retention:
    return Retention(max_age_s=settings.log_days * 86_400, max_bytes=int(settings.log_gib * 2**30))


def _patience(stop: threading.Event) -> Patience:
    return Patience(stopped=stop.is_set, on_wait=_tell)


def _tell(reason: str, pause_s: float) -> None:
    metrics.LOG_AWAY.set(1 if reason else 0)
    (waiting.add if reason else waiting.discard)("log")
    if reason:
        metrics.LOG_RETRIES.inc()
        _log.warning("the log cannot be reached (%s); next attempt in %.1f s", reason, pause_s)
    else:
        _log.warning("the log can be reached again")
