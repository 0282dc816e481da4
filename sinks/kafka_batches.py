"""Under which producer id the batches of a Kafka partition were written: the broker's own record of who wrote last.

What a broker remembers of producers ends: of a name seven days after it was last asked for
(`transactional.id.expiration.ms`), of a producer in a partition a day after its last batch
(`producer.id.expiration.ms`). A batch keeps its id for as long as it is in the log.

Source: KIP-98 (the format of a batch), KIP-664; Kafka 4.1, ProducerStateManager and TransactionStateManager.
"""

from typing import Any, Final, NamedTuple

from kafka.protocol.consumer import ListOffsetsRequest
from kafka.record.memory_records import MemoryRecords

from market.kafka_requests import fetch_request, raise_if

LAST_EPOCH: Final = (1 << 15) - 1
"""The highest there is: nobody writes under an id after it. Coordinators give none as high."""

_LATEST: Final = -1
_OFFSETS_VERSION: Final = 5
_ONE_BATCH: Final = 1  # byte: a broker gives the first batch whole, however long it is


class Batch(NamedTuple):
    """Who wrote a batch, and the number of its first record among that one's own."""

    producer_id: int
    epoch: int
    sequence: int


def end_request(name: str, partition: int) -> Any:
    """Ask for the offset behind the newest record of a partition."""
    topic_of = ListOffsetsRequest.ListOffsetsTopic
    part = topic_of.ListOffsetsPartition(partition_index=partition, current_leader_epoch=-1, timestamp=_LATEST)
    topics = [topic_of(name=name, partitions=[part])]
    return ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=topics, max_version=_OFFSETS_VERSION)


def end_in(answer: Any) -> int:
    """The answer to `end_request`. Raises: the broker's error."""
    part = answer.topics[0].partitions[0]
    raise_if(part.error_code)
    return int(part.offset)


def batch_request(name: str, partition: int, offset: int) -> Any:
    """Ask for the batch with the record at an offset."""
    return fetch_request([(name, partition, offset)], wait_ms=0, max_bytes=_ONE_BATCH, partition_bytes=_ONE_BATCH)


def batch_in(answer: Any) -> Batch | None:
    """The answer to `batch_request`; None at the end of the log. Raises: the broker's error."""
    raise_if(answer.error_code)
    part = answer.responses[0].partitions[0]
    raise_if(part.error_code)
    found = MemoryRecords(part.records or b"").next_batch()
    return None if found is None else Batch(found.producer_id, found.producer_epoch, found.base_sequence)
