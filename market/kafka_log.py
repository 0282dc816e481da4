"""The log on Apache Kafka: its URL, and the names of topics on the broker. Pure; sockets live elsewhere.

    kafka://HOST:PORT[,HOST:PORT ...][/PREFIX][?OPTION=VALUE&...]

A topic-partition of ours is the partition of a Kafka topic with the same number; PREFIX, if any, and a dot stand before
the topic's name. A record's value is its frame (market/records.py), its key the shard key, its time `ts_append`. Kafka
numbers the records; the offset inside a frame is what its writer expected.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from market.records import (
    CorruptRecord,
    LogUnavailable,
    Patience,
    Record,
    TopicPartition,
    decode_frame,
    scan_frames,
)
from market.segments import UnsupportedLog

SCHEME: Final = "kafka://"
MAX_RECORD_BYTES: Final = 32 << 20
"""The longest record of a topic we make. 20,000 rows of ticks are about 0.4 MB."""

_LEAST_PARTITIONS: Final = 2  # ingest and analytics each have their own (market/topics.py)
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_LOOK_S: Final = 0.2  # how long it may go unnoticed that one was told to stop
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NUMBERS: Final = ("partitions", "replication")
_CLIENT: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")

T = TypeVar("T")


class ForeignRecord(CorruptRecord):
    """A record of one of our topics that we did not write. `position` is its offset."""

    def __init__(self, tp: TopicPartition, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.tp = tp

    def __str__(self) -> str:
        return (
            f"record {self.position} of {self.tp} is none of Mandi's ({self.reason}): nothing of it was used. "
            f"What to do: docs/runbook.md, 'A record that is not ours'"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaLog:
    """Where a log is. `partitions` and `replication` are for topics that are made; `client` goes to every client."""

    servers: tuple[str, ...]
    prefix: str = ""
    partitions: int = _LEAST_PARTITIONS
    replication: int = 1
    client: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, topic: str) -> str:
        """The broker's name of a topic of ours."""
        return self.prefix + topic

    def topic_of(self, name: str) -> str | None:
        """Our topic of that name on the broker; None if it is not of this log."""
        return name.removeprefix(self.prefix) if name.startswith(self.prefix) and name != self.prefix else None


def message_record(tp: TopicPartition, offset: int, value: bytes | None) -> Record:
    """The record of a message, as its writer numbered it. Raises: ForeignRecord."""
    try:
        if value is None:
            raise ValueError("it has no value")
        frames = list(scan_frames(value))
        if len(frames) != 1:
            raise ValueError(f"its {len(value)} bytes are no whole frame")
        return decode_frame(frames[0])
    except CorruptRecord as error:
        raise ForeignRecord(tp, offset, error.reason) from error
    except (ValueError, OSError, StopIteration, pa.ArrowException) as error:
        raise ForeignRecord(tp, offset, str(error)) from error


def is_kafka(url: str) -> bool:
    return url.startswith(SCHEME)


def kafka_log(url: str) -> KafkaLog:
    """Read a URL.

    Raises: UnsupportedLog saying what is wrong with it.
    Example:
        >>> kafka_log("kafka://a:9092,b:9092/desk?replication=3").name_of("market.bars")
        'desk.market.bars'
    """
    parts = urlsplit(url)
    servers = tuple(parts.netloc.split(","))
    if parts.scheme != "kafka" or not all(_is_server(server) for server in servers):
        shown = url.split("@")[-1]  # what stands before an @ may be a password
        raise UnsupportedLog(f"'{shown}' is not a Kafka log; write kafka://host:port or kafka://host:port,host:port")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - {*_NUMBERS, *_CLIENT})
    if unknown:
        known = ", ".join((*_NUMBERS, *_CLIENT))
        raise UnsupportedLog(f"the Kafka log has unknown options {', '.join(unknown)}; known are {known}")
    prefix = unquote(parts.path).strip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise UnsupportedLog(f"the Kafka log's prefix is '{prefix}'; it may have letters, digits and . _ - only")
    client: dict[str, str] = {name: options[name] for name in _CLIENT if name in options}
    if "ssl_keyfile" in client and "ssl_certfile" not in client:
        raise UnsupportedLog("the Kafka log's ssl_keyfile needs its ssl_certfile")
    return KafkaLog(
        servers=servers,
        prefix=f"{prefix}." if prefix else "",
        partitions=max(_LEAST_PARTITIONS, _number(options, "partitions", _LEAST_PARTITIONS)),
        replication=_number(options, "replication", 1),
        client={"security_protocol": "SSL", **client} if client else {},
    )


def _is_server(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and "@" not in host and port.isdecimal() and int(port) < 65_536


def _number(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise UnsupportedLog(f"the Kafka log's option {name} is '{text}'; it must be a number from 1 on")
    return int(text)


def pauses_s() -> Iterator[float]:
    """How long to wait between attempts to reach the broker: growing, up to five seconds.

    Example:
        >>> from itertools import islice
        >>> list(islice(pauses_s(), 8))
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        yield min(pause_s, _LONGEST_PAUSE_S)
        pause_s *= 2 if pause_s < _LONGEST_PAUSE_S else 1


def insist(
    ask: Callable[[], T],
    patience: Patience,
    passing: type[Exception] | tuple[type[Exception], ...],
    sleep: Callable[[float], None],
) -> T:
    """Call `ask` until it does not raise `passing`: until the broker is there.

    Raises: LogUnavailable if told to stop meanwhile; whatever else `ask` raises.
    """
    waited = False
    for pause_s in pauses_s():
        try:
            answer = ask()
        except passing as error:
            reason = str(error)
        else:
            if waited:
                patience.on_wait("", 0.0)
            return answer
        if patience.stopped():
            raise LogUnavailable(reason)
        waited = True
        patience.on_wait(reason, pause_s)
        while pause_s > 0 and not patience.stopped():
            sleep(min(pause_s, _LOOK_S))
            pause_s -= _LOOK_S
    raise AssertionError("pauses never end")
