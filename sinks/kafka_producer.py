"""Write batches into Kafka, each partition under a producer id of its own that the broker fences.

Why not the library's KafkaProducer: the broker shuts out an older writer only by its producer id and epoch, and the
library gives a stable id to transactions alone, whose markers take offsets of the log. Here each partition has a stable
id (`InitProducerId` with a transactional id named for it), which plain idempotent batches then carry. From the first
batch of a new writer on, the broker refuses those of the one before it.

One request is under way at a time, sent and awaited by the caller: what is not acknowledged is in the caller's hands,
and nothing is in memory twice.

Delivery: acks=all; a request without an answer is repeated with its sequence numbers, which the broker writes once.
Source: KIP-98 (idempotent producer), KIP-360; kafka.server ProducerStateManager.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import kafka
import kafka.errors
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import FindCoordinatorRequest
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

from market.kafka_away import AWAY, METADATA_MS
from market.kafka_log import KafkaLog, insist
from market.records import Patience, TopicPartition
from sinks.errors import LogWriteFailed, WriterFenced

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
    """Under which id a partition is written, and the number of the next record."""

    producer_id: int
    epoch: int
    sequence: int = 0


class FencedProducer:
    """A connection to the brokers, and the identities of the partitions that were claimed. Not for several threads."""

    def __init__(self, log: KafkaLog, patience: Patience) -> None:
        self._log, self._patience = log, patience
        self._identities: dict[TopicPartition, _Identity] = {}
        settings = {"client_id": "mandi-writer", "reconnect_backoff_max_ms": _RECONNECT_MS}
        self._net = NetworkSelector(**settings)
        self._manager = KafkaConnectionManager(
            self._net,
            bootstrap_servers=list(log.servers),
            request_timeout_ms=_REQUEST_MS,
            metadata_max_age_ms=METADATA_MS,
            **settings,
            **log.client,
        )
        self._net.start()
        self._insist(lambda: self._manager.bootstrap(_REQUEST_MS))

    def claim(self, tp: TopicPartition) -> None:
        """Get the partition's producer id with a new epoch. Older writers are shut out by the first batch under it."""
        self._insist(lambda: self._claim(tp))

    def send(self, messages: Mapping[TopicPartition, Sequence[Message]]) -> dict[TopicPartition, int]:
        """Write one batch into each claimed partition; return the offset of each one's first record.

        Waits for a broker that is away, as long as it takes.

        Raises: WriterFenced; LogWriteFailed if the broker refuses for good; LogUnavailable if told to stop meanwhile.
        """
        waiting = {tp: self._batch(tp, batch) for tp, batch in messages.items()}
        offsets: dict[TopicPartition, int] = {}
        self._insist(lambda: self._attempt(waiting, offsets))
        for tp, batch in messages.items():
            identity = self._identities[tp]
            identity.sequence = (identity.sequence + len(batch)) % _SEQUENCES
        return offsets

    def close(self) -> None:
        self._manager.close()
        self._net.stop()
        self._net.close()

    def _claim(self, tp: TopicPartition) -> None:
        name = f"mandi/{self._log.name_of(tp.topic)}/{tp.partition}"
        find = FindCoordinatorRequest(key_type=_TRANSACTION, coordinator_keys=[name], min_version=_COORDINATOR_VERSION)
        (coordinator,) = self._ask(find).coordinators
        _raise_if(coordinator.error_code)
        request = InitProducerIdRequest(
            transactional_id=name,
            transaction_timeout_ms=_TRANSACTION_MS,
            producer_id=_NONE,
            producer_epoch=_NONE,
            max_version=_INIT_VERSION,
        )
        answer = self._ask(request, coordinator.node_id)
        _raise_if(answer.error_code)
        self._identities[tp] = _Identity(answer.producer_id, answer.producer_epoch)

    def _batch(self, tp: TopicPartition, messages: Sequence[Message]) -> bytearray:
        identity = self._identities[tp]
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

    def _attempt(self, waiting: dict[TopicPartition, bytearray], offsets: dict[TopicPartition, int]) -> None:
        """Send what waits, once; move what was acknowledged from `waiting` to `offsets`. Raises: what to wait for."""
        failure: Exception | None = None
        for leader, tps in self._leaders(waiting).items():
            answer = self._ask(self._request({tp: waiting[tp] for tp in tps}), leader)
            for topic in answer.responses:
                for part in topic.partition_responses:
                    tp = TopicPartition(self._log.topic_of(topic.name) or "", part.index)
                    error = kafka.errors.for_code(part.error_code)
                    if error is kafka.errors.NoError:
                        offsets[tp] = part.base_offset
                        del waiting[tp]
                    else:
                        failure = self._judge(tp, error, part.error_message)
        if failure is not None:
            self._manager.cluster.request_update()
            raise failure

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

    def _leaders(self, tps: Mapping[TopicPartition, object]) -> dict[int, list[TopicPartition]]:
        found: dict[int, list[TopicPartition]] = {}
        for tp in tps:
            theirs = kafka.TopicPartition(self._log.name_of(tp.topic), tp.partition)
            leader = self._manager.cluster.leader_for_partition(theirs)
            if leader is None or leader < 0:
                self._learn(theirs.topic)
                leader = self._manager.cluster.leader_for_partition(theirs)
            if leader is None or leader < 0:
                raise kafka.errors.LeaderNotAvailableError(f"{theirs} has no leader")
            found.setdefault(leader, []).append(tp)
        return found

    def _learn(self, topic: str) -> None:
        cluster = self._manager.cluster
        cluster.add_topic(topic)
        self._manager.run(self._manager.wait_for, cluster.request_update(), _REQUEST_MS)

    def _ask(self, request: Any, node: int | None = None) -> Any:
        async def ask() -> Any:
            return await self._manager.send(request, node_id=node)

        return self._manager.run(ask)

    def _insist(self, ask: Callable[[], T]) -> T:
        return insist(ask, self._patience, AWAY, time.sleep)


def _raise_if(code: int) -> None:
    error = kafka.errors.for_code(code)
    if error is not kafka.errors.NoError:
        raise error
