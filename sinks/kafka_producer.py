"""Write batches into Kafka, each partition under a producer id of its own that the broker fences.

Why not the library's KafkaProducer: the broker shuts out an older writer only by its producer id and epoch, and the
library gives a stable id to transactions alone, whose markers take offsets of the log. Here each partition has a stable
id (`InitProducerId` with a transactional id named for it), which plain idempotent batches then carry. From the first
batch of a new writer on, the broker refuses those of the one before it.

A broker forgets names and producers after a while (sinks/kafka_batches.py), and neither is relied upon. A name that was
forgotten gets another id: the new writer then shuts out the id of the newest batch, too (`shut_out`). A producer that
was forgotten is refused nothing, also not what it repeats: so who has heard nothing of a partition for _SURE_S first
looks at what lies there behind its own last batch.

One request is under way at a time, sent and awaited by the caller: what is not acknowledged is in the caller's hands,
and nothing is in memory twice.

Delivery: acks=all; a request without an answer is repeated with its sequence numbers, which the broker writes once.
Source: KIP-98 (idempotent producer), KIP-360; kafka.server ProducerStateManager.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import kafka
import kafka.errors
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import FindCoordinatorRequest
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

from market.kafka_away import AWAY, GONE_S, METADATA_MS, never_make_topics
from market.kafka_log import MAX_RECORD_BYTES, KafkaLog, insist
from market.kafka_requests import leader_of, raise_if
from market.records import Patience, TopicPartition
from sinks.errors import LogWriteFailed, WriterFenced
from sinks.kafka_batches import LAST_EPOCH, Batch, batch_in, batch_request, end_in, end_request

_REQUEST_MS: Final = 10_000
_RECONNECT_MS: Final = 2000
_ALL: Final = -1
_UNCOMPRESSED: Final = 0  # a frame is compressed already
_RECORD_FORMAT: Final = 2
_TRANSACTION: Final = 1  # the kind of coordinator that knows producer ids by name
_TRANSACTION_MS: Final = 60_000
_SEQUENCES: Final = 1 << 31
_NONE: Final = -1
_PRODUCE_VERSION: Final = 9  # later ones name topics by id
_INIT_VERSION: Final = 4
_COORDINATOR_VERSION: Final = 4
_SURE_S: Final = 60.0
"""Far less than a broker remembers a producer, a day. The look costs a millisecond, and only after such a pause."""
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps."""

