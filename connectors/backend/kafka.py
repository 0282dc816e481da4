"""Read the backend's Kafka topic: every partition from a position kept in our log, never in a consumer group.

Delivery: every record of a committed transaction once, in the order of its partition, from the position given; a
    partition without one is read from its beginning. Records that the broker deleted before they were read are a gap;
    so is a topic that was deleted and made anew, which its id tells, and which is read from its beginning.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.protocol.consumer import OffsetSpec

from connectors.backend.config import KafkaConfig
from connectors.backend.source import BACKEND, Message, Messages, Positions, SourceUnavailable
from market.kafka_away import connected, never_make_topics

REQUEST_TIMEOUT_MS: Final = 10_000
_LOOK_EVERY_S: Final = 5.0  # for new partitions, and whether the broker is there at all
_BATCH_RECORDS: Final = 5_000
_CHANNELS: Final = "backend/kafka/"
"""And a topic, whose position is its id; and a slash and a partition, whose position is the offset to read next."""


class KafkaSource:
    """The topic, from positions on.

    State: one consumer; it fetches at most 50 MiB ahead.
    """

    name = "kafka"

    def __init__(self, config: KafkaConfig, resume: Positions) -> None:
        self._config = config
        self._next: dict[TopicPartition, int] = {}
        for channel, offset in resume.items():
            topic, _, partition = channel.removeprefix(_CHANNELS).rpartition("/")
            if topic == config.topic:
                self._next[TopicPartition(topic, int(partition))] = int(offset)
        self._topic_id = str(resume.get(_CHANNELS + config.topic, ""))  # of what was read; empty: none was noted yet
        self._consumer: Any = None  # kafka-python publishes no types
        self._admin: Any = None
        self._looked_at = 0.0

    def read(self, timeout_s: float) -> Messages:
        """Return the next records of all partitions. As Source.read."""
        try:
            if self._consumer is None or time.monotonic() >= self._looked_at + _LOOK_EVERY_S:
                lost = self._look()
                if lost:
                    return lost
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=_BATCH_RECORDS)
        except (KafkaError, ValueError, OSError) as error:  # ValueError: a name that does not resolve
            self.close()
            raise SourceUnavailable(self.name, f"{type(error).__name__} {error}") from error
        messages: list[Message] = []
        for tp, records in found.items():
            self._next[tp] = records[-1].offset + 1
            messages += [
                Message(channel=_channel(tp), offset=record.offset, raw=record.value or b"") for record in records
            ]
        return Messages(messages=messages, positions=self._positions(found))

    def forget(self, positions: Positions) -> None:
        """Nothing: the topic has a retention of its own."""

    def close(self) -> None:
        """Close the connections; the next read opens new ones."""
        for client in (self._consumer, self._admin):
            if client is not None:
                client.close()
        self._consumer = self._admin = None

    def _positions(self, tps: Iterable[TopicPartition]) -> Positions:
        positions = {_channel(tp): str(self._next[tp]) for tp in tps}
        return {**positions, _CHANNELS + self._config.topic: self._topic_id} if positions else positions

    def _look(self) -> Messages | None:
        """Assign all partitions there are; return what was lost since they were last read, if anything was."""
        consumer = self._consumer = self._consumer or self._open()
        self._looked_at = time.monotonic()
        topic_id, tps = self._describe()
        begins, ends = self._offsets(tps, OffsetSpec.EARLIEST), self._offsets(tps, OffsetSpec.LATEST)
        if set(tps) != consumer.assignment():
            consumer.assign(tps)
            for tp in tps:
                self._next.setdefault(tp, begins[tp])
                consumer.seek(tp, self._next[tp])
        is_anew, self._topic_id = "" not in (self._topic_id, topic_id) and self._topic_id != topic_id, topic_id
        lost = [tp for tp in tps if not begins[tp] <= self._next[tp] <= (begins if is_anew else ends)[tp]]
        if not lost:
            return None
        gaps = [self._skip(tp, begins[tp], ends[tp]) for tp in lost]
        return Messages(gaps=gaps, positions=self._positions(lost))

    def _describe(self) -> tuple[str, list[TopicPartition]]:
        """The id of the topic, and its partitions. Asked afresh: what a consumer knows is up to five minutes old."""
        self._admin = self._admin or connected(KafkaAdminClient, client_id=f"mandi-{BACKEND}", **self._settings())
        (found,) = self._admin.describe_topics([self._config.topic])
        tps = [TopicPartition(self._config.topic, part["partition_index"]) for part in found["partitions"]]
        if not tps:
            raise SourceUnavailable(self.name, f"there is no topic {self._config.topic}")
        return str(found.get("topic_id") or ""), sorted(tps)

    # Not the consumer's: it knows no partition that was added a moment ago.
    def _offsets(self, tps: Iterable[TopicPartition], which: OffsetSpec) -> dict[TopicPartition, int]:
        found = self._admin.list_partition_offsets(dict.fromkeys(tps, which), timeout_ms=REQUEST_TIMEOUT_MS)
        return {tp: int(answer.offset) for tp, answer in found.items()}

    def _skip(self, tp: TopicPartition, begin: int, end: int) -> Mapping[str, Any]:
        """Go on at the oldest record there is, and say what was lost."""
        stood = self._next[tp]
        self._next[tp] = begin
        self._consumer.seek(tp, begin)
        if stood < begin:
            reason, first, last = "the broker deleted records before they were read", stood, begin - 1
        elif stood <= end:
            reason, first, last = "the topic was made anew: what was behind the position is gone", stood, stood
        else:
            reason, first, last = "the topic was made anew: it ends before the position", end, stood - 1
        return {"channel": _channel(tp), "seq_from": first, "seq_to": last, "reason": reason}

    def _open(self) -> Any:
        consumer = connected(
            KafkaConsumer,
            client_id=f"mandi-{BACKEND}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # never skip silently: `_look` says what is lost
            isolation_level="read_committed",
            metrics_enabled=False,
            **self._settings(),
        )
        never_make_topics(consumer._manager)
        return consumer

    def _settings(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self._config.servers),
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "bootstrap_timeout_ms": REQUEST_TIMEOUT_MS,
        }


def _channel(tp: TopicPartition) -> str:
    return f"{_CHANNELS}{tp.topic}/{tp.partition}"
