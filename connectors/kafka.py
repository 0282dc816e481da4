"""Read the log on Apache Kafka, by assigned partition, from positions that are the caller's own.

Kafka's consumer groups are not used at all: where a flow goes on is in its recovery store, or in the log.

Delivery: a record is seen from the writer's `flush` on; what `read` does not find is at most _FRESH_S old. An offset
that is not in the log raises OffsetOutOfRange; it is never moved to another one. A topic that was deleted raises
LogReplaced, and so does one that was made anew: within _LOOK_AGAIN_S, also if it has as many records as were read.
State: what was fetched and not read, of each partition at most a fetch (connectors/kafka_fetch.py).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final, TypeVar

import kafka
import kafka.admin
import kafka.errors
from kafka.protocol.consumer import OffsetSpec

from connectors.kafka_fetch import Fetched, Fetcher, Message
from connectors.kafka_topics import KnownTopics
from market.kafka_away import AWAY, METADATA_MS, connected
from market.kafka_log import KafkaLog, insist, message_record
from market.records import (
    LogReader,
    LogReplaced,
    OffsetOutOfRange,
    Patience,
    Record,
    TopicPartition,
)

_FRESH_S: Final = 0.010
"""How long an answer about the ends of all partitions is good for: one question for a whole round of reads."""

_LIST_EVERY_S: Final = 0.25
_LOOK_AGAIN_S: Final = 1.0  # the topics are looked at at least as often as that while they are read
_ASK_MS: Final = 5000
_UNKNOWN: Final = kafka.errors.UnknownTopicOrPartitionError.errno

T = TypeVar("T")


def open_kafka_reader(log: KafkaLog, patience: Patience) -> LogReader:
    """Open a reader, which connects when it is first asked something. Use it from one thread at a time."""
    return _KafkaLogReader(log, patience)


class _KafkaLogReader:
    """LogReader on a broker."""

    def __init__(self, log: KafkaLog, patience: Patience) -> None:
        self._log, self._patience = log, patience
        self._positions: dict[TopicPartition, int] = {}  # of the next record to fetch, by partition that is followed
        self._ahead: dict[TopicPartition, list[Message]] = {}  # fetched and not read
        self._looked: dict[TopicPartition, Fetched] = {}  # looks that found an error or the end, and no read was told
        self._measured: set[TopicPartition] = set()  # those whose lag is asked for
        self._ends: dict[TopicPartition, int] = {}
        self._ends_at_s = float("-inf")
        self._listed: list[TopicPartition] = []
        self._listed_at_s = float("-inf")
        self._written: set[TopicPartition] = set()
        self._missing: set[TopicPartition] = set()  # read, but not there yet
        self._known = KnownTopics()
        self._gone: set[str] = set()  # topics that were deleted, and are not there again
        self._lost: set[TopicPartition] = set()  # deleted or made anew, and their reader was not told yet

    @cached_property
    def _fetcher(self) -> Fetcher:
        return self._insist(lambda: Fetcher(self._log, _settings(self._log), 2 * _ASK_MS))

    @cached_property
    def _admin(self) -> Any:
        return self._insist(lambda: connected(kafka.admin.KafkaAdminClient, **_settings(self._log)))

    def partitions(self, pattern: str) -> list[TopicPartition]:
        """Return the topic-partitions of matching topics into which anything was ever written, sorted."""
        self._look(_LIST_EVERY_S)
        found = [tp for tp in self._listed if fnmatchcase(tp.topic, pattern)]
        new = [tp for tp in found if tp not in self._written]
        if new:
            self._written |= {tp for tp, end in self._ask_ends(new).items() if end > 0}
        return sorted(tp for tp in found if tp in self._written)

    def begin_offset(self, tp: TopicPartition) -> int:
        """Return the oldest offset still kept; 0 if nothing was ever written."""
        return self._begin(tp) if self._exists(tp) else 0

    def end_offset(self, tp: TopicPartition) -> int:
        """Return the offset the next append will get."""
        return self._ask_ends([tp])[tp] if self._exists(tp) else 0

    def behind(self, tp: TopicPartition, offset: int) -> int:
        """Return how many records wait from `offset` on."""
        return max(0, self._end_from(tp) - offset) if self._exists(tp) else 0

    def read(self, tp: TopicPartition, offset: int, max_bytes: int = 4 << 20) -> list[Record]:
        """Return records from `offset` on, at least one if there is one; empty at the end.

        Waits for the broker's answer, and for a broker that is away.
        Raises: OffsetOutOfRange, LogReplaced, ForeignRecord; LogUnavailable if told to stop meanwhile.
        """
        self._look(_LOOK_AGAIN_S)
        self._require_same(tp, offset)
        self._follow(tp, offset)
        self._fetch(tp, offset)
        return [_decode(tp, message) for message in self._take(tp, max_bytes)]

    def wait(self, timeout_s: float) -> bool:
        """Block until there is something to read of the partitions that were read; False at the time-out."""
        until_s = time.monotonic() + timeout_s
        while not any(self._ahead.values()):
            if any(self._exists(tp) for tp in self._missing):
                return True
            left_s = max(0.0, until_s - time.monotonic())
            if self._missing or not self._positions:
                left_s = min(left_s, _LIST_EVERY_S)
            if self._positions:
                self._keep(self._fetcher.wait(self._fetchable(), left_s))
            else:
                time.sleep(left_s)
            if any(each.error for each in self._looked.values()):
                return True  # whoever reads it is told
            if time.monotonic() >= until_s:
                break
        return any(self._ahead.values())

    def close(self) -> None:
        for each in ("_fetcher", "_admin"):
            if each in self.__dict__:
                getattr(self, each).close()

    def _follow(self, tp: TopicPartition, offset: int) -> None:
        """Have `offset` fetched next, unless it is among what was fetched."""
        if tp not in self._positions:
            if not self._exists(tp):
                if offset:
                    raise OffsetOutOfRange(tp, offset, 0, 0)
                self._missing.add(tp)
                return
            self._missing.discard(tp)
            self._positions[tp] = -1
        ahead = self._ahead.get(tp)
        if (ahead[0].offset if ahead else self._positions[tp]) != offset:
            self._forget(tp)  # somewhere else than where it was: look afresh
            self._positions[tp] = offset

    def _fetch(self, tp: TopicPartition, offset: int) -> None:
        """Fetch until there is a record at `offset`, or that is the end of the log."""
        looked = self._looked.pop(tp, None)  # each answer is used once: the next read asks again
        if looked is not None and looked.error is None and time.monotonic() <= looked.looked_s + _FRESH_S:
            return
        if tp in self._positions and not self._ahead.get(tp):
            self._insist_on(lambda: self._look_at(tp))
            self._require_same(tp, offset)

    def _look_at(self, tp: TopicPartition) -> None:
        """Fetch of all partitions that are read, this one in any case."""
        if tp not in self._positions:
            return  # it was lost while we waited
        self._keep(self._fetcher.now(self._fetchable(), tp))
        looked = self._looked.pop(tp, None)
        error = None if looked is None else looked.error
        if isinstance(error, kafka.errors.OffsetOutOfRangeError):
            offset, self._positions[tp] = self._positions[tp], -1
            raise self._out_of_range(tp, offset)
        if error is not None:
            raise error

    def _fetchable(self) -> dict[TopicPartition, int]:
        return {tp: offset for tp, offset in self._positions.items() if offset >= 0 and not self._ahead.get(tp)}

    def _keep(self, found: Mapping[TopicPartition, Fetched]) -> None:
        """Take what was fetched, but of where a reader is not any more."""
        for tp, part in found.items():
            if self._positions.get(tp) != part.offset or self._ahead.get(tp):
                continue
            if part.messages:
                self._looked.pop(tp, None)
                self._ahead[tp] = part.messages
                self._positions[tp] = part.messages[-1].offset + 1
            else:
                self._looked[tp] = part

    def _forget(self, tp: TopicPartition) -> None:
        if "_fetcher" in self.__dict__:
            self._fetcher.forget(tp)
        self._ahead.pop(tp, None)
        self._looked.pop(tp, None)

    def _take(self, tp: TopicPartition, max_bytes: int) -> list[Message]:
        ahead = self._ahead.get(tp, [])
        count = size_bytes = 0
        for message in ahead:
            size_bytes += len(message.value or b"")
            if count and size_bytes > max_bytes:
                break
            count += 1
        taken, self._ahead[tp] = ahead[:count], ahead[count:]
        return taken

    def _end_from(self, tp: TopicPartition) -> int:
        """The end of a partition whose lag is asked for. One question for a whole round; each answer is used once."""
        if time.monotonic() > self._ends_at_s + _FRESH_S or tp not in self._ends:
            self._measured.add(tp)
            self._ends, self._ends_at_s = self._ask_ends(self._measured), time.monotonic()
        return self._ends.pop(tp)

    def _ask_ends(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return self._ask_offsets(tps, OffsetSpec.LATEST)

    def _begin(self, tp: TopicPartition) -> int:
        return self._ask_offsets([tp], OffsetSpec.EARLIEST)[tp]

    def _ask_offsets(self, tps: Iterable[TopicPartition], which: OffsetSpec) -> dict[TopicPartition, int]:
        """Offsets of partitions; 0 of those whose topic is gone."""
        asked = list(tps)

        def ask() -> dict[TopicPartition, int]:
            wanted = {self._theirs(tp): which for tp in asked if tp.topic not in self._gone}
            found = self._admin.list_partition_offsets(wanted, timeout_ms=_ASK_MS) if wanted else {}
            return {self._ours(*each): int(answer.offset) for each, answer in found.items()}

        return dict.fromkeys(asked, 0) | self._insist_on(ask)

    def _insist_on(self, ask: Callable[[], T]) -> T:
        """Ask the broker about partitions until there is an answer; if one is not there, also whether its topic is."""
        waited = False

        def attempt() -> T:
            nonlocal waited
            try:
                return ask()
            except kafka.errors.UnknownTopicOrPartitionError:
                waited = True
                self._list()
                raise
            except AWAY:
                waited = True
                raise

        answer = self._insist(attempt)
        if waited:
            self._look(0.0)  # whatever was done to the broker meanwhile
        return answer

    def _look(self, after_s: float) -> None:
        """List the topics, unless that was done less than so long ago."""
        if time.monotonic() > self._listed_at_s + after_s:
            self._listed = self._insist(self._list)
            self._listed_at_s = time.monotonic()

    def _list(self) -> list[TopicPartition]:
        """The partitions of all topics of this log. Who is followed and is not what it was is `_lost`."""
        listed = self._describe(None)
        self._compare(listed)
        unseen = self._known.unseen(listed)
        if unseen:  # to a name the broker says whether it is not there, or just not for us to see
            asked = self._describe([self._log.name_of(topic) for topic in unseen])
            gone = self._known.miss([topic for topic in unseen if asked[topic]["error_code"] == _UNKNOWN])
            self._gone |= set(gone)
            self._lose(gone)
        return [TopicPartition(topic, number) for topic, found in listed.items() for number in _numbers(found)]

    def _compare(self, listed: Mapping[str, dict[str, Any]]) -> None:
        self._gone -= listed.keys()
        self._lose(self._known.see({topic: found.get("topic_id") for topic, found in listed.items()}))

    def _describe(self, names: list[str] | None) -> dict[str, dict[str, Any]]:
        found = {self._log.topic_of(each["name"]): each for each in self._admin.describe_topics(names)}
        return {topic: each for topic, each in found.items() if topic is not None}

    def _lose(self, replaced: list[str]) -> None:
        """Follow these topics no further. Whoever reads them is told at the next read."""
        if not replaced:
            return
        lost = {tp for tp in self._written | self._positions.keys() if tp.topic in replaced}
        self._lost |= lost
        self._written -= lost
        self._measured -= lost
        for tp in lost & self._positions.keys():
            del self._positions[tp]
            self._forget(tp)
            if "_fetcher" in self.__dict__:
                self._fetcher.forget_topic(tp.topic)

    def _require_same(self, tp: TopicPartition, offset: int) -> None:
        if tp in self._lost:
            self._lost.discard(tp)
            if offset:
                raise LogReplaced(tp, offset, self.begin_offset(tp), self.end_offset(tp))

    def _out_of_range(self, tp: TopicPartition, offset: int) -> OffsetOutOfRange:
        self._look(0.0)
        self._require_same(tp, offset)
        return OffsetOutOfRange(tp, offset, self.begin_offset(tp), self.end_offset(tp))

    def _exists(self, tp: TopicPartition) -> bool:
        if tp in self._written or tp in self._positions:
            return True
        found = self._insist(lambda: self._describe([self._log.name_of(tp.topic)]))
        if found[tp.topic]["partitions"]:
            self._compare(found)
        return tp.partition in _numbers(found[tp.topic])

    def _theirs(self, tp: TopicPartition) -> Any:
        return kafka.TopicPartition(self._log.name_of(tp.topic), tp.partition)

    def _ours(self, name: str, partition: int) -> TopicPartition:
        topic = self._log.topic_of(name)
        assert topic is not None
        return TopicPartition(topic, partition)

    def _insist(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer. Raises: LogUnavailable if told to stop meanwhile."""
        return insist(ask, self._patience, AWAY, time.sleep)


def _numbers(topic: dict[str, Any]) -> list[int]:
    return [part["partition_index"] for part in topic["partitions"]]


def _settings(log: KafkaLog) -> dict[str, Any]:
    return {
        "bootstrap_servers": list(log.servers),
        "client_id": "mandi-reader",
        "bootstrap_timeout_ms": _ASK_MS,
        "request_timeout_ms": 2 * _ASK_MS,
        "reconnect_backoff_max_ms": 2000,
        "metadata_max_age_ms": METADATA_MS,
        **log.client,
    }


def _decode(tp: TopicPartition, message: Message) -> Record:
    """The record of a message; its offset is the broker's."""
    record = message_record(tp, message.offset, message.value)
    if record.offset == message.offset:
        return record
    return Record(
        offset=message.offset,
        ts_append=record.ts_append,
        kind=record.kind,
        key=record.key,
        payload=record.payload,
        meta=record.meta,
    )