_FENCED: Final = (kafka.errors.InvalidProducerEpochError, kafka.errors.ProducerFencedError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """What goes into a partition: key and value, and a time in ms."""

    key: bytes
    value: bytes
    ts_ms: int


@dataclass(slots=True)
class _Identity:
    """Under which id a partition is written, and the number of the next record.

    `end` is the offset behind what was acknowledged, None before anything was; `heard_s` when the request was sent that
    was answered last; `before` who wrote the newest batch when the partition was claimed.
    """

    producer_id: int
    epoch: int
    before: Batch | None
    heard_s: float
    sequence: int = 0
    end: int | None = None


@dataclass(slots=True)
class _Waiting:
    """A batch that is not acknowledged yet."""

    data: bytearray
    records: int


class FencedProducer:
    """A connection to the brokers, and the identities of the partitions that were claimed. Not for several threads."""

    def __init__(self, log: KafkaLog, patience: Patience) -> None:
        self._log, self._patience = log, patience
        self._identities: dict[TopicPartition, _Identity] = {}
        self._missing_since_s: float | None = None  # a topic that is written to is not there
        settings = {"client_id": "mandi-writer", "reconnect_backoff_max_ms": _RECONNECT_MS}
        self._net = NetworkSelector(**settings)
        self._manager = KafkaConnectionManager(
            self._net,
            bootstrap_servers=list(log.servers),
            request_timeout_ms=_REQUEST_MS,
            metadata_max_age_ms=METADATA_MS,
            receive_message_max_bytes=3 * MAX_RECORD_BYTES,  # `_newest`: a batch comes whole
            **settings,
            **log.client,
        )
        never_make_topics(self._manager)
        self._net.start()
        self._insist(lambda: self._manager.bootstrap(_REQUEST_MS))

    def claim(self, tp: TopicPartition) -> None:
        """Get the partition's producer id with a new epoch. Older writers are shut out by the first batch under it."""
        self._insist(lambda: self._claim(tp))

    def shut_out(self, tp: TopicPartition, message: Message) -> int | None:
        """Shut out who wrote the newest batch when the partition was claimed, if under another id than ours is.

        `message`, which may be there twice, is written under that id with the last epoch there is. Returns its offset;
        None if there was nobody to shut out. Raises: as `send`.
        """
        ours = self._identities[tp]
        before, ours.before = ours.before, None
        if before is None or before.producer_id in (_NONE, ours.producer_id) or before.epoch == LAST_EPOCH:
            return None
        last = _Identity(before.producer_id, LAST_EPOCH, None, _now_s())
        return self._write({tp: [message]}, {tp: last})[tp]

    def send(self, messages: Mapping[TopicPartition, Sequence[Message]]) -> dict[TopicPartition, int]:
        """Write one batch into each claimed partition; return the offset of each one's first record.

        Waits for a broker that is away, as long as it takes.

        Raises: WriterFenced; LogWriteFailed if the broker refuses for good; LogUnavailable if told to stop meanwhile.
        """
        return self._write(messages, {tp: self._identities[tp] for tp in messages})

    def close(self) -> None:
        self._manager.close()
        self._net.stop()
        self._net.close()

    def _claim(self, tp: TopicPartition) -> None:
        name = f"mandi/{self._log.name_of(tp.topic)}/{tp.partition}"
        find = FindCoordinatorRequest(key_type=_TRANSACTION, coordinator_keys=[name], min_version=_COORDINATOR_VERSION)
        (coordinator,) = self._ask(find).coordinators
        raise_if(coordinator.error_code)
        request = InitProducerIdRequest(
            transactional_id=name,
            transaction_timeout_ms=_TRANSACTION_MS,
            producer_id=_NONE,
            producer_epoch=_NONE,
            max_version=_INIT_VERSION,
        )
        asked_s = _now_s()
        answer = self._ask(request, coordinator.node_id)
        raise_if(answer.error_code)
        self._identities[tp] = _Identity(answer.producer_id, answer.producer_epoch, self._newest(tp), asked_s)

    def _newest(self, tp: TopicPartition) -> Batch | None:
        """The newest batch of a partition; None if it holds none."""
        (leader,) = self._leaders([tp])
        end = end_in(self._ask(end_request(self._log.name_of(tp.topic), tp.partition), leader))
        try:
            return self._batch_at(tp, leader, end - 1) if end > 0 else None
        except kafka.errors.OffsetOutOfRangeError:  # retention has deleted all
            return None

    def _batch_at(self, tp: TopicPartition, leader: int, offset: int) -> Batch | None:
        return batch_in(self._ask(batch_request(self._log.name_of(tp.topic), tp.partition, offset), leader))

    def _write(
        self, messages: Mapping[TopicPartition, Sequence[Message]], identities: Mapping[TopicPartition, _Identity]
    ) -> dict[TopicPartition, int]:
        waiting = {tp: _Waiting(_batch(identities[tp], batch), len(batch)) for tp, batch in messages.items()}
        offsets: dict[TopicPartition, int] = {}

        def attempt() -> None:
            missing_since_s, self._missing_since_s = self._missing_since_s, None
            try:
                self._attempt(waiting, identities, offsets)
            except kafka.errors.UnknownTopicOrPartitionError:
                self._missing_since_s = _now_s() if missing_since_s is None else missing_since_s
                if _now_s() < self._missing_since_s + GONE_S:
                    raise
                topics = ", ".join(sorted({tp.topic for tp in waiting}))
                raise LogWriteFailed(f"of {topics} something is not there any more: was a topic deleted?") from None
            except kafka.errors.TopicAuthorizationFailedError as error:
                raise LogWriteFailed(f"the broker does not let us write: {error}") from error

        self._insist(attempt)
        return offsets

    def _attempt(
        self,
        waiting: dict[TopicPartition, _Waiting],
        identities: Mapping[TopicPartition, _Identity],
        offsets: dict[TopicPartition, int],
    ) -> None:
        """Send what waits, once; move what was acknowledged from `waiting` to `offsets`. Raises: what to wait for."""

        def written(tp: TopicPartition, offset: int, sent_s: float) -> None:
            identity, records = identities[tp], waiting.pop(tp).records
            offsets[tp], identity.end, identity.heard_s = offset, offset + records, sent_s
            identity.sequence = (identity.sequence + records) % _SEQUENCES

        failure: Exception | None = None
        for leader, tps in self._leaders(waiting).items():
            sent_s = _now_s()
            for tp in tps:
                if self._is_written(tp, leader, identities[tp], sent_s):
                    written(tp, identities[tp].end or 0, sent_s)
            left = {tp: waiting[tp].data for tp in tps if tp in waiting}
            for topic in self._ask(self._request(left), leader).responses if left else ():
                for part in topic.partition_responses:
                    tp = TopicPartition(self._log.topic_of(topic.name) or "", part.index)
                    error = kafka.errors.for_code(part.error_code)
                    if error is kafka.errors.NoError:
                        written(tp, part.base_offset, sent_s)
                    else:
                        failure = self._judge(tp, error, part.error_message)
        if failure is not None:
            self._manager.cluster.request_update()
            raise failure

    def _is_written(self, tp: TopicPartition, leader: int, identity: _Identity, now_s: float) -> bool:
        """Whether what is about to be sent is in the log; after a pause in which the broker may have forgotten us.

        Raises: WriterFenced if it is another writer's batch that lies behind our last one; LogWriteFailed if ours is
            not there any more.
        """
        if identity.end is None or now_s < identity.heard_s + _SURE_S:
            return False
        try:
            found = self._batch_at(tp, leader, identity.end)
        except kafka.errors.OffsetOutOfRangeError:
            raise LogWriteFailed(f"{tp} has lost record {identity.end - 1}: it was cut, or made anew") from None
        if found not in (None, (identity.producer_id, identity.epoch, identity.sequence)):
            raise WriterFenced(tp, f"record {identity.end} is not ours")
        identity.heard_s = now_s
        return found is not None

    def _judge(self, tp: TopicPartition, error: type[Exception], text: str | None) -> Exception:
        """Return an error that passes; raise one that does not."""
        reason = f"{error.__name__}{f': {text}' if text else ''}"
        if issubclass(error, _FENCED):
            raise WriterFenced(tp, reason)
        if not issubclass(error, AWAY):
            raise LogWriteFailed(f"the broker refused a batch of {tp}: {reason}")
        return error(text)

    def _request(self, batches: Mapping[TopicPartition, bytearray]) -> Any:
        topic_of, partition_of = ProduceRequest.TopicProduceData, ProduceRequest.TopicProduceData.PartitionProduceData
        topics: dict[str, list[Any]] = {}
        for tp, batch in batches.items():
            topics.setdefault(self._log.name_of(tp.topic), []).append(partition_of(index=tp.partition, records=batch))
        return ProduceRequest(
            transactional_id=None,
            acks=_ALL,
            timeout_ms=_REQUEST_MS,
            topic_data=[topic_of(name=name, partition_data=parts) for name, parts in topics.items()],
            max_version=_PRODUCE_VERSION,
        )

    def _leaders(self, tps: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
        found: dict[int, list[TopicPartition]] = {}
        for tp in tps:
            theirs = kafka.TopicPartition(self._log.name_of(tp.topic), tp.partition)
            found.setdefault(leader_of(self._manager, theirs, _REQUEST_MS), []).append(tp)
        return found

    def _ask(self, request: Any, node: int | None = None) -> Any:
        async def ask() -> Any:
            return await self._manager.send(request, node_id=node)

        return self._manager.run(ask)

    def _insist(self, ask: Callable[[], T]) -> T:
        return insist(ask, self._patience, AWAY, time.sleep)


def _batch(identity: _Identity, messages: Sequence[Message]) -> bytearray:
    builder = MemoryRecordsBuilder(
        _RECORD_FORMAT,
        _UNCOMPRESSED,
        batch_size=_SEQUENCES,  # no limit: how much to send at once is the caller's choice
        producer_id=identity.producer_id,
        producer_epoch=identity.epoch,
        base_sequence=identity.sequence,
        transactional=False,
    )
    for message in messages:
        builder.append(message.ts_ms, message.key, message.value)
    builder.close()
    batch: bytearray = builder.buffer()
    return batch


def _now_s() -> float:
    return time.clock_gettime(_CLOCK)
