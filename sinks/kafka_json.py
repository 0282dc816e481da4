"""Write JSON messages to topics of their own on Kafka, for programs that do not read our frames.

Delivery: `write` returns when all brokers in sync have acknowledged; it waits for a broker that is away. The newest
    writer of a topic is the only one, from its first message on, which may be there twice.
"""

from collections.abc import Callable, Sequence
from typing import Final

from market.kafka_log import KafkaLog
from market.records import Patience, TopicPartition
from sinks.kafka import Topics
from sinks.kafka_producer import FencedProducer, Message
from sinks.retention import Retention

_MESSAGES: Final = 10_000  # in one request: about 3 MB


class JsonMirror:
    """Connects when it is first written to."""

    def __init__(self, log: KafkaLog, retention: Retention, clock_ns: Callable[[], int], patience: Patience) -> None:
        self._log, self._retention, self._clock_ns, self._patience = log, retention, clock_ns, patience
        self._producer: FencedProducer | None = None
        self._claimed: set[TopicPartition] = set()

    def write(self, topic: str, rows: Sequence[tuple[str, bytes]]) -> None:
        """Append (key, JSON) messages to a topic, in order.

        Raises: WriterFenced, LogWriteFailed; LogUnavailable if told to stop while no broker answers.
        """
        tp = TopicPartition(topic)
        producer = self._claim(tp)
        ts_ms = self._clock_ns() // 1_000_000
        for start in range(0, len(rows), _MESSAGES):
            messages = [Message(key.encode(), value, ts_ms) for key, value in rows[start : start + _MESSAGES]]
            producer.shut_out(tp, messages[0])
            producer.send({tp: messages})

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close()

    def _claim(self, tp: TopicPartition) -> FencedProducer:
        if self._producer is None:
            self._producer = FencedProducer(self._log, self._patience)
        if tp not in self._claimed:
            topics = Topics(self._log, self._retention, self._patience)
            topics.ensure(tp)
            topics.close()
            self._producer.claim(tp)
            self._claimed.add(tp)
        return self._producer
