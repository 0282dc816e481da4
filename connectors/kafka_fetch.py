"""Fetch records of many partitions from Kafka at once, and wait for them.

Why not the library's KafkaConsumer: to look whether something came takes it two hand-overs between threads for each
partition, and it does not say where a partition ends, which took two more questions. Here a look at all partitions is
one request to each broker, and its answer tells records and ends (docs/performance.md, "Reading the log on Kafka").

A broker answers the requests of a connection one after the other, so those that wait have a connection of their own.
Source: the Fetch API, version 11 (KIP-74: an answer has at least one batch, however long it is).
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import kafka
import kafka.errors
from kafka.future import Future
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.record.memory_records import MemoryRecords

from market.kafka_away import AWAY, never_make_topics
from market.kafka_log import MAX_RECORD_BYTES, KafkaLog
from market.kafka_requests import fetch_request, leader_of, raise_if
from market.records import TopicPartition

Message = Any
"""kafka.record.default_records.DefaultRecord: the library publishes no types."""

Positions = Mapping[TopicPartition, int]
"""Offsets of the next record."""

_ANSWER_BYTES: Final = 8 << 20
_PARTITION_BYTES: Final = 1 << 20
_WAIT_MS: Final = 500  # a broker holds a request that waits for that long
_PAUSE_S: Final = 0.1  # before a broker that is away is asked again


@dataclass(frozen=True, slots=True)
class Fetched:
    """What there was of a partition from `offset` on when it was looked at (monotonic): its records, or an error.

    Neither: `offset` is its end.
    """

    offset: int
    messages: list[Message]
    error: kafka.errors.KafkaError | None
    looked_s: float


@dataclass(slots=True)
class _Waiting:
    """A request that waits at a broker for records behind these positions."""

    positions: dict[TopicPartition, int]
    answer: Any
    came_s: float = field(default=0.0)


class Fetcher:
    """Connections to the brokers, used by one thread."""

    def __init__(self, log: KafkaLog, settings: Mapping[str, Any], timeout_ms: int) -> None:
        """Connect. `settings` are those of any client of the library. Raises: AWAY."""
        self._log, self._timeout_ms = log, timeout_ms
        self._net = NetworkSelector(**settings)
        self._now, self._later = (self._connections(settings) for _ in range(2))
        self._net.start()
        self._waiting: dict[int, _Waiting] = {}  # by broker
        self._came = threading.Event()
        try:
            for manager in (self._now, self._later):
                manager.bootstrap(timeout_ms)
        except BaseException:
            self.close()
            raise

    def now(self, positions: Positions, wanted: TopicPartition) -> dict[TopicPartition, Fetched]:
        """Look at partitions; those that cannot be looked at just now are missing, but for the one that is wanted.

        Raises: AWAY if that one cannot be.
        """
        leader_of(self._now, self._theirs(wanted), self._timeout_ms)
        asked = self._by_leader(self._now, {wanted: positions[wanted], **positions})
        answers = self._now.run(self._ask, asked)
        looked_s = time.monotonic()
        found: dict[TopicPartition, Fetched] = {}
        for leader, answer in answers.items():
            try:
                found |= self._taken(self._now, asked[leader], answer, looked_s)
            except AWAY:
                self._now.cluster.request_update()
                if wanted in asked[leader]:
                    raise
        if wanted not in found:
            raise kafka.errors.LeaderNotAvailableError(f"{wanted} has no leader")
        return found

    def wait(self, positions: Positions, timeout_s: float) -> dict[TopicPartition, Fetched]:
        """What came since the last call, or comes in time; it may be from positions of earlier calls on."""
        self._came.clear()
        asked = self._by_leader(self._later, positions)
        idle = {leader: part for leader, part in asked.items() if leader not in self._waiting}
        if idle:
            for leader, answer in self._later.run(self._send, self._later, idle, _WAIT_MS).items():
                self._waiting[leader] = waiting = _Waiting(idle[leader], answer)
                answer.add_both(self._tell, waiting)
        if sum(map(len, asked.values())) < len(positions):
            timeout_s = min(timeout_s, _PAUSE_S)  # some have no leader yet, and nobody waits for them
        if timeout_s > 0 and not any(each.answer.is_done for each in self._waiting.values()):
            self._came.wait(timeout_s)
        found: dict[TopicPartition, Fetched] = {}
        failed = False
        for leader, waiting in list(self._waiting.items()):
            if waiting.answer.is_done:
                del self._waiting[leader]
                try:
                    found |= self._taken(self._later, waiting.positions, waiting.answer, waiting.came_s)
                except AWAY:
                    self._later.cluster.request_update()
                    failed = True
        if failed and not found:
            time.sleep(min(timeout_s, _PAUSE_S))
        return found

    def forget(self, tp: TopicPartition) -> None:
        """Take no answer any more to what was asked of a partition: it is another one now, or its reader elsewhere."""
        for waiting in self._waiting.values():
            waiting.positions.pop(tp, None)

    def forget_topic(self, topic: str) -> None:
        """Ask no more who leads a topic that is not there: the library asks ten times a second, for ever."""
        for manager in (self._now, self._later):
            manager.cluster._topics.discard(self._log.name_of(topic))

    def close(self) -> None:
        for manager in (self._now, self._later):
            manager.close()
        self._net.stop()
        self._net.close()

    def _connections(self, settings: Mapping[str, Any]) -> Any:
        longest = _ANSWER_BYTES + 2 * MAX_RECORD_BYTES
        manager = KafkaConnectionManager(self._net, **settings, receive_message_max_bytes=longest)
        never_make_topics(manager)
        return manager

    def _tell(self, waiting: _Waiting, _: object) -> None:
        waiting.came_s = time.monotonic()
        self._came.set()

    def _by_leader(self, manager: Any, positions: Positions) -> dict[int, dict[TopicPartition, int]]:
        found: dict[int, dict[TopicPartition, int]] = {}
        for tp, offset in positions.items():
            leader = manager.cluster.leader_for_partition(self._theirs(tp))
            if leader is None or leader < 0:
                manager.cluster.add_topic(self._log.name_of(tp.topic))
                manager.cluster.request_update()
            else:
                found.setdefault(leader, {})[tp] = offset
        return found

    async def _send(self, manager: Any, asked: Mapping[int, Positions], wait_ms: int) -> dict[int, Any]:
        return {leader: _sent(manager, self._request(part, wait_ms), leader) for leader, part in asked.items()}

    async def _ask(self, asked: Mapping[int, Positions]) -> dict[int, Any]:
        answers = await self._send(self._now, asked, 0)
        for answer in answers.values():
            with suppress(kafka.errors.KafkaError):  # which is in the answer, too
                await answer
        return answers

    def _request(self, positions: Positions, wait_ms: int) -> Any:
        wanted = [(self._log.name_of(tp.topic), tp.partition, offset) for tp, offset in positions.items()]
        return fetch_request(wanted, wait_ms=wait_ms, max_bytes=_ANSWER_BYTES, partition_bytes=_PARTITION_BYTES)

    def _taken(self, manager: Any, asked: Positions, answer: Any, looked_s: float) -> dict[TopicPartition, Fetched]:
        if answer.exception is not None:
            raise answer.exception
        raise_if(answer.value.error_code)
        found = {}
        for topic in answer.value.responses:
            for part in topic.partitions:
                tp = TopicPartition(self._log.topic_of(topic.topic) or "", part.partition_index)
                if tp not in asked:
                    continue  # it was forgotten meanwhile
                error = kafka.errors.for_code(part.error_code)
                failed = None if error is kafka.errors.NoError else error(f"{tp}")
                if isinstance(failed, kafka.errors.InvalidMetadataError):
                    manager.cluster.request_update()
                messages = _messages(part.records, asked[tp]) if failed is None else []
                if failed is None and not messages and part.high_watermark > asked[tp]:
                    failed = kafka.errors.OffsetNotAvailableError(f"nothing of {tp} at {asked[tp]}, but later records")
                found[tp] = Fetched(asked[tp], messages, failed, looked_s)
        return found

    def _theirs(self, tp: TopicPartition) -> Any:
        return kafka.TopicPartition(self._log.name_of(tp.topic), tp.partition)


def _sent(manager: Any, request: Any, leader: int) -> Any:
    try:
        return manager.send(request, node_id=leader)
    except kafka.errors.KafkaError as error:  # the broker has gone since it was said to lead
        return Future().failure(error)


def _messages(data: bytes | None, offset: int) -> list[Message]:
    """The records from `offset` on: a batch is given whole, and the last one may be cut."""
    batches, found = MemoryRecords(data or b""), list[Message]()
    while (batch := batches.next_batch()) is not None:
        found += [message for message in batch if message.offset >= offset]
    return found
