"""Questions to Kafka's brokers that the library asks in another way, or not at all: by whoever reads and who writes."""

from collections.abc import Sequence
from typing import Any, Final

import kafka.errors
from kafka.protocol.consumer import FetchRequest

_FETCH_VERSION: Final = 11  # later ones name topics by id


def raise_if(code: int) -> None:
    """Raise the error that a broker's code stands for."""
    error = kafka.errors.for_code(code)
    if error is not kafka.errors.NoError:
        raise error


def fetch_request(wanted: Sequence[tuple[str, int, int]], *, wait_ms: int, max_bytes: int, partition_bytes: int) -> Any:
    """Ask for records of partitions (a topic's name, number, offset), for which the broker waits so long.

    Source: KIP-74. The first batch there is comes whole, however long it is.
    """
    topic_of = FetchRequest.FetchTopic
    topics: dict[str, list[Any]] = {}
    for name, partition, offset in wanted:
        part = topic_of.FetchPartition(
            partition=partition,
            current_leader_epoch=-1,
            fetch_offset=offset,
            log_start_offset=-1,
            partition_max_bytes=partition_bytes,
        )
        topics.setdefault(name, []).append(part)
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=wait_ms,
        min_bytes=1,
        max_bytes=max_bytes,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[topic_of(topic=name, partitions=parts) for name, parts in topics.items()],
        forgotten_topics_data=[],
        rack_id="",
        max_version=_FETCH_VERSION,
    )


def leader_of(manager: Any, partition: Any, timeout_ms: int) -> int:
    """The broker that leads a partition; the brokers are asked if it is not known.

    Raises: TopicAuthorizationFailedError; UnknownTopicOrPartitionError, LeaderNotAvailableError.
    """
    cluster = manager.cluster
    leader: int | None = cluster.leader_for_partition(partition)
    if leader is None or leader < 0:
        cluster.add_topic(partition.topic)
        manager.run(manager.wait_for, cluster.request_update(), timeout_ms)
        leader = cluster.leader_for_partition(partition)
    if leader is not None and leader >= 0:
        return leader
    if partition.topic in cluster.unauthorized_topics:
        raise kafka.errors.TopicAuthorizationFailedError(partition.topic)
    if partition.partition not in (cluster.partitions_for_topic(partition.topic) or ()):
        raise kafka.errors.UnknownTopicOrPartitionError(f"there is no {partition}")
    raise kafka.errors.LeaderNotAvailableError(f"{partition} has no leader")
