"""A log of a test's own on a Kafka broker, and what an operator may do to its topics."""

from uuid import uuid4

import kafka.admin
from log_support import TP, until

from market.records import TopicPartition


def admin_of(url: str) -> kafka.admin.KafkaAdminClient:
    """A client of the broker at `url`, which may name a log there; close it."""
    return kafka.admin.KafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://").partition("/")[0])


class OwnLog:
    """A log in which nothing is yet."""

    def __init__(self, broker_url: str) -> None:
        self.url = f"{broker_url}/{uuid4().hex}"
        self.admin = admin_of(broker_url)

    def name_of(self, topic: str = TP.topic) -> str:
        """What the broker calls it."""
        return f"{self.url.rpartition('/')[2]}.{topic}"

    def theirs(self, tp: TopicPartition = TP) -> kafka.TopicPartition:
        return kafka.TopicPartition(self.name_of(tp.topic), tp.partition)

    def has(self, topic: str = TP.topic) -> bool:
        return bool(self.admin.describe_topics([self.name_of(topic)])[0]["partitions"])

    def delete(self, topic: str = TP.topic) -> None:
        self.admin.delete_topics([self.name_of(topic)])
        until(lambda: not self.has(topic))

    def grow(self, topic: str, partitions: int) -> None:
        self.admin.create_partitions({self.name_of(topic): partitions})

    def close(self) -> None:
        self.admin.close()
