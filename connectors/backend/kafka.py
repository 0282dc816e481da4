"""Read the backend's Kafka topic: every partition from a position kept in our log, never in a consumer group.

Delivery: every record of a committed transaction once, in the order of its partition, from the position given; a
    partition without one is read from its beginning. Records that the broker deleted before they were read are a gap.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from connectors.backend.config import KafkaConfig
from connectors.backend.source import BACKEND, Message, Messages, Positions, SourceUnavailable
from market.kafka_away import never_make_topics

REQUEST_TIMEOUT_MS: Final = 10_000
_LOOK_EVERY_S: Final = 5.0  # for new partitions, and whether the broker is there at all
_BATCH_RECORDS: Final = 5_000


class KafkaSource:
    """The topic, from positions on.

    State: one consumer; it fetches at most 50 MiB ahead.
    """

    name = "kafka"

    def __init__(self, config: KafkaConfig, resume: Positions) -> None:
        self._config = config
        self._next: dict[TopicPartition, int] = {}
        for channel, offset in resume.items():
            topic, _, partition = channel.removeprefix("backend/kafka/").rpartition("/")
            if topic == config.topic:
                self._next[TopicPartition(topic, int(partition))] = int(offset)
        self._consumer: Any = None  # kafka-python publishes no types
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
        """Close the consumer; the next read opens a new one."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None

    def _positions(self, tps: Iterable[TopicPartition]) -> Positions:
        return {_channel(tp): str(self._next[tp]) for tp in tps}

    def _look(self) -> Messages | None:
        """Assign all partitions there are; return what was lost since they were last read, if anything was."""
        consumer = self._consumer = self._consumer or self._open()
        self._looked_at = time.monotonic()
        topic = self._config.topic
        tps = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        if not tps:
            raise SourceUnavailable(self.name, f"there is no topic {topic}")
        begins, ends = consumer.beginning_offsets(tps), consumer.end_offsets(tps)
        if set(tps) != consumer.assignment():
            consumer.assign(tps)
            for tp in tps:
                self._next.setdefault(tp, begins[tp])
                consumer.seek(tp, self._next[tp])
        lost = [tp for tp in tps if not begins[tp] <= self._next[tp] <= ends[tp]]
        if not lost:
            return None
        gaps = [self._skip(tp, begins[tp], ends[tp]) for tp in lost]
        return Messages(gaps=gaps, positions=self._positions(lost))

    def _skip(self, tp: TopicPartition, begin: int, end: int) -> Mapping[str, Any]:
        """Go on at the oldest record there is, and say what was lost."""
        stood = self._next[tp]
        self._next[tp] = begin
        self._consumer.seek(tp, begin)
        if stood < begin:
            reason, first, last = "the broker deleted records before they were read", stood, begin - 1
        else:
            reason, first, last = "the topic was made anew: it ends before the position", end, stood - 1
        return {"channel": _channel(tp), "seq_from": first, "seq_to": last, "reason": reason}

    def _open(self) -> Any:
        consumer = KafkaConsumer(
            bootstrap_servers=list(self._config.servers),
            client_id=f"mandi-{BACKEND}",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # never skip silently: `_look` says what is lost
            isolation_level="read_committed",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            bootstrap_timeout_ms=REQUEST_TIMEOUT_MS,
            metrics_enabled=False,
        )
        never_make_topics(consumer._manager)
        return consumer


def _channel(tp: TopicPartition) -> str:
    return f"backend/kafka/{tp.topic}/{tp.partition}"
